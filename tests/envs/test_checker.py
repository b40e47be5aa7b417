"""The checker passes good environments and finds the fault in broken ones."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rllib_reborn.envs.checker import _difference, check_team_env
from rllib_reborn.envs.matrix_games import MatrixGame, TwoStepGame
from rllib_reborn.envs.predator_prey import PRESETS, PredatorPrey
from rllib_reborn.envs.registry import env_names, make_team_env

CHECKS = [
    "no_failures",
    "shapes",
    "values",
    "action_mask",
    "illegal_action",
    "no_self_reset",
    "determinism",
    "num_envs",
    "get_state",
    "episode_limit",
]


class Unrepeatable(MatrixGame):
    """Draws rewards that no seed decides."""

    repeatable = False

    def step(self, actions):
        step = super().step(actions)
        return step._replace(reward=np.random.default_rng().random(step.reward.shape, np.float32))


def test_a_game_that_says_it_cannot_be_repeated_is_not_asked_to():
    env = Unrepeatable([[1, 0], [0, 1]], 2)
    results = {
        result.name: result.ok
        for result in check_team_env(env, make=lambda count: Unrepeatable([[1, 0], [0, 1]], count))
    }
    assert (results.pop("determinism"), results.pop("num_envs")) == (None, None)
    assert all(results[name] is True for name in ("no_failures", "shapes", "values", "action_mask", "illegal_action"))


# Those of StarCraft II need the game, and the simulator is played in tests/envs/battle.
@pytest.mark.parametrize("name", [name for name in env_names() if not name.startswith(("smac", "battle/"))])
def test_every_registered_environment_passes(name):
    options = {"predator_prey": {"episode_limit": 25}, "rware": {"max_steps": 25}}.get(name.partition("/")[0], {})
    results = check_team_env(
        make_team_env(name, 3, **options), make=lambda count: make_team_env(name, count, **options)
    )
    assert [result.name for result in results] == CHECKS
    assert [result for result in results if result.ok is not True] == []


class Altered(TwoStepGame):
    """A good game whose outcomes a subclass changes."""

    def reset(self, *, seed=None, mask=None):
        return self.alter_obs(super().reset(seed=seed, mask=mask))

    def step(self, actions):
        out = super().step(actions)
        return self.alter_step(out._replace(obs=self.alter_obs(out.obs)))

    def alter_obs(self, obs):
        return obs

    def alter_step(self, out):
        return out


class NotFinite(Altered):
    def alter_step(self, out):
        out.obs.obs[0, 0, 0] = np.nan
        return out


class NotFiniteReward(Altered):
    def alter_step(self, out):
        return out._replace(reward=out.reward + np.float32(np.inf))


class WrongShape(Altered):
    def alter_obs(self, obs):
        return obs._replace(state=obs.state[:, :2])


class WrongDtype(Altered):
    def alter_step(self, out):
        return out._replace(reward=out.reward.astype(float))


class NothingLegal(Altered):
    def alter_obs(self, obs):
        obs.action_mask[1, 0] = False
        return obs


class NotDeterministic(Altered):
    def alter_step(self, out):
        return out._replace(reward=out.reward + np.random.default_rng().random(2, np.float32))


class Endless(Altered):
    def alter_step(self, out):
        return out._replace(terminated=np.zeros(2, bool))


class ResetsAll(Altered):
    def reset(self, *, seed=None, mask=None):
        return super().reset(seed=seed)

    def alter_step(self, out):
        return out._replace(truncated=np.array([True, False]))


class TakesAnything(Altered):
    def step(self, actions):
        return super().step(np.minimum(actions, 1))


class ForgetsState(Altered):
    def get_state(self):
        return super().get_state() | {"situation": np.zeros(2, int)}


class NoState(Altered):
    def get_state(self):
        return None


class Crashes(Altered):
    def alter_step(self, out):
        raise RuntimeError("the game died")


@pytest.mark.parametrize(
    ("broken", "check", "sentence"),
    [
        (NotFinite, "values", "obs holds a number that is not finite"),
        (NotFiniteReward, "values", "reward holds a number that is not finite"),
        (WrongShape, "shapes", r"state of shape \(2, 2\) and dtype \w+; expected \(2, 3\)"),
        (WrongDtype, "shapes", r"reward of shape \(2,\) and dtype float64; expected \(2,\) and float32"),
        (NothingLegal, "action_mask", "agent 0 of game 1 has no available action"),
        (NotDeterministic, "determinism", "two runs with one seed differ"),
        (Endless, "episode_limit", "2 of 2 games went on beyond the limit of 2"),
        (ResetsAll, "no_self_reset", "changed a game that it left out"),
        (TakesAnything, "illegal_action", "an action beyond the last one was accepted"),
        (
            ForgetsState,
            "get_state",
            r"set_state does not bring back the observation: .* of game 0 is .*; get_state must give all",
        ),
        (Crashes, "values", "it raised RuntimeError: the game died"),
    ],
)
def test_faults_are_found(broken, check, sentence):
    results = {result.name: result for result in check_team_env(broken(2))}
    assert results[check].ok is False
    assert re.search(sentence, results[check].sentence)


class DrawsRewards(Altered):
    """Only the reward of the second game is not decided by the seed."""

    def alter_step(self, out):
        out.reward[1] = np.random.default_rng().random()
        return out


def test_the_array_that_differs_is_named():
    results = {result.name: result for result in check_team_env(DrawsRewards(2))}
    assert re.search(r"from observation 1 on: reward of game 1 is 0\.\d+ once and 0\.", results["determinism"].sentence)
    assert "at step 1 reward of game 1 is" in results["get_state"].sentence


class EndsNowAndThen(Altered):
    def alter_step(self, out):
        self.steps = getattr(self, "steps", 0) + 1
        return out._replace(truncated=np.full(2, self.steps % 5 == 0))


def test_a_game_that_ends_in_one_run_only_differs():
    results = {result.name: result for result in check_team_env(EndsNowAndThen(2))}
    assert re.search("differ.* truncated of game 0 is (True|False) once", results["determinism"].sentence)


def test_nan_is_no_difference_to_nan():
    one = np.array([[np.nan, 1.0]])
    assert _difference([one], [one.copy()]) == ""
    assert (
        _difference([one], [np.array([[np.nan, 2.0]])]) == "obs of agent 1 of game 0 is 1.0 once and 2.0 the other time"
    )


def test_what_cannot_be_checked_is_said():
    results = {result.name: result for result in check_team_env(NoState(2))}
    assert results["get_state"].ok is None
    assert results["num_envs"].ok is None
    assert "another number of games" in results["num_envs"].sentence


def test_dependence_on_the_number_of_games_is_found():
    def make(count):
        env = PredatorPrey(PRESETS["stag_hunt"], count)
        seed = env._streams.seed
        env._streams.seed = lambda value, mask=None: seed(value + count, mask)
        return env

    results = {result.name: result for result in check_team_env(make(2), steps=20, make=make)}
    assert results["num_envs"].ok is False
    assert "not the game that is played alone" in results["num_envs"].sentence
