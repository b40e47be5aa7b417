"""Writers of a run for what people look at experiments with: TensorBoard, Weights & Biases, MLflow, a table.

``logging.trackers`` of an experiment names them. A tracker is a :class:`~rllib_reborn.monitoring.RunListener`: it is handed
what ``metrics.jsonl`` is handed, and none can change a run or end it. Their packages are imported when a run starts.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from rllib_reborn.monitoring.listeners import RunListener
from rllib_reborn.monitoring.trackers import csv, mlflow, tensorboard, wandb

logger = logging.getLogger(__name__)

TrackerName = Literal["tensorboard", "wandb", "mlflow", "csv"]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of tracker.

    Attributes:
        make: Makes one that is not started.
        packages: What it imports.
        install: What pip is to be given where one of them is missing.
        why_unusable: Says why it could not write, though its packages are there, or None; None: there is no such reason.
        log_figures: Adds PNG files to a run that has ended; None: it has no place for them.
    """

    make: type[RunListener]
    packages: tuple[str, ...] = ()
    install: str = ""
    why_unusable: Callable[[], str | None] | None = None
    log_figures: Callable[[Path, Mapping[str, Path], int], None] | None = None


_KINDS: dict[TrackerName, _Kind] = {
    "tensorboard": _Kind(
        tensorboard.TensorBoardTracker, ("tensorboardX",), "tensorboardX", log_figures=tensorboard.log_figures
    ),
    "wandb": _Kind(
        wandb.WandbTracker, ("wandb",), "'rllib-reborn[wandb]'", wandb.why_unusable, log_figures=wandb.log_figures
    ),
    "mlflow": _Kind(
        mlflow.MLflowTracker,
        ("mlflow", "sqlalchemy", "alembic"),
        "'rllib-reborn[mlflow]'",
        log_figures=mlflow.log_figures,
    ),
    "csv": _Kind(csv.CsvTracker),
}
NAMES: tuple[TrackerName, ...] = get_args(TrackerName)


def make_trackers(names: Sequence[TrackerName]) -> list[RunListener]:
    """Trackers of these names, none of them started."""
    return [_KINDS[name].make() for name in names]


def why_unusable(names: Sequence[TrackerName]) -> str | None:
    """Why one of these could not write here, with what to do about it, in one sentence; None: all can."""
    for name in names:
        kind = _KINDS[name]
        missing = [package for package in kind.packages if importlib.util.find_spec(package) is None]
        if missing:
            return f"{', '.join(missing)} is not installed, which {name} needs; pip install {kind.install}"
        reason = kind.why_unusable() if kind.why_unusable is not None else None
        if reason is not None:
            return reason
    return None


def log_figures(folder: Path, names: Sequence[TrackerName], figures: Mapping[str, Path], env_steps: int) -> None:
    """Add figures to a run that has ended, in each of its trackers that shows pictures. One that fails is warned of.

    Args:
        folder: The run folder.
        names: The run's trackers.
        figures: PNG files by the names that they are shown under.
        env_steps: How far the run came.
    """
    for name in names:
        log = _KINDS[name].log_figures
        if log is None or not figures:
            continue
        try:
            log(folder, figures, env_steps)
        except Exception as error:
            logger.warning("figures could not be added to %s (%s: %s).", name, type(error).__name__, error)
