"""Whether ``catch`` would capture, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.predator_prey.rules import CATCH
from rllib_reborn.envs.registry import known_action, make_team_env


def judged(positions: list[tuple[int, int]], **options: int) -> list[int]:
    """Two predators and one prey at (y, x) on 5 x 5 cells; with ``n_hares`` 1 the prey is a hare."""
    options = {"height": 5, "width": 5, "n_predators": 2, "n_stags": 1, "obs_radius": 2} | options
    env = make_team_env("predator_prey/small", 1, **options)
    env.reset(seed=0)
    state = env.get_state()
    state["positions"] = np.array([[5 * y + x for y, x in positions]], np.int32)
    obs = env.set_state(state)
    known = known_action("predator_prey/small", options)
    assert known is not None
    assert known.action == CATCH
    return known.judge(obs.obs, obs.action_mask)[0].tolist()


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([(2, 1), (2, 3), (2, 2)], [1, 1]),  # both beside the prey
        ([(2, 1), (1, 2), (2, 2)], [1, 1]),
        ([(2, 1), (4, 4), (2, 2)], [0, -1]),  # one alone, the other far away
        ([(2, 1), (2, 0), (2, 2)], [0, -1]),  # a partner beside the predator is none beside the prey
        ([(0, 0), (4, 4), (2, 2)], [-1, -1]),
        ([(0, 0), (1, 1), (0, 1)], [1, 1]),  # at the edge
    ],
)
def test_a_stag_takes_two(positions: list[tuple[int, int]], expected: list[int]) -> None:
    assert judged(positions) == expected


def test_as_many_as_the_rules_ask_for() -> None:
    alone = [(2, 1), (4, 4), (2, 2)]
    assert judged(alone, catchers_stag=1) == [1, -1]
    assert judged([(2, 1), (2, 3), (2, 2)], catchers_stag=3) == [0, 0]
    assert judged(alone, n_stags=0, n_hares=1) == [1, -1]


def test_where_nothing_is_known() -> None:
    assert known_action("matrix/two_step", {}) is None
    assert known_action("some.module:Game", {}) is None
    assert known_action("predator_prey/small", {"obs_radius": 1}) is None
