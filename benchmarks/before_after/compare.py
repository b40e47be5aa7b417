"""Two traces of one scenario: equal to the bit, or what differs; and whether they show what the scenario is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.before_after.scenarios import UNSCHEDULED

#: Beginnings of the columns that differ between equal runs.
IGNORED_COLUMNS = ("time/", "memory/")
#: Keys of events that do, at any depth.
IGNORED_KEYS = ("seconds",)


def same_value(before: Any, after: Any) -> bool:
    """Of one type and equal, floats in every bit (0.0 is not -0.0; nan is nan)."""
    if isinstance(before, float) and isinstance(after, float):
        return before.hex() == after.hex()
    return type(before) is type(after) and before == after


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """One sentence for each difference of JSON data: the path, the value before and after."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key in IGNORED_KEYS or key.startswith(IGNORED_COLUMNS):
                continue
            where = f"{path}[{key!r}]"
            if key not in after:
                yield f"{where} is missing after; it was {_short(before[key])}"
            elif key not in before:
                yield f"{where} is new: {_short(after[key])}"
            else:
                yield from differences(before[key], after[key], where)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path} has {len(before)} entries before, {len(after)} after"
        for position, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}[{position}]")
    elif not same_value(before, after):
        yield f"{path} is {_short(before)} before, {_short(after)} after"


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """What happened in a trace: updates, evaluations, dormancy checks, applications of interventions, neurons treated."""
    events = [event for row in rows for event in row["plasticity"]]
    applied = [event for event in events if event["event"] == "intervention"]
    return {
        "updates": rows[-1]["team"]["updates"],
        "evaluations": sum(row["team"]["eval/episodes"] is not None for row in rows),
        "checks": sum(event["event"] == "dormancy" for event in events),
        "applications": len(applied),
        "neurons": sum(event["neurons"] for event in applied),
    }


def shows_nothing_of(scenario: dict[str, Any], counted: dict[str, int]) -> list[str]:
    """What a trace should show and does not: a net with such a hole would hold nothing."""
    wanted = ["updates", "evaluations", "checks"]
    if any(one["kind"] not in UNSCHEDULED for one in scenario["training"]["interventions"]):
        wanted += ["applications", "neurons"]
    return [name for name in wanted if not counted[name]]


def _short(value: Any) -> str:
    """At most 60 characters; a float with its bits."""
    text = f"{value!r} ({value.hex()})" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
