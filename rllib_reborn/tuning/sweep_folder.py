"""The folder of a sweep: its file, the run folders below it, and what they say of how far each run is."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
from pathlib import Path
from typing import Any

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore
from rllib_reborn.evaluation.origin import SWEEP_FILE
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.folder_lock import locked_folder
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.run_folder import RunFolder
from rllib_reborn.parsing import ParseError, parse_json, read_file
from rllib_reborn.secret_settings import keep_from_others
from rllib_reborn.short_repr import short_repr
from rllib_reborn.tuning.points import Point, SweepRun, known_points, runs_of
from rllib_reborn.tuning.population import exchanges
from rllib_reborn.tuning.stop_request import StopRequest
from rllib_reborn.tuning.sweep import Sweep, dump_sweep, read_sweep

#: A point has a value for each setting that is searched.
_MOST_BYTES = 1_000_000


class RunState(enum.StrEnum):
    """How far a run is, by its folder."""

    WAITING = "waiting"
    BEGUN = "begun"
    STOPPED_EARLY = "stopped early"
    FAILED = "failed"
    DONE = "done"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do; what failed is tried again when the sweep goes on."""
        return self in (RunState.DONE, RunState.STOPPED_EARLY)


@dataclasses.dataclass(frozen=True)
class SweepFolder:
    """Paths of a sweep below ``root``.

    Beside run folders ``<point>/s<seed>`` there are ``sweep.yaml`` and, in the folder of a point that a searcher has chosen,
    ``point.json`` with its values.
    """

    root: Path

    @property
    def sweep_file(self) -> Path:
        """The sweep, as it was started."""
        return self.root / SWEEP_FILE

    @property
    def tune(self) -> Path:
        """What Ray Tune writes for itself; nothing of it is read again."""
        return self.root / ".tune"

    @property
    def stop_request(self) -> StopRequest:
        """Asks the runs that are under way to stop."""
        return StopRequest(self.root / ".stop")

    @property
    def is_started(self) -> bool:
        return self.sweep_file.exists()

    def run_folder(self, run: SweepRun) -> RunFolder:
        return RunFolder(self.root / run.name)

    def read(self) -> Sweep:
        """The sweep that was started here.

        Raises:
            ExperimentError: There is none, or its file was damaged.
        """
        if not self.is_started:
            raise ExperimentError(
                f"{self.root} holds no sweep; expected a folder that 'tune' has written (sweep.yaml)."
            )
        return read_sweep(self.sweep_file)

    def require_free(self) -> None:
        """Raise unless a sweep may be started here.

        Raises:
            ExperimentError: There is something already.
        """
        if self.is_started:
            raise ExperimentError(f"{self.root} holds a sweep; give --resume to go on with it, or another --out.")
        RunFolder(self.root).require_free()

    def start(self, sweep: Sweep) -> None:
        """Write the sweep's file, or check that the one that is there says the same.

        Raises:
            ExperimentError: It is another sweep.
        """
        if self.is_started:
            there = self.read()
            for name in type(sweep).model_fields:
                mine, theirs = getattr(sweep, name), getattr(there, name)
                if mine != theirs and name != "concurrency":
                    raise ExperimentError(
                        f"the sweep in {self.root} has another {name}; go on with {self.sweep_file}, or give another --out."
                    )
        self.root.mkdir(parents=True, exist_ok=True)
        keep_from_others(self.root, sweep.model_dump(mode="json"))
        write_text_atomically(self.sweep_file, dump_sweep(sweep))

    def write_point(self, point: Point) -> None:
        """Remember a point that a searcher chose."""
        path = self.root / point.name / "point.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, json.dumps(dict(point.values)) + "\n")

    def chosen_points(self) -> list[Point]:
        """Points that a searcher has chosen, in the order of their folders' names.

        Raises:
            ExperimentError: A point's file was damaged.
        """
        found = []
        for path in sorted(self.root.glob("*/point.json")):
            try:
                values = parse_json(read_file(path, _MOST_BYTES), most_bytes=_MOST_BYTES)
            except ParseError as error:
                raise ExperimentError(f"{path} {error}; remove it and the point's run folders.") from None
            if not isinstance(values, dict):
                raise ExperimentError(
                    f"{path} holds {short_repr(values)}, no values of a point; remove it and the point's run folders."
                )
            found.append(Point(path.parent.name, values))
        return found

    def runs(self, sweep: Sweep) -> list[SweepRun]:
        """All runs that are known: those of the sweep's file, with the values that they have now, and those of points that a
        searcher has chosen."""
        points = [*known_points(sweep), *self.chosen_points()]
        if sweep.scheduler.kind == "pbt":
            points = [self._at_present(point) for point in points]
        return runs_of(sweep, points)

    def _at_present(self, point: Point) -> Point:
        found = exchanges(self.root / point.name)
        return dataclasses.replace(point, values=found[-1].values) if found else point

    def state(self, run: SweepRun) -> RunState:
        """How far a run is."""
        return self.state_of(run.name)

    def state_of(self, name: str) -> RunState:
        """How far the run of a name is."""
        folder = RunFolder(self.root / name)
        if folder.final_evaluation.exists():
            return RunState.DONE
        if self.early_stop(name).exists():
            return RunState.STOPPED_EARLY
        if folder.error.exists():
            return RunState.FAILED
        return RunState.BEGUN if folder.metrics.exists() else RunState.WAITING

    def early_stop(self, name: str) -> Path:
        """Written where a scheduler has ended a run."""
        return self.root / name / "stopped_early.json"

    def note_failure(self, name: str, text: str) -> None:
        """Write why a run failed, unless it has said so itself."""
        folder = RunFolder(self.root / name)
        if not folder.error.exists():
            folder.root.mkdir(parents=True, exist_ok=True)
            folder.error.write_text(text + "\n", encoding="utf-8")

    def rows(self, run: SweepRun) -> list[dict[str, Any]]:
        """Its metrics rows."""
        return self.rows_of(run.name)

    def rows_of(self, name: str) -> list[dict[str, Any]]:
        """The metrics rows of the run of a name."""
        return MetricsLog(RunFolder(self.root / name).metrics).rows()

    def has_unsaved_rows(self, name: str) -> bool:
        """Whether a run that is not over has rows which no sound checkpoint knows of: its process was lost."""
        rows = [] if self.state_of(name).is_over else self.rows_of(name)
        if not rows:
            return False
        try:
            newest = CheckpointStore(RunFolder(self.root / name).checkpoints).latest_valid()
        except CheckpointError:
            newest = None
        return newest is None or newest[1].iteration < rows[-1]["iteration"]

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for this process (:func:`locked_folder`).

        Raises:
            ExperimentError: Another process runs this sweep, or it cannot be written.
        """
        in_use = f"another process runs the sweep in {self.root}; wait for it, or give another --out."
        return locked_folder(self.root, in_use)


def objective_of(rows: list[dict[str, Any]], name: str) -> float | None:
    """The last known value of a metric."""
    return next((float(row[name]) for row in reversed(rows) if row.get(name) is not None), None)
