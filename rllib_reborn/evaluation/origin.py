"""Where a run comes from: the run that it was forked from, and the sweep that it is of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.parsing import parse_json, read_file
from rllib_reborn.parsing.yaml_text import MAX_BYTES, parse_yaml

#: In the folder of a fork: what it goes on from.
FORK_FILE = "fork.json"
#: In the folder of a sweep: its file, and the runs that its other ones were forked from, whose rows all of those have.
SWEEP_FILE = "sweep.yaml"
PREFIX_FOLDER = "prefix"
#: Two lines for each setting that a fork changes.
_MOST_NOTE_BYTES = 1_000_000
# Env steps of forks that count as one beginning: seeds reach the step that was asked for within an iteration of each other.
_NEAR = 1.1
_SEED_FOLDER = re.compile(r"s\d+")


@dataclasses.dataclass(frozen=True)
class ForkNote:
    """What a run was forked from.

    Attributes:
        source: Name of that run, see :func:`run_name`.
        source_env_steps: How far it was, in env steps.
        env_steps: Up to which env step the rows of the fork are its source's; 0 where its counters began anew.
        fresh: What was not taken over: ``replay``, ``optimizer``, ``counters``.
        changes: ``key: before -> now`` of every setting that the source had otherwise.
    """

    source: str
    source_env_steps: int
    env_steps: int
    fresh: tuple[str, ...]
    changes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SweepPlace:
    """What a run is in its sweep.

    Attributes:
        searched: Dotted names of the settings that the sweep searches, in its order.
        is_arm: Whether the run stands beside the points, as a control does.
    """

    searched: tuple[str, ...] = ()
    is_arm: bool = False


def run_name(folder: Path) -> str:
    """``qmix_1``; ``none/s0`` for a run of a sweep, whose own folder says its seed alone."""
    parts = folder.resolve().parts
    return "/".join(parts[-2:]) if _SEED_FOLDER.fullmatch(parts[-1]) else parts[-1]


def read_fork(folder: Path) -> ForkNote | None:
    """What ``fork.json`` says; None where the run began anew.

    Raises:
        ValueError: It is damaged.
    """
    path = folder / FORK_FILE
    if not path.is_file():
        return None
    try:
        note = parse_json(read_file(path, _MOST_NOTE_BYTES), most_bytes=_MOST_NOTE_BYTES)
        source, steps = Path(note["source"]), int(note["source_env_steps"])
        if len(note["source"]) > 4_096 or "\0" in note["source"] or not 0 <= steps < 2**53:
            raise ValueError("source")
        fresh, changes = (tuple(map(str, note.get(name, ()))) for name in ("fresh", "changes"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged, so what the run goes on from is not known") from error
    run = source.parents[1] if source.parent.name == "checkpoints" else source
    return ForkNote(run_name(run), steps, 0 if "counters" in fresh else steps, fresh, changes)


def read_place(folder: Path) -> SweepPlace:
    """What the sweep's file two folders above says of the run; nothing where there is none that can be read."""
    point = folder.resolve().parent
    try:
        sweep: Any = parse_yaml(read_file(point.parent / SWEEP_FILE, MAX_BYTES))
        arms = {arm["name"] for arm in sweep.get("arms") or ()}
        return SweepPlace(tuple(map(str, sweep.get("space") or ())), point.name in arms)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return SweepPlace()


def is_searched(name: str, searched: Iterable[str]) -> bool:
    """Whether a sweep searches the setting of this dotted name, or a section that it is in."""
    return any(name == key or name.startswith(f"{key}.") for key in searched)


def beginnings(notes: Sequence[ForkNote | None]) -> list[str]:
    """Of each run the words for its beginning, such as ``forked at 20,032``; empty where it began anew.

    Forks within a tenth of each other's env steps have one beginning, and their range is named.
    """
    texts = [""] * len(notes)
    forked = sorted((note.fresh, note.source_env_steps, at) for at, note in enumerate(notes) if note is not None)
    one: list[tuple[tuple[str, ...], int, int]] = []
    for fork in [*forked, None]:
        if one and (fork is None or fork[0] != one[0][0] or fork[1] > _NEAR * one[0][1]):
            words = ", ".join(
                [f"forked at {steps_text(one[0][1], one[-1][1])}", *(f"fresh {part}" for part in one[0][0])]
            )
            for _, _, at in one:
                texts[at] = words
            one = []
        if fork is not None:
            one.append(fork)
    return texts


def steps_text(low: int, high: int) -> str:
    """``20,032``, or ``20,032 to 20,480``."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
