"""Who of those that want to go forward does, where robots are in each other's way.

The rules are rware's, which it applies to a graph of cells, an edge from each robot's cell to the one it wants (a robot that
stays: to its own). From every cell at most one edge leads away, so that each connected part of the graph is one of

* a tree whose root is an empty cell: the robots on the longest path to the root go, all others of it stay;
* trees that lead to a robot that stays: nobody goes;
* trees that lead to a ring: of two robots, that would change places, nobody goes; of three and more, those of the ring.

So the outcome follows from two numbers of each robot: where its way ends, and how long the longest queue behind it is. Both
are found for all robots of all games at once. Where two queues of one length want one cell, rware's choice is an accident
of networkx's sets of cells; :mod:`rllib_reborn.envs.rware.ties` repeats it, for these games alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
#: ``choose(tied)``: of robots [k] with one target and queues of one length, the one that goes.
Choose = Callable[[IntArray], int]


def resolve(
    movers: IntArray, targets: IntArray, blockers: IntArray, n_agents: int, nobody: int, choose: Choose
) -> IntArray:
    """Which robots go.

    Args:
        movers: [k] numbers in 0..nobody-1 of the robots that want to go, ascending, those of all games. Cells of two games
            are never the same.
        targets: [k] the cells they want, numbered through all games; never their own.
        blockers: [k] who stands there; ``nobody`` where it is empty.
        n_agents: Robots of a game, at least as many as can stand in a row.
        nobody: The number of no robot.
        choose: Called for each tie on which something depends.

    Returns:
        [m] those of ``movers`` that go, ascending.
    """
    blocker = np.arange(nobody + 1)  # who stays is in its own way
    blocker[movers] = blockers
    # After at least n_agents steps from blocker to blocker a way is at its end, or on a ring.
    end = blocker
    for _ in range(int(n_agents).bit_length()):
        end = end[end]
    ends = end[movers]
    goes = np.zeros(nobody + 1, np.bool_)
    in_tree = ends == nobody
    if np.count_nonzero(in_tree) < len(movers):
        # Exactly those of rings (and who stays) are the end of somebody's way.
        is_end = np.zeros(nobody + 1, np.bool_)
        is_end[end] = True
        in_ring = movers[is_end[movers]]
        goes[in_ring[blocker[blocker[in_ring]] != in_ring]] = True
        movers, targets = movers[in_tree], targets[in_tree]
    queue, longest = _queues(movers, blocker, nobody)
    first = _first(movers, targets, queue[movers], n_agents, choose)
    # Who is not the first for its cell stays, and so does everybody behind.
    goes[first] = True
    goes[nobody] = True
    for _ in range(longest):
        goes[first] &= goes[blocker[first]]
    return np.flatnonzero(goes[:nobody])


def _queues(movers: IntArray, blocker: IntArray, nobody: int) -> tuple[IntArray, int]:
    """[nobody + 1] how many robots stand in the longest queue behind each, and the largest of these; ``movers`` are those
    of trees."""
    queue = np.zeros(nobody + 1, np.intp)
    length, ahead = 0, movers
    while True:
        ahead = blocker[ahead]
        ahead = ahead[ahead < nobody]
        if not len(ahead):
            return queue, length
        length += 1
        queue[ahead] = length


def _first(movers: IntArray, targets: IntArray, queue: IntArray, n_agents: int, choose: Choose) -> IntArray:
    """Of those with one target, the one with the longest queue behind it."""
    rank = targets * (n_agents + 1) + queue
    order = np.argsort(rank, kind="stable")
    ordered = targets[order]
    last = np.ones(len(order), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=last[:-1])
    if np.count_nonzero(last) == len(last):
        return movers
    best = order[last]
    tied = np.flatnonzero(last[1:] & (rank[order[1:]] == rank[order[:-1]])) + 1
    if len(tied):
        place = {int(target): i for i, target in enumerate(targets[best])}
        for at in tied:
            among = np.flatnonzero(rank == rank[order[at]])
            best[place[int(ordered[at])]] = among[movers[among] == choose(movers[among])][0]
    return movers[best]
