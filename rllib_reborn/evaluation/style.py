"""The look that all figures share, and how one is written to disk. Matplotlib is imported late."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import platform
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn._version import __version__
from rllib_reborn.evaluation.charts import Chart

# Okabe and Ito, "Color universal design" (2008), darkest contrast first. Its yellow is left out: it cannot be
# read as text on white, and lines are labelled in their colour. Black and grey stay free for text and
# references.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# By shape too, for those who print in grey or do not see the colours.
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)))
REFERENCE_COLOUR = "#6B6B6B"
# Of maps, from small to large: Matplotlib's cividis (Nuñez, Anderton and Renslow 2018), which those who see no red or green
# read as others do, at nine equal distances.
HEAT_COLOURS = ("#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838")
_TEXT_COLOUR = "#222222"
# Characters of a line of a label: the first with which all labels of a figure fit beside its axes.
_LABEL_WIDTHS = (26, 40, 60)
# Points that a letter of a heading takes on average.
_NOTE_LETTER, _TITLE_LETTER = 4.9, 8.6
_NO_BREAK = "\x00"  # textwrap takes no-break spaces for letters, but a label may hold them; it holds no null
# Fixed, so that the same runs give the same bytes.
_DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with Matplotlib, so every machine draws the same
    "font.size": 10,
    "text.color": _TEXT_COLOUR,
    "axes.labelcolor": _TEXT_COLOUR,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclasses.dataclass(frozen=True)
class FigureSpec:
    """A figure before it is drawn.

    Attributes:
        stem: File name without its ending.
        title: Set above the figure.
        note: One line under the title: what the marks are.
        caption: Full sentences for the text file and the report.
        table: The rows that are drawn; nothing else is.
        draw: Draws this object, and returns a Matplotlib figure.
        chart: What is drawn, for the HTML page.
    """

    stem: str
    title: str
    note: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[FigureSpec], Any]
    chart: Chart


@dataclasses.dataclass(frozen=True)
class FigureFiles:
    """What :func:`save_figure` wrote."""

    title: str
    caption: str
    png: Path
    pdf: Path
    csv: Path
    txt: Path


def line_style(position: int) -> dict[str, Any]:
    """Colour and dashes of the group at a position; dashes change when the colours begin again."""
    dashes = _DASHES[position // len(PALETTE) % len(_DASHES)]
    return {"color": PALETTE[position % len(PALETTE)], "linestyle": dashes}


def marker_style(position: int) -> dict[str, Any]:
    """Marker of the group at a position."""
    shape = _MARKERS[position % len(_MARKERS)]
    return {"marker": shape, "markersize": 3.5 if shape in "sD" else 4.5 if shape in "^vP" else 4.0}


def heat_colours() -> Any:
    """:data:`HEAT_COLOURS` as Matplotlib's colour map."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", HEAT_COLOURS)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, list[Any]]:
    """A figure in inches with its axes in reading order, without pyplot: no global state and no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(np.asarray(axes).ravel())


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` characters, broken at spaces, after ``_`` and ``/``, and in a word that is longer still."""
    lines = [""]
    for part in re.findall(r"[^\s_/]*[_/]|[^\s_/]+|\s+", text):
        pieces = [part[i : i + width] for i in range(0, len(part), width)]
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def heading(axes: Any, title: str, note: str, *, above: float = 12) -> None:
    """Title and note, ``above`` points over the axes and aligned with their left edge, within the figure's width."""
    room = (0.98 - axes.get_position().x0) * axes.figure.get_figwidth() * 72
    lines = textwrap.wrap(note, max(30, int(room / _NOTE_LETTER)), break_on_hyphens=False)
    titles = wrapped(title, max(20, int(room / _TITLE_LETTER)))
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    top = above + 13 * len(lines) + 4
    axes.annotate("\n".join(titles), (0, 1), (0, top), fontsize=13, fontweight="bold", linespacing=1.2, **place)
    axes.annotate("\n".join(lines), (0, 1), (0, above), fontsize=9, color="#555555", linespacing=1.3, **place)


def steps_axis(axes: Any, last: float) -> None:
    """Env steps along x, written 20k and 1.5M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlim(0, 1.012 * last if last > 0 else 1)  # room for the last marker
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps")


def direct_labels(axes: Any, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names lines at their right ends, in their colours, moved apart where they would overlap.

    Args:
        axes: Axes whose limits are final.
        ends: ``(text, y in data coordinates, colour)`` per line.
    """
    low, high = axes.get_ylim()
    points = axes.get_position().height * axes.figure.get_figheight() * 72
    line = 12.5 / points  # height of one line of text, as a share of the axes
    for width in _LABEL_WIDTHS:
        texts = [_label_lines(text, width) for text, _, _ in ends]
        if sum(line * len(lines) + 0.25 * line for lines in texts) <= 1:
            break
    wanted = [(y - low) / (high - low) if high > low else 0.5 for _, y, _ in ends]
    placed = _apart(wanted, [line * len(lines) + 0.25 * line for lines in texts])
    for lines, (_, y, colour), position in zip(texts, ends, placed):
        axes.annotate(
            "\n".join(lines),
            (1, y),
            (1.025, position),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.7,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def save_figure(spec: FigureSpec, folder: Path, command: str | None) -> FigureFiles:
    """Writes ``<stem>.png``, ``.pdf``, ``.csv`` (the rows drawn) and ``.txt`` (caption and command)."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    folder.mkdir(parents=True, exist_ok=True)
    paths = {ending: folder / f"{spec.stem}.{ending}" for ending in ("png", "pdf", "csv", "txt")}
    with matplotlib.rc_context(_RC):
        figure = spec.draw(spec)
        # Measured once for both files; bbox_inches="tight" would draw the whole figure again for each.
        area = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(0.1)
        figure.savefig(paths["png"], dpi=160, bbox_inches=area, metadata={"Software": f"rllib_reborn {__version__}"})
        figure.savefig(
            paths["pdf"],
            bbox_inches=area,
            metadata={"Title": spec.title, "CreationDate": _DATE, "ModDate": _DATE},
        )
    spec.table.to_csv(paths["csv"], index=False, lineterminator="\n")
    versions = f"rllib_reborn {__version__}, Matplotlib {matplotlib.__version__}, Python {platform.python_version()}"
    lines = [spec.title, "", *textwrap.wrap(spec.caption, 100), ""]
    lines += [
        f"Data: {paths['csv'].name}",
        f"Command: {command or 'not given'}",
        f"Drawn with: {versions}",
        "",
    ]
    paths["txt"].write_text("\n".join(lines), encoding="utf-8")
    return FigureFiles(spec.title, spec.caption, paths["png"], paths["pdf"], paths["csv"], paths["txt"])


def _label_lines(text: str, width: int) -> list[str]:
    """Lines of a label; what follows the last comma outside brackets, the number of seeds, is not torn apart."""
    name, comma, rest = text.rpartition(", ")
    if comma and ")" not in rest:
        text = f"{name}, {rest.replace(' ', _NO_BREAK)}"
    return [line.replace(_NO_BREAK, " ") for line in wrapped(text, width)]


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres near the wanted ones (shares of an axis) that keep their order and do not overlap."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = list(wanted)
    for below, above in itertools.pairwise(order):
        placed[above] = max(placed[above], placed[below] + (heights[below] + heights[above]) / 2)
    if order:
        # Pushing upwards can leave the axis at its top; from there labels are pushed down again.
        top = order[-1]
        excess = placed[top] + heights[top] / 2 - 1
        if excess > 0:
            placed[top] -= excess
            for above, below in itertools.pairwise(order[::-1]):
                placed[below] = min(placed[below], placed[above] - (heights[above] + heights[below]) / 2)
    return placed
