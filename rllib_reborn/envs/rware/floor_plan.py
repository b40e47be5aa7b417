"""Where shelves, corridors and goals of a warehouse are: from sizes, or from a drawing in text."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

#: What a text may hold: corridors, places of shelves, goals. Capitals do not matter.
CORRIDOR, SHELF, GOAL = ".", "x", "g"
#: Cells of the longer side, at most: boards of all games are kept as arrays.
MOST_CELLS = 1_000


@dataclasses.dataclass(frozen=True, eq=False)
class FloorPlan:
    """A warehouse without its robots.

    Attributes:
        highway: [H, W] bool, where no shelf is ever put down: corridors and goals. A shelf stands on each other cell at the
            start.
        goals: (row, column) of the goals, in the order in which they are served.
    """

    highway: npt.NDArray[np.bool_]
    goals: tuple[tuple[int, int], ...]

    @property
    def height(self) -> int:
        """Rows, H."""
        return int(self.highway.shape[0])

    @property
    def width(self) -> int:
        """Columns, W."""
        return int(self.highway.shape[1])

    @property
    def shelves(self) -> npt.NDArray[np.intp]:
        """[S] cells ``y * W + x`` of the shelves at the start, in the order of their numbers 1..S."""
        return np.flatnonzero(~self.highway)


def plan_of_sizes(shelf_columns: int, shelf_rows: int, column_height: int) -> FloorPlan:
    """The plan of rware's ``shelf_columns``, ``shelf_rows`` and ``column_height``.

    Blocks of shelves are two cells wide and ``column_height`` high, a corridor around each; the last row is a corridor with
    two goals in the middle, and the block above them is left out for those that queue.

    Returns:
        A plan of ``(column_height + 1) * shelf_rows + 2`` rows and ``3 * shelf_columns + 1`` columns.
    """
    height, width = (column_height + 1) * shelf_rows + 2, 3 * shelf_columns + 1
    y, x = np.indices((height, width))
    middle = width // 2
    queue = (y > height - (column_height + 3)) & ((x == middle - 1) | (x == middle))
    highway = (x % 3 == 0) | (y % (column_height + 1) == 0) | (y == height - 1) | queue
    return FloorPlan(highway, ((height - 1, middle - 1), (height - 1, middle)))


def plan_of_text(text: str) -> FloorPlan:
    """The plan that a text draws: a line for each row, ``x`` for shelves, ``.`` for corridors, ``g`` for goals; blanks do
    not count.

    Raises:
        ValueError: The lines differ in length, there is another character, or no goal.
    """
    lines = text.strip().replace(" ", "").lower().split("\n")
    width = len(lines[0])
    for number, line in enumerate(lines):
        if len(line) != width:
            raise ValueError(
                f"layout has {len(line)} cells in line {number} and {width} in line 0; expected lines of one length."
            )
        odd = sorted(set(line) - {CORRIDOR, SHELF, GOAL})
        if odd:
            raise ValueError(
                f"layout has {odd[0]!r} in line {number}; expected {CORRIDOR!r}, {SHELF!r} and {GOAL!r} only."
            )
    cells = np.array([list(line) for line in lines])
    goals = tuple((int(y), int(x)) for y, x in np.argwhere(cells == GOAL))
    if not goals:
        raise ValueError(f"layout has no goal; put at least one {GOAL!r} into it.")
    return FloorPlan(cells != SHELF, goals)
