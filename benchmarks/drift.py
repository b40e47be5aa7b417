"""Does what an intervention keeps of Q_tot last when the optimizer steps again? Offline, on fixed episodes.

QMIX of ``predator_prey/small`` (RMSprop) learns from 160 episodes of a random team that catches half the time it can, 8 a
batch and targets copied every 60 updates, until most neurons of the mixer's hypernetworks are dormant. Then comes ONE
application, and the same batches go on for it and for a copy without it (``drift_updates`` of the intervention). Printed, a
line for each seed and arm: mean |Q_tot - Q_tot of the copy| over the standard deviation of the copy's, on 32 episodes that
nobody learnt from, right after the application and 1, 3 and 10 updates later; and how far the copy moved by itself.

    python -m benchmarks.drift [--seeds 0 1 2] [--updates 240] [--optimizer adam]
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from typing import Any

import benchmarks.common  # noqa: F401  (sets threads before torch is imported)

import numpy as np  # isort: skip
import torch  # isort: skip

from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches
from rllib_reborn.callbacks import PlasticityRequest
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay
from rllib_reborn.runtime.spaces import replay_layout, team_spaces
from rllib_reborn.studies.probe.from_scratch import random_episodes

EXPERIMENT = "predator_prey/small/qmix"
EPISODES, HELD_OUT, BATCH = 160, 32, 8
DRIFT_UPDATES = [1, 3, 10]
ARMS: dict[str, dict[str, Any]] = {
    **{
        f"reborn/{policy}": {"kind": "reborn", "optimizer": policy}
        for policy in ("keep", "donor", "zero", "layer_mean")
    },
    **{
        f"reborn_official_code/{policy}": {"kind": "reborn", "rule": "official_code", "optimizer": policy}
        for policy in ("keep", "layer_mean")
    },
    **{
        f"redo/{policy}": {"kind": "redo", "scope": "mixer", "optimizer": policy}
        for policy in ("keep", "zero", "layer_mean")
    },
    "reborn_quantiles/keep": {"kind": "reborn", "alpha_quantile": 0.5, "beta_quantile": 0.95},
    "snr/zero": {"kind": "snr", "scope": "mixer"},
    "fire/keep": {"kind": "fire", "scope": "mixer"},
    "shrink_perturb/keep": {"kind": "shrink_perturb", "scope": "mixer"},
    "reset/zero": {"kind": "reset", "which": "all", "scope": "mixer", "optimizer": "zero"},
}


class Offline:
    """Episodes, and learners that learn from them."""

    def __init__(self, experiment: str, overrides: Sequence[str]) -> None:
        self.experiment = load_experiment(experiment, overrides)
        self.config = build_config(self.experiment)
        self.config.training(target_update={"every": 60, "unit": "updates"}, dormancy=None)
        self.replay, self.held_out = self.play(EPISODES, seed=1), self.play(HELD_OUT, seed=2)

    def play(self, episodes: int, seed: int) -> EpisodeReplay:
        spec = self.config.team_spec
        replay = EpisodeReplay(episodes, replay_layout(spec), spec.episode_limit, seed=0)
        replay.add(EpisodeBlock.of(random_episodes(self.config, episodes, seed)))
        return replay

    def learner(self, seed: int, interventions: Sequence[dict[str, Any]] = ()) -> Any:
        config = self.config.copy(copy_frozen=False)
        config.training(interventions=list(interventions))
        spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
        torch.manual_seed(seed)
        learner = config.get_default_learner_class()(config=config, module_spec=spec)
        learner.build()
        return learner

    def update(self, learner: Any, seed: int, request: PlasticityRequest | None = None) -> None:
        sample = self.replay.sample(BATCH, rng=np.random.default_rng([seed, learner.num_updates]))
        clock = {"num_env_steps_sampled_lifetime": 0, "num_episodes_lifetime": 0}
        learner.update(batch=learner_batches(sample, 1)[0], timesteps=clock, request=request)

    def apply_and_follow(self, before: Any, arm: dict[str, Any], seed: int, updates: int) -> list[dict[str, Any]]:
        """Events of one application at update ``updates`` of a learner with the state ``before``; of one that counts firing
        from the first update on, at the end of such a learner's own way to the same state."""
        intervention = arm | {"drift_updates": DRIFT_UPDATES}
        learner = self.learner(seed, [intervention])
        if make_intervention(intervention).counts_firing:
            for _ in range(updates - 1):
                self.update(learner, seed)
        else:
            state = copy.deepcopy(before)
            state["value_factorization"]["callbacks"] = learner.get_state()["value_factorization"]["callbacks"]
            learner.set_state(state)
        request = PlasticityRequest(
            clock={"env_steps": 0, "updates": updates, "episodes": 0, "iterations": 0},
            seed=seed,
            interventions=(0,),
            dormancy=False,
            scoring_batch={("replay", 32): self.replay.sample(32, rng=np.random.default_rng([seed, 1])).batch},
            holdout_batch=self.held_out.latest(HELD_OUT).batch,
        )
        self.update(learner, seed, request)
        for _ in range(DRIFT_UPDATES[-1]):
            self.update(learner, seed)
        events: list[dict[str, Any]] = learner.take_events()
        return events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of networks and of the batches' order")
    parser.add_argument("--updates", type=int, default=240, help="before the application, that update included")
    parser.add_argument("--optimizer", choices=("rmsprop", "adam"), default="rmsprop")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM")
    arguments = parser.parse_args()
    overrides = ["training.mixer.state=full"]  # as in the papers; the shipped experiment reads a smaller one
    overrides += [] if arguments.optimizer == "rmsprop" else ["training.optimizer={kind: adam}"]
    offline = Offline(EXPERIMENT, overrides)
    for seed in arguments.seeds:
        start = time.perf_counter()
        learner = offline.learner(seed)
        for _ in range(arguments.updates - 1):
            offline.update(learner, seed)
        before = learner.get_state()
        seconds = time.perf_counter() - start
        for name in arguments.arms:
            applied, *later = offline.apply_and_follow(before, ARMS[name], seed, arguments.updates)
            row = {
                "seed": seed,
                "arm": name,
                "optimizer": arguments.optimizer,
                "updates": arguments.updates,
                "dormant": {change["layer"]: change["dormant"] for change in applied["changes"]},
                "neurons": applied["neurons"],
                "q_drift": {0: applied["q_drift"], **{event["updates"]: event["q_drift"] for event in later}},
                "untreated": {event["updates"]: event["q_drift_untreated"] for event in later},
                "function_drift": applied["function_drift"],
                "seconds_before": round(seconds, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
