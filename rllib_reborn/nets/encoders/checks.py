"""Checks that the shipped encoders share."""

from __future__ import annotations

from typing import Any

from rllib_reborn.short_repr import short_repr

_MOST_WIDTH = 4_096


def check_width(width: Any) -> None:
    """Raise ValueError unless ``width`` is a whole number in 1..4096."""
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= _MOST_WIDTH:
        raise ValueError(f"width is {short_repr(width)}; expected a whole number in 1..{_MOST_WIDTH:,}.")


def check_switch(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {short_repr(value)}; expected true or false.")
