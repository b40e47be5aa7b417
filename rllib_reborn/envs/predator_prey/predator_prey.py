"""Predator-prey (stag hunt), batch-native: B games stepped together as flat arrays.

Rules after Boehmer et al., "Deep coordination graphs" (ICML 2020); see
:mod:`rllib_reborn.envs.predator_prey.rules`.

How a step can be sequential and fast. Predators and prey act one after the other, each seeing what the one
before did. So the step loops over the *places in the order* (first to act, second to act, ...) and does each
place for all B games at once. All that does not depend on the order is worked out before, for all places
together: where everybody stands and wants to go (nobody is moved by others), which prey are caught (catching
    depends on positions before any prey moves). What
is left in the loop are 2 array operations per predator and 7 per prey, on a grid of occupancy.

Array layout: E = n predators, then stags, then hares; ``[E, B]`` by entity, or by place in the order (called
"placed"). Cells are numbered through all B boards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.predator_prey.board import (
    CHOICE_REST,
    GATHER_LANES,
    GATHER_SHIFT,
    OCCUPANCY_DTYPE,
    BoardTables,
    BoolArray,
    IntArray,
)
from rllib_reborn.envs.predator_prey.draws import draw_order, order_tags, start_cells
from rllib_reborn.envs.predator_prey.rules import CATCH, N_CHANNELS, STAY, PredatorPreyRules
from rllib_reborn.envs.predator_prey.sight import Sight
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv, check_actions, checked_reset_mask


class _Catch(NamedTuple):
    """A step's captures."""

    caught: BoolArray  #: [m, B] placed, whether the prey is caught
    leaves_at: IntArray | None  #: [n, B] placed, with the prey of which place the predator leaves; m: stays


class PredatorPrey(VectorTeamEnv):
    """``num_envs`` games of predator-prey.

    * Actions: right, down, left, up, stay, catch. Off the grid, or catching with no prey beside one, is not
      available (DCG). A predator that has left (``capture_freezes``) can only stay.
    * Observation, uint8: the window around the predator, ``[2r+1, 2r+1, 3]`` flattened, with 1 where a
      predator (the agent itself included), stag or hare is; 0 off the grid; all 0 for a predator that has
      left. With ``observe_walls`` int8, and -1 in the first channel off the grid.
    * State, uint8: the whole grid, ``[height, width, 3]`` flattened, likewise.
    * Reward: time reward + rewards of the caught prey + punishments of the miscaught.
    * ``terminated``: all prey are caught, or no predator is left, or (``capture_ends_episode``) one prey was
      caught. ``truncated``: the step limit is reached and the game has not terminated (never both).
      ``info["won"]``: all prey are caught.

    Random numbers: a reset draws height * width numbers of the game's stream, a step one per entity (and one
    more per prey if any rest probability is above 0), whatever happens in the game.

    Args:
        rules: The rules, e.g. ``PRESETS["stag_hunt"]``.
        num_envs: Games stepped side by side, >= 1.
        seed: Seed of the random streams, as in :meth:`reset`; None starts from fresh entropy.

    Raises:
        ValueError: ``num_envs`` is not a whole number >= 1.

    >>> from rllib_reborn.envs.predator_prey.rules import PRESETS
    >>> env = PredatorPrey(PRESETS["stag_hunt"], num_envs=2, seed=0)
    >>> env.reset().obs.shape
    (2, 8, 75)
    """

    def __init__(self, rules: PredatorPreyRules, num_envs: int = 1, *, seed: int | Sequence[int] | None = None) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.rules = rules
        self.spec = rules.spec()
        self.num_envs = num_envs
        self._streams = RandomStreams(num_envs, seed)
        self._tables = BoardTables(rules)
        self._ready = False
        n, m, B = rules.n_predators, rules.n_prey, num_envs
        self._n, self._entities = n, n + m
        tables, size = self._tables, self._tables.size
        self._sight = Sight(rules, tables, B)

        # The games.
        self._boards: IntArray = np.arange(B) * size  # first cell of each board
        self._limbo: IntArray = self._boards + tables.limbo
        self._cells: IntArray = np.tile(self._limbo, (n + m, 1))
        self._gone: BoolArray = np.ones((n + m, B), np.bool_)
        self._away: IntArray = np.full((n, B), tables.limbo)  # from its cell to a predator's eyes: 0, or limbo
        self._predators_left: IntArray = np.zeros(B, np.intp)
        self._prey_left: IntArray = np.zeros(B, np.intp)
        self._steps = np.zeros(B, np.int64)
        # Who stands in a predator's way, and who in a prey's: the same grid, unless the two may share a cell.
        self._occupied_prey = np.tile(tables.occupancy, B)
        self._occupied = self._occupied_prey if rules.prey_block_predators else self._occupied_prey.copy()
        self._catchers = np.zeros(B * size, np.uint8)  # all 0 between steps

        # Per entity.
        kind = np.repeat(np.arange(N_CHANNELS), (n, rules.n_stags, rules.n_hares))
        self._tags = order_tags(n, m, B)
        self._needed = np.repeat(np.array([0, rules.catchers_stag, rules.catchers_hare], np.uint32)[kind], B)
        self._prize = np.repeat(np.array([0.0, rules.reward_stag, rules.reward_hare])[kind], B)
        self._rest = np.array([0.0, rules.rest_probability_stag, rules.rest_probability_hare])[kind[n:]]
        self._may_rest = max(rules.rest_probability_stag, rules.rest_probability_hare) > 0

        # Scratch memory of `step`; the lists are its rows, since slicing in the loop costs as much as the
        # arithmetic.
        self._move_cells: IntArray = np.zeros((n, 2, B), np.intp)  # from, to
        self._move_marks = np.ones((n, 2, B), OCCUPANCY_DTYPE)  # what is written there: blocked, 1
        self._move_rows = _rows(self._move_cells, self._move_marks)
        self._prey_cells: IntArray = np.zeros((m, 2, B), np.intp)  # from, to
        self._prey_marks = np.zeros((m, 2, B), OCCUPANCY_DTYPE)  # what is written there: 0, 1 (0 if caught)
        self._prey_marks[:, 1] = 1
        self._prey_rows = _rows(self._prey_cells, self._prey_marks)
        self._near: IntArray = np.zeros((m, B, 4), np.intp)
        self._near_who: IntArray = np.repeat(np.arange(m * B), 4).reshape(m, B, 4)
        self._near_step: IntArray = np.tile(tables.action_step[:4], (m, B, 1))
        self._near_or_own: IntArray = np.zeros((m, B, 5), np.intp)  # only on a torus
        self._near_taken = np.zeros((B, 4), OCCUPANCY_DTYPE)
        self._near_word = self._near_taken.view(np.uint64).reshape(B)
        self._word = np.zeros(B, np.uint64)
        self._lanes = np.full(B, GATHER_LANES, np.uint64)
        self._shift = np.full(B, GATHER_SHIFT, np.uint64)
        self._five: IntArray = np.arange(B) * 5
        self._prey_step = tables.prey_step if rules.toroidal else tables.action_step[tables.prey_step]
        self._never_failed = np.zeros(B, np.bool_)
        self._never_failed.flags.writeable = False

    # ---------------------------------------------------------------------------------------- the contract

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: BoolArray | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`. Predators and prey start on distinct cells, uniformly at random.

        Raises:
            ValueError: The mask has a wrong shape, or leaves out a game that was never started.
        """
        mask = checked_reset_mask(mask, self.num_envs, started=self._ready)
        if seed is not None:
            self._streams.seed(seed, mask)
        numbers = self.rules.height * self.rules.width
        bits = self._streams.bits(numbers) if mask is None else self._streams.bits_at(mask, numbers)
        games = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._steps[games] = 0
        self._place(games, start_cells(bits, self._entities))
        self._ready = True
        return self._sight.team_obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`. A game that is over and not reset plays on."""
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self._sight.team_obs.action_mask, self.num_envs)
        n = self._n
        who, choice = draw_order(self._streams.bits(self._entities), self._tags, n)
        placed = self._cells.reshape(-1)[who]
        placed_actions = actions.T.reshape(-1)[who[:n]]
        self._move_predators(placed[:n], placed_actions)
        self._find_neighbours(placed[n:])
        if self._may_rest:
            self._rest_prey(placed[n:], who[n:], choice)
        reward = np.full(self.num_envs, self.rules.time_reward)
        catch = self._catch(placed, who, placed_actions == CATCH, reward)
        if catch is None:
            self._move_prey(placed[n:], choice, {})
        else:
            # The caught move too, but leave no mark anywhere.
            self._prey_marks[:, 1][catch.caught] = 0
            self._move_prey(placed[n:], choice, _vacated(placed[:n], catch.leaves_at, len(choice)))
            self._prey_marks[:, 1] = 1
            self._take_out(placed, who, catch)
        self._cells.reshape(-1)[who] = placed

        self._steps += 1
        self._sight.draw(self._cells, self._gone, self._cells[:n] + self._away)
        won = self._prey_left == 0
        terminated = self._predators_left == 0
        terminated |= won
        if catch is not None and self.rules.capture_ends_episode:
            terminated |= catch.caught.any(axis=0)
        truncated = self._steps >= self.rules.episode_limit
        truncated &= ~terminated
        info = {"won": won, "failed": self._never_failed}
        return TeamStep(self._sight.team_obs, reward.astype(np.float32), terminated, truncated, info)

    def get_state(self) -> dict[str, Any]:
        """All that decides the future.

        Returns:
            ``positions`` [B, E] int32, ``y * width + x`` of every predator, stag and hare in this order, -1
            for those who have left; ``steps`` [B] int64, steps played; ``streams``, the random streams;
            ``ready``, whether the games were started.
        """
        local = self._cells - self._boards
        return {
            "positions": np.ascontiguousarray(self._tables.position_of[local].T.astype(np.int32)),
            "steps": self._steps.copy(),
            "streams": self._streams.get_state(),
            "ready": self._ready,
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is of other rules or another number of games, or puts two where one can
                stand.
        """
        positions = np.asarray(state["positions"])
        _check_positions(positions, self.rules, self.num_envs)
        self._streams.set_state(state["streams"])
        self._steps[:] = state["steps"]
        self._place(np.arange(self.num_envs), positions.T.astype(np.intp))
        self._ready = bool(state["ready"])
        return self._sight.team_obs

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index``, [height, width, 3] uint8, about 480 pixels a side. Needs Pillow."""
        from rllib_reborn.envs.predator_prey.drawing import draw_board

        rules = self.rules
        grid = self._sight.team_obs.state[index].reshape(rules.height, rules.width, N_CHANNELS)
        caught = rules.n_prey - self._prey_left[index]
        caption = f"step {self._steps[index]} / {rules.episode_limit}    caught {caught} / {rules.n_prey}"
        return draw_board(grid, caption)

    # ---------------------------------------------------------------------------------------- phases of a
    # step

    def _move_predators(self, placed: IntArray, actions: npt.NDArray[np.integer[Any]]) -> None:
        """Move the predators in order; ``placed`` [n, B] becomes their new cells."""
        pairs, marks, occupied = self._move_cells, self._move_marks, self._occupied
        pairs[:, 0] = placed
        if self.rules.toroidal:
            local = placed - self._boards
            pairs[:, 1] = self._tables.neighbours[local, np.minimum(actions, STAY)] + self._boards
        else:
            np.add(placed, self._tables.action_step[actions], out=pairs[:, 1])
        # A cell that is moved into, or was taken, is taken afterwards; the old cell is free unless the move
        # failed. The second write wins where both are one cell, as for those who stay.
        for _, target, both, failed, _, both_marks in self._move_rows:
            occupied.take(target, None, failed, "clip")
            occupied[both] = both_marks
        np.copyto(placed, pairs[:, 1], where=marks[:, 0] == 0)

    def _find_neighbours(self, placed: IntArray) -> None:
        """Fill ``_near`` [m, B, 4], the cells around every prey; on a torus ``_near_or_own`` [m, B, 5]
        too."""
        if self.rules.toroidal:
            local = placed - self._boards
            np.add(self._tables.neighbours[local], self._boards[:, None], out=self._near_or_own)
            self._near[:] = self._near_or_own[:, :, :4]
        else:
            # Broadcasting over an axis of 4 would be three times slower.
            placed.reshape(-1).take(self._near_who, None, self._near, "clip")
            self._near += self._near_step

    def _rest_prey(self, placed: IntArray, who: IntArray, choice: npt.NDArray[np.uint64]) -> None:
        m, B = choice.shape
        resting = (self._streams.uniform(m) < self._rest).T.reshape(-1)[who - self._n * B]
        if not self.rules.prey_block_predators:
            resting &= self._occupied[placed] == 0  # scared by a predator in its own cell
        choice[resting] = CHOICE_REST

    def _catch(
        self, placed: IntArray, who: IntArray, catching: BoolArray, reward: npt.NDArray[np.float64]
    ) -> _Catch | None:
        """Which prey are caught, None for none; ``reward`` [B] is added to.

        Args:
            placed: [E, B] cells, the predators having moved.
            who: [E, B] from :func:`draw_order`.
            catching: [n, B] placed, whether the predator chose ``catch``.
            reward: [B] the team's reward.
        """
        if not np.count_nonzero(catching):
            return None
        n, rules, B = self._n, self.rules, self.num_envs
        cells = placed[:n].reshape(-1)
        self._catchers[cells] = catching.reshape(-1)
        count = self._catchers[self._near].view(np.uint32)[:, :, 0]
        count *= np.uint32(0x01010101)  # the sum of the 4 bytes, in the highest
        count >>= np.uint32(24)
        self._catchers[cells] = 0
        needed = self._needed[who[n:]]
        caught = count >= needed
        leaves_at = None
        if rules.capture_freezes and np.count_nonzero(caught):
            games = np.flatnonzero(caught.any(axis=0))
            leaves_at = np.full(catching.shape, len(caught))
            count[:, games], leaves_at[:, games] = _catch_in_order(
                self._near[:, games], placed[:n, games], catching[:, games], needed[:, games]
            )
            caught = count >= needed
        # Captures and failures are few, so go through them one by one rather than through all prey.
        if rules.miscapture_punishment:
            failed = count > 0
            failed &= ~caught
            if np.count_nonzero(failed):
                reward += rules.miscapture_punishment * np.bincount(failed.nonzero()[1], minlength=B)
        if not np.count_nonzero(caught):
            return None
        place, game = caught.nonzero()
        reward += np.bincount(game, self._prize[who[n + place, game]], minlength=B)
        return _Catch(caught, leaves_at)

    def _move_prey(self, placed: IntArray, choice: npt.NDArray[np.uint64], vacated: Mapping[int, IntArray]) -> None:
        """Move the prey in order; ``placed`` [m, B] becomes their new cells.

        Args:
            placed: Their cells.
            choice: [m, B] 0..11 for a free neighbour, :data:`CHOICE_REST` for none.
            vacated: Place -> cells that predators leave when the prey of this place is caught.
        """
        self._prey_cells[:, 0] = placed
        occupied, predators = self._occupied_prey, self._occupied
        sharing, toroidal = predators is not occupied, self.rules.toroidal
        taken, near_word, word = self._near_taken, self._near_word, self._word
        index = word.view(np.intp)
        lanes, shift, steps, five = self._lanes, self._shift, self._prey_step, self._five
        multiply, right_shift, bitwise_or, add = np.multiply, np.right_shift, np.bitwise_or, np.add
        for place, (rows, near, chosen) in enumerate(zip(self._prey_rows, self._near, choice)):
            own, target, both, _, _, both_marks = rows
            occupied.take(near, None, taken, "clip")
            if sharing:
                taken |= predators[near]
            multiply(near_word, lanes, word)
            right_shift(word, shift, word)
            bitwise_or(word, chosen, word)
            if toroidal:
                self._near_or_own[place].take(steps[index] + five, None, target, "clip")
            else:
                add(own, steps[index], target)
            occupied[both] = both_marks
            if place in vacated:
                predators[vacated[place]] = 0
        placed[:] = self._prey_cells[:, 1]

    def _take_out(self, placed: IntArray, who: IntArray, catch: _Catch) -> None:
        """Move the caught prey and the predators that leave with them to limbo."""
        place, game = catch.caught.nonzero()
        self._prey_left -= np.bincount(game, minlength=self.num_envs)
        place += self._n
        self._gone.reshape(-1)[who[place, game]] = True
        placed[place, game] = self._limbo[game]
        if catch.leaves_at is not None:
            place, game = (catch.leaves_at < len(catch.caught)).nonzero()
            self._predators_left -= np.bincount(game, minlength=self.num_envs)
            self._gone.reshape(-1)[who[place, game]] = True
            self._away.reshape(-1)[who[place, game]] = self._tables.limbo
            placed[place, game] = self._limbo[game]

    # ---------------------------------------------------------------------------------------- boards

    def _place(self, games: IntArray, positions: IntArray) -> None:
        """Set up boards for new episodes.

        Args:
            games: [k] numbers of the games.
            positions: [E, k] ``y * width + x``, or -1 for who has left.
        """
        tables, n = self._tables, self._n
        gone = positions < 0
        cells = np.where(gone, tables.limbo, tables.cell_of[positions]) + self._boards[games]
        away = gone[:n] * tables.limbo
        self._cells[:, games] = cells
        self._gone[:, games] = gone
        self._away[:, games] = away
        self._predators_left[games] = n - gone[:n].sum(axis=0)
        self._prey_left[games] = len(positions) - n - gone[n:].sum(axis=0)
        self._occupied.reshape(self.num_envs, -1)[games] = tables.occupancy
        self._occupied_prey.reshape(self.num_envs, -1)[games] = tables.occupancy
        self._occupied[cells[:n]] = 1
        self._occupied_prey[cells[n:]] = 1
        if len(games) == self.num_envs:
            self._sight.draw(cells, gone, cells[:n] + away)
        else:
            self._sight.draw_few(games, cells)


def _check_positions(positions: npt.NDArray[np.integer[Any]], rules: PredatorPreyRules, num_envs: int) -> None:
    """Raise ValueError unless ``positions`` [B, E], as :meth:`PredatorPrey.get_state` gives them, are possible."""
    n, expected = rules.n_predators, (num_envs, rules.n_predators + rules.n_prey)
    if positions.shape != expected:
        raise ValueError(f"state has positions of shape {positions.shape}; expected {expected}.")
    numbers = rules.height * rules.width
    if positions.size and not (positions.min() >= -1 and positions.max() < numbers):
        raise ValueError(f"state has positions outside -1..{numbers - 1}; it is of other rules.")
    # Those of one group never share a cell.
    for group in (slice(None),) if rules.prey_block_predators else (slice(0, n), slice(n, None)):
        ordered = np.sort(positions[:, group], axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
            raise ValueError("state has two entities on one cell.")


def _rows(cells: IntArray, marks: npt.NDArray[Any]) -> list[tuple[npt.NDArray[Any], ...]]:
    """For each place of [places, 2, B] arrays: first row, second row, and both in one, of cells and of
    marks."""
    return [(*cells[i], cells[i].reshape(-1), *marks[i], marks[i].reshape(-1)) for i in range(cells.shape[0])]


def _vacated(cells: IntArray, leaves_at: IntArray | None, never: int) -> dict[int, IntArray]:
    """Place of a prey -> cells [k] of the predators that leave with it."""
    if leaves_at is None:
        return {}
    return {int(place): cells[leaves_at == place] for place in np.unique(leaves_at) if place < never}


def _catch_in_order(
    near: IntArray, predators: IntArray, catching: BoolArray, needed: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Count catchers where a successful catch takes its catchers out of the game, for k games.

    Args:
        near: [m, k, 4] cells around the prey, in their order.
        predators: [n, k] cells of the predators.
        catching: [n, k] whether they catch.
        needed: [m, k] catchers needed.

    Returns:
        [m, k] predators that catch the prey when its turn comes, and [n, k] the place at which each predator
        leaves, m for never.
    """
    m, never = len(near), len(near)
    beside = (near[:, None] == predators[None, :, :, None]).any(axis=3) & catching  # [m, n, k]
    leaves_at = np.full(predators.shape, never)
    for place in np.flatnonzero((beside.sum(axis=1) >= needed).any(axis=1)):
        catchers = beside[place] & (leaves_at == never)
        success = catchers.sum(axis=0) >= needed[place]
        leaves_at[catchers & success] = place
    turns = np.arange(m)[:, None, None]
    return (beside & (leaves_at >= turns)).sum(axis=1), leaves_at
