"""What measuring dormancy and performing ReBorn cost, beside one update of the QMIX learner.

The shape is the stag hunt's (32 episodes of 200 steps, 8 agents). Each row times, in turn in one process with one thread:

- ``scoring/...``: one scoring pass over 32 episodes, with the layers of the official code or with all hidden layers;
- ``check/...``: one whole dormancy check as a learner makes it: that pass, gradients watched, ranks, norms, history;
- ``reborn/...``: one application: scores before and after on 32 episodes, drift on 16, plan and writing;
- ``reborn/surgery/...``: of that, planning and writing alone (wall time, as its report says it);
- ``no_check_due/...``: an update of a learner with a dormancy check and interventions of which none is due, and one of a
  learner without any; hooks are attached only while something is measured, so the ratio is 1 within noise. The median of
  the ratios of neighbouring pairs is taken, and pairs begin with one and the other in turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.common import cpu_seconds, interleaved, main

import torch  # isort: skip  (after the thread settings of benchmarks.common)

from benchmarks.learner import CLOCK, config_of, sample_of
from rllib_reborn import QMIXConfig
from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner
from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches
from rllib_reborn.callbacks import PlasticityRequest
from rllib_reborn.callbacks.team_view import measure_team, team_view
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import apply_intervention
from rllib_reborn.plasticity.neuron_layers import LayerChoice
from rllib_reborn.runtime.spaces import team_spaces

SHAPE = "32x200x8"
HOLDOUT_EPISODES = 16
#: Thresholds that find neurons to treat in a fresh network, so that the surgery has something to do.
REBORN = {"kind": "reborn", "alpha": 0.3, "beta": 1.5}
NEVER_DUE: dict[str, Any] = {
    "dormancy": {"every": 10**9},
    "interventions": [REBORN | {"every": 10**9}, {"kind": "redo", "every": 10**9}],
}


def learner_of(**training: Any) -> ValueFactorizationLearner:
    """A learner as in :mod:`benchmarks.learner`."""
    torch.set_num_threads(1)
    config = config_of(QMIXConfig, SHAPE).training(**training)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    learner = ValueFactorizationLearner(config=config, module_spec=spec)
    learner.build()
    return learner


def clock_of(learner: ValueFactorizationLearner) -> dict[str, int]:
    return {"env_steps": 0, "updates": learner.num_updates, "episodes": 0, "iterations": 0}


def scoring_batch(choice: LayerChoice, repeats: int) -> dict[str, Any]:
    learner, sample = learner_of(), sample_of(SHAPE, "full")
    module = learner.module["default_policy"].unwrapped()

    def score() -> None:
        batch = {name: torch.as_tensor(array) for name, array in sample.batch.items()}
        measure_team(module, module.neuron_layers(choice), batch)

    seconds = interleaved(
        repeats, score=score, update=lambda: learner.update(batch=learner_batches(sample, 1)[0], timesteps=CLOCK)
    )
    return _row(seconds["score"], seconds["update"], repeats, layers=len(module.neuron_layers(choice)))


def reborn(repeats: int) -> dict[str, Any]:
    """As a learner does it: a probe comes with the update. ``cpu_ms`` is that update less the same without a probe."""
    learner, sample = learner_of(interventions=[REBORN | {"every": 1, "unit": "updates"}]), sample_of(SHAPE, "full")
    holdout_batch = sample.parts(2)[0].block.columns()
    assert len(holdout_batch["lengths"]) == HOLDOUT_EPISODES
    neurons: list[int] = []

    def update(with_request: bool) -> None:
        request = PlasticityRequest(
            clock=clock_of(learner),
            seed=0,
            interventions=(0,),
            dormancy=False,
            scoring_batch={("replay", 32): sample.batch},
            holdout_batch=holdout_batch,
        )
        learner.update(batch=learner_batches(sample, 1)[0], timesteps=CLOCK, request=request if with_request else None)
        neurons.extend(event["neurons"] for event in learner.take_events())

    seconds = interleaved(repeats, reborn=partial(update, True), update=partial(update, False))
    return _row(
        seconds["reborn"] - seconds["update"],
        seconds["update"],
        repeats,
        neurons_median=int(statistics.median(neurons)),
    )


def check(choice: LayerChoice, repeats: int) -> dict[str, Any]:
    """As a learner does it; ``cpu_ms`` is an update with a check less the same without."""
    learner, sample = learner_of(dormancy={"layers": choice}), sample_of(SHAPE, "full")

    def update(with_request: bool) -> None:
        request = PlasticityRequest(
            clock=clock_of(learner),
            seed=0,
            interventions=(),
            dormancy=True,
            scoring_batch={("replay", 32): sample.batch},
            holdout_batch=None,
        )
        learner.update(batch=learner_batches(sample, 1)[0], timesteps=CLOCK, request=request if with_request else None)

    seconds = interleaved(repeats, check=partial(update, True), update=partial(update, False))
    return _row(seconds["check"] - seconds["update"], seconds["update"], repeats)


def surgery(repeats: int) -> dict[str, Any]:
    """``cpu_ms`` is the report's wall time, the best measure of what takes less than a millisecond."""
    learner, sample = learner_of(), sample_of(SHAPE, "full")
    module, optimizer = learner.module["default_policy"].unwrapped(), learner.get_optimizer("default_policy")
    intervention = make_intervention(REBORN)
    untouched = {name: value.clone() for name, value in module.state_dict().items()}
    taken: list[float] = []
    neurons: list[int] = []

    def apply_once() -> None:
        module.load_state_dict(untouched)
        model_view = team_view(module, "official_code", sample.batch, None, optimizer)
        report = apply_intervention(intervention, model_view, generator=torch.Generator().manual_seed(0))
        taken.append(report.seconds)
        neurons.append(report.neurons)

    seconds = interleaved(
        repeats,
        apply_intervention=apply_once,
        update=lambda: learner.update(batch=learner_batches(sample, 1)[0], timesteps=CLOCK),
    )
    return _row(statistics.median(taken), seconds["update"], repeats, neurons_median=int(statistics.median(neurons)))


def no_check_due(repeats: int) -> dict[str, Any]:
    sample = sample_of(SHAPE, "full")
    learners = {"with": learner_of(**NEVER_DUE), "without": learner_of()}
    assert len(learners["with"].learner_callbacks) == 2
    assert not learners["without"].learner_callbacks

    def seconds_of(name: str) -> float:
        return cpu_seconds(lambda: learners[name].update(batch=learner_batches(sample, 1)[0], timesteps=CLOCK))

    for name in learners:
        seconds_of(name)
    taken: dict[str, list[float]] = {name: [] for name in learners}
    for pair in range(2 * repeats):
        for name in ("with", "without") if pair % 2 else ("without", "with"):
            taken[name].append(seconds_of(name))
    ratios = [one / other for one, other in zip(taken["with"], taken["without"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "shape": SHAPE,
        "cpu_ms": 1e3 * statistics.median(taken["with"]),
        "reference": 1e3 * statistics.median(taken["without"]),
        "ratio_to_without": statistics.median(ratios),
        "ratio_quartiles": [round(quartiles[0], 4), round(quartiles[2], 4)],
        "threads": 1,
        "repeats": 2 * repeats,
    }


def _row(seconds: float, update: float, repeats: int, **more: int) -> dict[str, Any]:
    return {
        "shape": SHAPE,
        "cpu_ms": 1e3 * seconds,
        "reference": 1e3 * update,
        "ratio_to_update": seconds / update,
        **more,
        "threads": 1,
        "repeats": repeats,
    }


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    f"scoring/official_code/{SHAPE}": partial(scoring_batch, "official_code"),
    f"scoring/full/{SHAPE}": partial(scoring_batch, "full"),
    f"check/official_code/{SHAPE}": partial(check, "official_code"),
    f"check/full/{SHAPE}": partial(check, "full"),
    f"reborn/{SHAPE}": reborn,
    f"reborn/surgery/{SHAPE}": surgery,
    f"no_check_due/{SHAPE}": no_check_due,
}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=9)
