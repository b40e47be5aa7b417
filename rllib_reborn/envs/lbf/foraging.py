"""Level-based foraging, batch-native: B games stepped together as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.lbf.board import BoolArray, IntArray
from rllib_reborn.envs.lbf.field import Field
from rllib_reborn.envs.lbf.rules import ForagingRules
from rllib_reborn.envs.lbf.sight import make_sight
from rllib_reborn.envs.lbf.situations import Situations, check_situations
from rllib_reborn.envs.lbf.starts import StartDraws
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv, check_actions, checked_reset_mask


class Foraging(VectorTeamEnv):
    """``num_envs`` games of level-based foraging, equal to lbforaging's step by step.

    * Actions: none, north, south, west, east, load.
    * Observations and state, int8: see :class:`~rllib_reborn.envs.lbf.rules.ForagingRules`.
    * Reward: what all players together are paid for the food they load, less the penalties.
    * ``terminated``: no food is left. ``truncated``: the step limit is reached and food is left (``compat``: that is
      ``terminated``, too). ``info["won"]``: no food is left.

    Random numbers: a reset draws one number of the game's stream for each cell and a few more, a step none.

    Args:
        rules: The rules.
        num_envs: Games stepped side by side, >= 1.
        seed: Seed of the random streams, as in :meth:`reset`; None starts from fresh entropy.

    Raises:
        ValueError: ``num_envs`` is not a whole number >= 1.
    """

    def __init__(self, rules: ForagingRules, num_envs: int = 1, *, seed: int | Sequence[int] | None = None) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.rules = rules
        self.spec = rules.spec()
        self.repeatable = not rules.compat  # an episode then depends on the one before it, whatever the seed
        self.num_envs = num_envs
        self._streams = RandomStreams(num_envs, seed)
        self._field = Field(rules, num_envs)
        self._sight = make_sight(rules, self._field)
        self._starts = StartDraws(rules, self._field.tables)
        self._steps = np.zeros(num_envs, np.int64)
        self._ready = False
        self._paid_to = rules.players if rules.reward == "mean" else 1
        self._never_failed = np.zeros(num_envs, np.bool_)
        self._never_failed.flags.writeable = False

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: BoolArray | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`. Players start on distinct cells, then foods are laid where there is room for
        them, all uniformly at random.

        Raises:
            ValueError: The mask has a wrong shape, or leaves out a game that was never started.
        """
        mask = checked_reset_mask(mask, self.num_envs, started=self._ready)
        if seed is not None:
            self._streams.seed(seed, mask)
        if mask is None:
            games, bits = np.arange(self.num_envs), self._streams.bits(self._starts.bits_needed)
        else:
            games, bits = mask.nonzero()[0], self._streams.bits_at(mask, self._starts.bits_needed)
        last = self._positions()[games] if self.rules.compat and self._ready else None
        starts = self._starts.draw(bits, last)
        self._field.place(games, starts, starts.food_levels.sum(axis=1))
        self._steps[games] = 0
        self._ready = True
        self._sight.draw_few(games)
        return self._sight.team_obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`. A game that is over and not reset plays on."""
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self._sight.team_obs.action_mask, self.num_envs)
        by_player: IntArray = np.ascontiguousarray(actions.T, np.intp)
        field = self._field
        field.move(by_player)
        paid = field.load(by_player)
        if paid is None:
            reward = np.zeros(self.num_envs, np.float32)
        else:
            if self._paid_to > 1:
                paid /= self._paid_to
            reward = paid.astype(np.float32)
        self._steps += 1
        self._sight.draw()
        won = field.left == 0
        at_limit = self._steps >= self.rules.max_episode_steps
        if self.rules.compat:
            terminated, truncated = won | at_limit, np.zeros(self.num_envs, np.bool_)
        else:
            terminated, truncated = won, at_limit & ~won
        return TeamStep(
            self._sight.team_obs, reward, terminated, truncated, {"won": won.copy(), "failed": self._never_failed}
        )

    def get_state(self) -> dict[str, Any]:
        """All that decides the future.

        Returns:
            ``players`` [B, n] int32, ``row * columns + column`` of every player; ``levels`` [B, n] int32; ``foods`` [B, F]
            int32, the same of every food, rising, -1 at the end for those that were taken; ``food_levels`` [B, F] int32;
            ``spawned`` [B] int32, sum of the levels of all foods at the start; ``steps`` [B] int64, steps played;
            ``streams``, the random streams; ``ready``, whether the games were started.
        """
        field, tables = self._field, self._field.tables
        return {
            "players": self._positions().astype(np.int32),
            "levels": np.ascontiguousarray(field.levels.T.astype(np.int32)),
            "foods": tables.position_of[field.foods].astype(np.int32),
            "food_levels": field.food_levels[field.foods + field.boards[:, None]].astype(np.int32),
            "spawned": field.spawned.astype(np.int32),
            "steps": self._steps.copy(),
            "streams": self._streams.get_state(),
            "ready": self._ready,
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is of other rules or another number of games, or lays foods where rules lay none.
        """
        situations = Situations(*(np.asarray(state[name]).astype(np.intp) for name in Situations._fields))
        spawned, ready = np.asarray(state["spawned"]), bool(state["ready"])
        if ready:
            check_situations(situations, spawned, self.rules, self._field.tables, self.num_envs)
        self._streams.set_state(state["streams"])
        self._steps[:] = state["steps"]
        self._ready = ready
        if ready:
            games = np.arange(self.num_envs)
            self._field.place(games, situations, spawned)
            self._sight.draw_few(games)
        return self._sight.team_obs

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index``, [height, width, 3] uint8, about 480 pixels a side. Needs Pillow."""
        from rllib_reborn.envs.lbf.drawing import draw_field

        entries = self._field.board[index].reshape(-1, 3).tolist()
        foods, players = entries[: self.rules.max_num_food], entries[self.rules.max_num_food :]
        left = self._field.left[index]
        caption = f"step {self._steps[index]} / {self.rules.max_episode_steps}    food left {left}"
        return draw_field(self.rules.field_size, players, [food for food in foods if food[2] > 0], caption)

    def _positions(self) -> IntArray:
        """[B, n] positions of the players."""
        positions: IntArray = self._field.tables.position_of[(self._field.cells - self._field.boards).T]
        return positions
