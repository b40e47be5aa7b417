"""Pictures of predator-prey: predators are blue discs, stags orange diamonds, hares green triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.render import (
    BLUE,
    CAPTION_HEIGHT,
    GREEN,
    GRID_LINE,
    INK,
    ORANGE,
    PICTURE_SIZE,
    as_array,
    blank,
)


def draw_board(grid: npt.NDArray[np.uint8], caption: str) -> npt.NDArray[np.uint8]:
    """Draw one board.

    Args:
        grid: [height, width, 3]: 1 where a predator, a stag, a hare stands.
        caption: One line of text above the board.

    Returns:
        [height, width, 3] uint8, the longer side of the board about 480 pixels.

    Raises:
        ImportError: Pillow is not installed.
    """
    rows, columns = grid.shape[:2]
    cell = max(4, PICTURE_SIZE // max(rows, columns))
    image, draw = blank(rows * cell + 1, columns * cell + 1, caption)
    bottom = CAPTION_HEIGHT + rows * cell
    for row in range(rows + 1):
        draw.line((0, CAPTION_HEIGHT + row * cell, columns * cell, CAPTION_HEIGHT + row * cell), fill=GRID_LINE)
    for column in range(columns + 1):
        draw.line((column * cell, CAPTION_HEIGHT, column * cell, bottom), fill=GRID_LINE)
    # Prey last: where both stand in one cell, the smaller shape stays visible on the disc.
    for channel, shape in enumerate((_disc, _diamond, _triangle)):
        for row, column in np.argwhere(grid[:, :, channel]).tolist():
            shape(draw, column * cell, CAPTION_HEIGHT + row * cell, cell)
    return as_array(image)


def _disc(draw: Any, x: int, y: int, cell: int) -> None:
    gap = max(1, cell // 8)
    draw.ellipse((x + gap, y + gap, x + cell - gap, y + cell - gap), fill=BLUE, outline=INK)


def _diamond(draw: Any, x: int, y: int, cell: int) -> None:
    gap, half = max(1, cell // 10), cell / 2
    points = [
        (x + half, y + gap),
        (x + cell - gap, y + half),
        (x + half, y + cell - gap),
        (x + gap, y + half),
    ]
    draw.polygon(points, fill=ORANGE, outline=INK)


def _triangle(draw: Any, x: int, y: int, cell: int) -> None:
    gap, half = max(1, cell // 6), cell / 2
    points = [(x + half, y + gap), (x + cell - gap, y + cell - gap), (x + gap, y + cell - gap)]
    draw.polygon(points, fill=GREEN, outline=INK)
