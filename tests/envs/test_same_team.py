"""One order of agents wherever an environment is built, and a refusal where it is another team."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn.envs.registry import make_same_team_env, make_team_env, team_spec, team_spec_in_order
from rllib_reborn.envs.same_team import OtherTeamError, require_same_team
from rllib_reborn.envs.team_env import TeamSpec
from tests.fakes import teams_by_process as teams

HERE = "tests.fakes.teams_by_process"
OBSERVATIONS = {"team": {"state": "observations"}}
SPEC = TeamSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6)


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """How many times the environment was built so far."""
    monkeypatch.setenv(teams.BUILDS, str(tmp_path / "builds"))
    return lambda: len((tmp_path / "builds").read_text().split()) if (tmp_path / "builds").exists() else 0


def test_the_order_that_is_known_is_taken_for_observations_actions_and_rewards():
    expected = ("cat", "ann", "bob")
    spec = dataclasses.replace(team_spec(f"{HERE}:Named", **OBSERVATIONS), agent_ids=expected)
    env = make_same_team_env(spec, f"{HERE}:Named", 2, OBSERVATIONS)
    assert env.spec == spec
    numbers = [teams.NAMES.index(name) for name in expected]
    first = env.reset(seed=0)
    assert (first.obs == np.eye(3)[numbers]).all()
    assert (first.state == np.eye(3)[numbers].reshape(-1)).all()
    assert env.step(np.array([numbers, numbers])).reward.tolist() == [3.0, 3.0]
    env.close()


def test_rllib_environments_too():
    class Mine(MultiAgentEnv):
        pass

    env = Mine()
    env.possible_agents = ["b", "a"]
    env.agents = ["b", "a"]
    from rllib_reborn.envs.adapters.names import as_game
    from rllib_reborn.envs.adapters.team_options import TeamOptions

    space = teams.Named().observation_space("ann")
    env.observation_spaces = dict.fromkeys("ab", space)
    env.action_spaces = dict.fromkeys("ab", teams.Named().action_space("ann"))
    options = TeamOptions(state="observations", episode_limit=3)
    assert as_game(env, options, {}, "mine").spec.agent_ids == ("b", "a")
    assert as_game(env, options, {}, "mine", ("a", "b")).spec.agent_ids == ("a", "b")


def test_games_of_one_environment_that_name_their_agents_in_other_orders_are_one_team():
    env = make_team_env(f"{HERE}:shuffled", 4, **OBSERVATIONS)
    first = env.reset(seed=0)
    numbers = [teams.NAMES.index(name) for name in env.spec.agent_ids]
    assert (first.obs == np.eye(3)[numbers]).all()
    assert env.step(np.array([numbers] * 4)).reward.tolist() == [3.0] * 4
    env.close()


def test_a_spec_is_given_in_the_order_that_is_known():
    assert team_spec_in_order(("bob", "cat", "ann"), f"{HERE}:Named", OBSERVATIONS).agent_ids == ("bob", "cat", "ann")


@pytest.mark.parametrize("workers", ["inline", "threads", "processes"])
def test_the_game_that_is_built_for_the_spec_is_played_where_it_can_be(builds, workers):
    env = make_team_env(f"{HERE}:Named", 3, team={"state": "observations", "workers": workers})
    env.reset(seed=0)
    env.close()
    assert builds() == 3 + (workers == "processes")


def test_an_environment_that_is_never_reset_closes_what_was_built_for_its_spec(monkeypatch):
    closed = []
    monkeypatch.setattr(teams.Named, "close", lambda self: closed.append(self), raising=False)
    make_team_env(f"{HERE}:Named", 3, **OBSERVATIONS).close()
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agent_ids": ("b", "a")}, "agent_ids is b, a here and agent_0, agent_1 there"),
        ({"agent_groups": ("x", "y")}, "agent_groups is x, y here and team, team there"),
        ({"n_agents": 3}, "n_agents is 3 here and 2 there"),
        ({"n_actions": 4}, "n_actions is 4 here and 3 there"),
        ({"obs_dim": 9}, "obs_dim is 9 here and 4 there"),
        ({"state_dim": 9}, "state_dim is 9 here and 5 there"),
        ({"episode_limit": 9}, "episode_limit is 9 here and 6 there"),
        ({"obs_dtype": "uint8"}, "obs_dtype is 'uint8' here and 'float32' there"),
        ({"has_win": True}, "has_win is True here and False there"),
    ],
)
def test_another_team_is_refused_and_both_are_named(change, words):
    sizes = {"n_agents": 2, "n_actions": 3, "obs_dim": 4, "state_dim": 5, "episode_limit": 6}
    found = TeamSpec(**sizes | change)
    with pytest.raises(OtherTeamError, match=words):
        require_same_team(SPEC, found, "mine")


def test_what_networks_do_not_depend_on_may_be_different_in_an_evaluation():
    other = dataclasses.replace(SPEC, episode_limit=9, has_win=True)
    require_same_team(SPEC, other, "mine", networks_only=True)
    with pytest.raises(OtherTeamError, match="obs_dim"):
        require_same_team(SPEC, dataclasses.replace(SPEC, obs_dim=9), "mine", networks_only=True)


def test_a_game_that_says_itself_what_its_team_is_cannot_be_put_in_order(monkeypatch):
    spec = team_spec(f"{HERE}:OwnGame")
    monkeypatch.setenv(teams.FIRST, str(os.getpid() + 1))
    with pytest.raises(OtherTeamError, match="agent_ids is cat, bob, ann here and ann, bob, cat there"):
        make_same_team_env(spec, f"{HERE}:OwnGame", 1, {})


def test_environments_of_this_package_are_compared_too():
    spec = team_spec("predator_prey/small")
    with pytest.raises(OtherTeamError, match="obs_dim"):
        make_same_team_env(spec, "predator_prey/small", 1, {"obs_radius": 1})
