"""Small boards worked by hand, and the contract's promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rllib_reborn.envs.predator_prey.predator_prey import PredatorPrey
from rllib_reborn.envs.predator_prey.rules import CATCH, PRESETS, STAY, PredatorPreyRules
from rllib_reborn.envs.random_baseline import random_policy_returns
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams

RIGHT, DOWN, LEFT, UP = range(4)
PUNISHED = {"miscapture_punishment": -2.0}
KINDS = {"n_predators": "0123456789", "n_stags": "s", "n_hares": "h"}


class Scripted:
    """In place of the random streams: everybody acts in the order given, prey take the given choice 0..11."""

    def __init__(self, order: list[int], choices: dict[int, int]) -> None:
        words = [order.index(e) << 32 | (choices.get(e, 0) * 2**32 // 12 + 1) for e in range(len(order))]
        self.words = np.array([words], np.uint64)

    def bits(self, k: int) -> np.ndarray:
        assert k == self.words.shape[1]
        return self.words.copy()

    def get_state(self) -> dict:
        return {}


def board(rules: PredatorPreyRules, picture: str) -> PredatorPrey:
    """A game from a picture: digits are predators, in order; s stags and h hares in reading order."""
    rows = picture.split()
    assert (len(rows), len(rows[0])) == (rules.height, rules.width)
    cells = [(mark, y * rules.width + x) for y, row in enumerate(rows) for x, mark in enumerate(row)]
    positions = [cell for kind in KINDS.values() for mark, cell in sorted(cells) if mark in kind]
    env = PredatorPrey(rules, seed=0)
    state = env.get_state() | {"positions": np.array([positions]), "ready": True}
    env.set_state(state)
    return env


def picture(env: PredatorPrey) -> str:
    r = env.rules
    marks = [str(i) for i in range(r.n_predators)] + ["s"] * r.n_stags + ["h"] * r.n_hares
    grid = [["."] * r.width for _ in range(r.height)]
    for mark, cell in zip(marks, env.get_state()["positions"][0]):
        if cell >= 0:
            grid[cell // r.width][cell % r.width] = mark
    return " ".join("".join(row) for row in grid)


def rules(picture: str, **options) -> PredatorPreyRules:
    rows = picture.split()
    count = {kind: sum(mark in marks for row in rows for mark in row) for kind, marks in KINDS.items()}
    return PredatorPreyRules(height=len(rows), width=len(rows[0]), obs_radius=1, **(count | options))


def play(before: str, actions: list[int], order: list[int] | None = None, choices=None, **options):
    env = board(rules(before, **options), before)
    entities = env.rules.n_predators + env.rules.n_prey
    env._streams = Scripted(order or list(range(entities)), choices or {})
    out = env.step(np.array([actions]))
    return env, out


def test_two_neighbours_that_catch_capture_a_stag():
    env, out = play("... 0s1 ...", [CATCH, CATCH])
    assert picture(env) == "... 0.1 ..."
    assert out.reward[0] == 10
    assert out.terminated[0]
    assert out.info["won"][0]


def test_one_catcher_is_too_few_for_a_stag_and_is_punished():
    env, out = play("... 0s1 ...", [CATCH, STAY], choices={2: 0}, time_reward=-0.5, **PUNISHED)
    assert out.reward[0] == -2.5
    assert picture(env) == "... 0.1 .s."  # free are down and up; choice 0 is the first
    assert not out.terminated[0]


def test_one_catcher_is_enough_for_a_hare():
    env, out = play("... 0h. ...", [CATCH])
    assert picture(env) == "... 0.. ..."
    assert out.reward[0] == 1


def test_diagonal_is_not_beside():
    env = board(rules("0.. .s. ..1"), "0.. .s. ..1")
    assert not env._sight.team_obs.action_mask[0, :, CATCH].any()
    with pytest.raises(ValueError, match="action 5 of agent 0 in game 0 is not allowed"):
        env.step(np.array([[CATCH, STAY]]))


def test_one_catch_counts_for_every_prey_beside_when_nobody_freezes():
    env, out = play(".h. h0h .h.", [CATCH])
    assert out.reward[0] == 4
    assert picture(env) == "... .0. ..."


def test_frozen_catchers_leave_and_count_for_one_prey_only():
    """The two hares have one predator between them: the first in order is caught, the other finds nobody."""
    env, out = play("h0h", [CATCH], order=[0, 2, 1], choices={1: 0}, capture_freezes=True)
    assert out.reward[0] == 1
    # The predator's cell is free at once, and the left hare, acting last, moves there.
    assert picture(env) == ".h."
    assert out.terminated[0]  # no predator is left
    assert not out.info["won"][0]
    assert not out.obs.obs.any()
    assert out.obs.action_mask[0, 0].tolist() == [a == STAY for a in range(6)]


def test_freezing_turns_a_later_capture_into_a_miscapture():
    """Predator 1 stands beside both stags; whichever acts first is caught and takes it away from the
    other."""
    before = "0s1 ..s ..2"
    env, out = play(before, [CATCH] * 3, capture_freezes=True, **PUNISHED)
    assert out.reward[0] == 10 - 2
    assert "2" in picture(env)
    assert "0" not in picture(env)
    env, out = play(before, [CATCH] * 3, order=[0, 1, 2, 4, 3], capture_freezes=True, **PUNISHED)
    assert out.reward[0] == 10 - 2
    assert "0" in picture(env)
    assert "2" not in picture(env)
    _, out = play(before, [CATCH] * 3, capture_freezes=False, **PUNISHED)
    assert out.reward[0] == 20


def test_predators_block_each_other_in_order():
    assert picture(play("01. ..s", [RIGHT, RIGHT], order=[0, 1, 2], choices={2: 0})[0]).startswith("0.1")
    assert picture(play("01. ..s", [RIGHT, RIGHT], order=[1, 0, 2], choices={2: 0})[0]).startswith(".01")


def test_first_of_two_predators_gets_the_cell():
    assert picture(play("0.1 ... ..s", [RIGHT, LEFT], order=[0, 1, 2])[0]).startswith(".01")
    assert picture(play("0.1 ... ..s", [RIGHT, LEFT], order=[1, 0, 2])[0]).startswith("01.")


def test_prey_blocks_a_predator_unless_they_may_share():
    env, _ = play("0s. ...", [RIGHT], choices={1: 0})
    assert picture(env) == "0.s ..."
    env, out = play("0s", [RIGHT], prey_block_predators=False)
    # The prey is scared out of the shared cell, into the one that the predator left.
    assert picture(env) == "s0"
    assert out.obs.obs[0, 0].reshape(3, 3, 3)[1, 0].tolist() == [0, 1, 0]


def test_prey_without_a_free_neighbour_stays():
    env, _ = play("0s1", [STAY, STAY], choices={2: 7})
    assert picture(env) == "0s1"


def test_prey_act_one_after_the_other():
    """In a corridor the right stag must move before the left one can."""
    assert picture(play("0ss.", [STAY], order=[0, 2, 1])[0]) == "0.ss"
    assert picture(play("0ss.", [STAY], order=[0, 1, 2])[0]) == "0s.s"


def test_choice_picks_among_the_free_neighbours_evenly():
    ends = {picture(play(".... .s.. .... 0...", [STAY], choices={1: c})[0]) for c in range(12)}
    assert ends == {
        ".... ..s. .... 0...",
        ".... .... .s.. 0...",
        ".... s... .... 0...",
        ".s.. .... .... 0...",
    }


def test_torus_joins_the_edges():
    options = {"toroidal": True, "catchers_stag": 1}
    env, out = play("0.s ... ...", [CATCH], **options)
    assert out.reward[0] == 10
    env, _ = play("0.. .s. ...", [UP], choices={1: 0}, **options)
    assert picture(env) == "... ..s 0.."
    assert env._sight.team_obs.obs[0, 0].reshape(3, 3, 3)[0, 2].tolist() == [0, 0, 0]
    assert env._sight.team_obs.obs[0, 0].reshape(3, 3, 3)[0, 0].tolist() == [0, 1, 0]
    assert env._sight.team_obs.action_mask[0, 0, :4].all()


def test_moves_off_a_bounded_grid_are_not_available():
    env = board(rules("0.. ... ..s"), "0.. ... ..s")
    assert env._sight.team_obs.action_mask[0, 0].tolist() == [True, True, False, False, True, False]


def test_resting_prey_stays():
    before = ".... .s.. .... 0..."
    env = board(rules(before, rest_probability_stag=1.0), before)
    env.step(np.array([[STAY]]))
    assert picture(env) == before


def test_observation_and_state_by_hand():
    env = board(rules("0s. .h1 ..."), "0s. .h1 ...")
    obs = env._sight.team_obs
    window = obs.obs[0, 1].reshape(3, 3, 3)
    want = np.zeros((3, 3, 3), np.uint8)
    want[0, 0, 1] = 1  # the stag, up and left of predator 1
    want[1, 0, 2] = 1  # the hare, left of it
    want[1, 1, 0] = 1  # itself
    np.testing.assert_array_equal(window, want)
    grid = np.zeros((3, 3, 3), np.uint8)
    grid[0, 0, 0] = grid[1, 2, 0] = grid[0, 1, 1] = grid[1, 1, 2] = 1
    np.testing.assert_array_equal(obs.state[0], grid.reshape(-1))


def test_walls_are_observed_where_asked_for():
    env = board(rules("0s. .h1 ...", observe_walls=True), "0s. .h1 ...")
    obs = env._sight.team_obs
    assert (env.spec.obs_dtype, obs.obs.dtype, obs.state.dtype) == ("int8", np.int8, np.uint8)
    window = obs.obs[0].reshape(2, 3, 3, 3)
    # Predator 0 stands in the upper left corner, predator 1 at the right edge.
    assert window[0, :, :, 0].tolist() == [[-1, -1, -1], [-1, 1, 0], [-1, 0, 0]]
    assert window[1, :, :, 0].tolist() == [[0, 0, -1], [0, 1, -1], [0, 0, -1]]
    plain = board(rules("0s. .h1 ..."), "0s. .h1 ...")._sight.team_obs
    np.testing.assert_array_equal(np.maximum(obs.obs, 0), plain.obs)
    np.testing.assert_array_equal(obs.state, plain.state)
    np.testing.assert_array_equal(obs.action_mask, plain.action_mask)


def test_walls_change_neither_the_game_nor_its_random_numbers():
    envs = [
        PredatorPrey(dataclasses.replace(PRESETS["stag_hunt"], observe_walls=walls), 8, seed=3)
        for walls in (False, True)
    ]
    plain, walled = (env.reset() for env in envs)
    rng = np.random.default_rng(0)
    for _ in range(30):
        np.testing.assert_array_equal(plain.obs, np.maximum(walled.obs, 0))
        np.testing.assert_array_equal(plain.action_mask, walled.action_mask)
        actions = random_legal_actions(plain.action_mask, rng.random(plain.action_mask.shape[:2]))
        steps = [env.step(actions) for env in envs]
        np.testing.assert_array_equal(steps[0].reward, steps[1].reward)
        plain, walled = (step.obs for step in steps)
    assert (walled.obs == -1).any()


def test_capture_can_end_the_episode():
    _, out = play("0h. ..h", [CATCH], capture_ends_episode=True)
    assert out.terminated[0]
    assert not out.info["won"][0]
    _, out = play("0h. ..h", [CATCH], capture_ends_episode=False)
    assert not out.terminated[0]


def test_limit_truncates_and_termination_goes_first():
    _, out = play("0.. ..s", [STAY], episode_limit=1)
    assert (out.truncated[0], out.terminated[0]) == (True, False)
    _, out = play("0h.", [CATCH], episode_limit=1)
    assert (out.truncated[0], out.terminated[0]) == (False, True)


# ------------------------------------------------------------------------------ promises


def random_play(env: PredatorPrey, seed: int, steps: int, game: int = 0) -> list[tuple]:
    """What one game sees, under a policy whose random numbers belong to the game."""
    policy = RandomStreams(env.num_envs, seed, salt=9)
    obs, record = env.reset(seed=seed), []
    for _ in range(steps):
        out = env.step(random_legal_actions(obs.action_mask, policy.uniform(env.spec.n_agents)))
        record.append((out.obs.obs[game].copy(), out.obs.state[game].copy(), out.reward[game], out.terminated[game]))
        obs = out.obs
        over = out.terminated | out.truncated
        if over.any():
            obs = env.reset(mask=over)
            record.append((obs.obs[game].copy(), obs.state[game].copy(), 0.0, False))
    return record


def same(one: list[tuple], two: list[tuple]) -> bool:
    return len(one) == len(two) and all(np.array_equal(a, b) for x, y in zip(one, two) for a, b in zip(x, y))


@pytest.mark.parametrize("name", ["stag_hunt", "gradps_small"])
def test_a_game_does_not_depend_on_how_many_are_played(name):
    quick = dataclasses.replace(PRESETS[name], episode_limit=20)
    alone = random_play(PredatorPrey(quick), 3, 60)
    # The records of other games' resets are left out: only game 0 counts, and it alone is reset at its own
    # pace.
    crowd_env = PredatorPrey(quick, 5)
    policy = RandomStreams(5, 3, salt=9)
    obs, crowd = crowd_env.reset(seed=3), []
    for _ in range(60):
        out = crowd_env.step(random_legal_actions(obs.action_mask, policy.uniform(quick.n_predators)))
        crowd.append((out.obs.obs[0].copy(), out.obs.state[0].copy(), out.reward[0], out.terminated[0]))
        obs = out.obs
        over = out.terminated | out.truncated
        if over.any():
            obs = crowd_env.reset(mask=over)
        if over[0]:
            crowd.append((obs.obs[0].copy(), obs.state[0].copy(), 0.0, False))
    assert same(alone, crowd)


def test_seeds():
    env = PredatorPrey(PRESETS["stag_hunt"])
    first = random_play(env, 1, 20)
    assert same(first, random_play(env, 1, 20))
    assert not same(first, random_play(env, 2, 20))
    one, two = PredatorPrey(PRESETS["stag_hunt"]), PredatorPrey(PRESETS["stag_hunt"])
    assert not np.array_equal(one.reset().state, two.reset().state)  # unseeded: fresh entropy


def test_reset_of_some_games_touches_no_other():
    env = PredatorPrey(PRESETS["stag_hunt"], 3)
    env.reset(seed=0)
    before = [part.copy() for part in env.step(np.full((3, 8), STAY)).obs]
    after = env.reset(mask=np.array([False, True, False]))
    for old, new in zip(before, after):
        np.testing.assert_array_equal(old[[0, 2]], new[[0, 2]])
    assert not np.array_equal(before[1][1], after.state[1])
    assert env.get_state()["steps"].tolist() == [1, 0, 1]


def test_get_state_goes_on_exactly_in_another_env():
    rules_ = dataclasses.replace(PRESETS["stag_hunt"], height=6, width=5, episode_limit=30)
    env, other = PredatorPrey(rules_, 6), PredatorPrey(rules_, 6)
    policy, obs = RandomStreams(6, 0), env.reset(seed=4)
    for step in range(80):
        if step == 25:  # by now predators and prey have left
            state = env.get_state()
            assert (state["positions"] < 0).any()
            restored = other.set_state(state)
            for a, b in zip(restored, obs):
                np.testing.assert_array_equal(a, b)
        actions = random_legal_actions(obs.action_mask, policy.uniform(8))
        out = env.step(actions)
        over = out.terminated | out.truncated
        obs = env.reset(mask=over) if over.any() else out.obs
        if step >= 25:
            theirs = other.step(actions)
            np.testing.assert_array_equal(out.reward, theirs.reward)
            other_obs = other.reset(mask=over) if over.any() else theirs.obs
            for a, b in zip(obs, other_obs):
                np.testing.assert_array_equal(a, b)


def test_set_state_refuses_what_does_not_fit():
    env = PredatorPrey(PRESETS["stag_hunt"], 2, seed=0)
    env.reset()
    state = env.get_state()
    with pytest.raises(ValueError, match=r"positions of shape \(2, 16\); expected \(3, 16\)"):
        PredatorPrey(PRESETS["stag_hunt"], 3).set_state(state)
    crowded = state | {"positions": np.zeros((2, 16), np.int32)}
    with pytest.raises(ValueError, match="two entities on one cell"):
        env.set_state(crowded)
    with pytest.raises(ValueError, match=r"outside -1\.\.99"):
        env.set_state(state | {"positions": state["positions"] + 100})


def test_mistakes_in_calls_are_named():
    env = PredatorPrey(PRESETS["stag_hunt"], 2, seed=0)
    stay = np.full((2, 8), STAY)
    with pytest.raises(ValueError, match="call reset first"):
        env.step(stay)
    with pytest.raises(ValueError, match="first reset must start all games"):
        env.reset(mask=np.array([True, False]))
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(8,\); expected \(2, 8\)"):
        env.step(stay[0])
    with pytest.raises(ValueError, match="dtype float64"):
        env.step(stay.astype(float))
    bad = stay.copy()
    bad[1, 3] = -1
    with pytest.raises(ValueError, match="action -1 of agent 3 in game 1"):
        env.step(bad)
    with pytest.raises(ValueError, match=r"mask has shape \(3,\)"):
        env.reset(mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="num_envs is 0"):
        PredatorPrey(PRESETS["stag_hunt"], 0)


def test_starts_are_uniform_over_cells():
    env = PredatorPrey(dataclasses.replace(PRESETS["stag_hunt"], height=4, width=4, n_stags=4), 4000)
    state = env.reset(seed=1).state.reshape(4000, 16, 3)
    for channel, count in ((0, 8), (1, 4)):
        share = state[:, :, channel].mean(axis=0)
        # 4.5 standard errors of a binomial share, 16 cells.
        np.testing.assert_allclose(share, count / 16, atol=4.5 * 0.5 / 4000**0.5)


def test_presets_have_the_documented_sizes():
    sizes = {
        "small": (6, 12, 0, 20, 3, 150, 147, 1200),
        "middle": (12, 24, 0, 30, 3, 150, 147, 2700),
        "large": (18, 36, 0, 40, 3, 150, 147, 4800),
        "gradps_small": (6, 6, 6, 20, 3, 150, 147, 1200),
        "gradps_medium": (10, 10, 10, 25, 3, 150, 147, 1875),
        "gradps_large": (15, 15, 15, 30, 3, 150, 147, 2700),
        "stag_hunt": (8, 8, 0, 10, 2, 200, 75, 300),
    }
    assert list(PRESETS) == list(sizes)
    for name, r in PRESETS.items():
        spec = r.spec()
        have = (r.n_predators, r.n_stags, r.n_hares, r.height, r.obs_radius, r.episode_limit)
        assert (*have, spec.obs_dim, spec.state_dim) == sizes[name]
        assert (spec.n_actions, spec.has_win, r.catchers_stag, r.catchers_hare) == (6, True, 2, 1)
        assert not r.toroidal
        assert not r.capture_ends_episode
        assert r.prey_block_predators
        assert r.time_reward == (-0.1 if name in ("small", "middle", "large") else 0.0)
        assert r.miscapture_punishment == (-2.0 if name == "stag_hunt" else 0.0)
        assert r.capture_freezes == (name == "stag_hunt")
        assert r.reward_stag == 10
    assert PRESETS["gradps_small"].reward_hare == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "height is 0; give a whole number >= 1"),
        ({"n_predators": 2.0}, "n_predators is 2.0; give a whole number >= 1"),
        ({"n_stags": 0}, "n_stags and n_hares are both 0"),
        ({"catchers_stag": 5}, r"catchers_stag is 5; give a whole number in 1\.\.4"),
        ({"rest_probability_hare": 1.5}, r"rest_probability_hare is 1.5; give a number in 0\.\.1"),
        ({"miscapture_punishment": 2.0}, "give a number <= 0, here -2.0"),
        ({"reward_stag": float("nan")}, "reward_stag is nan; give a finite number"),
        ({"n_stags": 99}, "107 predators and prey do not fit on 10 x 10 = 100 cells"),
        ({"toroidal": True, "obs_radius": 5}, "sees 11 cells across"),
        ({"capture_freezes": 1}, "capture_freezes is 1; give True or False"),
        ({"obs_radius": 0}, "obs_radius is 0"),
        ({"observe_walls": True, "toroidal": True}, "observe_walls is True on a torus, which has no walls"),
        ({"episode_limit": 0}, "episode_limit is 0"),
    ],
)
def test_rules_name_the_mistake_and_the_remedy(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["stag_hunt"], **change)


def test_random_policy_scores_like_the_reference():
    """DCG's own environment, 200 episodes: mean return -92.5, standard error 1.8."""
    returns = random_policy_returns("predator_prey/stag_hunt", 1024, seed=0, num_envs=256)
    own_error = returns.std() / len(returns) ** 0.5
    assert own_error < 1.0
    assert abs(returns.mean() + 92.5) < 2.5 * np.hypot(1.8, own_error)
