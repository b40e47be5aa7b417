"""The runs whose rows are compared: tiny, but with updates, evaluations, checks, and interventions that find neurons.

Settings are in the words of the work tree; see :mod:`.words`.
"""

from __future__ import annotations

from typing import Any

ALGORITHMS = ("IQL", "VDN", "QMIX", "WQMIX", "QPLEX", "ResQ", "DMIX", "RMIX")
#: Algorithms whose mixer has no neurons of its own.
AGENT_ONLY = ("IQL", "VDN")
#: Thresholds so wide that a network that has hardly learnt has dormant and over-active neurons.
WIDE = {"alpha": 0.6, "beta": 1.4}
EVERY = {"every": 80, "unit": "env_steps"}
ENV = "predator_prey/small"
ENV_CONFIG = {"height": 6, "width": 6, "n_predators": 3, "n_stags": 2, "n_hares": 1, "episode_limit": 8}

#: Every other kind, once, on QMIX.
KINDS: dict[str, dict[str, Any]] = {
    "reset": {**EVERY, "target_networks": "sync"},
    "sr": {**EVERY, "updates_per_episode": 2.0},
    "marr": {**EVERY, "updates_per_episode": 2.0, "target_networks": "mirror"},
    "shrink_perturb": EVERY,
    "continual_backprop": {"every": 2, "unit": "updates", "maturity": 2, "replacement_rate": 0.2},
    "injection": EVERY,
    "knife": {**EVERY, "stagnant_below": 0.9},
    "l2_init": {"strength": 0.01},
    "prune": {**EVERY, "alpha": 0.6, "score": "activation", "layers": "editable"},
    "reverse_redo": {**EVERY, "beta": 1.4},
    "snr": {"every": 2, "unit": "updates", "min_silence": 1, "max_silence": 2},
    "fire": EVERY,
}
#: Kinds that have no applications to count.
UNSCHEDULED = ("l2_init",)


def reborn(algorithm: str) -> dict[str, Any]:
    scope = "agent" if algorithm in AGENT_ONLY else "mixer"
    return {"kind": "reborn", **EVERY, **WIDE, "scope": scope}


def redo(algorithm: str) -> dict[str, Any]:
    return {"kind": "redo", **EVERY, "alpha": WIDE["alpha"], "scope": "agent" if algorithm in AGENT_ONLY else "all"}


def scenario(
    name: str,
    algorithm: str,
    interventions: tuple[dict[str, Any], ...] = (),
    *,
    env_runners: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """A scenario with all its keys; ``others`` replace defaults, those of ``training`` one by one."""
    training = {
        "batch_episodes": 8,
        "buffer_episodes": 24,
        "learning_starts_episodes": 8,
        "target_update": {"every": 8},
        "epsilon": {"anneal_env_steps": 200},
        "dormancy": {"every": 60, "episodes": 8, **WIDE},
        "interventions": list(interventions),
    } | others.pop("training", {})
    return {
        "name": name,
        "algorithm": algorithm,
        "env": ENV,
        "env_config": ENV_CONFIG,
        "training": training,
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 4, **(env_runners or {})},
        "learners": {"num_learners": 0},
        "evaluation": {"interval_env_steps": 80, "evaluation_duration": 4},
        "env_steps_per_iteration": 60,
        "iterations": 4,
        "restore_after": None,
        "wait_for_runners": False,
        "seed": 7,
    } | others


def all_scenarios() -> list[dict[str, Any]]:
    """Every scenario; their names are unique."""
    made = []
    for algorithm in ALGORITHMS:
        name = algorithm.lower()
        made += [
            scenario(f"{name}/none", algorithm),
            scenario(f"{name}/reborn", algorithm, (reborn(algorithm),)),
            scenario(f"{name}/redo", algorithm, (redo(algorithm),)),
        ]
    made += [scenario(f"qmix/{kind}", "QMIX", ({"kind": kind, **given},)) for kind, given in KINDS.items()]
    with_reborn = (reborn("QMIX"),)
    official = {**reborn("QMIX"), "rule": "official_code", "layers": "official_code", "target_networks": "mirror"}
    by_gradients = {"kind": "redo", **EVERY, "score": "grama", "at_most": 0.5}
    made += [
        # One train() is one training step: the next collection is asked for before its updates, and always with weights of
        # the updates before. So one runner's rows depend on the seed alone, once nobody has to be in time.
        scenario(
            "qmix/async_one_runner",
            "QMIX",
            with_reborn,
            training={"sampling": "async"},
            env_runners={"num_env_runners": 1},
            env_steps_per_iteration=1,
            iterations=8,
            wait_for_runners=True,
        ),
        scenario("qmix/two_runners", "QMIX", with_reborn, env_runners={"num_env_runners": 2}),
        scenario("qmix/two_learners", "QMIX", with_reborn, learners={"num_learners": 2}),
        scenario("qmix/restored", "QMIX", with_reborn, restore_after=2),
        scenario("rmix/restored", "RMIX", (redo("RMIX"),), restore_after=2),
        scenario("qmix/official_code", "QMIX", (official,)),
        scenario("rmix/official_code", "RMIX", training={"algorithm_settings": {"compat": "official_code"}}),
        scenario("qmix/two_interventions", "QMIX", (reborn("QMIX"), by_gradients)),
        scenario(
            "qmix/options",
            "QMIX",
            env="matrix/two_step",
            env_config={},
            training={
                "td_lambda": 0.6,
                "optimizer": {"kind": "adam"},
                "model": {"parameter_sharing": "none", "recurrent": False},
                "mixer": {"hypernet_layers": 1},
                "reward": {"standardise": True},
                "target_update": {"tau": 0.05},
                "double_q": False,
            },
        ),
    ]
    return made
