"""An RLlib MultiAgentEnv with early deaths as a team."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rllib_reborn.envs.adapters.rllib import RLlibGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.registry import make_team_env
from tests.fakes.multi_agent_game import Falling

NAME = "tests.fakes.multi_agent_game:Falling"
TEAM = {"state": "observations"}


def game(**kwargs):
    return RLlibGame(Falling(**kwargs), TeamOptions(**TEAM))


def play(team, seed):
    team.reset(seed)
    steps = []
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        steps.append(team.step(np.array([0, 0, 0])))
    return steps


def test_it_keeps_the_contract():
    checks = check_team_env(make_team_env(NAME, 2, team=TEAM), make=lambda games: make_team_env(NAME, games, team=TEAM))
    assert [check for check in checks if check.ok is False] == []
    assert {check.name for check in checks if check.ok is None} <= {"get_state"}


def test_deaths_rewards_and_ends():
    """In 40 episodes: every reward is there, the dead are zero, and an episode that all fell in terminated."""
    ends = []
    for seed in range(40):
        env = Falling(max_steps=6)
        team = RLlibGame(env, TeamOptions(**TEAM))
        steps = play(team, seed)
        falls = np.array([env._falls[a] for a in env.possible_agents])
        for t, step in enumerate(steps, start=1):
            living = falls >= t
            assert step.reward == living.sum() + (falls == t).sum()
            assert np.array_equal(step.obs.obs.any(axis=1), falls > t)
            assert step.obs.action_mask.sum(axis=1).tolist() == np.where(falls > t, 3, 1).tolist()
            assert set(env.received[t - 1]) == {a for a, fall in env._falls.items() if fall >= t}
        assert len(steps) == min(falls.max(), 6)
        assert (steps[-1].terminated, steps[-1].truncated) == (falls.max() <= 6, falls.max() > 6)
        ends.append(steps[-1].terminated)
    assert 0 < sum(ends) < 40  # both kinds were seen


def test_all_ends_the_episode_of_agents_that_have_no_flag():
    # The limit of the team is beyond that of the game, which says only __all__.
    team = RLlibGame(Falling(max_steps=4, immortal=1), TeamOptions(**TEAM, episode_limit=50))
    steps = play(team, 0)
    assert (len(steps), steps[-1].terminated, steps[-1].truncated) == (4, False, True)
    assert steps[-1].obs.obs[1, :2].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected", "shown"),
    [
        # A flag of one's own goes before __all__.
        ({"walker_0": True, "__all__": False}, {"__all__": True}, (False, True), [False, True, True]),
        ({"__all__": True}, {"walker_0": True, "__all__": False}, (False, True), [True, False, False]),
        ({"__all__": True}, {"__all__": False}, (True, False), [False] * 3),
        # Nobody says __all__, and nobody is left.
        (dict.fromkeys(["walker_0", "walker_1", "walker_2"], True), {}, (True, False), [False] * 3),
    ],
)
def test_flags_of_agents_and_of_all(terminated, truncated, expected, shown):
    env = Falling(max_steps=50)
    team = RLlibGame(env, TeamOptions(**TEAM))
    team.reset(0)
    play_on = env.step
    env.step = lambda actions: (*play_on(actions)[:2], terminated, truncated, {})
    step = team.step(np.array([0, 0, 0]))
    assert (step.terminated, step.truncated) == expected
    assert step.obs.obs.any(axis=1).tolist() == shown


def test_a_reward_of_nobody_is_not_lost():
    env = Falling()
    team = RLlibGame(env, TeamOptions(**TEAM))
    team.reset(0)
    play_on = env.step

    def for_all(actions):
        observations, rewards, *rest = play_on(actions)
        return observations, {"__all__": sum(rewards.values())}, *rest

    env.step = for_all
    with pytest.raises(
        ValueError, match=r"Falling gave rewards under the name '__all__', .* Known: walker_0, walker_1"
    ):
        team.step(np.array([0, 0, 0]))


def test_the_state():
    team = RLlibGame(Falling(state=True))
    assert (team.spec.state_dim, team.spec.n_actions) == (2, 3)
    assert team.reset(0).state.tolist() == [0, 3]
    # A state that is not declared is used only if asked for, because its size must be looked at.
    env = Falling(state=True)
    del env.state_space
    assert RLlibGame(env, TeamOptions(state="env")).spec.state_dim == 2
    with pytest.raises(ValueError, match="Falling gave no infos"):
        RLlibGame(Falling(), TeamOptions(state="env"))


def test_names_of_agents_must_be_known():
    env = Falling()
    env.possible_agents = []
    with pytest.raises(ValueError, match="Falling has no possible_agents"):
        RLlibGame(env)
    env.possible_agents = {"walker_2", "walker_0", "walker_1"}  # a set has another order in every process
    assert RLlibGame(env, TeamOptions(**TEAM)).spec.agent_ids == ("walker_0", "walker_1", "walker_2")


ORDERS = """
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from rllib_reborn.envs.adapters.rllib import RLlibGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from tests.fakes.parallel_games import ScriptedParallelEnv
from pettingzoo.utils import parallel_to_aec

class Mine(ParallelPettingZooEnv):
    pass

agents = ("north", "east", "south", "west", "up", "down")
def made():
    return ScriptedParallelEnv([{}] * 5, agents=agents, max_cycles=5)

for wrapped in (ParallelPettingZooEnv(made()), Mine(made()), PettingZooEnv(parallel_to_aec(made()))):
    game = RLlibGame(wrapped, TeamOptions(state="observations", episode_limit=5))
    assert game.spec.agent_ids == agents, (type(wrapped).__name__, game.spec.agent_ids)
print("in order")
"""


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_agents_of_rllibs_wrappers_are_in_the_same_order_in_every_process(hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", ORDERS],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "in order" in done.stdout, done.stderr
