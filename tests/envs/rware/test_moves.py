"""Who goes where robots are in each other's way: by hand, and against the package on made-up states."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.rware.moves import resolve
from rllib_reborn.envs.rware.rules import FORWARD, NOOP, RIGHT, TOGGLE, WarehouseRules
from rllib_reborn.envs.rware.ties import first_in_order
from rllib_reborn.envs.rware.warehouse import Warehouse
from tests.envs.rware import poses

UP, DOWN, LEFT = poses.UP, poses.DOWN, poses.LEFT
EAST = poses.RIGHT

HALL = """
    .....
    ..x..
    .xx..
    ....g
"""


def hall(n_agents: int, **options: Any) -> Warehouse:
    options = {"request_queue_size": 1, "layout": HALL, **options}
    return Warehouse(WarehouseRules(n_agents=n_agents, **options), 1)


def places(
    agents: list[tuple[int, int, int]], actions: list[int] | None = None, carried: dict[int, int] | None = None
) -> list[tuple[int, int]]:
    """(row, column) of the robots after one step, in which all go forward unless ``actions`` says otherwise."""
    env = hall(len(agents))
    env.set_state(poses.posed(env, agents, carried))
    env.step(np.array([actions or [FORWARD] * len(agents)]))
    return [divmod(int(place), 5) for place in env.get_state()["agents"][0]]


def test_a_free_cell_a_wall_and_a_robot_that_stays() -> None:
    assert places([(0, 0, EAST)]) == [(0, 1)]
    assert places([(0, 0, UP)]) == [(0, 0)]
    assert places([(0, 0, LEFT)]) == [(0, 0)]
    assert places([(3, 4, DOWN)]) == [(3, 4)]
    assert places([(3, 4, EAST)]) == [(3, 4)]
    assert places([(0, 0, EAST), (0, 1, EAST)], [FORWARD, NOOP]) == [(0, 0), (0, 1)]
    assert places([(0, 0, EAST), (0, 1, UP)]) == [(0, 0), (0, 1)]


def test_a_row_goes_together_and_two_never_change_places() -> None:
    assert places([(0, 0, EAST), (0, 1, EAST), (0, 2, EAST)]) == [(0, 1), (0, 2), (0, 3)]
    assert places([(0, 0, EAST), (0, 1, LEFT)]) == [(0, 0), (0, 1)]
    # Who stands behind two that want each other's places waits too.
    assert places([(0, 0, EAST), (0, 1, EAST), (0, 2, LEFT)]) == [(0, 0), (0, 1), (0, 2)]


def test_a_ring_turns_and_who_wants_into_it_waits() -> None:
    ring = [(0, 0, EAST), (0, 1, DOWN), (1, 1, LEFT), (1, 0, UP)]
    turned = [(0, 1), (1, 1), (1, 0), (0, 0)]
    assert places(ring) == turned
    assert places([*ring, (2, 0, UP)]) == [*turned, (2, 0)]


def test_the_longest_queue_goes_first() -> None:
    # Two want (0, 2): from the left with one behind, from the right alone.
    assert places([(0, 3, LEFT), (0, 1, EAST), (0, 0, EAST)]) == [(0, 3), (0, 2), (0, 1)]
    # A robot that loses holds up all behind it.
    assert places([(0, 3, LEFT), (0, 4, LEFT), (0, 1, EAST), (0, 0, EAST), (1, 0, UP)]) == [
        (0, 3),
        (0, 4),
        (0, 2),
        (0, 1),
        (0, 0),
    ]


def test_a_loaded_robot_does_not_go_where_a_shelf_stands() -> None:
    # Shelves 1, 2, 3 stand on (1, 2), (2, 1), (2, 2).
    assert places([(1, 1, EAST)]) == [(1, 2)]
    assert places([(1, 1, EAST)], carried={0: 2}) == [(1, 1)]
    # Where the shelf is carried away it goes behind; where it is taken up only now, it does not.
    assert places([(1, 1, EAST), (1, 2, EAST)], carried={0: 2, 1: 1}) == [(1, 2), (1, 3)]
    assert places([(1, 1, EAST), (1, 2, EAST)], [FORWARD, TOGGLE], carried={0: 2}) == [(1, 1), (1, 2)]
    assert places([(1, 1, EAST), (1, 2, EAST)], carried={0: 2}) == [(1, 1), (1, 3)]


def test_a_tie_of_two_alone_goes_to_the_first() -> None:
    assert places([(0, 1, EAST), (0, 3, LEFT)]) == [(0, 2), (0, 3)]
    assert places([(0, 3, LEFT), (0, 1, EAST)]) == [(0, 2), (0, 1)]


@pytest.mark.parametrize("n_agents", [4, 9, 12])
def test_one_step_from_made_up_states_is_the_package_s(n_agents: int) -> None:
    turned = compare_poses(n_agents, 120, seed=0)
    assert turned > 0 or n_agents < 12, "no ring of robots turned"


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("n_agents", range(2, 13))
def test_one_step_from_thousands_of_made_up_states_is_the_package_s(n_agents: int) -> None:
    turned = compare_poses(n_agents, 2_000, seed=1)
    assert turned > 0 or n_agents < 9, "no ring of robots turned"  # of few robots hardly ever four stand so


def compare_poses(n_agents: int, games: int, seed: int) -> int:
    """One step from ``games`` made-up states beside the package; in how many a ring of robots turned."""
    pytest.importorskip("rware")
    from tests.envs.rware.original import OriginalGame, original_options

    layout = "x..g\n.x..\nx.x.\n"
    options: dict[str, Any] = {
        "n_agents": n_agents,
        "request_queue_size": 2,
        "layout": layout,
        "reward_type": "two_stage",
    }
    env = Warehouse(WarehouseRules(**options), games)
    rng = np.random.default_rng((n_agents, seed))
    state = poses.random_states(env, rng)
    sizes = {"shelf_columns": 1, "column_height": 1, "shelf_rows": 1}
    game = OriginalGame(original_options({**sizes, **options}), state, 0)
    env.set_state(state)
    actions = rng.choice(5, size=(games, n_agents), p=(0.05, 0.75, 0.05, 0.05, 0.1))
    out = env.step(actions)
    after = env.get_state()
    turned = 0
    for g in range(games):
        game.begin(state, g)
        flat, reward, _ = game.step(actions[g])
        np.testing.assert_array_equal(flat, out.obs.obs[g])
        assert reward == out.reward[g]
        for key, value in game.state().items():
            np.testing.assert_array_equal(after[key][g], value, err_msg=f"{key} of game {g}")
        turned += _ring(state["agents"][g], after["agents"][g])
    return turned


def _ring(before: np.ndarray, after: np.ndarray) -> int:
    """Whether some went to each other's places in a ring."""
    went = {int(a): int(b) for a, b in zip(before, after) if a != b}
    for start in went:
        cell = start
        for _ in range(len(went)):
            cell = went.get(cell, -1)
            if cell == start:
                return 1
    return 0


def plain(targets: list[int], starts: list[int]) -> set[int]:
    """Who goes, by the rules as they are written, for robots without ties; those that stay want their own cell."""
    at = {cell: robot for robot, cell in enumerate(starts)}

    def way(robot: int) -> list[int]:
        path = [robot]
        while targets[path[-1]] in at and at[targets[path[-1]]] not in path:
            path.append(at[targets[path[-1]]])
        return path

    goes = set()
    roots: dict[int, list[list[int]]] = {}
    for robot in range(len(starts)):
        path = way(robot)
        last = targets[path[-1]]
        if last not in at:
            roots.setdefault(last, []).append(path)
        elif at[last] == robot and len(path) > 2:
            goes.add(robot)
    for paths in roots.values():
        longest = max(len(path) for path in paths)
        best = [path for path in paths if len(path) == longest]
        if len(best) > 1:
            raise ValueError("a tie")
        goes |= set(best[0])
    return goes


def test_all_small_cases_without_ties() -> None:
    """Every way in which 4 robots on 6 cells can want cells; cells here are any two that a robot may step between."""
    starts = [0, 1, 2, 3]
    cases = 0
    for targets in itertools.product(range(6), repeat=4):
        movers = np.array([i for i in range(4) if targets[i] != starts[i]], np.intp)
        wanted = np.array([targets[i] for i in movers], np.intp)
        blockers = np.where(wanted < 4, wanted, 4)
        try:
            expected = plain(list(targets), starts)
        except ValueError:
            continue
        cases += 1
        goes = resolve(movers, wanted, blockers, 4, 4, lambda tied: int(tied[0]))
        assert set(goes.tolist()) == expected, targets
    assert cases > 800


def test_games_do_not_meet() -> None:
    """Equal cells of two games are two cells."""
    env = Warehouse(WarehouseRules(n_agents=2, request_queue_size=1, layout=HALL), 2)
    state = poses.posed(env, [(0, 1, EAST), (0, 3, LEFT)])
    state["directions"][1] = [EAST, UP]
    env.set_state(state)
    env.step(np.array([[FORWARD, FORWARD], [FORWARD, RIGHT]]))
    assert env.get_state()["agents"].tolist() == [[2, 3], [2, 3]]


def test_the_order_of_a_tie_follows_the_cells_not_the_robots() -> None:
    """Many others standing about make the order that of a set of cells."""
    starts = [(3, 1), (1, 1), *[(x, 9) for x in range(9)]]
    targets = [(2, 1), (2, 1), *[(x, 9) for x in range(9)]]
    winner = starts[first_in_order(starts, targets, [0, 1])]
    swapped = [starts[1], starts[0], *starts[2:]]
    assert swapped[first_in_order(swapped, targets, [0, 1])] == winner
