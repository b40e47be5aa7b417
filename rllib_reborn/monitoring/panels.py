"""What the dashboards show, as data: rows of panels with their expressions. ``grafana.py`` writes them as JSON."""

from __future__ import annotations

import dataclasses

from rllib_reborn.monitoring.expressions import by_run, joined, mean_by, with_point
from rllib_reborn.monitoring.metrics_table import metric


@dataclasses.dataclass(frozen=True)
class Query:
    """A PromQL expression, in which ``$name`` is a variable of the dashboard, and the name of each series in the legend."""

    expression: str
    legend: str


@dataclasses.dataclass(frozen=True)
class DashboardPanel:
    """Curves over time.

    Attributes:
        title, help: For people; ``help`` is a sentence.
        unit: As of :class:`~rllib_reborn.monitoring.metrics_table.Metric`.
        queries: What is drawn.
    """

    title: str
    help: str
    unit: str
    queries: tuple[Query, ...]


@dataclasses.dataclass(frozen=True)
class PanelRow:
    """Panels of equal width under one headline."""

    title: str
    panels: tuple[DashboardPanel, ...]


#: Runs that are chosen in the dashboard of runs, and in that of sweeps.
CHOSEN_RUNS = 'run=~"$run"'
CHOSEN_SWEEP = 'run=~"$sweep/[^/]+/s[0-9]+"'
#: Variables that Ray's own dashboard has.
CHOSEN_IN_RAY = 'SessionName=~"$SessionName", ray_io_cluster=~"$Cluster"'


def run_rows() -> tuple[PanelRow, ...]:
    """The dashboard of runs: every metric, three panels in a line."""
    return (
        PanelRow(
            "How well they play",
            (
                _of("Training return", "return_mean"),
                _of("Return in evaluation", "eval_return_mean"),
                _of("Games won", "eval_win_rate", "win_rate", names=("evaluation", "training")),
            ),
        ),
        PanelRow(
            "Plasticity",
            (
                _of("Dormant neurons", "dormant_fraction"),
                _of("Over-active neurons", "overactive_fraction"),
                _of("Dead neurons", "dead_fraction"),
                _of(
                    "Interventions",
                    "interventions",
                    "neurons_treated",
                    names=("applications", "neurons treated"),
                ),
                _of("Drift of Q_tot by the last intervention", "q_drift"),
                _of("Drift of Q_tot without it", "q_drift_untreated"),
            ),
        ),
        PanelRow(
            "How far and how fast",
            (
                _of("Progress", "progress"),
                _of("Env steps a second", "env_steps_per_second"),
                _of("Updates a second", "updates_per_second"),
                _of("What the time goes into", "time_share"),
                _of("Counted so far", "env_steps", "episodes", "updates", names=("env steps", "episodes", "updates")),
                _of("Games' length", "episode_length_mean"),
            ),
        ),
        PanelRow(
            "Learning",
            (
                _of("Loss", "loss"),
                _of("TD error", "td_error_abs"),
                _of("Norm of the gradient", "grad_norm"),
                _of("Random actions", "epsilon"),
                _of("Replay: places taken", "replay_fill"),
                _of("Replay: episodes", "replay_episodes"),
            ),
        ),
        PanelRow(
            "What goes wrong, and memory",
            (
                _of("Since the last row", "seconds_since_row"),
                _of("Since the last checkpoint", "checkpoint_age_seconds"),
                _of("Env runners", "runners"),
                _of(
                    "Faults",
                    "runner_restarts",
                    "games_failed",
                    "episodes_dropped",
                    names=("runners started again", "games failed", "episodes dropped"),
                ),
                _of("Gradients skipped", "gradients_skipped"),
                _of("Memory", "rss_bytes", "replay_bytes", names=("process", "replay")),
            ),
        ),
    )


def sweep_rows() -> tuple[PanelRow, ...]:
    """The dashboard of sweeps: how the runs of one are spread, and its points."""
    progress, result = by_run("progress", CHOSEN_SWEEP), by_run("eval_return_mean", CHOSEN_SWEEP)
    dormant = by_run("dormant_fraction", CHOSEN_SWEEP)
    waiting = by_run("runners", joined(CHOSEN_SWEEP, 'state="waiting"'))
    return (
        PanelRow(
            "The sweep",
            (
                DashboardPanel(
                    "Runs under way",
                    "Runs that export, and those of them that wait for a runner.",
                    "short",
                    (
                        Query(f"count({progress})", "under way"),
                        Query(f"count({waiting} > 0) or vector(0)", "with runners waiting"),
                    ),
                ),
                DashboardPanel("Progress", "Of the runs under way.", "percentunit", _spread(progress)),
                DashboardPanel(
                    "Env steps a second",
                    "Of all runs together.",
                    "ops",
                    (Query(f"sum({by_run('env_steps_per_second', CHOSEN_SWEEP)})", "all runs"),),
                ),
            ),
        ),
        PanelRow(
            "Results",
            (
                DashboardPanel("Return in evaluation", "Spread over the runs under way.", "short", _spread(result)),
                DashboardPanel(
                    "Return in evaluation by point",
                    "Mean over a point's seeds that are under way.",
                    "short",
                    (Query(mean_by(("point",), with_point(result)), "{{point}}"),),
                ),
                DashboardPanel(
                    "The ten best runs",
                    "By their last evaluation.",
                    "short",
                    (Query(f"topk(10, {result})", "{{run}}"),),
                ),
            ),
        ),
        PanelRow(
            "Plasticity",
            (
                DashboardPanel(
                    "Dormant neurons",
                    "Median and highest share over the runs under way.",
                    "percentunit",
                    (
                        Query(f"quantile by (net) (0.5, {dormant})", "{{net}}, median"),
                        Query(f"max by (net) ({dormant})", "{{net}}, highest"),
                    ),
                ),
                DashboardPanel(
                    "Dormant neurons by point",
                    "Mean share over a point's seeds that are under way.",
                    "percentunit",
                    (Query(mean_by(("point", "net"), with_point(dormant)), "{{point}}, {{net}}"),),
                ),
                DashboardPanel(
                    "Neurons treated by point",
                    "Mean over a point's seeds that are under way.",
                    "short",
                    (
                        Query(
                            mean_by(("point",), with_point(by_run("neurons_treated", CHOSEN_SWEEP))),
                            "{{point}}",
                        ),
                    ),
                ),
            ),
        ),
        PanelRow(
            "What goes wrong, and memory",
            (
                DashboardPanel(
                    "Longest without a row",
                    "The five runs whose last row is oldest.",
                    "s",
                    (Query(f"topk(5, {by_run('seconds_since_row', CHOSEN_SWEEP)})", "{{run}}"),),
                ),
                DashboardPanel(
                    "Faults",
                    "Of all runs under way together.",
                    "short",
                    tuple(
                        Query(f"sum({by_run(name, CHOSEN_SWEEP)})", legend)
                        for name, legend in (
                            ("gradients_skipped", "gradients skipped"),
                            ("games_failed", "games failed"),
                            ("episodes_dropped", "episodes dropped"),
                            ("runner_restarts", "runners started again"),
                        )
                    ),
                ),
                DashboardPanel(
                    "Memory",
                    "Of the processes that train.",
                    "bytes",
                    (
                        Query(f"sum({by_run('rss_bytes', CHOSEN_SWEEP)})", "all runs"),
                        Query(f"max({by_run('rss_bytes', CHOSEN_SWEEP)})", "largest"),
                    ),
                ),
            ),
        ),
    )


def rows_in_ray() -> tuple[PanelRow, ...]:
    """What is put below the panels of Ray's own dashboard, two in a line as there."""
    return (
        PanelRow(
            "rllib_reborn: runs",
            (
                _of("Training return", "return_mean", selector=CHOSEN_IN_RAY),
                _of("Return in evaluation", "eval_return_mean", selector=CHOSEN_IN_RAY),
                _of("Dormant neurons", "dormant_fraction", selector=CHOSEN_IN_RAY),
                _of("Interventions", "interventions", selector=CHOSEN_IN_RAY),
                _of("Env steps a second", "env_steps_per_second", selector=CHOSEN_IN_RAY),
                _of("Env runners", "runners", selector=CHOSEN_IN_RAY),
                _of("Since the last row", "seconds_since_row", selector=CHOSEN_IN_RAY),
                _of("Gradients skipped", "gradients_skipped", selector=CHOSEN_IN_RAY),
            ),
        ),
    )


def _of(title: str, *metrics: str, names: tuple[str, ...] = (), selector: str = CHOSEN_RUNS) -> DashboardPanel:
    """Metrics of the chosen runs, one curve each; ``names`` tells several metrics apart."""
    queries = []
    for at, name in enumerate(metrics):
        parts = ["{{run}}", *names[at : at + 1]]
        tag = metric(name).tag
        queries.append(Query(by_run(name, selector), ", ".join([*parts, *([f"{{{{{tag}}}}}"] if tag else [])])))
    helps = dict.fromkeys(metric(name).help for name in metrics)
    return DashboardPanel(title, "; ".join(helps) + ".", metric(metrics[0]).unit, tuple(queries))


def _spread(expression: str) -> tuple[Query, ...]:
    """Median, and where a tenth lies below and above."""
    levels = ((0.9, "a tenth is above"), (0.5, "median"), (0.1, "a tenth is below"))
    return tuple(Query(f"quantile({level}, {expression})", legend) for level, legend in levels)
