"""The multi-robot warehouse, batch-native: B games stepped together as flat arrays.

Rules after rware 2.0.0; see :mod:`rllib_reborn.envs.rware.rules`. Robots of all games are one array, so that a step is a
few dozen operations whatever B is. Robots that are in each other's way are looked at again, all of them together
(:mod:`rllib_reborn.envs.rware.moves`); deliveries, which are rare, game by game.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.predator_prey.draws import start_cells
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.rware.board import REQUESTED, SHELF, Boards, BoolArray, IntArray
from rllib_reborn.envs.rware.moves import resolve
from rllib_reborn.envs.rware.rules import ACTION_NAMES, FORWARD, LEFT, RIGHT, STEPS, TOGGLE, WarehouseRules
from rllib_reborn.envs.rware.sight import WarehouseSight
from rllib_reborn.envs.rware.ties import first_in_order
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv, check_actions, checked_reset_mask

#: Directions in the order of a turn to the right: up, right, down, left.
_CLOCKWISE = (0, 3, 1, 2)
_HALF = np.uint64(32)


class Warehouse(VectorTeamEnv):
    """``num_envs`` games of the multi-robot warehouse.

    * Actions: noop, forward, left, right, toggle_load, all always allowed; with ``msg_bits`` m ``action * 2**m + message``.
    * Observation, uint8 (float32 with normalised coordinates): x, y, loaded, direction (one-hot), whether on a highway;
      then for each cell of the window, row by row: a robot there, its direction (one-hot; up where there is none), its
      message, a shelf there, whether it is requested. Or an image; see :class:`WarehouseRules`.
    * State: the observations of all robots in a row, or an image of the warehouse.
    * Reward: the sum of the robots'.
    * ``terminated``: ``max_inactivity_steps`` without a delivery. ``truncated``: the step limit is reached and the game has
      not terminated (never both). With ``compat`` the limit terminates too. There is no win.

    Random numbers: a reset draws H * W + n + S numbers of the game's stream, a delivery one.

    Args:
        rules: The rules.
        num_envs: Games stepped side by side, >= 1.
        seed: Seed of the random streams, as in :meth:`reset`; None starts from fresh entropy.

    Raises:
        ValueError: ``num_envs`` is not a whole number >= 1.

    >>> env = Warehouse(WarehouseRules(n_agents=3), num_envs=2, seed=0)
    >>> env.reset().obs.shape
    (2, 3, 71)
    """

    def __init__(self, rules: WarehouseRules, num_envs: int = 1, *, seed: int | Sequence[int] | None = None) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.rules = rules
        self.spec = rules.spec()
        self.num_envs = num_envs
        self._streams = RandomStreams(num_envs, seed)
        self._boards = Boards(rules, num_envs)
        self._sight = WarehouseSight(rules, self._boards)
        self._ready = False
        N = num_envs * rules.n_agents
        self._steps = np.zeros(num_envs, np.int64)
        self._idle_steps = np.zeros(num_envs, np.int64)
        #: [N] whether the shelf that a robot carries was delivered, and is to be put back (two_stage).
        self._delivered = np.zeros(N, np.bool_)
        #: [B * size] scratch memory: who wants a cell.
        self._wanted_by: IntArray = np.zeros(len(self._boards.agent_at), np.intp)
        self._turn = _turns()
        self._prize = (
            rules.n_agents if rules.reward_type == "global" else 0.5 if rules.reward_type == "two_stage" else 1.0
        )
        self._never_failed = np.zeros(num_envs, np.bool_)
        self._never_failed.flags.writeable = False

    # ---------------------------------------------------------------------------------------- the contract

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: BoolArray | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`. Robots start on distinct cells, with directions and requests, all uniformly at
        random; shelves in their places.

        Raises:
            ValueError: The mask has a wrong shape, or leaves out a game that was never started.
        """
        mask = checked_reset_mask(mask, self.num_envs, started=self._ready)
        if seed is not None:
            self._streams.seed(seed, mask)
        rules, boards, geometry = self.rules, self._boards, self._boards.geometry
        n, cells = rules.n_agents, len(geometry.cell_of)
        count = cells + n + boards.n_shelves
        bits = self._streams.bits(count) if mask is None else self._streams.bits_at(mask, count)
        games = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        agents = start_cells(bits[:, :cells].copy(), n).T
        directions = (bits[:, cells : cells + n] >> np.uint64(62)).astype(np.intp)
        requests = np.zeros((len(games), 0), np.intp)
        if rules.request_queue_size:
            requests = start_cells(bits[:, cells + n :].copy(), rules.request_queue_size).T + 1
        shelves = np.tile(geometry.place_of[geometry.shelves], (len(games), 1))
        boards.place(games, agents, directions, np.zeros_like(agents), shelves, requests)
        self._steps[games] = 0
        self._idle_steps[games] = 0
        self._delivered.reshape(self.num_envs, n)[games] = False
        self._sight.messages[:-2].reshape(self.num_envs, n, -1)[games] = 0
        self._ready = True
        self._sight.draw(None if mask is None else games)
        return self._sight.team_obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`. A game that is over and not reset plays on."""
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self._sight.team_obs.action_mask, self.num_envs)
        rules, boards = self.rules, self._boards
        chosen = actions.reshape(-1)
        if rules.msg_bits:
            shifts = np.arange(rules.msg_bits - 1, -1, -1)
            self._sight.messages[:-2] = (chosen[:, None] >> shifts) & 1
            chosen = chosen >> rules.msg_bits
        reward = np.zeros(self.num_envs)
        self._go(np.flatnonzero(chosen == FORWARD))
        boards.direction[:] = self._turn[chosen, boards.direction]
        self._toggle(np.flatnonzero(chosen == TOGGLE), reward)
        boards.agent_code[boards.cell] = boards.direction + 1
        self._idle_steps += 1
        self._deliver(reward)
        self._steps += 1
        self._sight.draw()

        terminated = np.zeros(self.num_envs, np.bool_)
        if rules.max_inactivity_steps is not None:
            terminated = self._idle_steps >= rules.max_inactivity_steps
        truncated = self._steps >= rules.max_steps
        if rules.compat:
            terminated, truncated = terminated | truncated, np.zeros(self.num_envs, np.bool_)
        else:
            truncated &= ~terminated
        info = {"failed": self._never_failed}
        return TeamStep(self._sight.team_obs, reward.astype(np.float32), terminated, truncated, info)

    def get_state(self) -> dict[str, Any]:
        """All that decides the future.

        Returns:
            ``agents`` [B, n] int32, ``y * width + x`` of every robot; ``directions`` [B, n] 0..3 (up, down, left, right);
            ``carried`` [B, n], the number 1..S of the shelf that it carries, 0 for none; ``shelves`` [B, S], the places of
            shelves 1..S; ``requests`` [B, Q], those that are requested; ``delivered`` [B, n] bool, whether what it carries
            was delivered; ``messages`` [B, n, m]; ``steps`` and ``idle_steps`` [B] int64, steps played, and since the last
            delivery; ``streams``, the random streams; ``ready``, whether the games were started.
        """
        rules = self.rules
        shape = (self.num_envs, rules.n_agents)
        return {
            **self._boards.places(),
            "delivered": self._delivered.reshape(shape).copy(),
            "messages": self._sight.messages[:-2].reshape(*shape, rules.msg_bits).copy(),
            "steps": self._steps.copy(),
            "idle_steps": self._idle_steps.copy(),
            "streams": self._streams.get_state(),
            "ready": self._ready,
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is of other rules or another number of games, or puts two where one can be.
        """
        ready = bool(state["ready"])
        places = {name: np.asarray(state[name]) for name in ("agents", "directions", "carried", "shelves", "requests")}
        if ready:
            self._check(places)
        self._streams.set_state(state["streams"])
        self._steps[:] = state["steps"]
        self._idle_steps[:] = state["idle_steps"]
        self._ready = ready
        if ready:
            self._boards.place(np.arange(self.num_envs), **places)
            self._delivered[:] = np.asarray(state["delivered"]).reshape(-1)
            self._sight.messages[:-2] = np.asarray(state["messages"]).reshape(len(self._delivered), -1)
            self._sight.draw()
        return self._sight.team_obs

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index``, [height, width, 3] uint8, about 480 pixels a side. Needs Pillow."""
        from rllib_reborn.envs.rware.drawing import draw_warehouse

        places = {name: array[index] for name, array in self._boards.places().items()}
        caption = f"step {self._steps[index]} / {self.rules.max_steps}   idle {self._idle_steps[index]}"
        return draw_warehouse(self.rules.plan, places, caption)

    # ------------------------------------------------------------------------------------- phases of a step

    def _go(self, forward: IntArray) -> None:
        """Move those robots of ``forward`` that can go, and what they carry."""
        boards = self._boards
        targets = boards.cell[forward] + boards.geometry.step[boards.direction[forward]]
        blockers = boards.agent_at[targets]
        # A loaded robot does not go where a shelf is, unless somebody is about to carry that away.
        free = ~boards.loaded[forward] | (boards.shelf_code[targets] == 0) | boards.loaded[blockers]
        free &= blockers != boards.wall
        if np.count_nonzero(free) < len(free):
            forward, targets, blockers = forward[free], targets[free], blockers[free]
        self._wanted_by[targets] = forward
        in_the_way = np.count_nonzero(blockers < boards.nobody) or np.count_nonzero(self._wanted_by[targets] != forward)
        if in_the_way:
            choices = _Ties(boards, forward, targets)
            goes = resolve(forward, targets, blockers, boards.n_agents, boards.nobody, choices.choose)
            targets = targets[np.searchsorted(forward, goes)]
            forward = goes
        old = boards.cell[forward]
        boards.agent_at[old] = boards.nobody
        boards.agent_code[old] = 0
        boards.agent_at[targets] = forward
        boards.cell[forward] = targets  # the codes there follow when all directions are known
        loaded = boards.loaded[forward]
        if np.count_nonzero(loaded):
            old, new = old[loaded], targets[loaded]
            shelves, codes = boards.shelf_at[old], boards.shelf_code[old]
            boards.shelf_at[old] = 0
            boards.shelf_code[old] = 0
            boards.shelf_at[new] = shelves
            boards.shelf_code[new] = codes
            boards.shelf_cell[shelves] = new

    def _toggle(self, agents: IntArray, reward: npt.NDArray[np.float64]) -> None:
        """Take up and put down shelves; ``reward`` [B] is added to."""
        boards = self._boards
        cell, loaded = boards.cell[agents], boards.loaded[agents]
        puts = loaded & ~boards.highway[cell]
        carried = np.where(loaded, boards.carried[agents], boards.shelf_at[cell])
        carried[puts] = 0
        boards.carried[agents] = carried
        boards.loaded[agents] = carried > 0
        if self.rules.reward_type == "two_stage":
            back = agents[puts]
            back = back[self._delivered[back]]
            if len(back):
                np.add.at(reward, back // self.rules.n_agents, self._prize)
                self._delivered[back] = False

    def _deliver(self, reward: npt.NDArray[np.float64]) -> None:
        """Deliver requested shelves that are on goals, in the order of the goals, and request others; ``reward`` [B] is
        added to."""
        boards = self._boards
        waiting = (boards.shelf_code[boards.goals] == REQUESTED).any(axis=1)
        if not np.count_nonzero(waiting):
            return
        self._idle_steps[waiting] = 0
        for goal in range(boards.goals.shape[1]):
            # A shelf on a later goal may be the one that is requested now.
            cells = boards.goals[:, goal]
            games = np.flatnonzero(boards.shelf_code[cells] == REQUESTED)
            if not len(games):
                continue
            reward[games] += self._prize
            if self.rules.reward_type == "two_stage":
                self._delivered[boards.agent_at[cells[games]]] = True
            self._request_others(games, boards.shelf_at[cells[games]])

    def _request_others(self, games: IntArray, shelves: IntArray) -> None:
        """In each of ``games`` [k] request another shelf in place of ``shelves`` [k], uniformly among those that are not
        requested."""
        boards = self._boards
        mask = np.zeros(self.num_envs, np.bool_)
        mask[games] = True
        choices = boards.n_shelves - self.rules.request_queue_size
        ranks = ((self._streams.bits_at(mask, 1)[:, 0] >> _HALF) * np.uint64(choices)) >> _HALF
        for game, shelf, rank in zip(games, shelves, ranks):
            own = boards.shelf_cell[boards.shelf_first[game] + 1 : boards.shelf_first[game] + 1 + boards.n_shelves]
            others = np.flatnonzero(boards.shelf_code[own] != REQUESTED)
            new = boards.shelf_first[game] + 1 + others[int(rank)]
            boards.shelf_code[boards.shelf_cell[shelf]] = SHELF
            boards.shelf_code[boards.shelf_cell[new]] = REQUESTED
            boards.requests[game, boards.requests[game] == shelf] = new

    # -------------------------------------------------------------------------------------------- restoring

    def _check(self, places: dict[str, npt.NDArray[Any]]) -> None:
        """Raise ValueError unless :meth:`get_state`'s arrays are possible."""
        rules, boards = self.rules, self._boards
        cells, shelves, B = len(boards.geometry.cell_of), boards.n_shelves, self.num_envs
        for name, columns, low, high in (
            ("agents", rules.n_agents, 0, cells - 1),
            ("directions", rules.n_agents, 0, len(STEPS) - 1),
            ("carried", rules.n_agents, 0, shelves),
            ("shelves", shelves, 0, cells - 1),
            ("requests", rules.request_queue_size, 1, shelves),
        ):
            array = places[name]
            if array.shape != (B, columns):
                raise ValueError(f"state has {name} of shape {array.shape}; expected {(B, columns)}.")
            if array.size and not low <= array.min() <= array.max() <= high:
                raise ValueError(f"state has {name} outside {low}..{high}; it is of other rules.")
            if name != "directions":
                ordered = np.sort(array, axis=1)
                if ((ordered[:, 1:] == ordered[:, :-1]) & ((ordered[:, 1:] > 0) | (name != "carried"))).any():
                    raise ValueError(f"state has one of {name} twice; expected different ones.")
        carrier = places["carried"] > 0
        game = np.nonzero(carrier)[0]
        if (places["shelves"][game, places["carried"][carrier] - 1] != places["agents"][carrier]).any():
            raise ValueError(
                "state has a robot that carries a shelf from elsewhere; expected it on the robot's own cell."
            )
        standing = boards.geometry.highway[boards.geometry.cell_of[places["shelves"]]]
        standing[game, places["carried"][carrier] - 1] = False
        if standing.any():
            raise ValueError("state has a shelf that nobody carries on a highway; expected it on a place for shelves.")


class _Ties:
    """Who goes first of robots with queues of one length, as :data:`rllib_reborn.envs.rware.moves.Choose` asks."""

    def __init__(self, boards: Boards, movers: IntArray, targets: IntArray) -> None:
        self._boards, self._movers, self._targets = boards, movers, targets

    def choose(self, tied: IntArray) -> int:
        boards, n = self._boards, self._boards.n_agents
        game = int(tied[0]) // n
        begin, end = np.searchsorted(self._movers, (game * n, (game + 1) * n))
        wanted = boards.cell[game * n : (game + 1) * n].copy()
        wanted[self._movers[begin:end] - game * n] = self._targets[begin:end]
        starts = self._cells_of(game, boards.cell[game * n : (game + 1) * n])
        among = [int(robot) - game * n for robot in tied]
        return first_in_order(starts, self._cells_of(game, wanted), among) + game * n

    def _cells_of(self, game: int, cells: IntArray) -> list[tuple[int, int]]:
        """(x, y) of ``cells``."""
        geometry = self._boards.geometry
        y, x = np.divmod(geometry.place_of[cells - self._boards.first[game]], geometry.width)
        return list(zip(x.tolist(), y.tolist()))


def _turns() -> IntArray:
    """[A, 4] the direction after an action."""
    table = np.tile(np.arange(len(STEPS)), (len(ACTION_NAMES), 1))
    for i, direction in enumerate(_CLOCKWISE):
        table[RIGHT, direction] = _CLOCKWISE[(i + 1) % len(STEPS)]
        table[LEFT, direction] = _CLOCKWISE[i - 1]
    return table
