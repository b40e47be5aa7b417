"""Results for other tools: marl-eval's JSON and a LaTeX table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rllib_reborn.evaluation.groups import RunGroup, split_env
from rllib_reborn.evaluation.runs import RunRecord
from rllib_reborn.evaluation.summary import TaskSummary
from rllib_reborn.evaluation.text import format_interval, format_percent

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def marl_eval_data(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Runs in the format of marl-eval (Gorsane et al. 2022): ``env -> task -> algorithm -> run -> step_i``.

    ``return`` lists one value per evaluation episode, ``win_rate`` one value per evaluation.
    ``absolute_metrics`` is the separate final evaluation, never a maximum over evaluations, which would be
    biased upwards; runs without it are left out, because marl-eval cannot read them. It also wants equally
    many evaluations in every run; that is left to the reader, who may cut runs to the shortest.
    """
    data: dict[str, Any] = {}
    for group in groups:
        runs = {_run_name(run, i): _marl_eval_run(run) for i, run in enumerate(group.runs) if run.final}
        if runs:
            env, task = split_env(group.task)
            data.setdefault(env, {}).setdefault(task, {})[group.label] = runs
    return data


def latex_table(tasks: Sequence[TaskSummary]) -> str:
    """A ``tabular`` with one row per group, to be put into a table; needs ``\\usepackage{booktabs}``. With the IQM where a
    group has four seeds or more."""
    wins = any(group.win_rate is not None for task in tasks for group in task.groups)
    iqm = any(group.shows_iqm for task in tasks for group in task.groups)
    head = ["Environment", "Algorithm", "Seeds", "Return", *(["IQM"] if iqm else []), "Random policy"]
    head += ["Win rate"] if wins else []
    lines = [
        "% Mean greedy return [95 % interval]; over seeds, or over episodes where there is one seed.",
        r"% Needs \usepackage{booktabs}.",
        rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    for task in tasks:
        for group in task.groups:
            cells = [
                task.task,
                group.label,
                str(len(group.runs)),
                format_interval(group.policy_return),
                *([format_interval(group.policy_iqm)] if iqm else []),
                format_interval(group.random_return),
                *([format_percent(group.win_rate)] if wins else []),
            ]
            lines.append(" & ".join(_escape(cell) for cell in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def plain(value: Any) -> Any:
    """Data as JSON can hold it, which has no nan: what is not known is null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _run_name(run: RunRecord, position: int) -> str:
    return f"seed_{run.seed}" if run.seed is not None else f"run_{position}"


def _marl_eval_run(run: RunRecord) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for _, row in run.evaluations().iterrows():
        returns = row.get("eval/returns")
        entry: dict[str, Any] = {
            "step_count": int(row["env_steps"]),
            "return": returns if isinstance(returns, list) and returns else [row["eval/return_mean"]],
        }
        rate = row.get("eval/win_rate")
        if isinstance(rate, float) and math.isfinite(rate):
            entry["win_rate"] = [rate]
        steps[f"step_{len(steps) + 1}"] = entry
    if run.final is not None:
        policy = run.final.policy
        absolute = {"return": policy.returns.tolist()}
        if policy.won is not None:
            absolute["win_rate"] = [float(policy.won.mean())]
        steps["absolute_metrics"] = absolute
    return steps


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
