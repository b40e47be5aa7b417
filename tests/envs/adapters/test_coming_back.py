"""Agents that come back within an episode act again, in every library; where that is not clear, the fault says what is."""

from __future__ import annotations

from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn.envs.adapters.gymnasium_tuple import GymnasiumGame
from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame
from rllib_reborn.envs.adapters.rllib import RLlibGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.vectorize import VectorizedTeamEnv

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

LIMIT = 8
AGENTS = ("a", "b")
#: Steps after which b is not in the game.
AWAY = (3, 4)
BOX = spaces.Box(-9, 9, (1,), np.float32)


def see(agents):
    return {agent: np.ones(1, np.float32) for agent in agents}


class Away(pettingzoo.ParallelEnv):
    """b is away for some steps; ``flag`` says whether it is flagged as it goes."""

    metadata: ClassVar = {"name": "away_v0"}
    possible_agents = AGENTS

    def __init__(self, flag=None, away=AWAY):
        self.flag, self.away, self.sent, self.asked = flag, away, [], []

    def observation_space(self, agent):
        return BOX

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.t, self.agents = 0, list(AGENTS)
        return see(AGENTS), {}

    def step(self, actions):
        self.asked.append(sorted(self.agents))
        self.sent.append(sorted(actions))
        before, self.t = set(self.agents), self.t + 1
        self.agents = ["a"] if self.t in self.away else list(AGENTS)
        goes = before - set(self.agents)
        flags = {agent: agent in goes for agent in sorted(before | set(self.agents))}
        none = dict.fromkeys(flags, False)
        ended, cut = flags if self.flag == "terminated" else none, flags if self.flag == "truncated" else none
        return see(flags), dict.fromkeys(flags, 1.0), ended, cut, {}


class Listed(Away):
    """b is flagged once and stays in ``agents``."""

    def step(self, actions):
        observations, rewards, ended, *rest = super().step(actions)
        self.agents = list(AGENTS)
        return observations, rewards, ended, *rest


class AwayInTurns(pettingzoo.AECEnv):
    """The same, played in turns: at the end of a cycle b is flagged, and after two more it is there again."""

    metadata: ClassVar = {"name": "away_in_turns_v0", "is_parallelizable": True}
    possible_agents = AGENTS
    render_mode = None

    def __init__(self):
        super().__init__()
        self.sent, self.asked = [], []

    def observation_space(self, agent):
        return BOX

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        return np.ones(1, np.float32)

    def reset(self, seed=None, options=None):
        self.t = 0
        self._begin(AGENTS)

    def _begin(self, agents):
        self.agents = list(agents)
        self.rewards, self._cumulative_rewards = dict.fromkeys(agents, 1.0), dict.fromkeys(agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(agents, False), dict.fromkeys(agents, False)
        self.infos = {agent: {} for agent in agents}
        self.acted, self.agent_selection = [], self.agents[0]

    def step(self, action):
        if action is None:
            self._begin([agent for agent in self.agents if agent != "b"])
            return
        self.acted.append(self.agent_selection)
        if self.acted != self.agents:
            self.agent_selection = self.agents[len(self.acted)]
            return
        self.asked.append(sorted(self.agents))
        self.sent.append(sorted(self.acted))
        self.t += 1
        if self.t == 3:
            self.terminations["b"], self.agent_selection = True, "b"
        else:
            self._begin(AGENTS if self.t not in AWAY else ["a"])


class AwayFromRLlib(MultiAgentEnv):
    """The same for RLlib, where who is shown something is asked; b is flagged before it goes."""

    def __init__(self, flag="terminated", away=AWAY):
        super().__init__()
        self.possible_agents = self.agents = list(AGENTS)
        self.observation_spaces = dict.fromkeys(AGENTS, BOX)
        self.action_spaces = dict.fromkeys(AGENTS, spaces.Discrete(2))
        self.flag, self.away, self.sent, self.asked = flag, away, [], []

    def reset(self, *, seed=None, options=None):
        self.t, self.there = 0, list(AGENTS)
        return see(AGENTS), {}

    def step(self, actions):
        self.asked.append(self.there)
        self.sent.append(sorted(actions))
        self.t += 1
        self.there = ["a"] if self.t in self.away else list(AGENTS)
        flags = {"b": self.t == AWAY[0], "__all__": False}
        ended, cut = (flags, {}) if self.flag == "terminated" else ({}, flags)
        return see(self.there), dict.fromkeys(self.there, 1.0), ended, cut, {}


class AwayByFlags(gymnasium.Env):
    """The same as a Gymnasium environment, which always asks everybody: b's flag is set while it is away."""

    observation_space = spaces.Tuple([BOX] * 2)
    action_space = spaces.Tuple([spaces.Discrete(2)] * 2)

    def __init__(self, away=AWAY, flags_of=lambda away: [False, away]):
        self.away, self.flags_of, self.sent, self.asked = away, flags_of, [], []

    def reset(self, *, seed=None, options=None):
        self.t, self.there = 0, list(AGENTS)
        return tuple(see(AGENTS).values()), {}

    def step(self, actions):
        self.asked.append(self.there)
        self.sent.append([agent for agent, action in zip(AGENTS, actions) if action == 1])
        self.t += 1
        self.there = ["a"] if self.t in self.away else list(AGENTS)
        return tuple(see(AGENTS).values()), [1.0, 1.0], self.flags_of(self.t in self.away), False, {}


def play(make_game, env, **options):
    game = make_game(env, TeamOptions(episode_limit=LIMIT, state="observations", **options))
    game.reset(0)
    steps = [game.step(np.ones(game.spec.n_agents, np.int64)) for _ in range(LIMIT)]
    assert [step.terminated or step.truncated for step in steps] == [False] * (LIMIT - 1) + [True]
    return steps


@pytest.mark.parametrize(
    ("make_game", "env"),
    [
        (PettingZooGame, Away()),
        (PettingZooGame, Away("terminated")),
        (PettingZooGame, Away("truncated")),
        (PettingZooGame, Away("terminated", away=(2, 4, 5))),
        (PettingZooGame, AwayInTurns()),
        (RLlibGame, AwayFromRLlib()),
        (RLlibGame, AwayFromRLlib("truncated")),
        (GymnasiumGame, AwayByFlags()),
        (GymnasiumGame, AwayByFlags(away=(2, 3, 5, 6))),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_who_is_in_the_game_again_acts_again(make_game, env):
    steps = play(make_game, env)
    assert ["a"] in env.asked  # b was away
    assert env.asked[-1] == list(AGENTS)  # and came back
    assert env.sent == env.asked
    asked_next = [*env.asked[1:], list(AGENTS)]
    assert [step.obs.obs[:, 0].tolist() for step in steps] == [[1.0, float("b" in asked)] for asked in asked_next]
    assert [step.obs.action_mask.sum(axis=1).tolist() for step in steps] == [[2, 1 + ("b" in a)] for a in asked_next]


@pytest.mark.parametrize("env", [Away(), Away("terminated")])
def test_an_opponent_that_comes_back_acts_again(env):
    play(PettingZooGame, env, agents="a", opponents="noop")
    assert ["a"] in env.asked
    assert env.sent == env.asked


@pytest.mark.parametrize(
    ("make_game", "env", "agent"),
    [
        (RLlibGame, AwayFromRLlib(away=()), "b"),
        (RLlibGame, AwayFromRLlib("truncated", away=()), "b"),
        (GymnasiumGame, AwayByFlags(away=(3,)), "agent_1"),
        (PettingZooGame, Listed("terminated", away=(3,)), "b"),
    ],
)
def test_an_agent_that_ended_in_the_step_before_is_dead_or_not_and_the_environment_must_say_which(
    make_game, env, agent
):
    message = (
        f"agent '{agent}' ended in step 3, and in step 4 it has an observation and no flag; .* begins anew at once"
    )
    with pytest.raises(ValueError, match=message):
        play(make_game, env)


def test_one_flag_for_all_brings_nobody_back():
    """Where the flags are a list only when somebody ends, False means that the episode goes on."""
    env = AwayByFlags(away=(3,), flags_of=lambda away: [False, True] if away else False)
    game = GymnasiumGame(env, TeamOptions(episode_limit=LIMIT, state="observations"))
    game.reset(0)
    shown = [game.step(np.array([1, 1 if t < 3 else 0])).obs.obs[:, 0].tolist() for t in range(6)]
    assert shown == [[1, 1]] * 2 + [[1, 0]] * 4
    assert game.reset(1).obs[:, 0].tolist() == [1, 1]
    assert game.step(np.array([1, 1])).obs.obs[:, 0].tolist() == [1, 1]


def test_the_fault_reaches_the_user_with_the_name_of_the_agent(caplog):
    env = VectorizedTeamEnv(lambda: RLlibGame(AwayFromRLlib(away=()), TeamOptions(episode_limit=LIMIT, state="none")))
    env.reset(seed=0)
    outcomes = [env.step(np.zeros((1, 2), np.int64)).info["failed"].tolist() for _ in range(4)]
    assert outcomes == [[False]] * 3 + [[True]]
    assert "agent 'b' ended in step 3" in str(env.last_failure)
