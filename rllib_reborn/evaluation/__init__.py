"""What a training run was worth: statistics, reading of run folders, figures and reports.

Needs NumPy, pandas, PyYAML and Matplotlib (the last only when a figure is drawn), and neither Ray nor torch.
"""

from rllib_reborn.evaluation.figures import CURVES, MetricCurve
from rllib_reborn.evaluation.groups import RunGroup, config_differences, group_runs
from rllib_reborn.evaluation.report import Report, print_summary, write_report
from rllib_reborn.evaluation.runs import (
    Episodes,
    FinalEvaluation,
    LeftOut,
    NotReportedError,
    RunError,
    RunRecord,
    find_runs,
    load_runs,
    read_run,
)
from rllib_reborn.evaluation.statistics import (
    Band,
    Interval,
    difference_interval,
    iqm,
    mean_interval,
    optimality_gap,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    proportion_interval,
    stratified_bootstrap,
    stratified_bootstrap_band,
)

__all__ = [
    "CURVES",
    "Band",
    "Episodes",
    "FinalEvaluation",
    "Interval",
    "LeftOut",
    "MetricCurve",
    "NotReportedError",
    "Report",
    "RunError",
    "RunGroup",
    "RunRecord",
    "config_differences",
    "difference_interval",
    "find_runs",
    "group_runs",
    "iqm",
    "load_runs",
    "mean_interval",
    "optimality_gap",
    "paired_difference",
    "performance_profile",
    "print_summary",
    "probability_of_improvement",
    "proportion_interval",
    "read_run",
    "stratified_bootstrap",
    "stratified_bootstrap_band",
    "write_report",
]
