"""Every metric that is exported: its name, what it means, and which number of the run it shows. Data, and one function.

Gauges only, run totals too: Ray's counters never expire and carry the id of their process, so that after a resume the old
process's count would stay beside the new one's. ``max by (run)`` of a gauge here is the run's number, however often it went
on in another process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

#: In front of every name here, once more ``ray_`` by Ray itself.
PREFIX = "rllib_reborn_"
#: Tags of every metric.
RUN_TAGS = ("run", "algorithm", "env")
#: So many values of one tag are exported at most, so that no setting of a run makes series without end.
MOST_TAG_VALUES = 10


@dataclasses.dataclass(frozen=True)
class Metric:
    """One gauge.

    Attributes:
        name: Without :data:`PREFIX`.
        help: What it is.
        unit: As Grafana calls it: ``short``, ``percentunit`` (a share), ``bytes``, ``s``, ``ops``.
        source: Key of :meth:`~rllib_reborn.monitoring.run_numbers.RunNumbers.numbers`: a column of ``metrics.jsonl``, or
            what is derived there. ``*`` stands for the value of ``tag``, any text without a slash.
        tag: A further tag; None: none.
    """

    name: str
    help: str
    unit: str
    source: str
    tag: str | None = None

    @property
    def gauge(self) -> str:
        """Name of the gauge."""
        return PREFIX + self.name

    @property
    def series(self) -> str:
        """Name of the series in Prometheus."""
        return f"ray_{self.gauge}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag."""
        return RUN_TAGS if self.tag is None else (*RUN_TAGS, self.tag)


@dataclasses.dataclass(frozen=True)
class MetricSample:
    """A value of a metric; ``tag``: value of its own tag, empty where it has none."""

    metric: Metric
    tag: str
    value: float


METRICS = (
    # How well it does.
    Metric("return_mean", "Mean return of the training episodes of the last iteration", "short", "train/return_mean"),
    Metric(
        "win_rate",
        "Share of the last iteration's training episodes that were won",
        "percentunit",
        "train/win_rate",
    ),
    Metric("episode_length_mean", "Mean env steps of these episodes", "short", "train/episode_len_mean"),
    Metric("eval_return_mean", "Mean return of the last evaluation", "short", "eval/return_mean"),
    Metric("eval_win_rate", "Share of games won in the last evaluation", "percentunit", "eval/win_rate"),
    Metric("loss", "Mean loss of the last iteration's updates", "short", "train/loss"),
    Metric("td_error_abs", "Mean absolute TD error of the last iteration's updates", "short", "train/td_error_abs"),
    Metric(
        "grad_norm",
        "Mean gradient norm of the last iteration's updates, before clipping",
        "short",
        "train/grad_norm",
    ),
    Metric("epsilon", "Share of random actions in exploration", "percentunit", "train/epsilon"),
    # Plasticity.
    Metric(
        "dormant_fraction",
        "Share of a network's neurons that are dormant, by the last check",
        "percentunit",
        "dormancy/*/dormant_fraction",
        "net",
    ),
    Metric(
        "overactive_fraction",
        "Share of a network's neurons that are over-active, by the last check",
        "percentunit",
        "dormancy/*/overactive_fraction",
        "net",
    ),
    Metric(
        "dead_fraction",
        "Share of a network's neurons that never fire, by the last check",
        "percentunit",
        "dormancy/*/dead_fraction",
        "net",
    ),
    Metric(
        "interventions",
        "Applications of interventions in the whole run, dry ones included",
        "short",
        "intervention/count",
    ),
    Metric(
        "neurons_treated", "Neurons that interventions have changed in the whole run", "short", "run/neurons_treated"
    ),
    Metric(
        "q_drift",
        "Mean change of Q_tot by the last intervention, so many updates after it",
        "short",
        "intervention/q_drift/*",
        "after_updates",
    ),
    Metric(
        "q_drift_untreated",
        "Mean change of Q_tot in so many updates without the last intervention",
        "short",
        "intervention/q_drift_untreated/*",
        "after_updates",
    ),
    # How far and how fast.
    Metric("progress", "Share of the run that is done, by the nearest limit of stop", "percentunit", "run/progress"),
    Metric("env_steps", "Env steps of the whole run", "short", "env_steps"),
    Metric("episodes", "Episodes of the whole run", "short", "episodes"),
    Metric("updates", "Updates of the whole run", "short", "updates"),
    Metric("env_steps_per_second", "Env steps a second in the last iteration", "ops", "time/env_steps_per_s"),
    Metric("updates_per_second", "Updates a second in the last iteration", "ops", "time/updates_per_s"),
    Metric(
        "time_share",
        "Share of the last iteration's time: sampling, learning, waiting for runners that bring nothing, or other "
        "(evaluation, checkpoints, weights)",
        "percentunit",
        "share/*",
        "activity",
    ),
    # The replay.
    Metric("replay_fill", "Share of the replay's places that are taken", "percentunit", "run/replay_fill"),
    Metric("replay_episodes", "Episodes in the replay", "short", "replay/episodes"),
    Metric("replay_bytes", "Bytes of the episodes in the replay", "bytes", "memory/replay_bytes"),
    # What goes wrong.
    Metric("runners", "Sampling processes: healthy, or waiting to be started", "short", "runners/*", "state"),
    Metric(
        "runner_restarts",
        "Sampling processes started again in the whole run",
        "short",
        "faults/runner_restarts",
    ),
    Metric("games_failed", "Games that failed in the whole run", "short", "faults/env_failures"),
    Metric("episodes_dropped", "Episodes that were given up in the whole run", "short", "faults/episodes_dropped"),
    Metric(
        "gradients_skipped",
        "Updates of the whole run that were skipped, since their gradient was not finite",
        "short",
        "train/nonfinite_steps",
    ),
    Metric(
        "checkpoint_age_seconds",
        "Seconds since the last checkpoint, or since this process went on with the run: what a kill would take",
        "s",
        "run/checkpoint_age_s",
    ),
    Metric(
        "seconds_since_row",
        "Seconds since the last row of metrics.jsonl, or since the run's begin",
        "s",
        "run/seconds_since_row",
    ),
    Metric("rss_bytes", "Memory of the process that trains", "bytes", "memory/rss_bytes"),
)


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]


def samples(numbers: Mapping[str, float], metrics: Iterable[Metric] = METRICS) -> list[MetricSample]:
    """What ``metrics`` show of ``numbers``; nothing of a metric whose source is not among them."""
    return [sample for one in metrics for sample in _samples_of(one, numbers)]


def _samples_of(one: Metric, numbers: Mapping[str, float]) -> Iterator[MetricSample]:
    if one.tag is None:
        if one.source in numbers:
            yield MetricSample(one, "", numbers[one.source])
        return
    before, after = one.source.split("*")
    found = {
        tag: value
        for key, value in numbers.items()
        if key.startswith(before)
        and key.endswith(after)
        and (tag := key[len(before) : len(key) - len(after)])
        and "/" not in tag
    }
    for tag in sorted(found, key=_natural)[:MOST_TAG_VALUES]:
        yield MetricSample(one, tag, found[tag])


def _natural(text: str) -> tuple[int, int, str]:
    """Numbers before texts, and by their size."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


_BY_NAME = {one.name: one for one in METRICS}
