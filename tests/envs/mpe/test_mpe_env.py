"""Particle worlds: physics and rewards by hand, the contract, options, pictures."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.mpe import MpeTeamEnv
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.registry import env_names, make_team_env, team_spec

NAMES = [name for name in env_names() if name.startswith("mpe/")]
NONE, LEFT, RIGHT, DOWN, UP = range(5)


def placed(name, positions, velocities=None, goals=(), **options):
    """One game with bodies at these places [E, 2]."""
    env = make_team_env(name, 1, **options)
    env.reset(seed=0)
    state = env.get_state()
    state["positions"][0] = positions
    if velocities is not None:
        state["velocities"][0] = velocities
    state["goals"][0] = goals
    env.set_state(state)
    return env


def test_there_are_seven():
    assert [name.removeprefix("mpe/simple_") for name in NAMES] == [
        "spread",
        "reference",
        "speaker_listener",
        "tag",
        "world_comm",
        "push",
        "adversary",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    env = make_team_env(name, 3)
    checks = check_team_env(env, steps=30, make=lambda games: make_team_env(name, games))
    assert [(check.name, check.sentence) for check in checks if check.ok is not True] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mpe/simple_spread", {"N": 2, "terminate_on_success": True, "num_agent_neighbors": 1, "max_cycles": 30}),
        ("mpe/simple_tag", {"opponents": "random", "terminate_on_success": True, "num_adversaries": 6}),
        ("mpe/simple_world_comm", {"agents": "agent", "opponents": "random"}),
        ("mpe/simple_world_comm", {"agents": "agent"}),
        ("mpe/simple_adversary", {"agents": "adversary", "num_landmark_neighbors": 1}),
    ],
)
def test_contract_with_options(name, options):
    env = make_team_env(name, 3, **options)
    assert env.spec == team_spec(name, **options)
    checks = check_team_env(env, steps=30, make=lambda games: make_team_env(name, games, **options))
    assert [(check.name, check.sentence) for check in checks if check.ok is not True] == []


# ------------------------------------------------------------------------------------------------------------ physics


def test_an_agent_speeds_up_and_slows_down():
    env = placed("mpe/simple_spread", [(0, 0), (0.5, 0.5)], N=1)
    first = env.step(np.array([[RIGHT]])).obs.obs[0, 0, :4].copy()
    assert np.allclose(first, [0.5, 0, 0, 0])  # 5 * 0.1 s; the place follows the old velocity
    second = env.step(np.array([[UP]])).obs.obs[0, 0, :4].copy()
    assert np.allclose(second, [0.375, 0.5, 0.05, 0])
    third = env.step(np.array([[NONE]])).obs.obs[0, 0].copy()
    assert np.allclose(third, [0.28125, 0.375, 0.0875, 0.05, 0.4125, 0.45])


def test_agents_that_overlap_push_each_other_apart():
    env = placed("mpe/simple_push", [(0, 0), (0.08, 0), (1, 1), (-1, -1)], goals=(0,), opponents="noop")
    env.step(np.array([[NONE]]))
    velocity = env.get_state()["velocities"][0]
    depth = 1e-3 * math.log1p(math.exp(0.02 / 1e-3))
    assert np.allclose(velocity, [(-100 * depth * 0.1, 0), (100 * depth * 0.1, 0)], atol=1e-15)


def test_a_little_apart_the_push_is_soft():
    env = placed("mpe/simple_push", [(0, 0), (0, 0.102), (1, 1), (-1, -1)], goals=(0,), opponents="noop")
    env.step(np.array([[NONE]]))
    push = 100 * 1e-3 * math.log1p(math.exp(-2)) * 0.1
    assert np.allclose(env.get_state()["velocities"][0], [(0, -push), (0, push)], atol=1e-14)


def test_one_place_for_two_is_no_nan():
    env = placed("mpe/simple_push", [(0.3, 0.3), (0.3, 0.3), (1, 1), (-1, -1)], goals=(0,), opponents="noop")
    env.step(np.array([[NONE]]))
    assert not env.get_state()["velocities"].any()


def test_obstacles_stand_still_and_speed_has_a_limit():
    places = [(0, 0), (3, 3), (-3, 3), (3, -3), (0.2, 0), (-0.9, 0.9)]
    env = placed("mpe/simple_tag", places, opponents="noop")
    for _ in range(25):
        env.step(np.array([[LEFT, RIGHT, RIGHT]]))
    state = env.get_state()
    assert np.array_equal(state["positions"][0, 4:], places[4:])
    assert np.isclose(np.abs(state["velocities"][0, 1, 0]), 1.0)
    assert state["velocities"][0, 0, 0] < -0.9  # pushed off the obstacle, to the left
    prey = placed("mpe/simple_tag", places, agents="agent", opponents="noop")
    for _ in range(25):
        prey.step(np.array([[UP]]))
    assert np.isclose(prey.get_state()["velocities"][0, 3, 1], 1.3)


# ------------------------------------------------------------------------------------------- rewards and observations


def test_spread_pays_for_landmarks_and_overlaps():
    places = [(0, 0), (0.2, 0), (1, 0), (0, 0.3), (0.2, 0.4), (1, 0.5)]
    env = placed("mpe/simple_spread", places, local_ratio=0.25)
    reward = env.step(np.full((1, 3), NONE)).reward[0]
    # Nobody has moved yet. The first two overlap: 1 off for each of them.
    assert np.isclose(reward, 3 * 0.75 * -(0.3 + 0.4 + 0.5) + 0.25 * -2)
    mean = placed("mpe/simple_spread", places, local_ratio=0.25, reward="mean")
    assert np.isclose(mean.step(np.full((1, 3), NONE)).reward[0], reward / 3)


def test_no_penalty_in_the_first_stage_of_the_curriculum():
    places = [(0, 0), (0.2, 0), (0, 0), (0.2, 0)]
    for options, penalty in (({}, -1), ({"curriculum": True}, 0), ({"curriculum": True, "curriculum_stage": 1}, -1)):
        env = placed("mpe/simple_spread", places, N=2, local_ratio=0.5, **options)
        assert np.isclose(env.step(np.full((1, 2), NONE)).reward[0], penalty)


def test_spread_is_won_when_all_is_covered():
    places = [(0, 0), (0.5, 0), (0.05, 0), (0.5, 0.09)]
    env = placed("mpe/simple_spread", places, N=2, terminate_on_success=True)
    assert env.spec.has_win
    out = env.step(np.full((1, 2), NONE))
    assert (out.terminated[0], out.truncated[0], out.info["won"][0]) == (True, False, True)
    # In the last step it is won too, and cut: the episode would have ended anyway.
    env = placed("mpe/simple_spread", places, N=2, terminate_on_success=True, max_cycles=1)
    out = env.step(np.full((1, 2), NONE))
    assert (out.terminated[0], out.truncated[0], out.info["won"][0]) == (False, True, True)
    env = placed("mpe/simple_spread", places, N=2)
    out = env.step(np.full((1, 2), NONE))
    assert not out.terminated[0]
    assert "won" not in out.info
    assert not env.spec.has_win


def test_the_listener_hears_what_the_speaker_says():
    places = [(0, 0), (0.5, 0.5), (0.5, 0.1), (1, 1), (-1, -1)]
    env = placed("mpe/simple_speaker_listener", places, goals=(0,))
    before = env.set_state(env.get_state())
    assert np.allclose(before.obs[0, 0], [0.65, 0.15, 0.15, *[0] * 8, 1, 0])
    assert not before.obs[0, 1, 8:11].any()
    assert before.action_mask[0].sum(axis=1).tolist() == [3, 5]
    out = env.step(np.array([[2, NONE]]))
    assert out.obs.obs[0, 1].tolist()[8:] == [0, 0, 1, 0, 1]
    assert np.isclose(out.reward[0], -2 * 0.4**2)


def test_words_and_moves_are_one_action():
    env = placed("mpe/simple_reference", [(0, 0), (1, 0), (0, 1), (0, -1), (1, 1)], goals=(0, 1))
    out = env.step(np.array([[RIGHT + 5 * 7, UP + 5 * 0]]))
    heard = out.obs.obs[0, :, 11:]
    assert heard.argmax(axis=1).tolist() == [0, 7]
    assert heard.sum(axis=1).tolist() == [1, 1]
    assert np.allclose(out.obs.obs[0, :, :2], [(0.5, 0), (0, 0.5)])
    assert np.allclose(out.obs.obs[0, :, 8:11], [(0.75, 0.25, 0.25), (0.25, 0.75, 0.25)])
    # Agent 1 is to go to landmark 0, agent 0 to landmark 1.
    assert np.isclose(out.reward[0], -(math.sqrt(2) + 1))


def test_hunters_are_paid_for_every_touch_and_prey_for_staying():
    touching = [(0, 0), (0.1, 0), (3, 3), (0.05, 0.05), (-0.8, 0.8), (0.8, 0.8)]
    env = placed("mpe/simple_tag", touching, opponents="noop")
    assert env.step(np.full((1, 3), NONE)).reward[0] == 3 * 20
    prey = placed("mpe/simple_tag", touching, agents="agent", opponents="noop")
    assert prey.step(np.full((1, 1), NONE)).reward[0] == -20
    away = [(0, 0), (0.1, 0), (3, 3), (0.95, -1.5), (-0.8, 0.8), (0.8, 0.8)]
    prey = placed("mpe/simple_tag", away, agents="agent", opponents="noop")
    assert np.isclose(prey.step(np.full((1, 1), NONE)).reward[0], -(0.5 + math.exp(1)))


def test_forests_hide():
    # leader, adversaries, prey; obstacle, food, forests
    places = [(0.9, 0.9), (0, 0), (-0.5, 0.9), (-0.9, 0.9), (0.1, 0), (-0.5, 0.7)]
    places += [(0.9, -0.9), (0.5, 0.5), (0.6, 0.5), (0, 0), (-0.9, -0.9)]
    env = placed("mpe/simple_world_comm", places)
    obs = env.set_state(env.get_state()).obs[0]
    prey_0, prey_1 = slice(20, 22), slice(22, 24)
    assert np.allclose(obs[1, prey_0], (0.1, 0))  # in one forest
    assert not obs[1, prey_1].any()  # outside of it
    assert not obs[2, prey_0].any()
    assert np.allclose(obs[2, prey_1], (0, -0.2))
    assert np.allclose(obs[0, prey_0], (-0.8, -0.9))  # the leader sees all
    assert obs[1, 28:30].tolist() == [1, -1]
    assert obs[2, 28:30].tolist() == [-1, -1]


def test_the_nearest_are_observed_and_zeros_fill_up():
    places = [(0, 0), (1, 0), (0, 0.5), (0.3, 0), (2, 2), (-0.1, 0)]
    env = placed("mpe/simple_spread", places, num_agent_neighbors=4, num_landmark_neighbors=1)
    obs = env.set_state(env.get_state()).obs[0, 0]
    assert np.allclose(obs, [0, 0, 0, 0, -0.1, 0, 0, 0.5, 1, 0, *[0] * 4, *[0] * 8])
    assert env.spec.obs_dim == 22


# ---------------------------------------------------------------------------------------------------------- opponents


def test_scripts_do_what_they_are_for():
    """Against a still team: hunters catch, the prey gets away from who stands beside it, others arrive."""
    hunters = make_team_env("mpe/simple_tag", 32, agents="agent", num_obstacles=0, max_cycles=60)
    hunters.reset(seed=0)
    still = np.zeros((32, 1), int)
    touched = np.array([hunters.step(still).reward <= -10 for _ in range(50)])
    assert touched[0].mean() < 0.2
    assert touched[1:].any(axis=0).all()

    distances = {}
    for agents, body in (("adversary", 1), ("agent", 0)):
        env = make_team_env("mpe/simple_push", 32, agents=agents, max_cycles=60)
        env.reset(seed=0)
        state = env.get_state()
        state["positions"][:, 1 - body] += 5  # out of the way, nearest to one of the landmarks as before or not
        env.set_state(state)
        for _ in range(50):
            env.step(np.zeros((32, 1), int))
        state = env.get_state()
        marks = state["positions"][:, 2:]
        gaps = np.linalg.norm(marks - state["positions"][:, None, body], axis=2)
        distances[agents] = np.take_along_axis(gaps, state["goals"], 1) if agents == "adversary" else gaps.min(axis=1)
    assert distances["adversary"].max() < 0.1  # the agent has found its goal
    assert distances["agent"].max() < 0.1  # the adversary a landmark

    env = make_team_env("mpe/simple_adversary", 32, agents="adversary", N=3, max_cycles=60)
    env.reset(seed=0)
    for _ in range(50):
        env.step(np.zeros((32, 1), int))
    places = env.get_state()["positions"]
    gaps = np.linalg.norm(places[:, 1:4, None] - places[:, None, 4:], axis=3)
    assert gaps.min(axis=1).max() < 0.1  # every landmark has its agent


def test_random_opponents_draw_from_the_stream_of_their_game():
    """A reset draws a number for each goal and coordinate, a step one for each opponent."""
    env = make_team_env("mpe/simple_tag", 2, opponents="random", num_good=2, num_obstacles=1)
    env.reset(seed=[7, 8])
    places = env.get_state()["positions"]
    stream = RandomStreams(2, [7, 8])
    u = stream.uniform(12).reshape(2, 6, 2)
    reach = np.array([1, 1, 1, 1, 1, 0.9])[:, None]
    assert np.allclose(places, (2 * u - 1) * reach)
    env.step(np.zeros((2, 3), int))
    moves = (stream.uniform(2) * 5).astype(int)
    expected = 0.4 * np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])[moves]
    assert np.allclose(env.get_state()["velocities"][:, 3:], expected, atol=1e-9)


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simple_spread", {"continuous_actions": True}, "value factorisation needs discrete actions"),
        ("simple_tag", {"continuous_actions": False}, "value factorisation needs discrete actions"),
        ("simple_spread", {"render_mode": "human"}, "'render_mode' is not an option"),
        ("simple_spread", {"benchmark_data": True}, "'benchmark_data' is not an option"),
        ("simple_tag", {"team": {"reward": "mean"}}, "its entries are options themselves here"),
        ("simple_spread", {"num_good": 2}, "unknown option 'num_good'"),
        ("simple_spread", {"opponents": "random"}, "unknown option 'opponents'"),
        ("simple_spread", {"N": 0}, "N is 0; give a whole number >= 1"),
        ("simple_spread", {"N": True}, "N is True"),
        ("simple_spread", {"local_ratio": 1.5}, r"local_ratio is 1.5; give a number in 0\.\.1"),
        ("simple_spread", {"max_cycles": 0}, "max_cycles is 0"),
        ("simple_spread", {"reward": "max"}, "reward is 'max'; give one of sum, mean"),
        ("simple_spread", {"curriculum_stage": 1}, "curriculum_stage is 1 without a curriculum"),
        ("simple_spread", {"curriculum": True, "curriculum_stage": 2}, r"curriculum_stage is 2; .* in 0\.\.1"),
        ("simple_spread", {"curriculum": 1}, "curriculum is 1; give true or false"),
        ("simple_spread", {"terminate_on_success": "yes"}, "terminate_on_success is 'yes'"),
        ("simple_spread", {"num_agent_neighbors": 0}, "num_agent_neighbors is 0; give a whole number >= 1, or null"),
        ("simple_tag", {"num_landmark_neighbors": 1.0}, "num_landmark_neighbors is 1.0"),
        ("simple_tag", {"num_adversaries": 0}, "num_adversaries is 0"),
        ("simple_tag", {"agents": "prey"}, "agents is 'prey'; give one of adversary, agent"),
        ("simple_tag", {"opponents": "policy:/data/prey"}, "Trained teams .* play the same game as pettingzoo:mpe2"),
        ("simple_tag", {"opponents": ["random"]}, r"opponents is \['random'\]; give one of"),
        ("simple_world_comm", {"num_food": 0}, "num_food is 0"),
        ("simple_reference", {"local_ratio": 0.9}, "the team's reward is the same whatever it is"),
        ("simple_spread", {"local_ratio": "half"}, "local_ratio is 'half'"),
        ("simple_push", {"dynamic_rescaling": 1}, "dynamic_rescaling is 1"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    for call in (make_team_env, team_spec):
        with pytest.raises(ValueError, match=message):
            call(f"mpe/{name}", **options)


def test_every_option_has_an_effect():
    """Of all games and options: a value other than the default gives another team, other games or other pictures."""
    from rllib_reborn.envs.registry import ENVS

    other = {
        "max_cycles": 5,
        "dynamic_rescaling": False,
        "reward": "mean",
        "N": 4,
        "local_ratio": 0.9,
        "curriculum": True,
        "terminate_on_success": True,
        "num_agent_neighbors": 1,
        "num_landmark_neighbors": 1,
        "opponents": "random",
        "num_good": 3,
        "num_adversaries": 2,
        "num_obstacles": 3,
        "num_food": 1,
        "num_forests": 1,
    }
    for name in NAMES:
        for option in ENVS[name].options:
            if option == "curriculum_stage":
                one, two = ({"curriculum": True, option: stage} for stage in (0, 1))
            elif option == "agents":
                one, two = {option: "agent"}, {option: "adversary"}
            else:
                one, two = {}, {option: other[option]}
            if (name, option) == ("mpe/simple_push", "reward"):
                continue  # of one agent sum and mean are the same
            assert fingerprint(name, one) != fingerprint(name, two), (name, option)


def fingerprint(name, options):
    env = make_team_env(name, 16, **options)
    obs = env.reset(seed=0)
    state = env.get_state()
    state["positions"] *= 0.2  # close together, so that they touch
    obs = env.set_state(state)
    rng = np.random.default_rng(0)
    record = []
    for _ in range(6):
        out = env.step(random_legal_actions(obs.action_mask, rng.random(obs.action_mask.shape[:2])))
        obs = out.obs
        record += [array.tobytes() for array in (obs.obs, out.reward, out.terminated, out.truncated)]
    state = env.get_state()
    state["positions"][0, 0] = 3  # the picture shows more than the field
    env.set_state(state)
    return env.spec, b"".join(record), env.render(0).tobytes()


# ------------------------------------------------------------------------------------------------------ the rest of it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((2, 4, 2))}, r"state has positions of shape \(2, 4, 2\); expected \(2, 5, 2\)"),
        ({"positions": np.full((2, 5, 2), np.nan)}, "state has positions that are not finite"),
        ({"goals": np.full((2, 1), 3)}, r"state has goals outside 0\.\.2"),
        ({"steps": np.zeros(3, int)}, r"state has steps of shape \(3,\)"),
    ],
)
def test_states_of_other_games_are_refused(change, message):
    env = make_team_env("mpe/simple_speaker_listener", 2)
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match=message):
        env.set_state(before | change)
    assert np.array_equal(env.get_state()["positions"], before["positions"])


def test_reset_and_step_in_the_wrong_order():
    env = make_team_env("mpe/simple_push", 2)
    with pytest.raises(ValueError, match="step was called before reset"):
        env.step(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="the first reset must start all games"):
        env.reset(mask=np.array([True, False]))
    with pytest.raises(ValueError, match=r"reset mask has shape \(3,\)"):
        env.reset(mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="num_envs is 0"):
        MpeTeamEnv(env.scenario, 0)


@pytest.mark.parametrize("name", NAMES)
def test_pictures(name):
    env = make_team_env(name, 2)
    env.reset(seed=0)
    one, two = env.render(0), env.render(1)
    assert one.shape == two.shape
    assert one.dtype == np.uint8
    assert one.shape[2] == 3
    assert not np.array_equal(one, two)


def test_the_package_is_not_needed():
    code = (
        "import sys, numpy as np\n"
        "sys.modules['mpe2'] = sys.modules['pettingzoo'] = sys.modules['numba'] = None\n"
        "from rllib_reborn.envs.registry import env_names, make_team_env\n"
        "for name in env_names():\n"
        "    if name.startswith('mpe/'):\n"
        "        env = make_team_env(name, 2)\n"
        "        env.step(np.zeros(env.reset(seed=0).obs.shape[:2], int))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
