"""A new run that starts from what another one has learnt: ``train --from``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rllib_reborn.algorithms import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.forked_state import Fork, ForkError
from rllib_reborn.checkpoints import CheckpointError, resolve_checkpoint
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.build import configure, differences
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.metrics_log import rows_of_checkpoint
from rllib_reborn.experiments.own_config import is_own_config, read_config
from rllib_reborn.experiments.run_folder import RunFolder, run_of_checkpoint
from rllib_reborn.parsing import parse_json, read_file

Row = dict[str, Any]

#: Two lines for each setting that a fork changes.
_MOST_BYTES = 1_000_000
#: What a fork may leave out.
FRESH = frozenset({"replay", "optimizer", "counters"})


@dataclasses.dataclass(frozen=True)
class ForkRequest:
    """What was asked for.

    Attributes:
        source: A checkpoint folder, or a run folder: its newest sound checkpoint.
        fresh: What is not taken over: ``replay``, ``optimizer``, ``counters``.
    """

    source: Path
    fresh: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ForkPlan:
    """A fork that fits.

    Attributes:
        request: What was asked for, with the checkpoint that it came to.
        fork: From the source's state to the new config's.
        iteration, env_steps: How far the source's checkpoint is.
        rows, events: What the source has written until there; none where the counters start anew.
        changes: ``key: before -> now`` of every other setting, where the source's are known.
        notes: What of the source is not as it was, in sentences.
    """

    request: ForkRequest
    fork: Fork
    iteration: int
    env_steps: int
    rows: tuple[Row, ...]
    events: tuple[Row, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def keeps_counters(self) -> bool:
        return "counters" not in self.request.fresh

    def write_note(self, folder: RunFolder) -> None:
        """Write ``fork.json``: what the run was forked from, and what was taken over."""
        note = {
            "source": str(self.request.source),
            "iteration": self.iteration if self.keeps_counters else 0,
            "source_env_steps": self.env_steps,
            "fresh": list(self.request.fresh),
            "parts": self.fork.parts(),
            "changes": list(self.changes),
        }
        folder.root.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder.fork, json.dumps(note, indent=1) + "\n")

    @contextlib.contextmanager
    def state_in(self, folder: RunFolder) -> Iterator[Path]:
        """The checkpoint that the new algorithm restores, inside ``folder`` for as long as it is needed."""
        path = folder.root / ".fork"
        shutil.rmtree(path, ignore_errors=True)
        try:
            self.fork.write(path)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def plan_fork(request: ForkRequest, config: ValueFactorizationConfig, resolved: Mapping[str, Any]) -> ForkPlan:
    """Check that a state fits and what of it goes on; starts nothing and writes nothing.

    Args:
        request: The source.
        config: What goes on.
        resolved: The new experiment with every default, to tell the changes.

    Raises:
        ExperimentError: The state does not fit.
        CheckpointError: The source is missing, damaged, or no run of ``train``.
    """
    checkpoint = resolve_checkpoint(request.source).resolve()
    try:
        manifest = manifests.read(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{error} 'train --from' takes runs of 'train'.") from None
    run = run_of_checkpoint(checkpoint)
    source, changes = None, []
    notes: list[str] = []
    if run is not None:
        other = read_config(run)
        if is_own_config(other, manifest):
            source = configure(experiment_from_dict(other, str(run.config)))
            changes = differences(other, resolved)
        else:
            notes.append(
                f"{run.config} was changed after the run, so what it was is not known, and nothing is taken for equal."
            )
    try:
        fork = Fork(checkpoint, source, config, frozenset(request.fresh))
        fork.check()
    except ForkError as error:
        raise ExperimentError(str(error)) from error
    rows: list[Row] = []
    events: list[Row] = []
    if run is not None and "counters" not in request.fresh:
        rows, changed = rows_of_checkpoint(run.metrics, manifest.metrics, manifest.iteration, one_each=True)
        events, missing = rows_of_checkpoint(run.dormancy, manifest.events, manifest.iteration, one_each=False)
        notes += [note for note in (changed, missing) if note is not None]
    return ForkPlan(
        request=dataclasses.replace(request, source=checkpoint),
        fork=fork,
        iteration=manifest.iteration,
        env_steps=manifest.env_steps,
        rows=tuple(rows),
        events=tuple(events),
        changes=tuple(f"{key}: {before} -> {now}" for key, before, now in changes),
        notes=tuple(notes),
    )


def noted_fork(folder: RunFolder) -> ForkRequest | None:
    """The fork that the run in ``folder`` began with, or None.

    Raises:
        ExperimentError: ``fork.json`` was damaged.
    """
    note = _note(folder)
    return None if note is None else ForkRequest(Path(note["source"]), tuple(note["fresh"]))


def iterations_before_fork(folder: RunFolder) -> int:
    """Iterations of the run in ``folder`` that are its source's."""
    note = _note(folder)
    return 0 if note is None else int(note["iteration"])


def _note(folder: RunFolder) -> dict[str, Any] | None:
    try:
        note = parse_json(read_file(folder.fork, _MOST_BYTES), most_bytes=_MOST_BYTES)
        sound = isinstance(note["source"], str) and isinstance(note["fresh"], list) and set(note["fresh"]) <= FRESH
        if not sound or not isinstance(note["iteration"], int) or "\0" in note["source"]:
            raise ValueError("it names no source, iteration and parts")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ExperimentError(f"{folder.fork} was damaged ({error}); fork into another --out.") from None
    return dict(note)
