"""Numbers as people read them."""

from __future__ import annotations

import math

from rllib_reborn.evaluation.statistics import Interval


def format_number(x: float | None, decimals: int | None = None) -> str:
    """Three significant digits (all above 1,000) or a fixed number of decimals; ``-`` where unknown."""
    if x is None or not math.isfinite(x):
        return "-"
    if decimals is None:
        decimals = 0 if x == 0 else max(0, min(6, 2 - math.floor(math.log10(abs(x)))))
    text = f"{x:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def format_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """``12.3 [11.8, 12.9]``, with two significant digits in the interval's half width, but not more than four in all."""
    if interval is None:
        return "-"
    if not interval.known:
        return f"{_signed(format_number(interval.estimate), signed)} (no interval)"
    half = (interval.high - interval.low) / 2
    decimals = None
    if half > 0:
        largest = max(abs(interval.low), abs(interval.high))
        decimals = max(0, min(6, 1 - math.floor(math.log10(half)), 3 - math.floor(math.log10(largest))))
    estimate, low, high = (format_number(x, decimals) for x in (interval.estimate, interval.low, interval.high))
    return f"{_signed(estimate, signed)} [{low}, {high}]"


def format_percent(interval: Interval | None) -> str:
    """``62.5 % [45.3, 77.1]`` for a proportion."""
    if interval is None:
        return "-"
    text = f"{100 * interval.estimate:.1f} %"
    return f"{text} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval.known else text


def format_time(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min``; ``-`` where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(n: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def percent(level: float) -> str:
    """``95 %``."""
    return f"{100 * level:g} %"


def _signed(text: str, signed: bool) -> str:
    return f"+{text}" if signed and not text.startswith("-") and text != "0" else text
