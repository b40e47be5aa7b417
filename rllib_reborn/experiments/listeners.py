"""Who listens to a run, by its settings."""

from __future__ import annotations

from pathlib import Path

from rllib_reborn.experiments.own_ray import joins_a_cluster
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.monitoring import RunListener
from rllib_reborn.monitoring.prometheus import PrometheusExport, RunTags
from rllib_reborn.monitoring.trackers import make_trackers


def listeners_of(experiment: Experiment, folder: Path) -> list[RunListener]:
    """Listeners that ``experiment`` asks for, none of them started.

    Args:
        experiment: What is run.
        folder: Its run folder.
    """
    listeners = make_trackers(experiment.logging.trackers)
    wanted = experiment.logging.prometheus
    if wanted is True or (wanted == "auto" and joins_a_cluster()):
        tags = RunTags(str(folder.absolute()), experiment.algorithm, experiment.env)
        listeners.append(PrometheusExport(tags, experiment.resources.num_env_runners))
    return listeners
