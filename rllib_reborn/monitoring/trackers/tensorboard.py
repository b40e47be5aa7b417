"""TensorBoard's event files in ``<run>/tensorboard``, written by tensorboardX, which Ray brings along.

One event for each row, written by the thread that trains, and on the disk before the next iteration starts.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rllib_reborn.monitoring.listeners import Row, RunFacts
from rllib_reborn.monitoring.trackers.identity import identity_of
from rllib_reborn.monitoring.trackers.logged import LoggedSteps
from rllib_reborn.monitoring.trackers.values import final_numbers, flat_config, lists_of, numbers_of

FOLDER = "tensorboard"
#: Columns of the page on hyperparameters beside the settings; those that a run never measures stay empty.
SHOWN = (
    "final/return_mean",
    "final/win_rate",
    "eval/return_mean",
    "eval/win_rate",
    "train/return_mean",
    "dormancy/mixer/dormant_fraction",
    "dormancy/agent/dormant_fraction",
)


class TensorBoardTracker:
    """Scalars of each row over env steps, histograms of its lists, the config as text and as hyperparameters.

    A run that goes on writes a further file, which takes back what earlier ones have beyond the checkpoint.
    """

    name = "tensorboard"

    def __init__(self) -> None:
        self._events: _EventFile | None = None
        self._logged: LoggedSteps | None = None
        self._env_steps = 0

    def on_start(self, run: RunFacts) -> None:
        """Begin a file with the config, and the rows that the files before it do not have."""
        folder = run.folder / FOLDER
        self._logged = LoggedSteps(folder / "logged.json", identity_of(run.folder).id)
        self._env_steps = int(run.rows[-1]["env_steps"]) if run.rows else 0
        before = self._logged.read()
        self._events = events = _EventFile(folder)
        if before is None:
            events.take_back_from(0)
        elif before > self._env_steps:
            events.take_back_from(self._env_steps + 1)
        # An earlier row is at 0 or later.
        missing = [row for row in run.rows if int(row["env_steps"]) > (-1 if before is None else before)]
        events.add_config(run, self._env_steps)
        for row in missing:
            events.add_row(row)
        events.flush()
        self._logged.write(self._env_steps)

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """Write the row."""
        assert self._events is not None
        assert self._logged is not None
        self._events.add_row(row)
        self._events.flush()
        self._env_steps = int(row["env_steps"])
        self._logged.write(self._env_steps)

    def on_checkpoint(self, path: Path) -> None:
        """Nothing."""

    def on_wait(self, reason: str) -> None:
        """Nothing."""

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Scalars at the last env step."""
        assert self._events is not None
        self._events.add_scalars(final_numbers(final), self._env_steps)
        self._events.flush()

    def close(self) -> None:
        """Close the file."""
        if self._events is not None:
            self._events.close()
            self._events = None


def log_figures(folder: Path, figures: Mapping[str, Path], env_steps: int) -> None:
    """Add PNG files as images to the run in ``folder``, by their names, at ``env_steps``."""
    events = _EventFile(folder / FOLDER)
    try:
        for name, path in figures.items():
            events.add_image(name, path, env_steps)
    finally:
        events.close()


class _EventFile:
    """One event file; ``add_`` methods take a summary each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        writers = importlib.import_module("tensorboardX.event_file_writer")
        self._summary = importlib.import_module("tensorboardX.summary")
        self._proto = importlib.import_module("tensorboardX.proto.event_pb2")
        # Names have the second that they were made in, and one that is there is overwritten: a number keeps them apart.
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._writer = writers.EventsWriter(str(folder / "events"), f".{number}")

    def add_row(self, row: Row) -> None:
        env_steps = int(row["env_steps"])
        self.add_scalars(numbers_of(row), env_steps)
        for name, values in lists_of(row).items():
            self._add(self._summary.histogram(name, np.asarray(values), "auto"), env_steps)

    def add_scalars(self, numbers: Mapping[str, float], env_steps: int) -> None:
        scalars = [self._summary.scalar(name, number).value[0] for name, number in numbers.items()]
        if scalars:
            self._add(type(self._summary.scalar("name", 0.0))(value=scalars), env_steps)

    def add_config(self, run: RunFacts, env_steps: int) -> None:
        text = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
        indented = "".join(f"    {line}\n" for line in text.splitlines())  # as code in Markdown
        self._add(self._summary.text("config.yaml", indented), env_steps)
        experiment, start, _ = self._summary.hparams(flat_config(run.config), dict.fromkeys(SHOWN))
        self._add(experiment, env_steps)
        self._add(start, env_steps)

    def add_image(self, name: str, path: Path, env_steps: int) -> None:
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._add(self._summary.image(name, pixels, dataformats="HWC"), env_steps)

    def take_back_from(self, env_steps: int) -> None:
        """Nothing that earlier files have at ``env_steps`` or later is shown."""
        log = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._write(self._proto.Event(wall_time=time.time(), step=env_steps, session_log=log))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, summary: Any, env_steps: int) -> None:
        self._write(self._proto.Event(wall_time=time.time(), step=env_steps, summary=summary))

    def _write(self, event: Any) -> None:
        self._writer.write_event(event)
