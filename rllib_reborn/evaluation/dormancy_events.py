"""Reading ``dormancy/events.jsonl`` of a run: every dormancy check and every application of an intervention, neuron by
neuron.

Runs of earlier versions, and runs that measure nothing, have no such file; that is no error.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EVENTS_FILE = Path("dormancy") / "events.jsonl"


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
    """

    position: int
    env_steps: int
    kind: str
    dry_run: bool
    neurons: int
    recycled: Mapping[str, frozenset[int]]
    function_drift: float | None
    greedy_actions_changed: float | None


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
    """
    path = folder / EVENTS_FILE
    if not path.is_file():
        return RunEvents()
    entries: list[dict[str, Any]] = []
    unreadable = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            entry = _parse(line)
            if entry is None:
                unreadable += 1
                continue
            if entries and entries[-1]["iteration"] > entry["iteration"]:
                entries = [earlier for earlier in entries if earlier["iteration"] < entry["iteration"]]
            entries.append(entry)
    # Within an iteration events come callback by callback. At one update the check comes before the
    # intervention, so that it shows what was found.
    entries.sort(key=lambda entry: (entry["clock"]["updates"], entry["event"] == "intervention"))
    checks, applications = [], []
    for position, entry in enumerate(entries):
        if entry["event"] == "dormancy":
            checks.append(Check(position, entry["clock"]["env_steps"], entry["layers"]))
        else:
            applications.append(_application(position, entry))
    return RunEvents(tuple(checks), tuple(applications), unreadable)


def _parse(line: str) -> dict[str, Any] | None:
    """An event with its parts checked and its layers read, or None."""
    try:
        entry = json.loads(line)
        clock = {name: _whole(entry["clock"][name]) for name in ("env_steps", "updates")}
        known = {"iteration": _whole(entry["iteration"]), "event": entry["event"], "clock": clock}
        if entry["event"] == "dormancy":
            return known | {"layers": {str(key): _layer(value) for key, value in entry["layers"].items()}}
        if entry["event"] == "intervention":
            changes = {str(change["layer"]): _recycled(change) for change in entry["changes"]}
            return known | {
                "kind": str(entry["kind"]),
                "dry_run": bool(entry["dry_run"]),
                "neurons": _whole(entry["neurons"]),
                "recycled": changes,
                "function_drift": _number(entry.get("function_drift")),
                "greedy_actions_changed": _number(entry.get("greedy_actions_changed")),
            }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return None


def _layer(data: Mapping[str, Any]) -> LayerCheck:
    scores = np.asarray(data["scores"], dtype=np.float64)
    dormant, overactive = (_neurons(data[name], scores.size) for name in ("dormant", "overactive"))
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
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


def _application(position: int, entry: Mapping[str, Any]) -> Application:
    names = ("kind", "dry_run", "neurons", "recycled", "function_drift", "greedy_actions_changed")
    return Application(position, entry["clock"]["env_steps"], **{name: entry[name] for name in names})


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number")
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
