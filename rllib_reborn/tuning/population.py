"""Population based training: members of a sweep whose values change, and who at times go on from what another has learnt.

A member is one run folder. When it takes over another's state, what it was until then is set aside as ``before-<n>`` beside
its new rows, and the folder goes on as a fork of the other one. ``member.json`` says this before it is done: whatever
is killed in between, the next process does it, and does it once.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_reborn.checkpoints.run_record import CHECKPOINTS_FOLDER
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.folder_lock import LOCK_NAME
from rllib_reborn.experiments.fork import ForkRequest
from rllib_reborn.experiments.run_folder import SET_ASIDE, RunFolder
from rllib_reborn.parsing import parse_json, read_file

MEMBER_FILE = "member.json"
#: Some hundred bytes an exchange.
_MOST_BYTES = 10_000_000


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A member goes on from another's checkpoint.

    Attributes:
        source: The checkpoint folder.
        values: The member's values from then on, ``key.path`` to value.
        env_steps: How far the source is.
    """

    source: str
    values: Mapping[str, Any]
    env_steps: int


def exchanges(point_folder: Path) -> list[Exchange]:
    """What the member below ``point_folder`` has taken over, oldest first.

    Raises:
        ExperimentError: ``member.json`` was damaged.
    """
    path = point_folder / MEMBER_FILE
    try:
        noted = parse_json(read_file(path, _MOST_BYTES), most_bytes=_MOST_BYTES)
        found = [Exchange(**one) for one in noted]
        for one in found:
            if not (isinstance(one.source, str) and isinstance(one.values, dict) and isinstance(one.env_steps, int)):
                raise ValueError("an exchange has a source, values and env_steps")
        return found
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ExperimentError(f"{path} was damaged ({error}); remove it and the member's run folder.") from None


def note_exchange(point_folder: Path, exchange: Exchange) -> None:
    """Remember an exchange, unless it is the last one already: a member that is started again may be told twice."""
    found = exchanges(point_folder)
    if found and found[-1] == exchange:
        return
    point_folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([dataclasses.asdict(one) for one in (*found, exchange)], indent=1)
    write_text_atomically(point_folder / MEMBER_FILE, text + "\n")


def beginning(run: RunFolder) -> ForkRequest | None:
    """What the member's run begins with, its earlier rows set aside; None: it has taken over nothing. The caller holds the
    run's folder.

    Raises:
        ExperimentError: Its source is gone.
    """
    found = exchanges(run.root.parent)
    if not found:
        return None
    _set_aside(run, len(found))
    return ForkRequest(_present_place(Path(found[-1].source)))


def _set_aside(run: RunFolder, number: int) -> None:
    """Move all that the run has into ``before-<number>``, which stands there only once it is complete."""
    final = run.root / f"{SET_ASIDE}{number}"
    if final.exists():
        return
    partial = run.root / f"{SET_ASIDE}{number}.partial"
    partial.mkdir(exist_ok=True)
    for path in sorted(run.root.iterdir()):
        if path.name != LOCK_NAME and not path.name.startswith(SET_ASIDE):
            path.rename(partial / path.name)
    partial.rename(final)
    # A source may have been set aside after it was chosen; what was set aside before that, nobody can have chosen.
    shutil.rmtree(run.root / f"{SET_ASIDE}{number - 1}" / CHECKPOINTS_FOLDER, ignore_errors=True)


def _present_place(checkpoint: Path) -> Path:
    """Where a checkpoint is now: where it was, or where its run was set aside; else the newest one of that run."""
    run = checkpoint.parent.parent
    aside = sorted(run.glob(f"{SET_ASIDE}*/{CHECKPOINTS_FOLDER}/{checkpoint.name}"))
    for path in (checkpoint, *reversed(aside)):
        if path.is_dir():
            return path
    if not run.is_dir():
        raise ExperimentError(f"{checkpoint}, from which this run goes on, is gone, and its run too.")
    return run
