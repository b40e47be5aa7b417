"""Which of several robots goes first where rware's rules leave it open.

rware asks networkx for the longest path to the empty cell that all want. Of paths of one length that is the one whose cell
comes first in a copy of the graph's part, and the copy's order is that of a set of cells (x, y) if the part has less than
half of the graph's cells, else the order in which cells came into the graph. To come to the same choice, the same set is
made here: a set's order follows from its elements and the order in which they came (CPython 3.8 and later, 64 bits).
"""

from __future__ import annotations

from collections.abc import Sequence

Cell = tuple[int, int]


def first_in_order(starts: Sequence[Cell], targets: Sequence[Cell], tied: Sequence[int]) -> int:
    """The robot that goes.

    Args:
        starts: Cells (x, y) of all robots of a game.
        targets: The cell that each wants; its own for those that stay, or cannot go because of a shelf or a wall.
        tied: Two and more robots with one target.

    Returns:
        One of ``tied``.

    >>> first_in_order([(0, 0), (2, 0)], [(1, 0), (1, 0)], [0, 1])
    0
    """
    # Cells in the order in which they come into the graph, and who is beside whom.
    leads_to: dict[Cell, list[Cell]] = {}
    comes_from: dict[Cell, list[Cell]] = {}
    for start, target in zip(starts, targets):
        for cell in (start, target):
            leads_to.setdefault(cell, [])
            comes_from.setdefault(cell, [])
        leads_to[start].append(target)
        comes_from[target].append(start)
    part = _part_with(targets[tied[0]], leads_to, comes_from)
    # networkx copies the part into a set cell by cell; copying it whole would give another order.
    cells = set(cell for cell in part)  # noqa: C401
    order = list(cells) if 2 * len(cells) < len(leads_to) else list(leads_to)
    rank = {cell: i for i, cell in enumerate(order)}
    return min(tied, key=lambda robot: rank[starts[robot]])


def _part_with(cell: Cell, leads_to: dict[Cell, list[Cell]], comes_from: dict[Cell, list[Cell]]) -> set[Cell]:
    """The connected part of the graph that holds ``cell``, grown level by level from its first cell in the graph."""
    known: set[Cell] = set()
    for source in leads_to:
        if source in known:
            continue
        part, level = {source}, [source]
        while level:
            ahead = []
            for one in level:
                for other in (*leads_to[one], *comes_from[one]):
                    if other not in part:
                        part.add(other)
                        ahead.append(other)
            level = ahead
        if cell in part:
            return part
        known |= part
    raise ValueError(f"no robot stands on the cell {cell} or wants it.")
