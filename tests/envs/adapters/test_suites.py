"""The contract over real suites, by name, as a user has them. A suite that is not installed is reported as not run."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rllib_reborn.envs.adapters.scripted_prey import flee
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.registry import make_team_env, team_spec

FLEE = "rllib_reborn.envs.adapters.scripted_prey:flee"
OBSERVATIONS = {"state": "observations"}
SPREAD = "pettingzoo:mpe2.simple_spread_v3"
TAG = "pettingzoo:mpe2.simple_tag_v3"
FORAGING = "gymnasium:Foraging-8x8-2p-3f-v3"
WAREHOUSE = "gymnasium:rware-tiny-2ag-v2"
HUNT = "pettingzoo:magent2.environments.adversarial_pursuit_v4"
BATTLE = "pettingzoo:magent2.environments.battle_v4"


def needs(*packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"not run: {package} is not installed")


#: id -> (packages, name, options, (agents, actions, obs, state, limit))
CASES = {
    "simple_spread": (["mpe2"], SPREAD, {}, (3, 5, 18, 54, 25)),
    "simple_tag": (["mpe2"], TAG, {"team": {"agents": "adversary", "opponents": {"agent": FLEE}}}, (3, 5, 16, 62, 25)),
    "speaker_listener": (["mpe2"], "pettingzoo:mpe2.simple_speaker_listener_v4", {}, (2, 5, 13, 14, 25)),
    "pursuit": (
        ["pettingzoo", "pygame"],
        "pettingzoo:sisl.pursuit_v5",
        {"max_cycles": 12, "x_size": 8, "y_size": 8, "n_evaders": 4, "n_pursuers": 3},
        (3, 5, 147, 192, 12),
    ),
    "foraging": (["lbforaging"], FORAGING, {"team": OBSERVATIONS}, (2, 6, 15, 30, 50)),
    "warehouse": (["rware"], WAREHOUSE, {"max_steps": 20, "team": OBSERVATIONS}, (2, 5, 71, 142, 20)),
    "adversarial_pursuit": (
        ["magent2"],
        HUNT,
        {"map_size": 16, "max_cycles": 12, "team": {"agents": "predator", "opponents": "random"}},
        (3, 13, 500, 1280, 12),
    ),
    "battle": (
        ["magent2"],
        BATTLE,
        {"map_size": 14, "max_cycles": 12, "team": {"agents": "red", "opponents": "random"}},
        (2, 21, 845, 980, 12),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_contract(case):
    packages, name, options, sizes = CASES[case]
    needs(*packages)
    spec = team_spec(name, **options)
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == sizes
    env = make_team_env(name, 2, **options)
    assert env.spec == spec
    checks = check_team_env(env, make=lambda games: make_team_env(name, games, **options))
    env.close()
    assert [(check.name, check.sentence) for check in checks if check.ok is False] == []
    # Of these games none can say its state; all else was checked.
    assert {check.name for check in checks if check.ok is None} <= {"get_state"}


def run(env, steps, choose=None, seed=0):
    """All (observations before, outcome) of one batch of episodes."""
    rng = np.random.default_rng(seed)
    obs = env.reset(seed=seed)
    for _ in range(steps):
        actions = (
            random_legal_actions(obs.action_mask, rng.random(obs.action_mask.shape[:2]))
            if choose is None
            else choose(obs.obs)
        )
        before = np.array(obs.obs)
        out = env.step(actions)
        obs = out.obs
        yield before, out


def test_spread_reward_is_the_sum_and_the_limit_a_truncation():
    needs("mpe2")
    total, mean = (make_team_env(SPREAD, 2, max_cycles=5, team={"reward": kind}) for kind in ("sum", "mean"))
    for (_, one), (_, other) in zip(run(total, 5), run(mean, 5)):
        assert np.allclose(one.reward, 3 * other.reward)
        assert (one.reward < 0).all()
    assert one.truncated.all()
    assert not one.terminated.any()


def test_mixed_games_ask_for_sides():
    needs("mpe2", "magent2")
    with pytest.raises(ValueError, match="simple_tag_v3 is a mixed game of adversary and agent"):
        make_team_env(TAG)
    with pytest.raises(ValueError, match="battle_v4 is a mixed game of red and blue"):
        team_spec(BATTLE)


def head_for_the_prey(obs):
    towards = obs[..., 12:14]
    sideways = np.abs(towards[..., 0]) > np.abs(towards[..., 1])
    return np.where(sideways, np.where(towards[..., 0] < 0, 1, 2), np.where(towards[..., 1] < 0, 3, 4))


def test_the_scripted_prey_flees_and_stays_in_the_arena():
    """Chased by three adversaries that head for it, it is caught a fifth as often as one that moves at random."""
    needs("mpe2")
    caught, farthest = {}, {}
    for opponent in ("random", FLEE):
        env = make_team_env(TAG, 8, max_cycles=50, team={"agents": "adversary", "opponents": opponent})
        caught[opponent], places = 0.0, []
        for _, out in run(env, 50, head_for_the_prey):
            caught[opponent] += out.reward.sum() / 30
            places.append(np.abs(out.obs.obs[:, 0, 2:4] + out.obs.obs[:, 0, 12:14]).max())
        farthest[opponent] = max(places)
    assert caught[FLEE] < 0.2 * caught["random"]
    assert farthest[FLEE] < 1.2


@pytest.mark.parametrize(
    ("position", "adversaries", "expected"),
    [
        ((0, 0), [(-0.2, 0)], 2),  # it is to the left: go right
        ((0, 0), [(0.2, 0)], 1),
        ((0, 0), [(0, 0.2)], 3),
        ((0, 0), [(0, -0.2), (0.9, 0.9)], 4),
        ((0.85, 0), [(-0.2, 0.05)], 3),  # at the edge it goes along it
    ],
)
def test_where_the_prey_goes(position, adversaries, expected):
    from gymnasium import spaces

    observation = np.concatenate([(0, 0), position, np.zeros(4), np.ravel(adversaries)])
    assert flee(observation, None, spaces.Discrete(5), np.random.default_rng(0)) == expected
    with pytest.raises(ValueError, match="flee was given an observation of shape"):
        flee(observation[:-1], None, spaces.Discrete(5), np.random.default_rng(0))


def test_foraging_cuts_at_its_limit_and_ends_when_all_is_eaten():
    """lbforaging calls both terminated."""
    needs("lbforaging")
    env = make_team_env("gymnasium:Foraging-5x5-2p-1f-v3", 16, team=OBSERVATIONS)
    cut = ended = 0
    returns = np.zeros(16)
    alive = np.ones(16, bool)
    for _, out in run(env, 50):
        returns[alive] += out.reward[alive]
        cut += int((out.truncated & alive).sum())
        ended += int((out.terminated & alive).sum())
        # Everything eaten is a return of 1 in all.
        assert np.allclose(returns[out.terminated & alive], 1)
        over = out.terminated | out.truncated
        alive &= ~over
        env.reset(mask=over) if over.any() else None
        if not alive.any():
            break
    assert cut + ended == 16
    assert cut > 0
    assert ended > 0


def test_warehouse_limit_is_a_truncation():
    needs("rware")
    *_, (_, last) = run(make_team_env(WAREHOUSE, 2, max_steps=5, team=OBSERVATIONS), 5)
    assert last.truncated.all()
    assert not last.terminated.any()
    with pytest.raises(ValueError, match="games of rware cannot be played side by side in threads"):
        make_team_env(WAREHOUSE, 2, team={"workers": "threads"})


def test_foraging_forgets_the_last_episode_when_it_is_seeded():
    """lbforaging itself places no player where one stood before."""
    needs("lbforaging")
    env = make_team_env("gymnasium:Foraging-5x5-3p-1f-v3", 1, team=OBSERVATIONS)
    starts = set()
    for other in range(30):
        starts.add(env.reset(seed=0).obs.tobytes())
        env.reset(seed=other)
    assert len(starts) == 1


def test_the_state_of_magent2_has_the_walls_that_are_there():
    """magent2 itself keeps those of the constructor's map."""
    needs("magent2")
    options = {"map_size": 16, "team": {"agents": "predator", "opponents": "random"}}
    env = make_team_env(HUNT, 1, **options)
    walls = [env.reset(seed=seed).state.reshape(16, 16, 5)[..., 0].copy() for seed in (1, 2)]
    assert not np.array_equal(*walls)
    assert [w.sum() for w in walls] == [walls[0].sum()] * 2


def test_agents_of_magent2_die_early():
    """Hundreds of starving agents fight: the dead are zero, have one action, and do not come back."""
    needs("magent2")
    env = make_team_env("pettingzoo:magent2.environments.gather_v5", 1, max_cycles=40)
    dead = np.zeros(env.spec.n_agents, bool)
    for _, out in run(env, 12):
        now = ~out.obs.obs[0].any(axis=1)
        assert (now | ~dead).all()
        assert np.array_equal(out.obs.action_mask[0].sum(axis=1) == 1, now)
        assert np.isfinite(out.obs.state).all()
        dead = now
    assert 0 < dead.sum() < env.spec.n_agents


def test_a_side_that_starves_has_lost_its_episode():
    needs("magent2")
    options = {"map_size": 16, "max_cycles": 200, "team": {"agents": "tiger", "opponents": "random"}}
    env = make_team_env("pettingzoo:magent2.environments.tiger_deer_v4", 1, **options)
    steps = 0
    for _, out in run(env, 200):
        steps += 1
        if out.terminated[0] or out.truncated[0]:
            break
    assert (steps, out.terminated[0], out.truncated[0], out.info["failed"][0]) == (100, True, False, False)
