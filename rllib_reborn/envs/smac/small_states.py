"""The smaller state of SMAC's and SMACv2's battles: each team as a whole (``training.mixer.state: compact``)."""

from __future__ import annotations

from typing import Any


def compact(state: Any, *teams: tuple[int, int, int, int, int, int, int | None]) -> Any:
    """Of our team, then of the enemy's: the share of its units that live, the mean of all units' health, and of their shield
    where its units have one, each in 0..1; the mean place of those that live, x and y as the state has them, 0 where none
    does. [rows, 4 or 5 for each team].

    Args:
        state: [rows, s], a torch tensor (torch itself is not imported). A unit without health is dead, and has only zeros.
        teams: Of each team, where its first number stands in the state, how many units there are, how many numbers each has,
            and which of these are health, x, y and shield (None: they have none).
    """
    parts = []
    for start, count, size, health, x, y, shield in teams:
        units = state[:, start : start + count * size].reshape(len(state), count, size)
        living = (units[:, :, health] > 0).sum(1).to(state.dtype)
        parts += [living / count, units[:, :, health].mean(1)]
        parts += [] if shield is None else [units[:, :, shield].mean(1)]
        parts += [units[:, :, at].sum(1) / living.clamp(min=1) for at in (x, y)]
    out = state.new_empty(len(state), len(parts))
    for at, part in enumerate(parts):
        out[:, at] = part
    return out
