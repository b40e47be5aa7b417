"""Several choices in one action, and environments as RLlib's own QMIX wanted them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn import QMIXConfig
from rllib_reborn.envs import make_team_env
from rllib_reborn.envs.adapters.team_selection import by_name

HERE = "tests.envs.adapters.test_joint_choices_and_groups"
FLAT = {"state": "observations", "flatten_actions": True}


class Choosy(ParallelEnv):
    """Pays for the second direction with the third speed."""

    metadata: Any = {"name": "choosy_v0"}  # noqa: RUF012
    max_cycles = 2
    possible_agents: Any = ["a", "b"]  # noqa: RUF012

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.MultiDiscrete([2, 3])

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self._t = list(self.possible_agents), 0
        return self._obs(), {}

    def step(self, actions: Any) -> Any:
        self._t += 1
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        pay = {agent: float(actions[agent].tolist() == [1, 2]) for agent in self.agents}
        over = dict.fromkeys(self.agents, self._t >= self.max_cycles)
        obs = self._obs()
        if self._t >= self.max_cycles:
            self.agents = []
        return obs, pay, dict.fromkeys(pay, False), over, {}

    def _obs(self) -> Any:
        return {agent: np.zeros(1, np.float32) for agent in self.agents}


class OneAgent(gymnasium.Env):
    """A Gymnasium environment with several choices."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.MultiBinary(2)
    max_cycles = 2

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        return np.zeros(1, np.float32), float(action.sum()), False, False, {}


class Walkers(MultiAgentEnv):
    """Three agents."""

    max_cycles = 3

    def __init__(self) -> None:
        super().__init__()
        self.possible_agents = self.agents = ["x", "y", "z"]
        space = spaces.Box(0, 1, (2,), np.float32)
        self.observation_spaces = dict.fromkeys(self.agents, space)
        self.action_spaces = dict.fromkeys(self.agents, spaces.Discrete(2))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return {agent: np.zeros(2, np.float32) for agent in self.agents}, {}

    def step(self, actions: Any) -> Any:
        obs = {agent: np.ones(2, np.float32) for agent in self.agents}
        return obs, dict.fromkeys(self.agents, 1.0), {"__all__": False}, {"__all__": False}, {}


def grouped(**groups: Any) -> Any:
    return Walkers().with_agent_groups(groups)


class Seers(Walkers):
    """Their observations are as RLlib's QMIX wanted them: beside what an agent sees the global state, and a mask."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.broken = broken
        small = spaces.Box(0, 1, (2,), np.float32)
        parts = {"obs": small, "state": spaces.MultiDiscrete([4, 2]), "action_mask": spaces.MultiBinary(2)}
        self.observation_spaces = dict.fromkeys(self.agents, spaces.Dict(parts))
        self.t = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return self.observe(self.agents), {}

    def step(self, actions: Any) -> Any:
        self.t += 1
        _, *rest = super().step(actions)
        return (self.observe(self.agents[1:] if self.t == 1 else self.agents), *rest)  # the first one waits for a step

    def observe(self, agents: Any) -> Any:
        if self.broken:
            return dict.fromkeys(agents, np.zeros(2, np.float32))
        mask, state = np.array([1, 0], np.int8), np.array([self.t, 1])
        return {agent: {"obs": np.full(2, 0.5, np.float32), "state": state, "action_mask": mask} for agent in agents}


def seers(broken: bool = False) -> Any:
    return Seers(broken).with_agent_groups({"team": ["x", "y", "z"]})


def all_in_one_group() -> Any:
    return grouped(team=["x", "y", "z"])


def two_of_them() -> Any:
    return grouped(team=["z", "x"])


def two_groups() -> Any:
    return grouped(one=["x"], two=["y", "z"])


def test_joint_choices_are_played():
    env = make_team_env(f"{HERE}:Choosy", 2, team=FLAT)
    assert env.spec.n_actions == 6
    env.reset(seed=0)
    assert env.step(np.array([[5, 5], [5, 0]])).reward.tolist() == [2.0, 1.0]
    env.close()


def test_they_are_refused_with_the_option_where_it_is_not_set():
    with pytest.raises(
        ValueError, match=r"6 combinations of 2 choices; expected Discrete\. Say team=\{'flatten_actions': True\}"
    ):
        make_team_env(f"{HERE}:Choosy", 1, team={"state": "observations"})
    with pytest.raises(ValueError, match=r"team\.flatten_actions is 1; expected true or false"):
        make_team_env(f"{HERE}:Choosy", 1, team={"flatten_actions": 1})


def test_they_are_learnt():
    config = QMIXConfig().environment(f"{HERE}:Choosy", env_config={"team": FLAT})
    config.env_runners(num_envs_per_env_runner=8).debugging(seed=0, log_level="ERROR")
    config.training(batch_episodes=16, learning_starts_episodes=16, buffer_episodes=200, lr=5e-3, epsilon={"end": 1.0})
    config.min_sample_timesteps_per_iteration = 300
    algo = config.build_algo()
    try:
        algo.train()
        assert algo.evaluate()["env_runners"]["episode_return_mean"] == 4.0
    finally:
        algo.stop()


def test_gymnasium_too():
    env = make_team_env(f"{HERE}:OneAgent", 1, team=FLAT)
    env.reset(seed=0)
    assert env.step(np.array([[3]])).reward.tolist() == [2.0]
    env.close()


@pytest.mark.parametrize(
    ("name", "team", "agents"),
    [
        ("all_in_one_group", {}, ("x", "y", "z")),
        ("two_of_them", {"opponents": "random"}, ("x", "z")),
        ("two_groups", {"agents": ["y", "z"], "opponents": "random"}, ("y", "z")),
    ],
)
def test_the_agents_of_a_group_are_the_team(name, team, agents):
    env = make_team_env(f"{HERE}:{name}", 2, team={"state": "observations"} | team)
    assert env.spec.agent_ids == agents
    env.reset(seed=0)
    assert env.step(np.zeros((2, len(agents)), np.int64)).reward.tolist() == [float(len(agents))] * 2
    env.close()


def test_several_groups_are_no_one_team():
    with pytest.raises(ValueError, match="Walkers has the groups 'one', 'two', and one team is trained; say whose"):
        make_team_env(f"{HERE}:two_groups", 1, team={"state": "observations"})


def test_the_state_that_agents_of_a_group_see_is_the_mixers_alone():
    env = make_team_env(f"{HERE}:seers", 1, team={})
    spec = env.spec
    assert (spec.obs_dim, spec.state_dim) == (2, 4 + 2)  # choices are one-hot
    obs = env.reset(seed=0)
    assert obs.obs[0, :, :2].tolist() == [[0.5, 0.5]] * 3
    assert obs.action_mask[0].tolist() == [[True, False]] * 3
    assert obs.state[0].tolist() == [1, 0, 0, 0, 0, 1]
    assert env.step(np.zeros((1, 3), np.int64)).obs.state[0].tolist() == [0, 1, 0, 0, 0, 1]
    assert env.step(np.zeros((1, 3), np.int64)).obs.state[0].tolist() == [0, 0, 1, 0, 0, 1]
    env.close()
    env = make_team_env(f"{HERE}:seers", 1, team={"state": "observations"})
    assert env.spec.state_dim == 3 * 2  # also then without it
    env.close()


def test_who_leaves_it_out_is_named():
    env = make_team_env(f"{HERE}:seers", 1, team={}, broken=True)
    with pytest.raises(Exception, match=r"observation of 'z' is an array.*; expected a dict with 'state' in it"):
        env.reset(seed=0)
    env.close()


def test_opponents_are_in_one_order_whatever_the_game_lists():
    names = [f"agent_{i}" for i in range(12)]
    assert by_name(names[::-1]) == tuple(names)
    assert by_name({"b", "a2", "a10", "a"}) == ("a", "a2", "a10", "b")
    assert by_name([3, 20, 1]) == (1, 3, 20)
