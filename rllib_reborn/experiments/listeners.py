"""Who listens to a run, by its settings."""

from __future__ import annotations

from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.monitoring import RunListener
from rllib_reborn.monitoring.trackers import make_trackers


def listeners_of(experiment: Experiment) -> list[RunListener]:
    """Listeners that ``experiment`` asks for, none of them started."""
    return make_trackers(experiment.logging.trackers)
