"""What holds for all battles: they do not depend on each other, on the backend or on how time is dealt out."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.compiled_functions import has_numba
from rllib_reborn.envs.battle.battlefield import Battlefield
from rllib_reborn.envs.smac.capabilities import draw
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.units import FIELDS
from tests.envs.battle.fields import attack_nearest, battle, random_orders, tell

#: Every part of the physics: shields, splash, bursts, healing, walls, hunting, a drawn goal, an enemy that holds.
NAMES = (
    "3s5z",
    "1c3s5z",
    "MMM2",
    "bane_vs_bane",
    "corridor",
    "2c_vs_64zg",
    "2m_vs_1z",
    "2s_vs_1sc",
    "zerg_10_vs_11",
    "protoss_5_vs_5",
)


def begun(name: str, seeds, backend: str = "numpy") -> Battlefield:
    field = Battlefield(scenario(name), len(seeds), backend=backend)
    field.spawn(np.arange(len(seeds)), list(seeds), drawn(name, seeds))
    return field


def drawn(name: str, seeds):
    played = scenario(name)
    return None if played.generated is None else [draw(played, SmacOptions.for_scenario(played), s) for s in seeds]


def play(field: Battlefield, steps: int, rng_seed: int = 0) -> None:
    rng = np.random.default_rng(rng_seed)
    for step in range(steps):
        random_orders(field, rng) if step % 4 == 3 else attack_nearest(field)
        field.advance(8)


def equal(one, other) -> list[str]:
    """Names of arrays that differ."""
    return [name for name in one if not np.array_equal(one[name], other[name])]


@pytest.mark.parametrize("name", NAMES)
def test_a_battle_does_not_depend_on_those_beside_it(name):
    seeds, row = range(40, 56), 5
    crowd, alone = begun(name, seeds), begun(name, seeds[row : row + 1])
    for _ in range(20):
        for field in (crowd, alone):
            attack_nearest(field)
            field.advance(8)
        for field in FIELDS:
            assert np.array_equal(getattr(crowd.units, field)[row], getattr(alone.units, field)[0]), field
    other = begun(name, [77])
    for _ in range(20):
        attack_nearest(other)
        other.advance(8)
    assert any(not np.array_equal(getattr(other.units, f), getattr(alone.units, f)) for f in FIELDS)


@pytest.mark.parametrize("name", NAMES)
def test_time_can_be_dealt_out_in_any_way(name):
    fields = [begun(name, range(3)) for _ in range(3)]
    for _ in range(12):
        for field in fields:
            attack_nearest(field)
        fields[0].advance(8)
        for _ in range(8):
            fields[1].advance(1)
        fields[2].advance(2)
        fields[2].advance(5)
        fields[2].advance(1)
    states = [field.get_state() for field in fields]
    assert equal(states[0], states[1]) == equal(states[0], states[2]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "3m", "27m_vs_30m", "so_many_baneling", "terran_20_vs_23"])
def test_numba_gives_the_same_bits(name):
    """Slow the first time only: then it is compiled."""
    pytest.importorskip("numba", reason="numba is not installed")
    ours, theirs = begun(name, range(6)), begun(name, range(6), "numba")
    rngs = [np.random.default_rng(1), np.random.default_rng(1)]
    for step in range(40):
        for field, rng in zip((ours, theirs), rngs):
            random_orders(field, rng) if step % 3 == 2 else attack_nearest(field)
            field.advance(8)
        assert equal(ours.get_state(), theirs.get_state()) == [], f"after step {step}"


@pytest.mark.slow
def test_numba_gives_the_same_bits_without_collisions_and_with_an_odd_number_of_units():
    pytest.importorskip("numba", reason="numba is not installed")
    for count, collisions in ((4, False), (5, True), (1, True)):
        units = {("zealot", i): (9 + i, 10) for i in range(count)}
        fields = [
            battle(
                units, {("zergling", 0): (20, 10), ("baneling", 0): (22, 10)}, backend=backend, collisions=collisions
            )
            for backend in ("numpy", "numba")
        ]
        for _ in range(20):
            for field in fields:
                attack_nearest(field)
                field.advance(8)
        assert equal(*(field.get_state() for field in fields)) == []


@pytest.mark.parametrize("name", ["3s5z", "MMM2", "bane_vs_bane", "corridor", "zerg_10_vs_11"])
def test_a_saved_battle_goes_on_as_the_running_one(name):
    field = begun(name, range(4))
    play(field, 9)
    field.advance(3)  # in the middle of wind-ups, bursts and waits
    state = copy.deepcopy(field.get_state())
    other = begun(name, range(50, 54))
    play(other, 5, rng_seed=9)
    other.set_state(state)
    assert all(np.array_equal(getattr(field.units, f), getattr(other.units, f)) for f in FIELDS)
    play(field, 12, rng_seed=3)
    play(other, 12, rng_seed=3)
    assert equal(field.get_state(), other.get_state()) == []


def test_a_state_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the state's kind has shape \(6, 2\); this field has \(6, 3\)"):
        begun("3m", range(3)).set_state(begun("3m", range(2)).get_state())


def test_new_battles_do_not_touch_the_others():
    field, undisturbed = begun("MMM2", range(4)), begun("MMM2", range(4))
    for step in range(20):
        if step == 10:
            field.spawn([1, 3], [8, 9], first_loop=True)
            assert (field.units.health[[1, 3]] == field.units.health_max[[1, 3]]).all()
        for each in (field, undisturbed):
            attack_nearest(each)
            each.advance(8)
    for name in FIELDS:
        assert np.array_equal(getattr(field.units, name)[[0, 2]], getattr(undisturbed.units, name)[[0, 2]])
    assert not np.array_equal(field.units.health[1], undisturbed.units.health[1])


@pytest.mark.parametrize("name", ["3m", "2m_vs_1z", "bane_vs_bane", "zerg_10_vs_11", "terran_5_vs_5"])
def test_the_first_loop_is_the_same_however_it_is_played(name):
    """For all battles at once, for some beside others, and as a loop of its own."""
    seeds = [3, 4, 5]
    at_once = Battlefield(scenario(name), 3, backend="numpy")
    at_once.spawn(range(3), seeds, drawn(name, seeds), first_loop=True)
    beside = begun(name, [90, 91, 92])
    beside.advance(5)
    beside.spawn([2, 0], [5, 3], drawn(name, [5, 3]), first_loop=True)
    beside.spawn([1], [4], drawn(name, [4]), first_loop=True)
    by_itself = begun(name, seeds)
    by_itself.advance(1)
    state = at_once.get_state()
    assert equal(state, beside.get_state()) == equal(state, by_itself.get_state()) == []
    fields = (at_once, beside, by_itself)
    for field in fields:
        play(field, 12)
    assert equal(at_once.get_state(), beside.get_state()) == equal(at_once.get_state(), by_itself.get_state()) == []


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10_000), loops=st.integers(1, 9))
def test_numbers_stay_within_their_bounds(name, seed, loops):
    field = begun(name, [seed, seed + 1])
    rng = np.random.default_rng(seed)
    alive = field.units.health > 0
    for _ in range(20):
        random_orders(field, rng)
        field.advance(loops)
        u = field.units
        for array in (u.x, u.y, u.health, u.shield, u.energy, u.cooldown):
            assert np.isfinite(array).all()
        assert ((u.health >= 0) & (u.health <= u.health_max)).all()
        assert ((u.shield >= 0) & (u.shield <= u.shield_max)).all()
        assert ((u.energy >= 0) & (u.energy <= 200)).all()
        assert ((u.cooldown >= 0) & (u.cooldown <= 32)).all()
        assert (u.shield[u.health == 0] == 0).all()
        assert ((u.x >= 0.5) & (u.x <= 31.5) & (u.y >= 0.5) & (u.y <= 31.5)).all()
        assert not ((u.health > 0) & ~alive).any(), "somebody came back to life"
        alive = u.health > 0


def test_killing_is_final_and_frees_those_who_aimed_at_the_dead():
    field = battle(
        {("marine", 0): (10, 10), ("marine", 1): (10, 12)}, {("medivac", 0): (13, 10), ("medivac", 1): (13, 13)}
    )
    tell(field, {0: ("attack", 2), 1: ("attack", 3)})
    field.advance(4)
    field.kill(0, [2])
    assert field.units.health[0].tolist() == [45, 45, 0, field.units.health[0, 3]]
    assert field.targets(0).tolist() == [-1, 3, -1, -1]
    field.kill(0, [2, 0, 1, 3])
    field.advance(8)
    assert (field.units.health == 0).all()


def test_an_attack_on_the_dead_is_refused():
    field = battle({("marine", 0): (10, 10)}, {("medivac", 0): (13, 10), ("medivac", 1): (13, 13)})
    field.kill(0, [1])
    tell(field, {0: ("attack", 2)})
    tell(field, {0: ("attack", 1)})
    assert field.targets(0)[0] == 2


def test_an_arena_of_ones_own_is_used():
    terrain = Terrain.flat(20, 24)
    field = battle({("marine", 0): (10, 10)}, {("medivac", 0): (13, 10)}, terrain=terrain)
    tell(field, {0: ("move", 40, 10)})
    field.advance(200)
    assert field.units.x[0, 0] == 19.5


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="num_battles is 0"):
        Battlefield(scenario("3m"), 0)
    with pytest.raises(ValueError, match="backend is 'fast'; expected one of"):
        Battlefield(scenario("3m"), 1, backend="fast")
    field = Battlefield(scenario("terran_5_vs_5"), 1, backend="numpy")
    with pytest.raises(ValueError, match="terran_5_vs_5 draws its teams for every episode; give capabilities"):
        field.spawn([0], [0])
    with pytest.raises(ValueError, match="capabilities have 10 allies and 11 enemies; terran_5_vs_5 has 5 and 5"):
        field.spawn([0], [0], drawn("terran_10_vs_11", [0]))


def test_without_numba_the_numpy_physics_is_taken_and_numba_refused(monkeypatch):
    has_numba.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Battlefield(scenario("3m"), 1).backend == "numpy"
    has_numba.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("physics_numba", "numba_kernels"):
        monkeypatch.delitem(sys.modules, f"rllib_reborn.envs.battle.{name}", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'rllib-reborn\[numba\]', or use backend='numpy'"):
        Battlefield(scenario("3m"), 1, backend="numba")
