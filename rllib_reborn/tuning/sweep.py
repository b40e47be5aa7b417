"""A sweep as data: what is searched, with which seeds, for how long, and how it is read from YAML.

base: matrix/two_step/qmix+reborn
space: {interventions.0.beta: {grid: [2.0, 3.0]}, training.lr: {loguniform: [1e-4, 1e-3]}}
samples: 4
seeds: [0, 1]
arms: [{name: none, set: {interventions: []}}, {name: redo, add: redo}]
scheduler: {kind: asha, grace_period: 200}
budget: {env_steps: 400}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from rllib_reborn.evaluation.origin import PREFIX_FOLDER
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.layers import Layers
from rllib_reborn.experiments.overrides import parse_override, split_override
from rllib_reborn.experiments.schema import Count, Positive
from rllib_reborn.experiments.yaml_text import dump_yaml, read_yaml
from rllib_reborn.settings import REASON_GIVEN, Settings, first_error

#: What a value may be: a whole experiment is plain data, but what is searched stands in names, tables and Optuna.
Value = bool | int | float | str | None
#: Keys that a sweep sets itself, and what is to be given instead.
_OWN_KEYS = {"seed": "seeds: [0, 1]", "stop": "budget: {env_steps: 400}", "extends": "base", "compose": "base"}


def _refuse(reason: str, **values: Any) -> PydanticCustomError:
    return PydanticCustomError(REASON_GIVEN, reason, values)


class Dimension(Settings):
    """What one key takes; exactly one is given.

    Attributes:
        grid: Each of these values, with each of every other grid's.
        choice: Drawn from these values.
        uniform: Drawn uniformly from ``[low, high)``.
        loguniform: Drawn from ``[low, high)``, uniformly in the logarithm; ``low`` above 0.
        integers: A whole number ``low..high``, both included.
    """

    grid: Annotated[list[Value], Field(min_length=1)] | None = None
    choice: Annotated[list[Value], Field(min_length=2)] | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    integers: tuple[int, int] | None = None

    @pydantic.field_validator("uniform", "loguniform", "integers", mode="before")
    @classmethod
    def _list_is_a_pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise _refuse(
                "{given} given; expected exactly one of grid, choice, uniform, loguniform, integers",
                given=" and ".join(given) or "nothing",
            )
        for name in ("grid", "choice"):
            values = getattr(self, name)
            if values is not None and len({repr(value) for value in values}) < len(values):
                raise _refuse("{name} {values} has a value twice", name=name, values=values)
        for name in ("uniform", "loguniform", "integers"):
            pair = getattr(self, name)
            if pair is not None and not pair[0] < pair[1]:
                raise _refuse("{name} is {pair}; expected [low, high] with low < high", name=name, pair=list(pair))
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise _refuse("loguniform begins at {low}; expected more than 0", low=self.loguniform[0])
        return self

    @property
    def is_grid(self) -> bool:
        return self.grid is not None

    def clip(self, value: Any) -> Value:
        """The value of the range that is nearest to ``value``; of a choice, which is a value of the list, itself."""
        if self.integers is not None:
            return min(max(round(value), self.integers[0]), self.integers[1])
        limits = self.uniform or self.loguniform
        return value if limits is None else min(max(float(value), limits[0]), limits[1])

    def at(self, share: float) -> Value:
        """The value at ``share`` 0..1 of the range (drawn uniformly, it is a draw)."""
        if self.integers is not None:
            low, high = self.integers
            return min(low + math.floor(share * (high - low + 1)), high)
        if self.uniform is not None:
            return self.uniform[0] + share * (self.uniform[1] - self.uniform[0])
        if self.loguniform is not None:
            low_log, high_log = math.log(self.loguniform[0]), math.log(self.loguniform[1])
            return math.exp(low_log + share * (high_log - low_log))
        values = self.grid or self.choice or []
        return values[min(math.floor(share * len(values)), len(values) - 1)]


class Arm(Settings):
    """One experiment beside the searched points, with every seed, never stopped early.

    Attributes:
        name: Letters, digits, ``-``, ``_`` and ``.``; the folder of its runs.
        base: Another experiment than the sweep's.
        add: Interventions that are added (files in ``configs/intervention``).
        set: ``key.path: value`` each.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
    base: str | None = None
    add: list[str] = Field(default_factory=list)
    set: dict[str, Any] = Field(default_factory=dict)

    @pydantic.field_validator("add", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class SchedulerSection(Settings):
    """Which runs go on, and with which values.

    Attributes:
        kind: ``fifo``: all, to the end. ``asha``: the better ones (Li et al. 2020). ``pbt``: all; at times the worst go on
            from what the best have learnt, with values near theirs (Jaderberg et al. 2017); all wait for each other.
        grace_period: asha: env steps before a run may be stopped, at the first rung.
        reduction_factor: asha: of so many runs one goes on at each rung, rungs are this factor apart; above 1, default 4.
        interval: pbt: env steps between two comparisons of a run.
        quantile: pbt: share of the runs that are the best, and the worst; above 0, at most 0.5, default 0.25.
        resample: pbt: probability of a value that is drawn anew, in place of 0.8 or 1.2 times the better run's (of
            ``choice``: its neighbour in the list); 0..1, default 0.25. Values never leave the range of their key.
    """

    kind: Literal["fifo", "asha", "pbt"] = "fifo"
    grace_period: Count | None = None
    reduction_factor: Annotated[float, Field(gt=1)] | None = None
    interval: Count | None = None
    quantile: Annotated[float, Field(gt=0, le=0.5)] | None = None
    resample: Annotated[float, Field(ge=0, le=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _only_its_own(self) -> Self:
        of_kind = {"grace_period": "asha", "reduction_factor": "asha"} | dict.fromkeys(
            ("interval", "quantile", "resample"), "pbt"
        )
        for name, kind in of_kind.items():
            if self.kind != kind and getattr(self, name) is not None:
                raise _refuse(
                    "{name} has no effect with {mine}; expected kind: {kind}", name=name, mine=self.kind, kind=kind
                )
        for kind, name in (("asha", "grace_period"), ("pbt", "interval")):
            if self.kind == kind and getattr(self, name) is None:
                raise _refuse("{kind} needs {name}, in env steps", kind=kind, name=name)
        return self


class SearcherSection(Settings):
    """Where values that are drawn come from.

    Attributes:
        kind: ``random``: independent draws, known before anything runs. ``optuna``: its TPE, from the runs so far.
        seed: Of the draws.
    """

    kind: Literal["random", "optuna"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0


class BudgetSection(Settings):
    """How long each run is; replaces the experiment's ``stop``."""

    env_steps: Count | None = None
    iterations: Count | None = None
    time_s: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.env_steps is None and self.iterations is None and self.time_s is None:
            raise _refuse("give at least one of env_steps, iterations, time_s")
        return self


class ForkSection(Settings):
    """One run a seed that all others of this seed begin with.

    Attributes:
        env_steps: How long it is. An intervention of the others is first applied after it.
        set: ``key.path: value`` of this run, over the sweep's.
        fresh: What the others do not take over.
    """

    env_steps: Count
    set: dict[str, Any] = Field(default_factory=dict)
    fresh: list[Literal["replay", "optimizer", "counters"]] = Field(default_factory=list)


class Sweep(Settings):
    """Many runs as data.

    Attributes:
        base: Experiment that all runs are of: a name, or a file (looked up beside the sweep's file first).
        set: ``key.path: value`` of every run.
        space: ``key.path`` to what it takes.
        samples: Points that are drawn, for each combination of the grids; needed where something is drawn.
        seeds: Every point and arm is run with each.
        arms: Experiments beside the points.
        scheduler, searcher, budget: See there; without a budget the experiment's own ``stop`` holds.
        objective: Metric (a column of ``metrics.jsonl``) that is searched for and shown.
        mode: Whether more of it is better.
        concurrency: Runs at the same time; null: as many as the resources allow.
        fork: One run a seed of ``base`` comes first, and all others go on from it; null: each begins anew.
    """

    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Dimension] = Field(default_factory=dict)
    samples: Count | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = Field(
        default_factory=lambda: [0]
    )
    arms: list[Arm] = Field(default_factory=list)
    scheduler: SchedulerSection = SchedulerSection()
    searcher: SearcherSection = SearcherSection()
    objective: str = "eval/return_mean"
    mode: Literal["max", "min"] = "max"
    budget: BudgetSection | None = None
    concurrency: Count | None = None
    fork: ForkSection | None = None

    @property
    def drawn(self) -> dict[str, Dimension]:
        """What is not a grid."""
        return {key: dimension for key, dimension in self.space.items() if not dimension.is_grid}

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key in (*self.set, *self.space, *self._set_elsewhere()):
            instead = _OWN_KEYS.get(key.partition(".")[0])
            if instead is not None:
                raise _refuse("{key} cannot be set in a sweep; give {instead}", key=key, instead=instead)
        for key in self.space:
            if key in self.set:
                raise _refuse("{key} is in set and in space; expected one of them", key=key)
        if len(set_of(self.seeds)) < len(self.seeds):
            raise _refuse("seeds {seeds} has a seed twice", seeds=self.seeds)
        names = [arm.name for arm in self.arms]
        if len(set_of(names)) < len(names):
            raise _refuse("two arms have the same name: {names}", names=", ".join(names))
        if self.drawn and self.samples is None:
            raise _refuse("{key} is drawn; say how often: samples: 8", key=next(iter(self.drawn)))
        if not self.drawn and self.samples is not None:
            raise _refuse("samples is {samples}, and nothing in space is drawn", samples=self.samples)
        self._check_search()
        self._check_fork(names)
        return self

    def _set_elsewhere(self) -> list[str]:
        return [*(key for arm in self.arms for key in arm.set), *(self.fork.set if self.fork else ())]

    def _check_fork(self, arms: list[str]) -> None:
        if self.fork is None:
            return
        if PREFIX_FOLDER in arms:
            raise _refuse("an arm cannot be called {name}, as the run that others are forked from", name=PREFIX_FOLDER)
        steps = self.budget.env_steps if self.budget else None
        if steps is not None and steps <= self.fork.env_steps and "counters" not in self.fork.fresh:
            raise _refuse(
                "budget.env_steps is {steps} and fork.env_steps {first}, which counts as its beginning; expected more",
                steps=steps,
                first=self.fork.env_steps,
            )

    def _check_search(self) -> None:
        grids = [key for key, dimension in self.space.items() if dimension.is_grid]
        if self.searcher.kind == "optuna" and (grids or not self.space):
            raise _refuse(
                "optuna chooses values; write {what} as choice, uniform, loguniform or integers",
                what=grids[0] if grids else "what it is to search",
            )
        kind, steps = self.scheduler.kind, self.budget.env_steps if self.budget else None
        if kind == "fifo":
            return
        if steps is None:
            raise _refuse("{kind} compares runs at equal env steps; give budget.env_steps", kind=kind)
        for name in ("grace_period", "interval"):
            first = getattr(self.scheduler, name)
            if first is not None and first >= steps:
                raise _refuse(
                    "scheduler.{name} is {first}, and a run ends after {steps} env steps; expected less",
                    name=name,
                    first=first,
                    steps=steps,
                )
        if kind == "pbt":
            self._check_population(grids)

    def _check_population(self, grids: list[str]) -> None:
        if grids or not self.space:
            raise _refuse(
                "pbt moves values; write {what} as choice, uniform, loguniform or integers",
                what=grids[0] if grids else "what it is to move",
            )
        if self.searcher.kind != "random":
            raise _refuse(
                "searcher {kind} has no effect with pbt, which chooses values itself", kind=self.searcher.kind
            )
        if (self.samples or 0) < 2:
            raise _refuse("samples is {samples}; pbt needs at least 2 runs to compare", samples=self.samples)
        if self.concurrency is not None:
            raise _refuse(
                "concurrency has no effect with pbt, which compares all runs with each other; where the cluster has no room "
                "for all, they take turns"
            )
        if len(self.seeds) > 1:
            raise _refuse(
                "seeds {seeds}: a population has one seed; run it once for each, with another --out", seeds=self.seeds
            )


def set_of(values: Any) -> frozenset[Any]:
    """``set(values)``, in a class that has a field of that name."""
    return frozenset(values)


def parse_sweep(data: Mapping[str, Any], source: str) -> Sweep:
    """A validated sweep from plain data.

    Raises:
        ExperimentError: A key is unknown, a value of the wrong type or out of range, or they do not fit together.
    """
    try:
        return Sweep.model_validate(dict(data), strict=True)
    except pydantic.ValidationError as error:
        raise ExperimentError(f"{source}: {first_error(error, model=Sweep).removeprefix(': ')}") from None


def read_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of a YAML file, and ``key.path=value`` over it.

    Raises:
        ExperimentError: As :func:`parse_sweep`, or the file cannot be read.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ExperimentError(f"{path} holds {type(data).__name__}; expected a mapping with 'base', 'space', 'seeds'.")
    layers = Layers()
    layers.add(data, str(path))
    for override in overrides:
        layers.add(parse_override(override), override, dotted=len(split_override(override)[0]))
    data = layers.data
    for holder in (data, *(arm for arm in data.get("arms") or [] if isinstance(arm, dict))):
        base = holder.get("base")
        if isinstance(base, str) and (path.parent / base).is_file():
            holder["base"] = str((path.parent / base).resolve())
    return parse_sweep(data, str(path))


def dump_sweep(sweep: Sweep) -> str:
    """YAML text that :func:`read_sweep` reads back."""
    return dump_yaml(sweep.model_dump(mode="json", exclude_unset=True))
