"""The fast environment equals the plain one, number by number, over random rules, boards and actions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rllib_reborn.envs.predator_prey.predator_prey import PredatorPrey
from rllib_reborn.envs.predator_prey.rules import PRESETS, PredatorPreyRules
from rllib_reborn.envs.random_streams import RandomStreams
from tests.envs.scalar_predator_prey import ScalarPredatorPrey


@st.composite
def all_rules(draw) -> PredatorPreyRules:
    toroidal = draw(st.booleans())
    radius = draw(st.integers(1, 3))
    smallest = 2 * radius + 1 if toroidal else 1
    height = draw(st.integers(smallest, 8))
    width = draw(st.integers(max(smallest, 3 if height == 1 else 1), 8))
    if height * width < 3:
        width = 3
    cells = height * width
    n_predators = draw(st.integers(1, min(8, cells - 1)))
    n_prey = draw(st.integers(1, min(10, cells - n_predators)))
    n_stags = draw(st.integers(0, n_prey))
    rest = st.sampled_from([0.0, 0.3, 1.0])
    # Rewards are multiples of 1/2, so that the order in which they are summed plays no part.
    return PredatorPreyRules(
        height=height,
        width=width,
        n_predators=n_predators,
        n_stags=n_stags,
        n_hares=n_prey - n_stags,
        reward_stag=draw(st.sampled_from([10.0, 2.5])),
        reward_hare=draw(st.sampled_from([1.0, 2.0])),
        catchers_stag=draw(st.integers(1, 4)),
        catchers_hare=draw(st.integers(1, 2)),
        miscapture_punishment=draw(st.sampled_from([0.0, -2.0])),
        time_reward=draw(st.sampled_from([0.0, -0.5])),
        capture_freezes=draw(st.booleans()),
        capture_ends_episode=draw(st.booleans()),
        prey_block_predators=draw(st.booleans()),
        toroidal=toroidal,
        observe_walls=not toroidal and draw(st.booleans()),
        rest_probability_stag=draw(rest),
        rest_probability_hare=draw(rest),
        obs_radius=radius,
        episode_limit=draw(st.integers(1, 12)),
    )


def play_both(rules: PredatorPreyRules, num_envs: int, seed: int, steps: int, p_catch: float) -> int:
    """Play both, resetting what ends; returns the number of prey caught, so that callers see that something
    was."""
    env = PredatorPrey(rules, num_envs)
    numbers = RandomStreams(num_envs, seed)  # a twin of the env's own streams
    games = [ScalarPredatorPrey(rules) for _ in range(num_envs)]
    rng = np.random.default_rng(seed)
    may_rest = rules.rest_probability_stag > 0 or rules.rest_probability_hare > 0
    entities = rules.n_predators + rules.n_prey

    def same(obs) -> None:
        for b, game in enumerate(games):
            np.testing.assert_array_equal(obs.obs[b], game.observations())
            np.testing.assert_array_equal(obs.state[b], game.state())
            np.testing.assert_array_equal(obs.action_mask[b], game.action_mask())

    obs = env.reset(seed=seed)
    for game, bits in zip(games, numbers.bits(rules.height * rules.width).tolist()):
        game.reset(bits)
    same(obs)
    caught = 0
    for _ in range(steps):
        scores = rng.random(obs.action_mask.shape)
        scores[:, :, 5] += rng.random(scores.shape[:2]) < p_catch
        actions = (scores * obs.action_mask).argmax(axis=2)
        out = env.step(actions)
        bits = numbers.bits(entities).tolist()
        rests = numbers.uniform(rules.n_prey).tolist() if may_rest else [None] * num_envs
        results = []
        for b, game in enumerate(games):
            before = sum(game.at[j] is not None for j in game.prey)
            results.append(game.step(actions[b].tolist(), bits[b], rests[b]))
            caught += before - sum(game.at[j] is not None for j in game.prey)
        reward, terminated, truncated, won = (np.array(column) for column in zip(*results))
        np.testing.assert_array_equal(out.reward, reward.astype(np.float32))
        np.testing.assert_array_equal(out.terminated, terminated)
        np.testing.assert_array_equal(out.truncated, truncated)
        np.testing.assert_array_equal(out.info["won"], won)
        same(out.obs)
        obs = out.obs
        done = out.terminated | out.truncated
        if done.any():
            obs = env.reset(mask=done)
            fresh = numbers.bits_at(done, rules.height * rules.width).tolist()
            for b, number in zip(np.flatnonzero(done), fresh):
                games[b].reset(number)
            same(obs)
    return caught


@given(all_rules(), st.integers(1, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_equals_the_plain_rules(rules, num_envs, seed, p_catch):
    play_both(rules, num_envs, seed, steps=10, p_catch=p_catch)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_equal_the_plain_rules(name):
    play_both(PRESETS[name], num_envs=2, seed=5, steps=4, p_catch=0.5)


def test_captures_happen_in_these_comparisons():
    assert play_both(PRESETS["stag_hunt"], num_envs=4, seed=1, steps=60, p_catch=1.0) > 5
