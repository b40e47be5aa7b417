"""Reading run folders as they are found: finished, interrupted in the middle of a line, or resumed.

A run folder holds ``config.yaml`` (resolved), ``metrics.jsonl`` (one object per iteration), where dormancy is
measured ``dormancy/events.jsonl``, where the run goes on from another one ``fork.json`` and, once training has
ended, ``final_evaluation.json``. What had to be left out on reading is counted and listed in ``RunRecord.notes``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.evaluation.dormancy_events import EVENTS_FILE, RunEvents, read_events
from rllib_reborn.evaluation.later_settings import with_later_settings
from rllib_reborn.evaluation.metrics_rows import MOST_STEPS, MOST_VALUE, MetricsRows, read_rows, table_of
from rllib_reborn.evaluation.origin import (
    PREFIX_FOLDER,
    SWEEP_FILE,
    ForkNote,
    SweepPlace,
    read_fork,
    read_place,
    run_name,
)
from rllib_reborn.parsing import ParseError, parse_json, read_file
from rllib_reborn.parsing.yaml_text import MAX_BYTES, MAX_VALUES, parse_yaml
from rllib_reborn.secret_settings import without_secrets

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
FINAL_FILE = "final_evaluation.json"

#: Characters of a name.
_MOST_TEXT = 300
#: Tasks of a sequence that are named.
_MOST_TASKS = 20
_MOST_FINAL_BYTES = 50_000_000
#: Column of ``metrics.jsonl``: the program that the games ran on.
GAME_VERSION = "env/game_version"
#: What our mock server says that it is.
_MOCK_SERVER = "mock_server"
_SKIPPED_FOLDERS = frozenset({"checkpoints", "report", "dormancy"})


class RunError(ValueError):
    """A path cannot be read as a run; the message is one sentence for the user."""


class NotReportedError(RunError):
    """The run is whole, and its numbers are not to be reported: it was played on the mock server."""


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes of one policy: ``returns [E]`` and, where the game knows a winner, ``won [E]`` (0 or 1)."""

    returns: npt.NDArray[np.float64]
    won: npt.NDArray[np.float64] | None


@dataclasses.dataclass(frozen=True)
class FinalEvaluation:
    """What ``final_evaluation.json`` holds: greedy policy and random policy after ``env_steps`` steps.

    Where the run went through a sequence of tasks the episodes are those on all of them, and ``of_tasks`` says the mean
    return on each; else it is empty.
    """

    policy: Episodes
    random: Episodes | None
    env_steps: int | None
    of_tasks: str = ""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One training run.

    Attributes:
        path: Its folder.
        config: The resolved config, plain data, with the settings that it would have today.
        algorithm: ``config["algorithm"]``.
        env: ``config["env"]``.
        seed: ``config["seed"]``, ``None`` where the run was not seeded.
        metrics: One row per iteration with ``env_steps`` not falling; numbers, ``nan`` where the file has
            null. ``eval/returns`` stays a column of lists or ``None``.
        final: The evaluation at the end, ``None`` for an interrupted run.
        unreadable_lines: Lines of ``metrics.jsonl`` that were dropped, being half-written or no object.
        replaced_rows: Rows that a resumed run has written again.
        notes: The above in sentences.
        game_versions: Versions of the program (StarCraft II) that the games ran on, sorted; empty where they are this
            package's own.
        fork: What it goes on from, ``None`` where it began anew. Its first rows are then those of that run.
        place: What it is in its sweep, where it is of one.
        events: Dormancy checks and applications of interventions; empty where none were recorded.
    """

    path: Path
    config: Mapping[str, Any]
    algorithm: str
    env: str
    seed: int | None
    metrics: pd.DataFrame
    final: FinalEvaluation | None
    unreadable_lines: int
    replaced_rows: int
    notes: tuple[str, ...]
    events: RunEvents = dataclasses.field(default_factory=RunEvents)
    game_versions: tuple[str, ...] = ()
    fork: ForkNote | None = None
    place: SweepPlace = dataclasses.field(default_factory=SweepPlace)

    @property
    def name(self) -> str:
        """The folder's own name, with its point's in a sweep."""
        return run_name(self.path)

    @property
    def env_steps(self) -> int:
        """Environment steps at the last row."""
        return int(self.metrics["env_steps"].iloc[-1])

    @property
    def wall_time_s(self) -> float | None:
        """Seconds of training, ``None`` if not recorded; a clock that restarts on resume is added up."""
        if "time/total_s" not in self.metrics:
            return None
        clock = self.metrics["time/total_s"].dropna().to_numpy(dtype=np.float64)
        if not clock.size:
            return None
        ends = np.append(np.flatnonzero(np.diff(clock) < 0), clock.size - 1)
        return float(clock[ends].sum())

    def series(self, metric: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Env steps and finite values of a metric; of rows at one step, the last."""
        if metric not in self.metrics or not pd.api.types.is_numeric_dtype(self.metrics[metric]):
            return np.empty(0), np.empty(0)
        table = self.metrics[["env_steps", metric]].astype(np.float64)
        table = table[np.isfinite(table[metric])].drop_duplicates("env_steps", keep="last")
        return table["env_steps"].to_numpy(), table[metric].to_numpy()

    def evaluations(self) -> pd.DataFrame:
        """The rows with an evaluation."""
        if "eval/return_mean" not in self.metrics:
            return self.metrics.iloc[:0]
        return self.metrics[self.metrics["eval/return_mean"].notna()]


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A run that plays no part in the numbers, and why."""

    path: Path
    reason: str


def find_runs(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Run folders among and below ``paths``, sorted within each path, each once.

    Args:
        paths: Run folders, or folders of run folders at any depth. Symbolic links below them are not
            followed.

    Raises:
        RunError: A path does not exist or is no folder, or holds no run folder.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise RunError("No path was given; name at least one run folder.")
    found: dict[Path, Path] = {}
    for entry in map(Path, given):
        if not entry.is_dir():
            raise RunError(f"{entry} {'is not a folder' if entry.exists() else 'does not exist'}.")
        below = _run_folders(entry)
        if not below:
            raise RunError(f"{entry} holds no run: no {CONFIG_FILE} or {METRICS_FILE} in or below it.")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def load_runs(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> tuple[list[RunRecord], list[LeftOut]]:
    """Reads every run that :func:`find_runs` finds; the broken ones are named instead of stopping the rest.

    Raises:
        RunError: As :func:`find_runs`; or no run at all can be read (the message is the first one's).
    """
    records, broken, errors = [], [], []
    for folder in find_runs(paths):
        try:
            records.append(read_run(folder))
        except RunError as error:
            errors.append(error)
        except OSError as error:
            errors.append(RunError(f"{folder} cannot be read: {error.strerror or error}."))
        else:
            continue
        broken.append(LeftOut(folder, str(errors[-1])))
    if not records:
        raise errors[0]
    return records, broken


def read_run(
    path: str | os.PathLike[str],
    *,
    rows: Callable[[Path], MetricsRows] = read_rows,
    events: Callable[[Path], RunEvents] = read_events,
) -> RunRecord:
    """Reads one run folder.

    A line of ``metrics.jsonl`` that is no JSON object (training was killed while writing it) is dropped and
    counted. Where ``env_steps`` goes back, the run was resumed from a checkpoint: the later rows win, and the
    earlier rows from that step on are dropped and counted.

    Args:
        path: The folder.
        rows: Reads the file of metrics.
        events: Reads the events of the folder.

    Raises:
        RunError: The folder is missing or not a run, its config or metrics cannot be used, or its games were played on the
            mock server, which is no StarCraft II.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}.")
    config = with_later_settings(without_secrets(_read_config(folder)))
    found = _read_metrics(folder, rows)
    try:
        metrics, left_out, first = table_of(found.rows)
    except ParseError as error:
        raise RunError(f"{folder / METRICS_FILE} {error}.") from error
    versions = _game_versions(found.rows)
    if any(version.startswith(_MOCK_SERVER) for version in versions):
        raise NotReportedError(
            f"{folder} was played on the mock server, which takes StarCraft II's place in tests with a simulator of our "
            f"own; its numbers are not those of {config.get('env')} and are not reported."
        )
    try:
        fork = read_fork(folder)
    except ValueError as error:
        raise RunError(f"{error}.") from error
    notes = []
    if fork is not None:
        notes.append(f"forked from {fork.source} at {fork.source_env_steps:,} env steps")
    if versions:
        several = "played on several versions, which may differ in difficulty:" if len(versions) > 1 else "game version"
        notes.append(f"{several} {', '.join(versions)}")
    if found.unreadable:
        notes.append(f"{_count(found.unreadable, 'line')} of {METRICS_FILE} half-written or unreadable, dropped")
    if left_out:
        notes.append(f"{_count(left_out, 'value')} of {METRICS_FILE} unusable, left out; the first: {first}")
    if found.replaced:
        notes.append(f"resumed: {_count(found.replaced, 'row')} written again, the later ones are used")
    try:
        happened = events(folder)
    except ParseError as error:
        happened = RunEvents()
        notes.append(f"{EVENTS_FILE.as_posix()} {error}")
    if happened.unreadable:
        notes.append(f"{_count(happened.unreadable, 'line')} of {EVENTS_FILE.as_posix()} unreadable, dropped")
    final, problem = _read_final(folder)
    if problem:
        notes.append(problem)
    if final is not None and final.of_tasks:
        notes.append(
            f"a sequence of tasks, whose final episodes are those on all of them; mean return on each: {final.of_tasks}"
        )
    seed = config.get("seed")
    return RunRecord(
        path=folder,
        config=config,
        algorithm=_text(config, "algorithm", folder),
        env=_text(config, "env", folder),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        metrics=metrics,
        final=final,
        unreadable_lines=found.unreadable,
        replaced_rows=found.replaced,
        notes=tuple(notes),
        events=happened,
        game_versions=versions,
        fork=fork,
        place=read_place(folder),
    )


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested config as one flat dict: ``{"training.lr": 0.0005, "interventions.0.kind": "reborn"}``.

    An empty mapping or list is kept as a value, so that it differs from a missing key.

    Raises:
        ValueError: More than 10,000 values, or a structure that contains itself.
    """
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any, parents: tuple[int, ...]) -> None:
        if len(flat) >= MAX_VALUES or id(value) in parents:
            raise ValueError(f"the config is no plain tree of at most {MAX_VALUES:,} values")
        items: list[tuple[Any, Any]] = []
        if isinstance(value, Mapping):
            items = list(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        for key, item in items:
            visit(f"{prefix}.{key}" if prefix else str(key), item, (*parents, id(value)))
        if not items:
            flat[prefix] = value

    visit("", config, ())
    flat.pop("", None)
    return flat


def _run_folders(top: Path) -> list[Path]:
    found = []
    for folder, names, files in os.walk(top):
        if CONFIG_FILE in files or METRICS_FILE in files:
            found.append(Path(folder))
            names.clear()  # a run holds no further runs, but many checkpoints
        skipped = _SKIPPED_FOLDERS | ({PREFIX_FOLDER} if SWEEP_FILE in files else set())
        names[:] = sorted(name for name in names if name not in skipped)
    return found


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise RunError(f"{folder} is not a run folder: it has no {CONFIG_FILE}.")
    try:
        config = parse_yaml(read_file(path, MAX_BYTES))
    except ParseError as error:
        line = f" (line {error.line})" if error.line else ""
        raise RunError(f"{path} is not plain YAML{line}: it {error}.") from error
    if not isinstance(config, dict):
        raise RunError(f"{path} does not hold a mapping of settings.")
    return config


def _text(config: Mapping[str, Any], key: str, folder: Path) -> str:
    value = config.get(key)
    if not isinstance(value, str) or not value or len(value) > _MOST_TEXT:
        raise RunError(f"{folder / CONFIG_FILE} does not name its {key!r}.")
    return value


def _read_metrics(folder: Path, read: Callable[[Path], MetricsRows]) -> MetricsRows:
    path = folder / METRICS_FILE
    if not path.is_file():
        raise RunError(f"{folder} has no {METRICS_FILE}: the run ended before its first iteration.")
    try:
        found = read(path)
    except ParseError as error:
        raise RunError(f"{path} {error}.") from error
    if not found.rows:
        raise RunError(f"{path} holds no readable iteration, so there is nothing to report.")
    return found


def _game_versions(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    given = (row.get(GAME_VERSION) for row in rows)
    found = {version for text in given if isinstance(text, str) for version in text[:_MOST_TEXT].split(", ")}
    return tuple(sorted(found - {""}))


def _read_final(folder: Path) -> tuple[FinalEvaluation | None, str]:
    """The final evaluation, or ``None`` and a sentence with the reason."""
    path = folder / FINAL_FILE
    if not path.is_file():
        return None, f"no {FINAL_FILE}: training was interrupted or is still going on"
    try:
        data = parse_json(read_file(path, _MOST_FINAL_BYTES), most_bytes=_MOST_FINAL_BYTES)
        policy = _episodes(data["policy"])
        random = None if data.get("random") is None else _episodes(data["random"])
        steps = data.get("env_steps")
        if steps is not None and not 0 <= int(steps) <= MOST_STEPS:
            raise ValueError("env_steps")
        tasks = data.get("tasks")
        if tasks is not None:
            # The task that was trained last depends on when a run ended, so that runs are compared on all of them.
            policy, random = (_joined([_episodes(task[kind]) for task in tasks]) for kind in ("policy", "random"))
        return FinalEvaluation(policy, random, None if steps is None else int(steps), _of_tasks(tasks)), ""
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None, f"{FINAL_FILE} is damaged, or has no episodes or returns that are not finite"


def _joined(parts: Sequence[Episodes]) -> Episodes:
    """The episodes of several tasks, equally many of each, as one list.

    Raises:
        ValueError: There is none, or they are not equally many.
    """
    if len({part.returns.size for part in parts}) != 1:
        raise ValueError("episodes")
    won = [part.won for part in parts if part.won is not None]
    returns = np.concatenate([part.returns for part in parts])
    return Episodes(returns, np.concatenate(won) if len(won) == len(parts) else None)


def _of_tasks(tasks: Any) -> str:
    """The mean return on each task, of the first ones by name; empty without tasks."""
    shown = [] if tasks is None else tasks[:_MOST_TASKS]
    texts = [f"{str(task['env'])[:_MOST_TEXT]} {_episodes(task['policy']).returns.mean():.2f}" for task in shown]
    return ", ".join(texts) + (", ..." if tasks is not None and len(tasks) > _MOST_TASKS else "")


def _episodes(data: Mapping[str, Any]) -> Episodes:
    returns = np.asarray(data["returns"], dtype=np.float64)
    won = None if data.get("won") is None else np.asarray(data["won"], dtype=np.float64)
    if returns.ndim != 1 or not returns.size or not (np.abs(returns) <= MOST_VALUE).all():
        raise ValueError("returns")
    if won is not None and (won.shape != returns.shape or not np.isin(won, (0.0, 1.0)).all()):
        raise ValueError("won")
    return Episodes(returns, won)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
