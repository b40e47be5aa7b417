"""PettingZoo environments as teams: order, laziness, state, rewards, opponents, limits."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs.adapters import team_state
from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from tests.fakes.parallel_games import ScriptedParallelEnv, WithState

HERE = __name__
OBSERVED = {"state": "observations"}


def game(env, **options):
    return PettingZooGame(env, TeamOptions(**({"state": "observations"} | options)))


def play(team, steps):
    team.reset(0)
    return [team.step(np.zeros(team.spec.n_agents, np.int64)) for _ in range(steps)]


def twice_the_first(rewards):
    return 2 * next(iter(rewards.values()))


def count_of_rewards(rewards):
    return len(rewards)


def chase(observation, mask, space, rng):
    assert mask is None or mask.dtype == np.bool_
    return 2 if observation[1] == 0 else 1


def nonsense(observation, mask, space, rng):
    return 99


def test_agents_keep_the_order_of_possible_agents_and_nothing_is_reset_before_the_first_reset():
    names = ("c_0", "a_0", "b_0")
    env = ScriptedParallelEnv([], names)
    team = game(env)
    assert team.spec.agent_ids == names
    assert env.resets == []
    assert team.reset(11).obs[:, 0].tolist() == [1, 2, 3]
    assert env.resets == [11]
    team.step(np.array([0, 1, 2]))
    assert env.received == [{"c_0": 0, "a_0": 1, "b_0": 2}]
    # A list that picks them in another order changes nothing.
    picked = game(ScriptedParallelEnv([], names), agents=["b_0", "c_0", "a_0"])
    assert picked.spec.agent_ids == names


def test_an_early_death_counts_its_rewards_and_sends_no_actions():
    script = [
        {"terminated": {"a_0": True}, "rewards": {"a_0": 3.0, "a_1": 1.0}},
        {"rewards": {"a_0": 5.0, "a_1": 1.0}},  # a reward that still comes for the dead
        {"truncated": {"a_1": True}, "rewards": {"a_1": 1.0}},
    ]
    env = ScriptedParallelEnv(script)
    steps = play(game(env), 3)
    assert [step.reward for step in steps] == [4, 6, 1]
    assert [(step.terminated, step.truncated) for step in steps] == [(False, False), (False, False), (False, True)]
    assert env.received == [{"a_0": 0, "a_1": 0}, {"a_1": 0}, {"a_1": 0}]
    assert [step.obs.obs.tolist() for step in steps] == [[[0, 0], [2, 1]], [[0, 0], [2, 2]], [[0, 0], [2, 3]]]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("sum", [6, 1]),
        ("mean", [2, 1 / 3]),  # over all three agents, dead or not
        (f"{HERE}:twice_the_first", [0, 2]),
        (f"{HERE}:count_of_rewards", [3, 1]),  # not the opponent's
    ],
)
def test_the_team_reward(reward, expected):
    names = ("a_0", "a_1", "a_2", "z_0")
    script = [
        {"rewards": {"a_1": 4.0, "a_2": 2.0, "z_0": 100.0}, "terminated": {"a_0": True, "a_2": True}},
        {"rewards": {"a_1": 1.0, "z_0": 100.0}},
    ]
    team = game(ScriptedParallelEnv(script, names), reward=reward, agents="a", opponents="noop")
    assert [step.reward for step in play(team, 2)] == pytest.approx(expected)


@pytest.mark.parametrize("what", ["rewards", "terminated", "truncated"])
@pytest.mark.parametrize(
    ("name", "hint"),
    [("a0", "Did you mean 'a_0'?"), ("__all__", "Known: a_0, a_1, z_0."), (0, "Known: a_0, a_1, z_0.")],
)
def test_what_is_given_under_another_name_than_an_agents_is_not_lost(what, name, hint):
    env = ScriptedParallelEnv([], ("a_0", "a_1", "z_0"))
    team = game(env, agents="a", opponents="noop")
    team.reset(0)
    play_on = env.step

    def misname(actions):
        observations, *outcome, infos = play_on(actions)
        outcome[("rewards", "terminated", "truncated").index(what)][name] = 0
        return observations, *outcome, infos

    env.step = misname
    message = f"scripted_v0 gave {what} under the name {name!r}, which none of its agents has; use the names of "
    with pytest.raises(ValueError, match=re.escape(f"{message}possible_agents. {hint}")):
        team.step(np.array([0, 0]))


def test_the_limit_cuts_an_episode_that_would_go_on_and_shows_its_last_observation():
    team = game(ScriptedParallelEnv([]), episode_limit=2)
    steps = play(team, 2)
    assert [(step.terminated, step.truncated) for step in steps] == [(False, False), (False, True)]
    assert steps[1].obs.obs.tolist() == [[1, 2], [2, 2]]
    assert steps[1].obs.action_mask.all()


def test_an_end_at_the_limit_is_an_end():
    team = game(ScriptedParallelEnv([{}, {"terminated": {"a_0": True, "a_1": True}}]), episode_limit=2)
    assert play(team, 2)[1][2:4] == (True, False)


def test_the_limit_is_found_or_asked_for():
    env = ScriptedParallelEnv([], max_cycles=17)
    assert game(env).spec.episode_limit == 17
    assert game(env, episode_limit=5).spec.episode_limit == 5
    assert PettingZooGame(env, TeamOptions(**OBSERVED), {"max_steps": 6}).spec.episode_limit == 6
    env.max_cycles = None
    with pytest.raises(ValueError, match=r"scripted_v0 does not say how long .* team=.*episode_limit"):
        game(env)


@pytest.mark.parametrize("where", ["info", "observation"])
def test_masks(where):
    team = game(ScriptedParallelEnv([], masks=where))
    assert (team.spec.obs_dim, team.spec.n_actions) == (2, 3)
    assert team.reset(0).action_mask.tolist() == [[True, True, False]] * 2
    assert team.step(np.array([1, 1])).obs.action_mask.tolist() == [[True, True, False]] * 2


def test_unlike_agents():
    env = ScriptedParallelEnv(
        [],
        observation_spaces={"a_0": spaces.Discrete(2, start=1)},
        action_spaces={"a_1": spaces.Discrete(4, start=5)},
    )
    env.see = lambda agent: 1 if agent == "a_0" else np.array([7.0, 8.0])
    team = game(env)
    assert (team.spec.obs_dim, team.spec.n_actions, team.spec.state_dim) == (4, 4, 4)
    assert team.spec.agent_groups == ("a", "a_kind1")
    obs = team.reset(0)
    assert obs.obs.tolist() == [[1, 0, 1, 0], [7, 8, 0, 1]]
    assert obs.state.tolist() == [1, 0, 7, 8]  # without the agents' numbers, which never change
    assert obs.action_mask.tolist() == [[True, True, True, False], [True] * 4]
    team.step(np.array([2, 3]))
    assert env.received == [{"a_0": 2, "a_1": 8}]


# ----------------------------------------------------------------------------------------------------------
# state


def test_the_state_is_the_environments_own_where_it_has_one():
    env = WithState([])
    team = PettingZooGame(env)
    assert (team.spec.state_dim, env.resets) == (3, [])
    team.reset(0)
    assert team.step(np.array([0, 0])).obs.state.tolist() == [1, 8, 9]


def test_a_state_of_undeclared_size_is_looked_at_once():
    env = WithState([], declare=False)
    assert PettingZooGame(env).spec.state_dim == 3
    assert len(env.resets) == 1
    # asked for the observations, it need not be looked at
    env = WithState([], declare=False)
    assert game(env).spec.state_dim == 4
    assert env.resets == []


def test_observations_stand_for_a_missing_state_and_one_warning_says_so():
    team_state._say_that_observations_are_the_state.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        teams = [PettingZooGame(ScriptedParallelEnv([])) for _ in range(3)]
    assert [str(w.message) for w in caught if "scripted_v0 gives no global state" in str(w.message)]
    assert len(caught) == 1
    assert teams[0].reset(0).state.tolist() == [1, 0, 2, 0]


def test_the_state_can_be_chosen():
    assert PettingZooGame(WithState([]), TeamOptions(state="none")).spec.state_dim == 0
    assert PettingZooGame(WithState([]), TeamOptions(state="none")).reset(0).state.shape == (0,)
    assert PettingZooGame(WithState([]), TeamOptions(state="observations")).spec.state_dim == 4
    with pytest.raises(ValueError, match=r"team.state is 'env', and scripted_v0 gives no global state"):
        PettingZooGame(ScriptedParallelEnv([]), TeamOptions(state="env"))


def test_the_state_of_a_cut_episode_is_the_last_one_and_of_an_ended_one_is_not_asked_for():
    def broken():
        raise RuntimeError("nobody is left to be counted")

    cut = WithState([{"truncated": {"a_0": True, "a_1": True}}])
    assert play(PettingZooGame(cut), 1)[0].obs.state.tolist() == [1, 8, 9]
    ended = WithState([{"terminated": {"a_0": True, "a_1": True}}])
    team = PettingZooGame(ended)
    team.reset(0)
    ended.state = broken
    assert team.step(np.array([0, 0])).obs.state.tolist() == [0, 0, 0]


# ----------------------------------------------------------------------------------------------------------
# turns, opponents


def test_aec_environments_are_converted_if_they_can_be():
    from pettingzoo.utils import parallel_to_aec

    env = parallel_to_aec(WithState([{"terminated": {"a_0": True}}, {"truncated": {"a_1": True}}]))
    steps = play(PettingZooGame(env), 2)
    assert [step[2:4] for step in steps] == [(False, False), (False, True)]
    env.metadata["is_parallelizable"] = False
    with pytest.raises(ValueError, match="scripted_v0 is played in turns"):
        PettingZooGame(env)


def test_opponents_are_played_and_are_not_of_the_team():
    env = ScriptedParallelEnv([], ("a_0", "z_0", "z_1", "y_0"), action_spaces={"z_0": spaces.Discrete(2, start=1)})
    opponents = {"z": f"{HERE}:chase", "z_1": "noop", "y": "random"}
    team = game(env, agents="a", opponents=opponents)
    assert (team.spec.agent_ids, team.spec.state_dim) == (("a_0",), 2)
    play(team, 40)
    assert [sent["z_0"] for sent in env.received[:3]] == [2, 1, 1]
    assert {sent["z_1"] for sent in env.received} == {0}
    drawn = [sent["y_0"] for sent in env.received]
    assert set(drawn) == {0, 1, 2}
    play(team, 40)
    assert [sent["y_0"] for sent in env.received[40:]] == drawn  # they depend on the seed alone


def test_opponents_obey_masks_and_dead_ones_do_not_act():
    env = ScriptedParallelEnv([{"terminated": {"z_0": True}}], ("a_0", "z_0"), masks="info")
    env.mask_of["z_0"] = [0, 0, 1]
    play(game(env, agents="a", opponents="random"), 2)
    assert env.received == [{"a_0": 0, "z_0": 2}, {"a_0": 0}]
    with pytest.raises(ValueError, match="opponent 'z_0' chose 0, which its action mask forbids"):
        play(game(env, agents="a", opponents="noop"), 1)
    with pytest.raises(ValueError, match="opponent 'z_0' chose 99, which is not in Discrete"):
        play(game(env, agents="a", opponents=f"{HERE}:nonsense"), 1)
    env.mask_of["z_0"] = [-9.0, -9.0, 0.0]
    with pytest.raises(ValueError, match=r"mask of opponent 'z_0' holds -9.0; give 1 for an action that is allowed"):
        play(game(env, agents="a", opponents="random"), 1)


def test_the_game_is_over_for_us_when_our_team_is_dead():
    env = ScriptedParallelEnv([{"terminated": {"a_0": True}}], ("a_0", "z_0"))
    assert play(game(env, agents="a", opponents="noop"), 1)[0][2:4] == (True, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": "a"}, r"agent 'z_0' of scripted_v0 is not of our team, and nobody plays it.*'z': 'random'"),
        ({"agents": "a", "opponents": {"z_1": "noop"}}, "'z_1', which means no agent outside our team"),
        ({"agents": "a", "opponents": {"a": "noop"}}, "'a', which means no agent outside our team"),
        ({"agents": ["a_0", "zz_0"], "opponents": "noop"}, r"team.agents has 'zz_0', .* Did you mean 'z_0'"),
        ({"agents": "a", "opponents": f"{HERE}:chasse"}, "has no such function. Did you mean 'chase'"),
        ({"agents": "a", "opponents": "no_such_module:play"}, "there is no module 'no_such_module'"),
        ({"reward": f"{HERE}:nothing"}, "team.reward is .* has no such function"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        game(ScriptedParallelEnv([], ("a_0", "z_0")), **options)


def test_known_mixed_games_are_refused_without_sides():
    env = ScriptedParallelEnv([], ("adversary_0", "agent_0"))
    env.metadata["name"] = "simple_tag_v3"
    with pytest.raises(ValueError, match=r"simple_tag_v3 is a mixed game of adversary and agent.*scripted_prey:flee"):
        game(env)
    assert game(env, agents="adversary", opponents="noop").spec.n_agents == 1


@pytest.mark.parametrize("agents", ["", "a", ["adversary", "agent"], ["agent_0", "adversary_1"]])
def test_a_team_of_both_sides_of_a_known_mixed_game_is_refused(agents):
    env = ScriptedParallelEnv([], ("adversary_0", "adversary_1", "agent_0"))
    env.metadata["name"] = "simple_tag_v3"
    given = agents if isinstance(agents, str) else tuple(agents)
    message = (
        f"team.agents is {given!r}, which means agents of several sides: simple_tag_v3 is a mixed game of adversary"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        game(env, agents=agents, opponents="noop")


def test_a_side_may_have_several_kinds_of_agents():
    env = ScriptedParallelEnv([], ("leadadversary_0", "adversary_0", "agent_0"))
    env.metadata["name"] = "simple_world_comm_v3"
    with pytest.raises(
        ValueError, match=r"mixed game of leadadversary with adversary and agent; .*\['leadadversary', 'adv"
    ):
        game(env)
    for agents, count in ((["leadadversary", "adversary"], 2), ("agent", 1), ("leadadversary", 1)):
        assert game(env, agents=agents, opponents="noop").spec.n_agents == count


def test_agents_of_another_game_of_that_name_are_of_no_known_side():
    env = ScriptedParallelEnv([], ("unit_0", "unit_1"))
    env.metadata["name"] = "battle_v0"
    with pytest.raises(ValueError, match="battle_v0 is a mixed game"):
        game(env)
    assert game(env, agents="unit").spec.n_agents == 2


def test_continuous_and_many_fold_actions_are_refused():
    for space, message in (
        (spaces.Box(0, 1, (5,)), "continuous actions are out of scope"),
        (spaces.MultiDiscrete([2, 2]), "combinations of 2 choices"),
    ):
        with pytest.raises(ValueError, match=message):
            game(ScriptedParallelEnv([], action_spaces={"a_1": space}))


def test_what_is_no_environment_is_refused():
    with pytest.raises(ValueError, match="object has no possible_agents"):
        PettingZooGame(object())


def test_drawing_says_what_is_missing():
    env = ScriptedParallelEnv([])
    env.render = lambda: None
    with pytest.raises(ValueError, match=r"scripted_v0 drew NoneType, no picture; .*render_mode='rgb_array'"):
        game(env).render()
    env.render = lambda: np.ones((4, 5, 4), np.uint8)
    assert game(env).render().shape == (4, 5, 3)
