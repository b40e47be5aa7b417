"""How training is shown: a live table on a terminal, one line per iteration elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rllib_reborn.experiments.schema import StopSection
from rllib_reborn.replay.memory import format_bytes

Row = dict[str, Any]
UNKNOWN = "-"

DORMANT = "dormancy/mixer/dormant_fraction"
INTERVENTIONS = "intervention/count"
#: What only some rows know and is shown until it is known again.
_KEPT = (DORMANT,)


class Display(Protocol):
    """Shows rows while it is entered; an Observer of the training loop."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def on_row(self, row: Row) -> None:
        """An iteration has ended."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint is complete."""

    def on_wait(self, reason: str) -> None:
        """The cluster has no room yet."""


class Estimate:
    """Share of the run that is done and seconds that are left, from the rate since this process started.

    Args:
        stop: The limits of the run.
        clock: Seconds; replaced in tests.
    """

    def __init__(self, stop: StopSection, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop = stop
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def update(self, row: Row) -> tuple[float, float | None]:
        """``(share done in 0..1, seconds left)``; the latter is None while there is no rate yet."""
        done = self._stop.fraction(
            env_steps=row["env_steps"], iteration=row["iteration"], time_s=row["time/total_s"] or 0.0
        )
        now = self._clock()
        if self._first is None:
            self._first = (now, done)
        start, done_at_start = self._first
        if done >= 1:
            return 1.0, 0.0
        gained = done - done_at_start
        return done, (1 - done) * (now - start) / gained if gained > 0 else None


class LastKnown:
    """Fills into a row what it does not know and an earlier one did.

    Args:
        rows: Earlier rows, the oldest first.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._values: Row = {}
        for row in rows:
            self.fill(row)

    def fill(self, row: Row) -> Row:
        """``row`` with the last known value of each name that is not measured in every iteration."""
        self._values |= {name: row[name] for name in _KEPT if row.get(name) is not None}
        return row | self._values


def display_for(console: Console, title: str, stop: StopSection, *, quiet: bool, before: Sequence[Row] = ()) -> Display:
    """The display that fits where the output goes.

    Args:
        console: Where to.
        title: Names the run.
        stop: Limits, for the time that is left.
        quiet: Show nothing.
        before: Rows before a resumed run goes on.
    """
    estimate = Estimate(stop)
    if before:
        estimate.update(before[-1])
    if quiet:
        return SilentDisplay()
    known = LastKnown(before)
    if console.is_terminal and not console.is_dumb_terminal:
        return TableDisplay(console, title, stop, estimate, known)
    return LineDisplay(console, stop, estimate, known)


class SilentDisplay:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def on_row(self, row: Row) -> None:
        """Shows nothing."""

    def on_checkpoint(self, path: Path) -> None:
        """Shows nothing."""

    def on_wait(self, reason: str) -> None:
        """Print it all the same: nobody should wonder whether training has died."""
        print(reason, file=sys.stderr, flush=True)


class LineDisplay(SilentDisplay):
    """One line per iteration, for files, pipes and job logs."""

    def __init__(self, console: Console, stop: StopSection, estimate: Estimate, known: LastKnown) -> None:
        self._console = console
        self._stop = stop
        self._estimate = estimate
        self._known = known

    def on_row(self, row: Row) -> None:
        """Print the row's main numbers."""
        _, left = self._estimate.update(row)
        fields = facts(self._known.fill(row), self._stop)
        text = "  ".join(f"{name} {value}" for name, value in fields.items() if value != UNKNOWN)
        # Plain: no wrapping to a terminal's width, no markup in what may hold brackets.
        self._console.out(f"{text}  left {duration(left)}", highlight=False)

    def on_checkpoint(self, path: Path) -> None:
        """Print where it is."""
        self._console.out(f"checkpoint {path}", highlight=False)

    def on_wait(self, reason: str) -> None:
        """Print it."""
        self._console.out(reason, highlight=False)


class TableDisplay(SilentDisplay):
    """A table that is redrawn in place."""

    def __init__(self, console: Console, title: str, stop: StopSection, estimate: Estimate, known: LastKnown) -> None:
        self._title = title
        self._stop = stop
        self._estimate = estimate
        self._known = known
        self._checkpoint: Path | None = None
        self._live = Live(Text(f"{title}: starting ..."), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_row(self, row: Row) -> None:
        """Redraw with the row's numbers."""
        self._live.update(self._render(row), refresh=True)

    def on_checkpoint(self, path: Path) -> None:
        """Named in the next drawing."""
        self._checkpoint = path

    def on_wait(self, reason: str) -> None:
        """Draw it."""
        self._live.update(Text(f"{self._title}: {reason}"), refresh=True)

    def _render(self, row: Row) -> RenderableType:
        done, left = self._estimate.update(row)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=1.0, completed=done, width=24),
            f"{done:.0%}",
            f"left {duration(left)}",
        )
        body = Table.grid(padding=(0, 2))
        shown = facts(self._known.fill(row), self._stop)
        cells = [text for pair in shown.items() for text in (Text(pair[0], style="dim"), pair[1])]
        for start in range(0, len(cells), 6):
            body.add_row(*cells[start : start + 6])
        parts: list[RenderableType] = [head, body]
        if self._checkpoint is not None:
            parts.append(Text(f"checkpoint {self._checkpoint}", style="dim"))
        return Group(*parts)


def facts(row: Row, stop: StopSection) -> dict[str, str]:
    """What is shown of a row, in order, as text; the win rate only where the environment has one, the mixer's dormant
    fraction once it was measured and the number of interventions once there was one."""
    steps = f"{row['env_steps']:,}"
    shown = {
        "env steps": f"{steps}/{stop.env_steps:,}" if stop.env_steps is not None else steps,
        "episodes": f"{row['episodes']:,}",
        "return": number(row["train/return_mean"]),
        "greedy return": number(row["eval/return_mean"]),
        "win rate": percent(row["train/win_rate"]),
        "greedy win rate": percent(row["eval/win_rate"]),
        "loss": number(row["train/loss"]),
        "epsilon": number(row["train/epsilon"]),
        # Rows of earlier versions, which a resumed run may start from, do not have these two.
        "dormant": percent(row.get(DORMANT)),
        "interventions": f"{row.get(INTERVENTIONS) or 0:,}",
        "steps/s": number(row["time/env_steps_per_s"]),
        "memory": memory(row["memory/rss_bytes"]),
        "replay": memory(row["memory/replay_bytes"]),
    }
    if row["train/win_rate"] is None and row["eval/win_rate"] is None:
        del shown["win rate"], shown["greedy win rate"]
    if row.get(DORMANT) is None:
        del shown["dormant"]
    if not row.get(INTERVENTIONS):
        del shown["interventions"]
    return shown


def number(value: float | None) -> str:
    """Three significant digits, thousands separated."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share as ``45 %``."""
    return UNKNOWN if value is None else f"{100 * value:.0f} %"


def memory(value: float | None) -> str:
    """Bytes as ``4.1 GB``."""
    return UNKNOWN if value is None else format_bytes(value)


def duration(seconds: float | None) -> str:
    """``48s``, ``2m10s``, ``3h05m``."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
