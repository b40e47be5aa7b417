"""Pictures of the warehouse: shelves are squares, orange where they are requested; goals have a frame; robots are discs with
a line to where they look, red and with a square on them where they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
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
    VERMILION,
    as_array,
    blank,
)
from rllib_reborn.envs.rware.floor_plan import FloorPlan
from rllib_reborn.envs.rware.rules import STEPS

_STANDING = (200, 196, 186)


def draw_warehouse(
    plan: FloorPlan, places: Mapping[str, npt.NDArray[np.integer[Any]]], caption: str
) -> npt.NDArray[np.uint8]:
    """Draw one warehouse.

    Args:
        plan: Its corridors and goals.
        places: One game of :meth:`~rllib_reborn.envs.rware.board.Boards.places`.
        caption: One line of text above.

    Returns:
        [height, width, 3] uint8: the warehouse in the middle of a square of about 480 pixels.

    Raises:
        ImportError: Pillow is not installed.
    """
    cell = max(4, PICTURE_SIZE // max(plan.height, plan.width))
    rows, columns = plan.height * cell, plan.width * cell
    side = max(PICTURE_SIZE, rows, columns)
    image, draw = blank(side + 1, side + 1, caption)
    left, top = (side - columns) // 2, CAPTION_HEIGHT + (side - rows) // 2

    def corner(y: int, x: int) -> tuple[int, int]:
        return left + x * cell, top + y * cell

    for row in range(plan.height + 1):
        draw.line((*corner(row, 0), *corner(row, plan.width)), fill=GRID_LINE)
    for column in range(plan.width + 1):
        draw.line((*corner(0, column), *corner(plan.height, column)), fill=GRID_LINE)
    gap = max(1, cell // 10)
    for goal in plan.goals:
        _square(draw, *corner(*goal), cell, 1, None, GREEN, 3)
    requested = set(places["requests"].tolist())
    for number, place in enumerate(places["shelves"].tolist(), start=1):
        fill = ORANGE if number in requested else _STANDING
        _square(draw, *corner(*divmod(place, plan.width)), cell, gap, fill, INK, 1)
    robots = zip(places["agents"].tolist(), places["directions"].tolist(), places["carried"].tolist())
    for place, direction, carried in robots:
        _robot(draw, *corner(*divmod(place, plan.width)), cell, STEPS[direction], loaded=carried > 0)
    return as_array(image)


def _square(draw: Any, x: int, y: int, cell: int, gap: int, fill: Any, outline: Any, width: int) -> None:
    draw.rectangle((x + gap, y + gap, x + cell - gap, y + cell - gap), fill=fill, outline=outline, width=width)


def _robot(draw: Any, x: int, y: int, cell: int, ahead: tuple[int, int], *, loaded: bool) -> None:
    # Small enough that the shelf above or below it stays visible.
    gap, half = max(1, cell // 4), cell / 2
    colour = VERMILION if loaded else BLUE
    draw.ellipse((x + gap, y + gap, x + cell - gap, y + cell - gap), fill=colour, outline=INK)
    if loaded:
        inner = max(2, cell * 2 // 5)
        _square(draw, x, y, cell, inner, INK, INK, 1)
    down, right = ahead
    tip = (x + half + right * half * 0.9, y + half + down * half * 0.9)
    draw.line((x + half, y + half, *tip), fill=INK, width=max(1, cell // 12))
