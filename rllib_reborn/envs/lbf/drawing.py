"""Pictures of level-based foraging: players are blue discs, foods orange squares, both with their level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.render import (
    BLUE,
    CAPTION_HEIGHT,
    GRID_LINE,
    INK,
    ORANGE,
    PICTURE_SIZE,
    as_array,
    blank,
    pillow,
)

_WHITE = (255, 255, 255)

#: Row, column and level.
Entry = Sequence[int]


def draw_field(
    size: tuple[int, int], players: Sequence[Entry], foods: Sequence[Entry], caption: str
) -> npt.NDArray[np.uint8]:
    """Draw one field.

    Args:
        size: Rows and columns.
        players: Row, column and level of each player; where two share a cell the later one is drawn smaller, above.
        foods: The same of each food that is left.
        caption: One line of text above the field.

    Returns:
        [height, width, 3] uint8, the longer side of the field about 480 pixels.

    Raises:
        ImportError: Pillow is not installed.
    """
    rows, columns = size
    cell = max(4, PICTURE_SIZE // max(rows, columns))
    image, draw = blank(rows * cell + 1, columns * cell + 1, caption)
    bottom = CAPTION_HEIGHT + rows * cell
    for row in range(rows + 1):
        draw.line((0, CAPTION_HEIGHT + row * cell, columns * cell, CAPTION_HEIGHT + row * cell), fill=GRID_LINE)
    for column in range(columns + 1):
        draw.line((column * cell, CAPTION_HEIGHT, column * cell, bottom), fill=GRID_LINE)
    for row, column, level in foods:
        box = _box(row, column, cell, max(1, cell // 6))
        draw.rectangle(box, fill=ORANGE, outline=INK)
        _write(draw, box, level, INK)
    drawn: set[tuple[int, int]] = set()
    for row, column, level in players:
        box = _box(row, column, cell, max(1, cell // 4 if (row, column) in drawn else cell // 10))
        draw.ellipse(box, fill=BLUE, outline=INK)
        _write(draw, box, level, _WHITE)
        drawn.add((row, column))
    return as_array(image)


def _box(row: int, column: int, cell: int, gap: int) -> tuple[int, int, int, int]:
    x, y = column * cell, CAPTION_HEIGHT + row * cell
    return (x + gap, y + gap, x + cell - gap, y + cell - gap)


def _write(draw: Any, box: tuple[int, int, int, int], level: int, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    height = (bottom - top) // 2
    if height >= 6:  # smaller ones cannot be read
        font = pillow()[2].load_default(height)
        draw.text(((left + right) / 2, (top + bottom) / 2), str(level), fill=colour, font=font, anchor="mm")
