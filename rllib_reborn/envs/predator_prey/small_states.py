"""Predator-prey's smaller states: what a mixer may read in place of the whole grid (``training.mixer.state``).

Each function takes the grid, ``state`` [rows, height * width * 3] of 0 and 1, as a torch tensor (torch itself is not
imported), its height and width, and how many predators, stags and hares there are at the start. A kind of which there are
none at the start is left out: ``k`` kinds remain.
"""

from __future__ import annotations

from typing import Any

from rllib_reborn.envs.state_views import StateView

#: The grid is cut into so many bands of rows, and of columns.
BANDS = 4


def state_views(height: int, width: int, numbers: tuple[int, int, int], capture_freezes: bool) -> tuple[StateView, ...]:
    """``pooled``, ``compact`` and ``counts`` of games by these rules; ``numbers``: of predators, stags and hares."""
    kinds = sum(number > 0 for number in numbers)
    leaving = (capture_freezes, True, True)
    places = sum(number * (2 + leaves) for number, leaves in zip(numbers, leaving, strict=True))

    def view(name: str, size: int, *more: Any) -> StateView:
        return StateView(
            name=name, size=size, function=f"{__name__}:{name}", arguments=(height, width, *numbers, *more)
        )

    return (
        view("pooled", BANDS * BANDS * kinds),
        view("compact", places + kinds, capture_freezes),
        view("counts", kinds),
    )


def pooled(state: Any, height: int, width: int, *numbers: int) -> Any:
    """How many of each kind stand in each of 4 x 4 blocks of the grid: [rows, 4 * 4 * k], ordered as the grid is.

    Bands are as equal as they can be, the first ones larger by a row or column where 4 does not divide the grid; on a grid
    of fewer than 4 the last are empty. Counts are divided by the mean of a block at the start where that is above 1.
    """
    kinds = _kinds(numbers)
    sums = state.new_zeros(height, width, len(numbers), BANDS, BANDS, len(kinds))
    for i, band in enumerate(sums.tensor_split(BANDS, 0)):
        for j, block in enumerate(band.tensor_split(BANDS, 1)):
            for at, kind in enumerate(kinds):
                block[:, :, kind, i, j, at] = 1
    means = state.new_tensor([max(1.0, numbers[kind] / BANDS**2) for kind in kinds])
    return (state @ sums.flatten(3).flatten(0, 2)) / means.repeat(BANDS**2)


def counts(state: Any, height: int, width: int, *numbers: int) -> Any:
    """How many of each kind are left, as a share of those at the start: [rows, k]."""
    kinds = _kinds(numbers)
    sums = state.new_zeros(height * width, len(numbers), len(kinds))
    for at, kind in enumerate(kinds):
        sums[:, kind, at] = 1
    return (state @ sums.flatten(0, 1)) / state.new_tensor([numbers[kind] for kind in kinds])


def compact(
    state: Any, height: int, width: int, n_predators: int, n_stags: int, n_hares: int, capture_freezes: bool
) -> Any:
    """Where everybody stands, and :func:`counts` behind that.

    Kind after kind, for each one: row and column of its cell's middle, as shares of height and width in 0..1, and, where its
    kind can leave the game (prey; predators with ``capture_freezes``), a 1. All are 0 for those who have left. Those of a
    kind stand in the order of their cells, row by row: the grid does not say who is who, so that a place in this list may
    be another one's a step later.
    """
    numbers = (n_predators, n_stags, n_hares)
    cells = height * width
    grid = state.reshape(len(state), cells, len(numbers))
    # The earlier a cell the larger its number, and 0 where nobody stands: the largest are the first.
    rank = state.new_ones(cells).cumsum(0).flip(0)
    parts = []
    for kind in _kinds(numbers):
        first = (grid[:, :, kind] * rank).topk(numbers[kind], 1).values
        there = (first > 0).to(state.dtype)
        cell = cells - first
        row = (cell / width).floor()
        part = state.new_empty(len(state), numbers[kind], 3)
        part[:, :, 0] = (row + 0.5) / height * there
        part[:, :, 1] = (cell - row * width + 0.5) / width * there
        part[:, :, 2] = there
        can_leave = capture_freezes or kind > 0
        parts.append(part[:, :, : 2 + can_leave].flatten(1))
    parts.append(counts(state, height, width, *numbers))
    out = state.new_empty(len(state), sum(part.shape[1] for part in parts))
    at = 0
    for part in parts:
        out[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    return out


def _kinds(numbers: tuple[int, ...]) -> list[int]:
    """Planes of the grid on which somebody stands at the start."""
    return [kind for kind, number in enumerate(numbers) if number > 0]
