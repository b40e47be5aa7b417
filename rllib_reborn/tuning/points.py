"""The runs of a sweep: which values each one has, and how it is called."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rllib_reborn.evaluation.origin import PREFIX_FOLDER
from rllib_reborn.experiments.load import load
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.secret_settings import without_secrets
from rllib_reborn.tuning.sweep import Arm, Sweep

#: What runs of a sweep have unless it says otherwise: replays of many runs would fill any disk.
SWEEP_DEFAULTS = {"checkpoint.replay": "none", "checkpoint.keep": 3}
# A run that takes another one's place, and one that waits for a process, go on with a replay.
_POPULATION_DEFAULTS = {"checkpoint.replay": "full"}
# The others need its replay.
_PREFIX_SETTINGS = {"checkpoint.replay": "full", "checkpoint.keep": 1}
_LONGEST_NAME = 100


@dataclasses.dataclass(frozen=True)
class Point:
    """One set of values, one arm, or the beginning of all others.

    Attributes:
        name: Folder of its runs.
        values: ``key.path`` to value, of the searched keys; empty for an arm.
        arm: The arm; None: a searched point.
        is_prefix: Whether the others are forked from it.
    """

    name: str
    values: Mapping[str, Any]
    arm: Arm | None = None
    is_prefix: bool = False


#: What the others are forked from, where a sweep says so.
PREFIX = Point(PREFIX_FOLDER, {}, is_prefix=True)


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """A point with one seed."""

    point: Point
    seed: int

    @property
    def name(self) -> str:
        """Its run folder, below the sweep's."""
        return f"{self.point.name}/s{self.seed}"


def grid_points(sweep: Sweep) -> list[dict[str, Any]]:
    """Every combination of the grids' values, in the order of the file."""
    grids = {key: dimension.grid or [] for key, dimension in sweep.space.items() if dimension.is_grid}
    return [dict(zip(grids, values)) for values in itertools.product(*grids.values())]


def known_points(sweep: Sweep) -> list[Point]:
    """What others are forked from, the arms, and all points that are known before anything runs: with ``optuna`` none."""
    prefix = [PREFIX] if sweep.fork is not None else []
    arms = [Point(arm.name, {}, arm) for arm in sweep.arms]
    if sweep.searcher.kind == "optuna":
        return [*prefix, *arms]
    if not sweep.space:
        return [*prefix, *(arms or [Point("base", {})])]
    rng = np.random.default_rng(sweep.searcher.seed)
    points: list[Point] = []
    for fixed in grid_points(sweep):
        for _ in range(sweep.samples or 1):
            drawn = {key: dimension.at(float(rng.random())) for key, dimension in sweep.drawn.items()}
            values = {key: (fixed | drawn)[key] for key in sweep.space}
            # A population's values change; its members keep their names.
            name = f"member{len(points)}" if sweep.scheduler.kind == "pbt" else point_name(sweep, values)
            points.append(Point(name, values))
    return [*prefix, *_with_names_of_their_own(points), *arms]


def runs_of(sweep: Sweep, points: Iterable[Point]) -> list[SweepRun]:
    """Every point with every seed; a seed is finished before the next begins, so that half a sweep compares points."""
    points = list(points)
    return [SweepRun(point, seed) for seed in sweep.seeds for point in points]


def point_name(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """``beta=2,lr=0.000316``: short keys and values, fit for a folder."""
    labels = short_keys(list(sweep.space))
    name = ",".join(f"{labels[key]}={_shown(_without_secrets(key, value))}" for key, value in values.items())
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "-", name)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - 9]}-{digest}"
    return name


def _without_secrets(key: str, value: Any) -> Any:
    """``value``; one that holds a secret as a part of its hash, so that points of a sweep still have different names."""
    if without_secrets(value, key) == value:
        return value
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def short_keys(keys: list[str]) -> dict[str, str]:
    """For each dotted key its shortest end that no other key has: ``beta``, or ``0.beta`` and ``1.beta``."""
    found = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            short = ".".join(parts[-length:])
            if sum(other == short or other.endswith(f".{short}") for other in keys) == 1:
                break
        found[key] = short
    return found


def experiment_of(sweep: Sweep, run: SweepRun) -> Experiment:
    """The experiment of one run.

    Raises:
        ExperimentError: As :func:`rllib_reborn.experiments.load.load`.
    """
    arm = run.point.arm
    defaults = SWEEP_DEFAULTS | (_POPULATION_DEFAULTS if sweep.scheduler.kind == "pbt" else {})
    settings = {**defaults, **sweep.set, **run.point.values, **(arm.set if arm else {}), "seed": run.seed}
    if run.point.is_prefix:
        assert sweep.fork is not None
        settings |= {**sweep.fork.set, **_PREFIX_SETTINGS}
    overrides = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    base = (arm.base if arm else None) or sweep.base
    loaded = load(base, overrides, interventions=tuple(arm.add) if arm else ())
    experiment = loaded.experiment
    if run.point.is_prefix:
        assert sweep.fork is not None
        limits = {"env_steps": sweep.fork.env_steps}
    elif sweep.budget is not None:
        limits = sweep.budget.model_dump()
    else:
        return experiment
    return experiment.model_copy(update={"stop": type(experiment.stop)(**limits)})


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _with_names_of_their_own(points: list[Point]) -> list[Point]:
    counts: dict[str, int] = {}
    named = []
    for point in points:
        number = counts[point.name] = counts.get(point.name, 0) + 1
        named.append(point if number == 1 else dataclasses.replace(point, name=f"{point.name}-{number}"))
    return named
