"""Weights & Biases: a run of its own there for each run, on a server or (``WANDB_MODE=offline``) in ``<run>/wandb``.

Project, entity, mode, server and key are wandb's own variables (``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_MODE``, ...).
What it would gather by itself of the command line, the console and the source code stays here: these can hold secrets.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.limits import TRACKER_CLOSE_S, TRACKER_START_S
from rllib_reborn.monitoring.listeners import Row, RunFacts
from rllib_reborn.monitoring.trackers.identity import PROJECT, RunIdentity, identity_of
from rllib_reborn.monitoring.trackers.logged import LoggedSteps
from rllib_reborn.monitoring.trackers.values import final_numbers, lists_of, numbers_of

FOLDER = "wandb"
#: wandb refuses longer tags.
_LONGEST_TAG = 64


class WandbTracker:
    """Rows over env steps, histograms of their lists, the config, and the final evaluation as summary.

    Its id is the run's own, so a run that goes on does so there. wandb takes no row back: rows beyond the checkpoint stay,
    and rows at env steps that it has are left out.
    """

    name = "wandb"

    def __init__(self) -> None:
        self._wandb: Any = None
        self._run: Any = None
        self._folder = Path()
        self._logged: LoggedSteps | None = None
        self._last = -1

    def on_start(self, run: RunFacts) -> None:
        """Begin the run there, or go on with it, and add the rows that it does not have."""
        identity = identity_of(run.folder)
        self._wandb = importlib.import_module("wandb")
        self._folder = run.folder
        self._run = _opened(self._wandb, run.folder, identity, config=run)
        self._run.define_metric("env_steps")
        self._run.define_metric("*", step_metric="env_steps")
        self._logged = LoggedSteps(run.folder / FOLDER / "logged.json", identity.id)
        # A server says how far its run is; files on this machine cannot be asked.
        self._last = self._run.step - 1 if _mode(self._wandb) == "online" else (self._logged.read() or -1)
        for row in run.rows:
            self._log(row)

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """Add the row."""
        self._log(row)

    def on_checkpoint(self, path: Path) -> None:
        """Nothing."""

    def on_wait(self, reason: str) -> None:
        """Nothing."""

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Values of the run's summary."""
        self._run.summary.update(final_numbers(final))

    def close(self) -> None:
        """End the run there: failed where training broke off.

        Raises:
            TimeoutError: A server did not take the rest in time; it is in the run's files, for ``wandb sync``.
        """
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=int((self._folder / "error.txt").exists()))

    def _log(self, row: Row) -> None:
        assert self._logged is not None
        env_steps = int(row["env_steps"])
        if env_steps <= self._last:
            return
        histograms = {name: self._wandb.Histogram(values) for name, values in lists_of(row).items()}
        self._run.log(numbers_of(row) | histograms, step=env_steps)
        self._last = env_steps
        self._logged.write(env_steps)


def log_figures(folder: Path, figures: Mapping[str, Path], env_steps: int) -> None:
    """Add PNG files as images to the run in ``folder``, which has ended, right behind its last row."""
    wandb = importlib.import_module("wandb")
    run = _opened(wandb, folder, identity_of(folder))
    try:
        run.log({name: wandb.Image(str(path)) for name, path in figures.items()}, step=env_steps + 1)
    finally:
        run.finish()


def why_unusable() -> str | None:
    """Why nothing could be sent: there is no key for the server here; None: there is one, or none is needed."""
    wandb = importlib.import_module("wandb")
    if _mode(wandb) != "online" or _has_key(wandb.setup().settings):
        return None
    return (
        "wandb has no key for its server; call 'wandb login', set WANDB_API_KEY, or set WANDB_MODE=offline, which writes to "
        "the disk"
    )


def _has_key(settings: Any) -> bool:
    """Whether wandb finds credentials in its places, without asking anybody: neither the user nor the server."""
    from requests.utils import get_netrc_auth

    in_variables = any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
    return in_variables or bool(settings.api_key) or get_netrc_auth(settings.base_url) is not None


def _mode(wandb: Any) -> str:
    """``online``, ``offline`` (to the disk alone) or ``disabled``."""
    mode = wandb.setup().settings.mode
    return "offline" if mode == "dryrun" else str(mode)


def _opened(wandb: Any, folder: Path, identity: RunIdentity, config: RunFacts | None = None) -> Any:
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        init_timeout=TRACKER_START_S,
        finish_timeout=TRACKER_CLOSE_S,
        finish_timeout_raises=True,
    )
    described: dict[str, Any] = {}
    if config is not None:
        described = {
            "config": dict(config.config),
            "tags": [text[:_LONGEST_TAG] for text in (config.algorithm, config.env, f"seed {config.seed}")],
        }
    return wandb.init(
        id=identity.id,
        name=identity.name,
        group=identity.sweep,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=os.environ.get("WANDB_DIR", str(folder)),
        # Files that are offline are joined by their id when they are sent.
        resume="allow" if _mode(wandb) == "online" else None,
        allow_val_change=True,
        # Others may have a run open in this process.
        reinit="create_new",
        settings=settings,
        **described,
    )
