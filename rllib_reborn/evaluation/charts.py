"""What a figure shows, in data: enough for the HTML page to draw a figure's table as its PNG does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

#: ``curves``: lines with bands. ``final``: a row a group. ``settings``: a panel for every setting of a sweep. ``map``: two
#: settings against each other. ``layers``: layers against env steps.
Kind = Literal["curves", "final", "settings", "map", "layers"]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A level line across a panel.

    Attributes:
        height: Where, in the values of the y axis.
        name: What it says.
        dashes: ``dashed`` or ``dotted``.
    """

    height: float
    name: str
    dashes: Literal["dashed", "dotted"] = "dashed"


@dataclasses.dataclass(frozen=True)
class ChartPanel:
    """One panel: the rows of the figure's table whose ``column`` is ``value``.

    Attributes:
        title: What is written above it.
        column, value: Which rows; an empty ``column``: all.
        limits: Fixed range of the y axis; ``None``: that of the data.
        logarithmic: Whether the y axis is.
        beside: Value of ``column`` of the rows that are drawn beside these, weaker.
        references: Level lines.
    """

    title: str = ""
    column: str = ""
    value: str = ""
    limits: tuple[float, float] | None = None
    logarithmic: bool = False
    beside: str = ""
    references: tuple[Reference, ...] = ()


@dataclasses.dataclass(frozen=True)
class Chart:
    """The declaration of a figure.

    Attributes:
        name: Of all figures of its sort, such as ``return``.
        kind: See :data:`Kind`.
        labels: Groups in the order that decides their colours.
        panels: In reading order.
        x, y: Columns of the table.
        x_title, y_title: Of the axes.
        percent: Whether the y axis is written in percent.
        steps: Whether a line keeps its value up to the next point.
        beside: How rows beside those of a panel are drawn.
        rows, columns: Of ``map``: the values along its sides, whose names are ``y`` and ``x``.
        listed: Of ``settings``: those whose values lie at equal distances; the others lie along an axis of numbers.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    panels: tuple[ChartPanel, ...]
    x: str = "env_steps"
    y: str = "value"
    x_title: str = "environment steps"
    y_title: str = ""
    percent: bool = False
    steps: bool = False
    beside: Literal["faint", "dotted"] = "faint"
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()


def panel_columns(panels: Sequence[object] | int, most: int = 3) -> int:
    """Panels side by side, so that the last row never holds a lone one: 3 of 3 or 5, 2 of 4, 4 of 7.

    Args:
        panels: The panels, or their number, ``>= 1``.
        most: Side by side at most, ``>= 2``; up to two more where a lone panel would be left otherwise.
    """
    count = panels if isinstance(panels, int) else len(panels)
    if count <= most:
        return max(1, count)
    # As few holes as can be; of equals the narrower, whose panels can be larger.
    fitting = [columns for columns in range(2, most + 3) if count % columns != 1]
    return min(fitting or [most], key=lambda columns: (columns > most, -count % columns, columns))
