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
from rllib_reborn.algorithms.value_factorization.team_env_runner import team_spaces
from rllib_reborn.algorithms.value_factorization.value_factorization import learner_batch
from rllib_reborn.algorithms.value_factorization.value_factorization_learner import ValueFactorizationLearner
from rllib_reborn.callbacks import Probe
from rllib_reborn.callbacks.team_subject import measure_team, team_subject
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.perform import perform
from rllib_reborn.plasticity.units import LayerChoice

SHAPE = "32x200x8"
HELD_EPISODES = 16
#: Thresholds that find units to treat in a fresh network, so that the surgery has something to do.
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


def scoring(choice: LayerChoice, repeats: int) -> dict[str, Any]:
    learner, sample = learner_of(), sample_of(SHAPE, "full")
    module = learner.module["default_policy"].unwrapped()

    def score() -> None:
        batch = {name: torch.as_tensor(array) for name, array in sample.batch.items()}
        measure_team(module, module.unit_layers(choice), batch)

    seconds = interleaved(
        repeats, score=score, update=lambda: learner.update(batch=learner_batch(sample), timesteps=CLOCK)
    )
    return _row(seconds["score"], seconds["update"], repeats, layers=len(module.unit_layers(choice)))


def reborn(repeats: int) -> dict[str, Any]:
    """As a learner does it: a probe comes with the update. ``cpu_ms`` is that update less the same without a probe."""
    learner, sample = learner_of(interventions=[REBORN | {"every": 1, "unit": "updates"}]), sample_of(SHAPE, "full")
    held = {name: array[:HELD_EPISODES] for name, array in sample.batch.items()}
    units: list[int] = []

    def update(with_probe: bool) -> None:
        probe = Probe(
            clock=clock_of(learner),
            seed=0,
            interventions=(0,),
            dormancy=False,
            scoring={("replay", 32): sample.batch},
            held=held,
        )
        learner.update(batch=learner_batch(sample), timesteps=CLOCK, probe=probe if with_probe else None)
        units.extend(event["units"] for event in learner.take_events())

    seconds = interleaved(repeats, reborn=partial(update, True), update=partial(update, False))
    return _row(
        seconds["reborn"] - seconds["update"], seconds["update"], repeats, units_median=int(statistics.median(units))
    )


def check(choice: LayerChoice, repeats: int) -> dict[str, Any]:
    """As a learner does it; ``cpu_ms`` is an update with a check less the same without."""
    learner, sample = learner_of(dormancy={"layers": choice}), sample_of(SHAPE, "full")

    def update(with_probe: bool) -> None:
        probe = Probe(
            clock=clock_of(learner),
            seed=0,
            interventions=(),
            dormancy=True,
            scoring={("replay", 32): sample.batch},
            held=None,
        )
        learner.update(batch=learner_batch(sample), timesteps=CLOCK, probe=probe if with_probe else None)

    seconds = interleaved(repeats, check=partial(update, True), update=partial(update, False))
    return _row(seconds["check"] - seconds["update"], seconds["update"], repeats)


def surgery(repeats: int) -> dict[str, Any]:
    """``cpu_ms`` is the report's wall time, the best measure of what takes less than a millisecond."""
    learner, sample = learner_of(), sample_of(SHAPE, "full")
    module, optimizer = learner.module["default_policy"].unwrapped(), learner.get_optimizer("default_policy")
    intervention = make_intervention(REBORN)
    untouched = {name: value.clone() for name, value in module.state_dict().items()}
    taken: list[float] = []
    units: list[int] = []

    def perform_once() -> None:
        module.load_state_dict(untouched)
        subject = team_subject(module, "released", sample.batch, None, optimizer)
        report = perform(intervention, subject, generator=torch.Generator().manual_seed(0))
        taken.append(report.seconds)
        units.append(report.units)

    seconds = interleaved(
        repeats, perform=perform_once, update=lambda: learner.update(batch=learner_batch(sample), timesteps=CLOCK)
    )
    return _row(statistics.median(taken), seconds["update"], repeats, units_median=int(statistics.median(units)))


def no_check_due(repeats: int) -> dict[str, Any]:
    sample = sample_of(SHAPE, "full")
    learners = {"with": learner_of(**NEVER_DUE), "without": learner_of()}
    assert len(learners["with"].learner_callbacks) == 2
    assert not learners["without"].learner_callbacks

    def seconds_of(name: str) -> float:
        return cpu_seconds(lambda: learners[name].update(batch=learner_batch(sample), timesteps=CLOCK))

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
    f"scoring/released/{SHAPE}": partial(scoring, "released"),
    f"scoring/full/{SHAPE}": partial(scoring, "full"),
    f"check/released/{SHAPE}": partial(check, "released"),
    f"check/full/{SHAPE}": partial(check, "full"),
    f"reborn/{SHAPE}": reborn,
    f"reborn/surgery/{SHAPE}": surgery,
    f"no_check_due/{SHAPE}": no_check_due,
}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=9)
