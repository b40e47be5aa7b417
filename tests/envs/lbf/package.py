"""lbforaging's own games, beside ours: put into the same situation and played with the same actions."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings

import numpy as np
import pytest

from rllib_reborn.envs.lbf.foraging import Foraging
from rllib_reborn.envs.lbf.rules import LOAD, ForagingRules

OURS_ALONE = ("reward", "state", "mask_invalid_actions", "compat")


def needs_package():
    if importlib.util.find_spec("lbforaging") is None:
        pytest.skip("not run: lbforaging is not installed")


def package_game(rules: ForagingRules):
    """A game of lbforaging by these rules."""
    from lbforaging.foraging import ForagingEnv
    from lbforaging.foraging.environment import ForagingEnv as Class

    class Game(Class):
        def _get_observation_space(self):
            # Its space of pictures has the wrong shape, which gymnasium no longer accepts; its check that each observation
            # is in the space costs most of a step.
            return _AnyOf((3, *(2 * (2 * self.sight + 1,))) if self._grid_observation else (self._numbers(),))

        def _numbers(self):
            return 3 * self.max_num_food + (3 if self._observe_agent_levels else 2) * len(self.players)

    del ForagingEnv
    options = {f.name: getattr(rules, f.name) for f in dataclasses.fields(rules) if f.name not in OURS_ALONE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gymnasium

        game = Game.__new__(Game)
        make_tuple = gymnasium.spaces.Tuple
        gymnasium.spaces.Tuple = tuple
        try:
            game.__init__(**options)
        finally:
            gymnasium.spaces.Tuple = make_tuple
    return game


class _AnyOf:
    def __init__(self, shape):
        self.shape = shape

    def contains(self, obs):
        return obs.shape == self.shape


def copy_situation(env: Foraging, index: int, game) -> None:
    """Put lbforaging's ``game`` into the situation of game ``index`` of ours."""
    state, columns = env.get_state(), env.rules.field_size[1]
    game.field = np.zeros(env.rules.field_size, np.int32)
    for position, level in zip(state["foods"][index], state["food_levels"][index]):
        if position >= 0:
            game.field[divmod(position, columns)] = level
    for player, position, level in zip(game.players, state["players"][index], state["levels"][index]):
        player.setup(tuple(int(x) for x in divmod(position, columns)), int(level), game.field_size)
        player.reward = 0
    game._food_spawned = state["spawned"][index]
    game.current_step = int(state["steps"][index])
    game._game_over = False
    game._gen_valid_moves()


def busy_actions(env: Foraging, rng: np.random.Generator):
    """[B, n] random actions, invalid ones among them; players beside a food mostly load."""
    positions, state = env.get_state()["players"], env.get_state()
    rows, columns = np.divmod(positions, env.rules.field_size[1])
    actions = rng.integers(0, 6, positions.shape)
    food_rows, food_columns = np.divmod(state["foods"], env.rules.field_size[1])
    distance = abs(rows[:, :, None] - food_rows[:, None]) + abs(columns[:, :, None] - food_columns[:, None])
    beside = ((distance == 1) & (state["foods"] >= 0)[:, None]).any(2)
    return np.where(beside & (rng.random(positions.shape) < 0.7), LOAD, actions)


def compare(rules: ForagingRules, episodes: int, seed: int = 0, num_envs: int = 8) -> dict[str, int]:
    """Play ours and the package's beside each other until ``episodes`` episodes are over, and assert that all is equal.

    Returns:
        How often what happened.
    """
    from lbforaging.foraging.environment import Action

    env = Foraging(rules, num_envs)
    games = [package_game(rules) for _ in range(num_envs)]
    rng = np.random.default_rng(seed)
    obs = env.reset(seed=seed)
    for index, game in enumerate(games):
        copy_situation(env, index, game)
    counts = {"episodes": 0, "won": 0, "paid": 0, "punished": 0, "shared": 0}
    n_paid = rules.players if rules.reward == "mean" else 1
    while counts["episodes"] < episodes:
        actions = busy_actions(env, rng)
        if rules.mask_invalid_actions:
            actions = np.where(np.take_along_axis(obs.action_mask, actions[:, :, None], 2)[:, :, 0], actions, 0)
        step = env.step(actions)
        obs = step.obs
        positions = env.get_state()["players"]
        for index, game in enumerate(games):
            lists, rewards, terminated, truncated, _ = game.step(actions[index].tolist())
            assert not truncated
            np.testing.assert_array_equal(obs.obs[index], [np.reshape(one, -1) for one in lists])
            assert step.reward[index] == np.float32(sum(rewards) / n_paid)
            assert terminated == (step.terminated[index] | step.truncated[index])
            assert step.info["won"][index] == (game.field.sum() == 0)
            assert step.terminated[index] == (terminated if rules.compat else step.info["won"][index])
            places = [divmod(int(position), rules.field_size[1]) for position in positions[index]]
            assert places == [player.position for player in game.players]
            valid = [[action in game._valid_actions[player] for action in Action] for player in game.players]
            if rules.mask_invalid_actions:
                np.testing.assert_array_equal(obs.action_mask[index], valid)
            counts["paid"] += max(rewards) > 0
            counts["punished"] += min(rewards) < 0
            counts["shared"] += len(set(places)) < len(places)
        done = step.terminated | step.truncated
        counts["episodes"] += int(done.sum())
        counts["won"] += int(step.info["won"].sum())
        if done.any():
            obs = env.reset(mask=done)
            for index in np.flatnonzero(done):
                copy_situation(env, index, games[index])
    return counts
