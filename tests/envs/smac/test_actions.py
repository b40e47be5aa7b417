"""Masks, and what actions tell units to do."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.smac import Terrain, smacv2_scenario
from rllib_reborn.envs.smac.generators import AttackProbability, HealthLevel
from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE, ORDER_STOP
from tests.envs.smac.fields import at, begin_all, begun, kill, line_up


def test_a_living_agent_may_do_all_but_nothing_and_a_dead_one_nothing_else() -> None:
    units = line_up("3m", {0: (10, 10), 3: (14, 10), 4: (16, 10), 5: (16.1, 10)})
    judge = begun("3m", units)
    assert judge.team_obs.action_mask[0, 0].tolist() == [False, True, True, True, True, True, True, True, False]
    kill(units, 0, 4)
    judge.score(units)
    assert judge.team_obs.action_mask[0, 0].tolist() == [True] + [False] * 8
    units = line_up("3m", {0: (10, 10), 3: (14, 10), 4: (16, 10)})
    judge = begun("3m", units)
    kill(units, 3)
    judge.score(units)
    assert judge.team_obs.action_mask[0, 0, 6:].tolist() == [False, True, False], "the dead cannot be attacked"


def test_walls_are_masked() -> None:
    pathing = np.ones((32, 32), np.bool_)
    pathing[10, 11] = pathing[11, 10] = False
    flat = Terrain.flat()
    terrain = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=flat.terrain_height)
    judge = begun("3m", line_up("3m", {0: (10.5, 10.5), 1: (12.5, 10.5)}), terrain)
    assert judge.team_obs.action_mask[0, 0, 2:6].tolist() == [False, True, False, True]
    assert judge.team_obs.action_mask[0, 1, 2:6].tolist() == [True, True, True, False]
    assert judge.team_obs.obs[0, 0, :4].tolist() == [0, 1, 0, 1]


def test_a_medivac_heals_allies_that_are_not_medivacs() -> None:
    # Order: marauder, marine, medivac, medivac; the marine is 4 from the first Medivac, the marauder 5.
    made = smacv2_scenario("terran", 4, 2)
    names = ("marauder", "marine", "medivac", "medivac", "marine", "marine")
    places = [(15.0, 10.0), (10.0, 14.0), (10.0, 10.0), (11.0, 10.0), (10.0, 11.0), (11.0, 12.0)]
    units = at(names, places)
    judge = begun(made, units)
    assert judge.team_obs.action_mask[0, 2, 6:].tolist() == [False, True, False, False]
    assert judge.team_obs.action_mask[0, 3, 6:].tolist() == [True, False, False, False]
    assert judge.team_obs.action_mask[0, 1, 6:].tolist() == [True, True, False, False], (
        "slots beyond the enemies are healers'"
    )
    orders = judge.orders(np.array([[1, 7, 7, 6]]))
    assert orders.kind.tolist() == [[ORDER_STOP, ORDER_ATTACK, ORDER_HEAL, ORDER_HEAL]]
    assert orders.target.tolist() == [[-1, 4 + 1, 1, 0]]
    kill(units, 1)
    judge.score(units)
    assert not judge.team_obs.action_mask[0, 2, 6:].any()


@pytest.mark.parametrize("action_mask", [True, False])
def test_what_a_medivac_could_do_dies_with_it_and_does_not_pass_to_another(action_mask: bool) -> None:
    # Slots beyond the only enemy are open to healers alone.
    made = smacv2_scenario("terran", 3, 1)
    places = [(10.0, 10.0), (10.0, 11.0), (10.0, 12.0), (11.0, 10.0)]
    units = at(("marine", "marine", "medivac", "marine"), places)
    judge = begun(made, units, action_mask=action_mask)
    assert judge.team_obs.action_mask[0, 2, 6:].tolist() == [True, True, False]
    kill(units, 2)
    judge.score(units)
    assert judge.team_obs.action_mask[0, 2].tolist() == [True] + [False] * 8
    units = at(("marine", "marine", "medivac", "marine"), places)
    judge.begin([0], units, None, [1])
    judge.begin([0], at(("marine", "marine", "marine", "marine"), places), None, [2])
    assert judge.team_obs.action_mask[0, 2, 6:].tolist() == [True, False, False]


def test_without_a_mask_the_dead_cannot_be_healed_either() -> None:
    made = smacv2_scenario("terran", 3, 1)
    units = at(("marine", "marine", "medivac", "marine"), [(10, 10), (10, 30), (10, 12), (11, 10)])
    judge = begun(made, units, action_mask=False)
    assert judge.team_obs.action_mask[0, 2, 6:].tolist() == [True, True, False]
    kill(units, 1)
    judge.score(units)
    assert judge.team_obs.action_mask[0, 2, 6:].tolist() == [True, False, False]


def test_on_mmm_a_medivac_heals_within_6() -> None:
    units = line_up("MMM", {0: (10, 10), 1: (10, 17), 9: (10, 12), 10: (10, 13)})
    judge = begun("MMM", units)
    assert np.flatnonzero(judge.team_obs.action_mask[0, 9, 6:]).tolist() == [0, 1]
    orders = judge.orders(np.array([[1] * 9 + [7]]))
    assert (orders.kind[0, 9], orders.target[0, 9]) == (ORDER_HEAL, 1)


def test_orders_of_all_actions() -> None:
    units = line_up("3m", {0: (10.25, 20.5), 1: (11, 20), 2: (12, 20), 5: (13, 20)})
    judge = begun("3m", units, move_amount=3)
    for action, (x, y) in {2: (10.25, 23.5), 3: (10.25, 17.5), 4: (13.25, 20.5), 5: (7.25, 20.5)}.items():
        orders = judge.orders(np.array([[action, 1, 8]]))
        assert (orders.kind[0, 0], orders.x[0, 0], orders.y[0, 0]) == (ORDER_MOVE, x, y)
    assert orders.kind[0, 1:].tolist() == [ORDER_STOP, ORDER_ATTACK]
    assert orders.target.tolist() == [[-1, -1, 5]]
    assert [array.dtype for array in orders] == [np.int8, np.int64, np.float32, np.float32]
    kill(units, 1)
    units.x[0, 0] = 5
    judge.score(units)
    orders = judge.orders(np.array([[4, 0, 1]]))
    assert orders.kind[0].tolist() == [ORDER_MOVE, ORDER_NONE, ORDER_STOP]
    assert orders.x[0, 0] == 8, "moves start where the unit is now"


def test_without_a_mask_everybody_may_be_attacked_but_only_those_in_reach_are() -> None:
    made = smacv2_scenario("terran", 2, 2)
    units = at(("marine", "medivac", "marine", "marine"), [(10.0, 10.0), (10.0, 30.0), (14.0, 10.0), (30.0, 10.0)])
    judge = begun(made, units, action_mask=False)
    assert judge.team_obs.action_mask[0, :, 6:].tolist() == [[True, True], [True, False]]
    orders = judge.orders(np.array([[6, 6]]))
    assert orders.kind.tolist() == [[ORDER_ATTACK, ORDER_NONE]], "the Medivac is 20 from its patient"
    orders = judge.orders(np.array([[7, 1]]))
    assert orders.kind.tolist() == [[ORDER_NONE, ORDER_STOP]]
    assert orders.target.tolist() == [[-1, -1]]
    kill(units, 3)
    judge.score(units)
    assert judge.team_obs.action_mask[0, 0, 6:].tolist() == [True, False], "the dead stay masked"


def test_attacks_fail_by_chance_and_nothing_else_does() -> None:
    made = smacv2_scenario("zerg", 4, 1)
    units = at(("hydralisk",) * 5, [(10.0, 10.0), (10.0, 11.0), (11.0, 10.0), (11.0, 11.0), (12.0, 10.0)])
    judge = begun(made, units, attack=AttackProbability(low=0.25, high=0.25))
    hits = 0
    for _ in range(200):
        orders = judge.orders(np.array([[6, 6, 6, 2]]))
        failed = orders.kind[0, :3] == ORDER_NONE
        assert np.array_equal(orders.target[0, :3] == -1, failed)
        assert orders.kind[0, 3] == ORDER_MOVE
        hits += int((~failed).sum())
    assert hits == pytest.approx(150, abs=32)  # three standard deviations of 600


def test_chance_in_attacks_comes_from_the_seed() -> None:
    made = smacv2_scenario("zerg", 2, 1)
    units = at(("hydralisk",) * 3, [(10.0, 10.0), (10.0, 11.0), (12.0, 10.0)])

    def luck(seed: int) -> list:
        judge = begun(made, units, attack=AttackProbability(low=0.5, high=0.5), seed=seed)
        return [judge.orders(np.array([[6, 6]])).kind.tolist() for _ in range(20)]

    assert luck(1) == luck(1)
    assert luck(1) != luck(2)
    judge = begun(made, units, attack=AttackProbability(low=0.5, high=0.5), seed=1)
    for _ in range(2):
        begin_all(judge, units, seed=1)
        assert [judge.orders(np.array([[6, 6]])).kind.tolist() for _ in range(20)] == luck(1), "a restart restarts it"


def test_the_doomed_are_those_last_seen_below_their_level() -> None:
    made = smacv2_scenario("zerg", 3, 1)
    units = at(("hydralisk",) * 4, [(10.0, 10.0), (10.0, 11.0), (11.0, 11.0), (12.0, 10.0)])
    judge = begun(made, units, health=HealthLevel(low=0.5, high=0.5))
    assert judge.doomed is not None
    assert not judge.doomed.any()
    units.health[0, :3] = (39, 40, 0)  # of 80
    judge.score(units)
    assert judge.doomed.tolist() == [[True, False, False]]
    assert begun(made, units).doomed is None
