"""What holds in every battle, whatever happens in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.envs.smac import KIND, SmacOptions, SmacRules, Terrain, scenario
from rllib_reborn.envs.smac.layout import FIRST_LOOK, layout_of, state_feature_names
from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE
from tests.envs.smac.fields import any_actions, begin_all, go_on, scattered

NAMES = (
    "3m",
    "2s3z",
    "MMM",
    "2m_vs_1z",
    "corridor",
    "bane_vs_bane",
    "terran_5_vs_5",
    "protoss_5_vs_5",
    "zerg_10_vs_11",
)

options_of = st.fixed_dictionaries(
    {
        "compat": st.sampled_from([None, "fixed"]),
        "obs_last_action": st.booleans(),
        "obs_pathing_grid": st.booleans(),
        "obs_terrain_height": st.booleans(),
        "obs_own_pos": st.booleans(),
        "use_unit_ranges": st.booleans(),
        "conic_fov": st.booleans(),
        "action_mask": st.booleans(),
        "prob_obs_enemy": st.sampled_from([0.0, 0.5, 1.0]),
        "reward_only_positive": st.booleans(),
        "move_amount": st.sampled_from([1.5, 2, 3]),
    }
)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NAMES), options_of, st.integers(0, 10_000), st.sampled_from([0.1, 0.6]))
def test_what_always_holds(name: str, changes: dict, seed: int, deadly: float) -> None:
    made, battles = scenario(name), 2
    options = SmacOptions.for_scenario(made, **changes)
    rng = np.random.default_rng(seed)
    pathing, heights = rng.random((32, 32)) < 0.7, rng.random((32, 32))
    terrain = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=heights)
    judge, layout, n = SmacRules(made, options, battles, terrain), layout_of(made, options), made.n_agents
    units = scattered(made, options, battles, seed)
    begin_all(judge, units, seed)
    over = np.zeros(battles, np.bool_)
    # (A weapon may take longer than SMAC's figure for it.)
    bounded = ["cooldown" not in name for name in state_feature_names(made, options)]
    for step in range(5):
        mask, obs, state = judge.team_obs.action_mask, judge.team_obs.obs, judge.team_obs.state
        alive = units.health > 0
        dead = ~alive[:, :n]
        assert mask.any(axis=2).all(), "an agent without an action"
        assert np.array_equal(mask[:, :, 0], dead), "doing nothing is for the dead"
        assert not mask[dead][:, 1:].any(), "the dead may do nothing else"
        assert mask[~dead][:, 1].all(), "the living may always stop"
        assert not obs[dead].any(), "the dead see nothing"
        assert np.isfinite(obs).all()
        assert np.isfinite(state).all()
        assert np.abs(obs).max() <= 1
        assert np.abs(state[:, bounded]).max() <= 1
        seen_enemies = layout.enemies.column(layout.enemies.view(obs), "distance") > 0
        assert not (seen_enemies & ~alive[:, None, n:]).any(), "dead enemies are not seen"

        actions = any_actions(mask, seed, step)
        orders = judge.orders(actions)
        assert (orders.kind[dead] == ORDER_NONE).all()
        aimed = (orders.kind == ORDER_ATTACK) | (orders.kind == ORDER_HEAL)
        assert np.array_equal(aimed, orders.target >= 0)
        healer = units.kind[:, :n] == KIND["medivac"]
        assert np.array_equal(orders.kind == ORDER_HEAL, aimed & healer)
        assert np.array_equal(orders.target >= n, aimed & ~healer), "only enemies are attacked, only allies healed"
        assert alive[np.nonzero(aimed)[0], orders.target[aimed]].all(), "nobody aims at the dead"
        moves = (actions >= 2) & (actions < FIRST_LOOK)
        assert np.array_equal(orders.kind == ORDER_MOVE, moves)
        gone = np.hypot(orders.x - units.x[:, :n], orders.y - units.y[:, :n])
        assert gone == pytest.approx(options.move_amount * moves, abs=1e-5)

        go_on(units, seed, step, deadly)
        out = judge.score(units)
        assert np.isfinite(out.reward).all()
        if options.reward_only_positive:
            assert (out.reward >= 0).all()
        assert not (out.info["won"] & ~out.terminated).any()
        assert not (over & ~out.terminated).any(), "what is over stays over"
        assert not out.reward[over].any()
        over = out.terminated.copy()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(("3m", "2s3z", "zerg_5_vs_5")), st.integers(0, 10_000))
def test_the_return_of_a_won_battle_without_healing_is_the_scale_rate(name: str, seed: int) -> None:
    """Without regeneration every point is taken once, so the whole return is reward_scale_rate."""
    made, rng = scenario(name), np.random.default_rng(seed)
    judge = SmacRules(made, SmacOptions.for_scenario(made), 1, Terrain.flat())
    units = scattered(made, judge.options, 1, seed)
    begin_all(judge, units, seed)
    total, n = 0.0, made.n_agents
    for _ in range(60):
        damage = rng.uniform(0, 60, made.n_enemies).astype(np.float32)
        through = np.maximum(damage - units.shield[0, n:], 0)
        units.shield[0, n:] = np.maximum(units.shield[0, n:] - damage, 0)
        units.health[0, n:] = np.maximum(units.health[0, n:] - through, 0)
        step = judge.score(units)
        total += float(step.reward[0])
        if step.terminated[0]:
            break
    assert step.info["won"][0]
    assert total == pytest.approx(20, abs=1e-4)
