"""PromQL about our metrics: the run's number, whichever process exported it last."""

from __future__ import annotations

from collections.abc import Sequence

from rllib_reborn.monitoring.metrics_table import RUN_TAGS, metric


def selected(name: str, selector: str = "") -> str:
    """The series of a metric: ``ray_rllib_reborn_env_steps{run=~"..."}``.

    Args:
        name: Of :data:`~rllib_reborn.monitoring.metrics_table.METRICS`.
        selector: What stands in the braces.

    Raises:
        KeyError: There is no such metric.
    """
    series = metric(name).series
    return f"{series}{{{selector}}}" if selector else series


def by_run(name: str, selector: str = "") -> str:
    """One series for each run (and each value of the metric's own tag). After a resume the new process's series stands
    beside the old one's for some seconds, so these are never added: the larger one counts."""
    one = metric(name)
    return f"max by ({', '.join(one.tags)}) ({selected(name, selector)})"


def joined(*selectors: str) -> str:
    """Selectors as one, without the empty ones."""
    return ", ".join(part for part in selectors if part)


def mean_by(groups: Sequence[str], expression: str) -> str:
    """Mean of an expression's series by labels."""
    return f"avg by ({', '.join(groups)}) ({expression})"


def with_point(expression: str) -> str:
    """The same series with the label ``point``: which of a sweep's points (``.../POINT/sSEED``) a run is of."""
    return f'label_replace({expression}, "point", "$1", "run", ".*/([^/]+)/s[0-9]+")'


#: Labels of one run in expressions that join two metrics.
RUN_LABELS = ", ".join(RUN_TAGS)
