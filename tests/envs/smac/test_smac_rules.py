"""The rules's episodes: many battles at once, restarts, states, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from rllib_reborn.envs.smac import SmacOptions, SmacRules, Terrain, Units, draw, scenario, team_spec
from rllib_reborn.envs.smac.generators import AttackProbability, EnemyMask, HealthLevel
from rllib_reborn.envs.smac.observer import SmacObserver
from tests.envs.smac.fields import any_actions, begin_all, go_on, kill, line_up, rules, scattered

HARD = {
    "prob_obs_enemy": 0.4,
    "conic_fov": True,
    "action_mask": False,
    "obs_last_action": True,
    "obs_timestep_number": True,
    "attack": AttackProbability(low=0.3, high=0.9),
    "health": HealthLevel(low=0.1, high=0.3),
    "enemy_mask": EnemyMask(mask_probability=0.5),
}
CASES = [
    ("3m", {}),
    ("2s3z", {}),
    ("MMM", {"obs_last_action": True}),
    ("terran_5_vs_5", {}),
    ("terran_10_vs_11", HARD),
    ("2s3z", {"attack": AttackProbability(low=0.5, high=0.5)}),
    ("zerg_5_vs_5", {"compat": "smacv2", "prob_obs_enemy": 0.5, "reward_scale": "smacv2"}),
]


def played(name: str, options: dict, battles: int, steps: int, seed: int = 1) -> tuple[SmacRules, Units, list]:
    """A war of some steps, without restarts, and copies of all that came out."""
    judge = rules(name, battles, **options)
    units = scattered(judge.scenario, judge.options, battles, seed, spread=6)
    begin_all(judge, units, seed=1000 * seed)
    record = [[array.copy() for array in judge.team_obs]]
    for step in range(steps):
        record.append(one_step(judge, units, seed, step))
    return judge, units, record


def one_step(judge: SmacRules, units: Units, seed: int, step: int) -> list[np.ndarray]:
    orders = judge.orders(any_actions(judge.team_obs.action_mask, seed, step))
    parts = [array.copy() for array in orders]
    go_on(units, seed, step)
    out = judge.score(units)
    return parts + [np.array(part) for part in (*out.obs, *out[1:4], *out.info.values())]


def same(one: list, two: list) -> bool:
    return len(one) == len(two) and all(np.array_equal(a, b) for a, b in zip(one, two))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_battle_does_not_depend_on_those_beside_it(name: str, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, alone = played(name, options, 1, 12)
    _, _, crowd = played(name, options, 7, 12)
    made, spec = scenario(name), rules(name, 1, **options).spec
    three_battles = 3 * spec.n_agents * (5 * made.n_units + spec.obs_dim)
    monkeypatch.setattr("rllib_reborn.envs.smac.observer._BATCH_NUMBERS", three_battles)
    judge, _, batched = played(name, options, 7, 12)
    assert len(judge._observer._resident) == 3
    for one, many, parts in zip(alone, crowd, batched, strict=True):
        assert same(one, [part[:1] for part in many])
        assert same(many, parts)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_war_goes_on_exactly_after_set_state(name: str, options: dict) -> None:
    judge, units, _ = played(name, options, 3, 6)
    state = pickle.loads(pickle.dumps(judge.get_state()))
    kept = copy.deepcopy(state)
    fresh = rules(name, 3, **options)
    obs = fresh.set_state(state)
    assert same(list(obs), list(judge.team_obs))
    other = units.copy()
    for step in range(6, 14):
        assert same(one_step(judge, units, 1, step), one_step(fresh, other, 1, step)), step
    again, late = fresh.set_state(kept), rules(name, 3, **options).set_state(kept)
    assert same(list(again), list(late)), "a state that was put back must not be changed by what follows"


def test_a_state_of_another_number_of_battles_is_refused() -> None:
    state = played("3m", {}, 2, 1)[0].get_state()
    with pytest.raises(ValueError, match=r"shape|broadcast|random streams"):
        rules("3m", 3).set_state(state)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_restart_of_some_leaves_the_others_alone(name: str, options: dict) -> None:
    judge, units, _ = played(name, options, 9, 4)
    before = [array.copy() for array in judge.team_obs]
    rows = [7, 2, 3]
    fresh = scattered(judge.scenario, judge.options, 9, 50)
    units.put(rows, fresh.rows(rows))
    draws = [draw(judge.scenario, judge.options, 50_000 + row) for row in rows]
    obs = judge.begin(rows, units, draws, [60 + row for row in rows])
    others = [b for b in range(9) if b not in rows]
    assert all(np.array_equal(old[others], new[others]) for old, new in zip(before, obs))
    alone = rules(name, 1, **options)
    one = fresh.rows([2])
    alone.begin([0], one, [draws[1]], [62])
    assert same([array[2:3] for array in obs], list(alone.team_obs))
    if not judge._layout.n_looks:
        assert obs.state[2].tolist() != before[1][2].tolist()


def test_a_restarted_battle_begins_with_clean_books() -> None:
    units = line_up("3m", {0: (10, 10), 3: (12, 10)})
    judge = rules("3m", 1, state_timestep_number=True)
    begin_all(judge, units)
    start = [array.copy() for array in judge.team_obs]
    judge.orders(np.array([[6, 1, 1]]))
    kill(units, 3, 4, 5)
    assert judge.score(units).terminated[0]
    fresh = line_up("3m", {0: (10, 10), 3: (12, 10)})
    assert same(list(judge.begin([0], fresh, None, [0])), start)
    fresh.health[0, 3] -= 9
    step = judge.score(fresh)
    assert step.reward[0] == pytest.approx(9 * 20 / 365), "the new team's health is what counts"
    assert not step.terminated[0]


def test_the_spec_is_known_without_rules_and_buffers_fit_it() -> None:
    judge = rules("MMM2", 4)
    assert judge.spec == team_spec(scenario("MMM2"), SmacOptions())
    spec = judge.spec
    shapes = [(4, 10, spec.obs_dim), (4, spec.state_dim), (4, 10, spec.n_actions)]
    assert [array.shape for array in judge.team_obs] == shapes
    assert [array.dtype for array in judge.team_obs] == [np.float32, np.float32, np.bool_]
    units = scattered(judge.scenario, judge.options, 4, 0)
    begin_all(judge, units)
    step = judge.score(units)
    assert step.obs is judge.team_obs
    assert set(step.info) == {"won", "failed", "dead_allies", "dead_enemies"}
    assert [step.info[name].dtype for name in ("won", "failed")] == [np.bool_, np.bool_]


def test_units_of_the_caller_are_only_read() -> None:
    judge = rules("MMM", 2)
    units = scattered(judge.scenario, judge.options, 2, 0)
    kill(units, 3)
    before = units.copy()
    begin_all(judge, units)
    judge.orders(any_actions(judge.team_obs.action_mask, 0, 0))
    judge.score(units)
    for field in ("kind", "x", "y", "health", "shield", "energy", "cooldown", "health_max", "shield_max"):
        assert np.array_equal(getattr(units, field), getattr(before, field)), field


def test_where_the_dead_lie_does_not_matter() -> None:
    options = {"compat": "smacv2"}
    judge, units, _ = played("zerg_5_vs_5", options, 2, 3)
    other = rules("zerg_5_vs_5", 2, **options)
    other.set_state(judge.get_state())
    kill(units, 1, 7)
    moved = units.copy()
    moved.x[0, [1, 7]], moved.y[0, [1, 7]] = -50, 1e9
    moved.shield[0, 7] = 30
    one, two = judge.score(units), other.score(moved)
    assert same([*one.obs, *one[1:4]], [*two.obs, *two[1:4]])


def put(units: Units, battle: int, unit: int, kind: int) -> Units:
    units.kind[battle, unit] = kind
    return units


def units_of(name: str, battles: int = 2) -> Units:
    return scattered(scenario(name), SmacOptions.for_scenario(scenario(name)), battles, 0)


@pytest.mark.parametrize(
    ("name", "call", "message"),
    [
        (
            "3m",
            lambda j: j.begin([2], units_of("3m"), None, [0]),
            r"rows are \[2\]; expected different numbers in 0..1",
        ),
        ("3m", lambda j: j.begin([0, 0], units_of("3m"), None, [0, 1]), r"rows are \[0, 0\]"),
        ("3m", lambda j: j.begin([0, 1], units_of("3m"), None, [0]), "1 seeds were given for 2 battles"),
        ("3m", lambda j: j.begin([0], units_of("3m", 3), None, [0]), r"units have shape \(3, 6\); expected \(2, 6\)"),
        (
            "2s3z",
            lambda j: j.begin([0, 1], put(units_of("2s3z"), 1, 1, 4), None, [0, 1]),
            "2s3z, battle 1: agent 1 is zealot; expected stalker. Agents are sorted",
        ),
        (
            "zerg_5_vs_5",
            lambda j: j.begin([1], put(units_of("zerg_5_vs_5"), 1, 9, 0), None, [0]),
            "battle 1: enemy 4 is marine; expected one of zergling, hydralisk, baneling",
        ),
        (
            "zerg_5_vs_5",
            lambda j: j.begin([1], put(units_of("zerg_5_vs_5"), 1, 9, 77), None, [0]),
            r"enemy 4 is of no known kind \(77\)",
        ),
    ],
)
def test_wrong_beginnings_are_refused(name: str, call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(rules(name, 2))


def test_drawn_skills_must_be_given() -> None:
    judge = rules("3m", 1, attack=AttackProbability(low=0, high=1))
    units = units_of("3m", 1)
    with pytest.raises(ValueError, match="none of the draws of 1 battles were given"):
        judge.begin([0], units, None, [0])
    with pytest.raises(ValueError, match="a draw has no attack_probability"):
        judge.begin([0], units, [draw(scenario("3m"), SmacOptions(), 0)], [0])


@pytest.mark.parametrize("battles", [0, 1.5, -1])
def test_a_wrong_number_of_battles_is_refused(battles) -> None:
    with pytest.raises(ValueError, match="num_battles is"):
        SmacRules(scenario("3m"), SmacOptions(), battles, Terrain.flat())


def test_beginning_none_changes_nothing() -> None:
    judge, units, _ = played("3m", {}, 2, 1)
    before = [array.copy() for array in judge.team_obs]
    assert same(list(judge.begin([], units, None, [])), before)


def test_many_restarts_need_few_sizes_of_batch() -> None:
    judge = rules("3m", 70)
    units = units_of("3m", 70)
    begin_all(judge, units)
    observer: SmacObserver = judge._observer
    for count in range(1, 70):
        judge.begin(list(range(count)), units, None, list(range(count)))
    assert len(observer._visiting) <= 7
    crowd = [array.copy() for array in judge.team_obs]
    assert same(list(judge.begin(list(range(70)), units, None, list(range(70)))), crowd)
