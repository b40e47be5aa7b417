"""Advice before training: large numbers, rewards that are always 0, first layers of gigabytes; none for sound games."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs import make_team_env
from rllib_reborn.envs.advice import learning_advice
from rllib_reborn.envs.registry import ENVS
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

HERE = "tests.envs.test_advice"


class Plain(TeamGame):
    """Three steps; what it shows and pays are variables of the class."""

    obs, state, reward, width = 1.0, 1.0, 1.0, 2

    def __init__(self) -> None:
        self.spec = TeamSpec(n_agents=2, n_actions=2, obs_dim=self.width, state_dim=self.width, episode_limit=3)
        self._t = 0

    def reset(self, seed):
        self._t = 0
        return self._look()

    def step(self, actions):
        self._t += 1
        return GameStep(self._look(), self.reward, False, self._t >= 3)

    def _look(self):
        obs = np.full((2, self.width), self.obs, np.float32)
        return GameObs(obs, np.full(self.width, self.state, np.float32), np.ones((2, 2), np.bool_))


class LargeObs(Plain):
    obs = -1e9


class LargeState(Plain):
    state = 1e9


class LargeReward(Plain):
    reward = -5e4


class Cancels(Plain):
    reward = 0.0


class Wide(Plain):
    width = 300_000


def advice(name):
    env = make_team_env(f"{HERE}:{name}" if name[0].isupper() else name, 2)
    try:
        return learning_advice(env, name)
    finally:
        env.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LargeObs", "the largest number in an observation is 1e+09: networks learn from numbers of about 1"),
        ("LargeState", "the largest number in the state is 1e+09"),
        ("LargeReward", "the largest reward of a step is 5e+04.*training.reward.scale"),
        ("Cancels", "the team's reward was 0 in all .* steps of random play"),
        ("Wide", "observations of 300,000 numbers and a state of 300,000 make first layers of about 1.5 GB"),
    ],
)
def test_one_thing_at_a_time(name, words):
    (sentence,) = advice(name)
    assert re.search(words.replace("+", r"\+"), sentence)


@pytest.mark.parametrize("name", ["Plain", "matrix/two_step", "predator_prey/small", "battle/3m"])
def test_nothing_for_sound_ones(name):
    assert name[0].isupper() or name in ENVS
    assert advice(name) == []


def test_envs_prints_it_and_is_content(capsys):
    assert main(["envs", f"{HERE}:LargeObs"]) == 0
    assert "advice   the largest number in an observation is 1e+09" in capsys.readouterr().out
    assert main(["envs", f"{HERE}:LargeObs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["advice"]) == 1
