"""The boards of all games as flat arrays, and tables of one board's shape.

A board is the warehouse amid ``pad`` cells of wall to each side, at least as many as a robot sees, so that neither moves nor
windows need a check for edges. Cells are numbered through the boards of all games, one after the other.

Robots are numbered through all games (game g has ``g * n .. g * n + n - 1``), as are shelves (shelf k = 1..S of game g is
``g * (S + 1) + k``; ``g * (S + 1)`` is no shelf).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.rware.rules import STEPS, WarehouseRules

IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

#: What ``Boards.shelf_code`` holds where a shelf stands or is carried, and where it is a requested one.
SHELF, REQUESTED = 1, 2


class Geometry:
    """The tables of one board.

    Attributes:
        height, width: Rows and columns of the warehouse.
        pad: Cells of wall around it.
        pitch: Cells of a row, walls included.
        size: Cells of a board, walls included.
        cell_of: [H * W] cell of place ``y * W + x``.
        place_of: [size], the inverse; -1 for walls.
        step: [4] what a step up, down, left, right adds to a cell.
        highway: [size] bool.
        goals: [G] cells of the goals, in the order in which they are served.
        shelves: [S] cells of the shelves at the start.
    """

    def __init__(self, rules: WarehouseRules) -> None:
        plan = rules.plan
        self.height, self.width = plan.height, plan.width
        self.pad = max(1, rules.sensor_range)
        self.pitch = self.width + 2 * self.pad
        self.size = (self.height + 2 * self.pad) * self.pitch
        y, x = np.divmod(np.arange(self.height * self.width), self.width)
        self.cell_of: IntArray = (y + self.pad) * self.pitch + x + self.pad
        self.place_of: IntArray = np.full(self.size, -1, np.intp)
        self.place_of[self.cell_of] = np.arange(self.height * self.width)
        self.step: IntArray = np.array([down * self.pitch + right for down, right in STEPS])
        self.highway: BoolArray = np.zeros(self.size, np.bool_)
        self.highway[self.cell_of] = plan.highway.reshape(-1)
        self.goals: IntArray = self.cell_of[[y * self.width + x for y, x in plan.goals]]
        self.shelves: IntArray = self.cell_of[plan.shelves]


class Boards:
    """Where everything is, in B games.

    Args:
        rules: The rules.
        num_envs: Games, B.

    Attributes:
        first: [B] the first cell of each board.
        agent_first: [B * n] the same for each robot.
        cell: [B * n] where each robot is.
        direction: [B * n] 0..3.
        carried: [B * n] the shelf that each carries, 0 for none.
        loaded: [B * n + 2] bool, the same; never ``nobody`` and ``wall``.
        agent_at: [B * size] the robot on each cell; ``nobody``, or ``wall``.
        agent_code: [B * size] its direction plus 1, 0 where there is none.
        shelf_at: [B * size] the shelf on each cell, standing or carried; 0 for none.
        shelf_code: [B * size] 0, :data:`SHELF` or :data:`REQUESTED`.
        shelf_cell: [B * (S + 1)] where each shelf is.
        requests: [B, Q] the requested shelves.
    """

    def __init__(self, rules: WarehouseRules, num_envs: int) -> None:
        self.geometry = Geometry(rules)
        n, B, size = rules.n_agents, num_envs, self.geometry.size
        self.n_agents, self.n_shelves = n, len(self.geometry.shelves)
        self.nobody, self.wall = B * n, B * n + 1
        self.first: IntArray = np.arange(B) * size
        self.agent_first: IntArray = np.repeat(self.first, n)
        self.shelf_first: IntArray = np.arange(B) * (self.n_shelves + 1)
        self.highway = np.tile(self.geometry.highway, B)
        self.goals: IntArray = self.first[:, None] + self.geometry.goals

        self.cell: IntArray = np.zeros(B * n, np.intp)
        self.direction: IntArray = np.zeros(B * n, np.intp)
        self.carried: IntArray = np.zeros(B * n, np.intp)
        self.loaded: BoolArray = np.zeros(B * n + 2, np.bool_)
        self.agent_at: IntArray = np.full(B * size, self.wall, np.intp)
        self.agent_code: ByteArray = np.zeros(B * size, np.uint8)
        self.shelf_at: IntArray = np.zeros(B * size, np.intp)
        self.shelf_code: ByteArray = np.zeros(B * size, np.uint8)
        self.shelf_cell: IntArray = np.zeros(B * (self.n_shelves + 1), np.intp)
        self.requests: IntArray = np.zeros((B, rules.request_queue_size), np.intp)

    def place(
        self,
        games: IntArray,
        agents: npt.NDArray[np.integer],
        directions: npt.NDArray[np.integer],
        carried: npt.NDArray[np.integer],
        shelves: npt.NDArray[np.integer],
        requests: npt.NDArray[np.integer],
    ) -> None:
        """Set up the boards of ``games`` [k].

        Args:
            games: Their numbers.
            agents: [k, n] places ``y * W + x`` of the robots.
            directions: [k, n] 0..3.
            carried: [k, n] shelves 1..S that they carry, 0 for none.
            shelves: [k, S] places of the shelves 1..S.
            requests: [k, Q] requested shelves 1..S.
        """
        geometry, n = self.geometry, self.n_agents
        at = (games[:, None] * n + np.arange(n)).reshape(-1)
        cells = (geometry.cell_of[agents] + self.first[games, None]).reshape(-1)
        own = self.shelf_first[games, None]
        self.cell[at] = cells
        self.direction[at] = directions.reshape(-1)
        self.carried[at] = np.where(carried > 0, own + carried, 0).reshape(-1)
        self.loaded[at] = carried.reshape(-1) > 0

        agent_at = self.agent_at.reshape(-1, geometry.size)
        agent_at[games[:, None], geometry.cell_of] = self.nobody
        self.agent_at[cells] = at
        self.agent_code.reshape(-1, geometry.size)[games] = 0
        self.shelf_at.reshape(-1, geometry.size)[games] = 0
        self.shelf_code.reshape(-1, geometry.size)[games] = 0
        shelf_cells = geometry.cell_of[shelves] + self.first[games, None]
        numbers = own + np.arange(1, self.n_shelves + 1)
        self.shelf_cell[numbers] = shelf_cells
        self.shelf_at[shelf_cells] = numbers
        self.shelf_code[shelf_cells] = SHELF
        self.requests[games] = own + requests
        self.shelf_code[self.shelf_cell[self.requests[games]]] = REQUESTED
        self.agent_code[cells] = self.direction[at] + 1

    def places(self) -> dict[str, npt.NDArray[np.int32]]:
        """What :meth:`place` takes, for all games."""
        B, n = len(self.first), self.n_agents
        place_of, own = self.geometry.place_of, self.shelf_first[:, None]
        shelves = self.shelf_cell.reshape(B, -1)[:, 1:] - self.first[:, None]
        carried = self.carried.reshape(B, n)
        arrays = {
            "agents": place_of[(self.cell - self.agent_first).reshape(B, n)],
            "directions": self.direction.reshape(B, n),
            "carried": np.where(carried > 0, carried - own, 0),
            "shelves": place_of[shelves],
            "requests": self.requests - own,
        }
        return {name: np.ascontiguousarray(array, np.int32) for name, array in arrays.items()}
