"""The display on a terminal, in a file, and switched off."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rllib_reborn.cli.live_display import (
    Estimate,
    LineDisplay,
    SilentDisplay,
    TableDisplay,
    display_for,
    duration,
    number,
    percent,
)
from rllib_reborn.experiments.schema import StopSection

STOP = StopSection(env_steps=200_000)


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "iteration": 3,
        "env_steps": 12_800,
        "episodes": 85,
        "updates": 54,
        "train/return_mean": -12.345,
        "train/win_rate": None,
        "eval/return_mean": None,
        "eval/win_rate": None,
        "train/loss": 0.012345,
        "train/epsilon": 0.757,
        "time/env_steps_per_s": 1234.5,
        "time/total_s": 10.0,
        "memory/rss_bytes": 512_000_000,
        "memory/replay_bytes": 34_000_000,
    }
    return values | changes


def console(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    environment = {"TERM": "xterm-256color"}
    return Console(file=text, force_terminal=terminal, width=width, _environ=environment), text


def shown(terminal: bool, *rows: dict[str, Any], width: int = 100) -> str:
    target, text = console(terminal=terminal, width=width)
    display = display_for(target, "QMIX on a[b]", STOP, quiet=False)
    with display:
        for one in rows:
            display.on_row(one)
        display.on_checkpoint(Path("runs/x/checkpoints/checkpoint_000001"))
        display.on_row(rows[-1])
    return text.getvalue()


FACTS = ["12,800/200,000", "85", "-12.3", "0.0123", "0.757", "1,23", "512.0 MB", "34.0 MB"]


def test_without_a_terminal_it_is_one_plain_line_per_iteration() -> None:
    text = shown(False, row(), row(env_steps=25_600), width=40)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == 4  # three rows and a checkpoint, none wrapped
    for fact in FACTS:
        assert fact in lines[0]
    assert "win rate" not in text
    assert "greedy return" not in lines[0]
    assert lines[2] == "checkpoint runs/x/checkpoints/checkpoint_000001"


def test_on_a_terminal_it_is_a_table_that_is_redrawn() -> None:
    text = shown(True, row())
    assert "\x1b[" in text
    assert "QMIX on a[b]" in text
    assert "6%" in text
    for fact in FACTS:
        assert fact in text
    assert "checkpoint runs/x" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_win_rate_is_shown_where_there_is_one(terminal: bool) -> None:
    text = shown(terminal, row(**{"train/win_rate": 0.454, "eval/win_rate": 1.0, "eval/return_mean": 3.0}))
    assert "win rate" in text
    assert "45 %" in text
    assert "100 %" in text
    assert "greedy return" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_row_that_knows_nothing_yet_can_be_shown(terminal: bool) -> None:
    unknown = {name: None for name in row() if name not in ("iteration", "env_steps", "episodes", "updates")}
    assert "12,800" in shown(terminal, row(**unknown))


DORMANT = "dormancy/mixer/dormant_fraction"


@pytest.mark.parametrize("terminal", [True, False])
def test_the_last_known_dormant_fraction_and_the_interventions_are_shown(terminal: bool) -> None:
    checked = row(**{DORMANT: 0.3672, "intervention/count": 4})
    text = shown(terminal, checked, row(**{DORMANT: None, "intervention/count": 5}), width=200)
    assert "37 %" in text
    if not terminal:
        first, second, *_ = text.splitlines()
        assert "dormant 37 %  interventions 4" in first
        assert "dormant 37 %  interventions 5" in second


def test_a_dormant_fraction_of_nothing_is_known_too() -> None:
    first, second, *_ = shown(False, row(**{DORMANT: 0.4}), row(**{DORMANT: 0.0})).splitlines()
    assert "dormant 40 %" in first
    assert "dormant 0 %" in second


@pytest.mark.parametrize("terminal", [True, False])
def test_runs_that_measure_nothing_do_not_speak_of_it(terminal: bool) -> None:
    for one in (row(), row(**{DORMANT: None, "intervention/count": 0})):
        text = shown(terminal, one)
        assert "dormant" not in text
        assert "interventions" not in text


def test_a_resumed_run_knows_what_the_rows_before_it_knew() -> None:
    target, text = console(terminal=False)
    before = [row(**{DORMANT: 0.25}), row(**{DORMANT: 0.5}), row(env_steps=20_000)]
    display_for(target, "t", STOP, quiet=False, before=before).on_row(row(**{DORMANT: None}))
    assert "dormant 50 %" in text.getvalue()


def test_quiet_shows_nothing() -> None:
    target, text = console(terminal=True)
    display = display_for(target, "title", STOP, quiet=True)
    with display:
        display.on_row(row())
        display.on_checkpoint(Path("x"))
    assert isinstance(display, SilentDisplay)
    assert text.getvalue() == ""


def test_each_target_has_its_display() -> None:
    for terminal, kind in ((True, TableDisplay), (False, LineDisplay)):
        assert type(display_for(console(terminal=terminal)[0], "t", STOP, quiet=False)) is kind
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert type(display_for(dumb, "t", STOP, quiet=False)) is LineDisplay


def test_an_error_leaves_the_terminal_usable() -> None:
    target, text = console(terminal=True)
    with pytest.raises(KeyError), display_for(target, "t", STOP, quiet=False):
        raise KeyError
    assert text.getvalue().rstrip("\n").endswith("\x1b[?25h")  # the cursor is back


class TestEstimate:
    """Share done and time left."""

    def test_it_is_the_rate_since_this_process_started(self) -> None:
        seconds = iter([0.0, 10.0, 20.0])
        estimate = Estimate(StopSection(env_steps=100), clock=lambda: next(seconds))
        assert estimate.update(row(env_steps=50)) == (0.5, None)
        assert estimate.update(row(env_steps=60)) == (0.6, pytest.approx(40.0))
        assert estimate.update(row(env_steps=100)) == (1.0, 0.0)

    def test_the_nearest_limit_counts(self) -> None:
        seconds = iter([0.0, 1.0])
        stop = StopSection(env_steps=1000, iterations=10, time_s=1000.0)
        estimate = Estimate(stop, clock=lambda: next(seconds))
        estimate.update(row(iteration=4, env_steps=1))
        done, left = estimate.update(row(iteration=5, env_steps=2))
        assert (done, left) == (0.5, pytest.approx(5.0))

    def test_a_run_that_stands_still_has_no_end(self) -> None:
        estimate = Estimate(StopSection(env_steps=100))
        estimate.update(row(env_steps=50))
        assert estimate.update(row(env_steps=50)) == (0.5, None)


def test_numbers_as_people_read_them() -> None:
    assert [number(x) for x in (None, 0.0, -0.00123, 12.345, 1234.5)] == [
        "-",
        "0",
        "-0.00123",
        "12.3",
        "1,234",
    ]
    assert [percent(x) for x in (None, 0.0, 0.455)] == ["-", "0 %", "46 %"]
    assert [duration(x) for x in (None, 0, 59.4, 130, 11_100)] == ["-", "0s", "59s", "2m10s", "3h05m"]
