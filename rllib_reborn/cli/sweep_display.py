"""How a sweep is shown: a live table over its runs on a terminal, a line for each run that ends elsewhere, or nothing."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rllib_reborn.cli.live_display import DORMANT, UNKNOWN, duration, number, percent
from rllib_reborn.tuning.points import short_keys
from rllib_reborn.tuning.sweep import Sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder, objective_of

_MOST_ROWS = 20


class SweepLines:
    """One line for each run that ends; an observer of the sweep."""

    def __init__(self, console: Console, sweep: Sweep, *, quiet: bool = False) -> None:
        self._console = console
        self._sweep = sweep
        self._quiet = quiet
        self._states: dict[str, RunState] = {}
        self._results: dict[str, Mapping[str, Any]] = {}
        self._total = 0
        self._over_at_start = 0
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def on_start(self, states: Mapping[str, RunState], total: int) -> None:
        self._states, self._total = dict(states), total
        self._over_at_start = self._over()
        self._say(f"sweep of {total} runs, {self._over_at_start} of them over")

    def on_wait(self, reason: str) -> None:
        self._say(reason)

    def on_restart(self, name: str, reason: str) -> None:
        self._say(f"{'started again':13}  {name}  {reason}")

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        self._states[name] = RunState.BEGUN
        self._results[name] = result

    def on_end(self, name: str, state: RunState, reason: str = "") -> None:
        self._states[name] = state
        result = self._results.get(name, {})
        facts = [f"{state.value:13}", name]
        if "objective" in result:
            facts.append(f"{self._sweep.objective} {number(result['objective'])}")
        if reason:
            facts.append(reason)
        self._say("  ".join([*facts, f"({self._over()} of {self._total} over, left {duration(self._seconds_left())})"]))

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.out(text, highlight=False)

    def _over(self) -> int:
        return sum(state.is_over for state in self._states.values())

    def _seconds_left(self) -> float | None:
        """From the share of all runs that was done since the start."""
        budget = self._sweep.budget.env_steps if self._sweep.budget else None
        running = [
            result["env_steps"] / budget
            for name, result in self._results.items()
            if budget and not self._states[name].is_over
        ]
        done = self._over() - self._over_at_start + sum(running)
        left = self._total - self._over() - sum(running)
        return left * (time.monotonic() - self._start) / done if done > 0 else None


class SweepTable(SweepLines):
    """A table that is redrawn in place: the runs that are under way, and how many are in which state."""

    def __init__(self, console: Console, sweep: Sweep) -> None:
        super().__init__(console, sweep)
        self._live = Live(Text("starting ..."), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        super().on_result(name, result)
        self._live.update(self._render())

    def on_end(self, name: str, state: RunState, reason: str = "") -> None:
        super().on_end(name, state, reason)
        self._live.update(self._render())

    def _say(self, text: str) -> None:
        self._live.console.out(text, highlight=False)

    def _render(self) -> Group:
        counts = collections.Counter(self._states.values())
        head = ", ".join(f"{counts[state]} {state.value}" for state in RunState if counts[state])
        table = Table.grid(padding=(0, 2))
        table.add_row(*(Text(text, style="dim") for text in ("run", "env steps", self._sweep.objective, "dormant")))
        running = [name for name, state in self._states.items() if state is RunState.BEGUN and name in self._results]
        for name in running[:_MOST_ROWS]:
            result = self._results[name]
            values = _present_values(self._sweep, result.get("config", {}))
            table.add_row(
                f"{name}  {values}".rstrip(),
                f"{result['env_steps']:,}",
                number(result["objective"]),
                percent(result.get(DORMANT)),
            )
        return Group(Text(f"{self._total} runs: {head}; left {duration(self._seconds_left())}", style="bold"), table)


def _present_values(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """``beta=2.5 every=40``, where the names of the runs do not say it: those of a population, which change."""
    if sweep.scheduler.kind != "pbt":
        return ""
    labels = short_keys(list(sweep.space))
    return " ".join(f"{label}={number(values[key])}" for key, label in labels.items() if key in values)


def sweep_display_for(console: Console, sweep: Sweep, *, quiet: bool) -> SweepLines:
    """The display that fits where the output goes."""
    if not quiet and console.is_terminal and not console.is_dumb_terminal:
        return SweepTable(console, sweep)
    return SweepLines(console, sweep, quiet=quiet)


def status_lines(folder: SweepFolder, sweep: Sweep) -> list[str]:
    """How far the sweep is: a line for each run, then counts, and what is left in env steps and hours."""
    lines, counts, seconds, left = [], collections.Counter[RunState](), [], 0.0
    budget = sweep.budget.env_steps if sweep.budget else None
    for run in folder.runs(sweep):
        state, rows = folder.state(run), folder.rows(run)
        counts[state] += 1
        steps = int(rows[-1]["env_steps"]) if rows else 0
        objective = objective_of(rows, sweep.objective)
        if rows and steps and rows[-1].get("time/total_s"):
            seconds.append(rows[-1]["time/total_s"] / steps)
        if budget and not state.is_over:
            left += max(0, budget - steps)
        shown = UNKNOWN if objective is None else number(objective)
        name = f"{run.name}  {_present_values(sweep, run.point.values)}".rstrip()
        lines.append(f"{state.value:13}  {name:60}  {steps:>10,} env steps  {sweep.objective} {shown}")
    missing = (sweep.samples or 0) - len(folder.chosen_points()) if sweep.searcher.kind == "optuna" else 0
    if missing > 0:
        counts[RunState.WAITING] += missing * len(sweep.seeds)
        left += (budget or 0) * missing * len(sweep.seeds)
    total = sum(counts.values())
    summary = ", ".join(f"{counts[state]} {state.value}" for state in RunState if counts[state])
    lines.append(f"{total} runs: {summary}")
    if left and seconds:
        hours = duration(left * sum(seconds) / len(seconds))
        lines.append(f"left: {left:,.0f} env steps, {hours} of one process at the runs' pace so far")
    return lines
