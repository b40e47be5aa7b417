"""Reading ``dormancy/events.jsonl`` of a run: every dormancy check and every application of an intervention, neuron by
neuron.

Runs of earlier versions, and runs that measure nothing, have no such file; that is no error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.parsing import parse_json
from rllib_reborn.parsing.lines import GrowingLines, read_lines

EVENTS_FILE = Path("dormancy") / "events.jsonl"
#: The scores of 10,000 checks of 2,500 neurons.
MAX_BYTES = 500_000_000
MAX_LINE_BYTES = 20_000_000
_MOST_SCORE = 1e100


@dataclasses.dataclass(frozen=True)
class LayerCheck:
    """One layer at one check.

    Attributes:
        scores: Normalised activation scores ``[H]``, mean 1 (docs/method.md 1).
        dormant: Neurons at or below the dormant threshold.
        overactive: Neurons at or above the over-active threshold.
    """

    scores: npt.NDArray[np.float64]
    dormant: frozenset[int]
    overactive: frozenset[int]

    @property
    def width(self) -> int:
        """H."""
        return int(self.scores.size)


@dataclasses.dataclass(frozen=True)
class Check:
    """One dormancy check.

    Attributes:
        position: Place among all events of the run, which is their order in time.
        env_steps: Clock of the run.
        layers: By key ``net/name``.
    """

    position: int
    env_steps: int
    layers: Mapping[str, LayerCheck]


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far Q_tot lies from that of a copy without the application, some updates later, in standard deviations.

    Attributes:
        q_drift: ``None`` where not measured.
        untreated: How far the copy moved by itself; ``None`` where not measured, and right after the application.
    """

    q_drift: float | None
    untreated: float | None = None


@dataclasses.dataclass(frozen=True)
class Application:
    """One application of an intervention.

    Attributes:
        position: As of :class:`Check`.
        env_steps: Clock of the run.
        kind: Of the intervention.
        dry_run: Nothing was written.
        neurons: Neurons with new weights, donors included.
        recycled: Of those, by layer key, the neurons that are no donors.
        function_drift: Relative change of the values on the held batch, ``None`` where not measured.
        greedy_actions_changed: Share, ``None`` where not measured.
        drifts: By the updates since (0: right after); those of which there is a word in the events.
    """

    position: int
    env_steps: int
    kind: str
    dry_run: bool
    neurons: int
    recycled: Mapping[str, frozenset[int]]
    function_drift: float | None
    greedy_actions_changed: float | None
    drifts: Mapping[int, Drift] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunEvents:
    """Events of a run in the order of time; ``unreadable`` lines were dropped."""

    checks: tuple[Check, ...] = ()
    applications: tuple[Application, ...] = ()
    unreadable: int = 0


def read_events(folder: Path) -> RunEvents:
    """Events of a run folder.

    A line that is half-written or not of the known form is dropped and counted. Where ``iteration`` goes back,
    the run was resumed: the later lines win.

    Raises:
        ParseError: The file cannot be read, or is too large.
    """
    path = folder / EVENTS_FILE
    if not path.is_file():
        return RunEvents()
    entries: list[dict[str, Any]] = []
    return _events(entries, _append(entries, read_lines(path, most_bytes=MAX_BYTES, most_of_a_line=MAX_LINE_BYTES)))


class GrowingEvents:
    """The events of a run that goes on: each time only what is new is read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS_FILE
        self._lines = GrowingLines(self._path, most_bytes=MAX_BYTES, most_of_a_line=MAX_LINE_BYTES)
        self._entries: list[dict[str, Any]] = []
        self._unreadable = 0

    def read(self) -> RunEvents:
        """All events that there are now.

        Raises:
            ParseError: The file cannot be read, or is too large.
        """
        if not self._path.is_file():
            return RunEvents()
        lines, from_beginning = self._lines.new()
        if from_beginning:
            self._entries, self._unreadable = [], 0
        self._unreadable += _append(self._entries, lines)
        return _events(list(self._entries), self._unreadable)


def _append(entries: list[dict[str, Any]], lines: Iterable[bytes | None]) -> int:
    """Adds the events of further lines, and returns how many lines hold none."""
    unreadable = 0
    for line in lines:
        entry = None if line is None else _parse(line)
        if entry is None:
            unreadable += 1
            continue
        if entries and entries[-1]["iteration"] > entry["iteration"]:
            # They never fall, since this is done at each line.
            while entries and entries[-1]["iteration"] >= entry["iteration"]:
                entries.pop()
        entries.append(entry)
    return unreadable


def _events(entries: list[dict[str, Any]], unreadable: int) -> RunEvents:
    # Within an iteration events come callback by callback. At one update the check comes before the
    # intervention, so that it shows what was found.
    entries.sort(key=lambda entry: (entry["clock"]["updates"], entry["event"] == "intervention"))
    in_order = _with_rising_steps(entries)
    unreadable += len(entries) - len(in_order)
    entries = in_order
    checks, applications = [], []
    drifts = _drifts(entries)
    for position, entry in enumerate(entries):
        if entry["event"] == "dormancy":
            checks.append(Check(position, entry["clock"]["env_steps"], entry["layers"]))
        elif entry["event"] == "intervention":
            applications.append(_application(position, entry, drifts.get(_key(entry, entry["clock"]), {})))
    return RunEvents(tuple(checks), tuple(applications), unreadable)


def _drifts(entries: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], dict[int, Drift]]:
    """Drifts over updates, by the application that they belong to."""
    found: dict[tuple[int, int], dict[int, Drift]] = {}
    for entry in entries:
        if entry["event"] == "drift":
            of_application = found.setdefault(_key(entry, entry["applied_at"]), {})
            of_application[entry["updates"]] = Drift(entry["q_drift"], entry["q_drift_untreated"])
    return found


def _key(entry: Mapping[str, Any], clock: Mapping[str, int]) -> tuple[int, int]:
    """What tells an application from all others of a run: when, and by which entry of the config."""
    return clock["updates"], entry["place"]


def _with_rising_steps(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without those whose env steps fall where updates rise; of two that contradict each other, so that more are
    left."""
    forwards: list[dict[str, Any]] = []
    backwards: list[dict[str, Any]] = []
    for entry in entries:
        if not forwards or entry["clock"]["env_steps"] >= forwards[-1]["clock"]["env_steps"]:
            forwards.append(entry)
    for entry in reversed(entries):
        if not backwards or entry["clock"]["env_steps"] <= backwards[-1]["clock"]["env_steps"]:
            backwards.append(entry)
    return forwards if len(forwards) >= len(backwards) else backwards[::-1]


def _parse(line: bytes) -> dict[str, Any] | None:
    """An event with its parts checked and its layers read, or None."""
    try:
        entry = parse_json(line.decode("utf-8", "replace"), most_bytes=2 * MAX_LINE_BYTES)
        clock = {name: _whole(entry["clock"][name]) for name in ("env_steps", "updates")}
        known = {"iteration": _whole(entry["iteration"]), "event": entry["event"], "clock": clock}
        if entry["event"] == "dormancy":
            return known | {"layers": {str(key): _layer(value) for key, value in entry["layers"].items()}}
        if entry["event"] == "intervention":
            changes = {_text(change["layer"]): _recycled(change) for change in entry["changes"]}
            return known | {
                "kind": _text(entry["kind"]),
                "dry_run": bool(entry["dry_run"]),
                "neurons": _whole(entry["neurons"]),
                "recycled": changes,
                "place": _whole(entry.get("position", 0)),
                "function_drift": _number(entry.get("function_drift")),
                "q_drift": _number(entry.get("q_drift")),
                "greedy_actions_changed": _number(entry.get("greedy_actions_changed")),
            }
        if entry["event"] == "drift":
            return known | {
                "place": _whole(entry["position"]),
                "applied_at": {"updates": _whole(entry["applied_at"]["updates"])},
                "updates": _whole(entry["updates"]),
                "q_drift": _number(entry["q_drift"]),
                "q_drift_untreated": _number(entry["q_drift_untreated"]),
            }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return None


def _layer(data: Mapping[str, Any]) -> LayerCheck:
    scores = np.asarray(data["scores"], dtype=np.float64)
    dormant, overactive = (_neurons(data[name], scores.size) for name in ("dormant", "overactive"))
    if scores.ndim != 1 or not scores.size or not (np.abs(scores) <= _MOST_SCORE).all():
        raise ValueError("scores")
    return LayerCheck(scores, dormant, overactive)


def _recycled(change: Mapping[str, Any]) -> frozenset[int]:
    width = _whole(change["width"])
    return _neurons(change["neurons"], width) - _neurons(change["donors"], width)


def _neurons(listed: Sequence[Any], width: int) -> frozenset[int]:
    neurons = frozenset(_whole(neuron) for neuron in listed)
    if neurons and not 0 <= min(neurons) <= max(neurons) < width:
        raise ValueError("neurons")
    return neurons


def _application(position: int, entry: Mapping[str, Any], later: Mapping[int, Drift]) -> Application:
    """``later``: its drifts over updates; written before there were any, an event has none right after it either."""
    drifts = {0: Drift(entry["q_drift"])} if entry["q_drift"] is not None else {}
    names = ("kind", "dry_run", "neurons", "recycled", "function_drift", "greedy_actions_changed")
    return Application(
        position, entry["clock"]["env_steps"], **{name: entry[name] for name in names}, drifts=drifts | {**later}
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 300:
        raise TypeError("a name")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise TypeError("a count")
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if abs(number) <= _MOST_SCORE else None
