"""Plans of warehouses, and what the rules refuse."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_reborn.envs.rware.floor_plan import plan_of_sizes, plan_of_text
from rllib_reborn.envs.rware.rules import WarehouseRules


def test_a_plan_of_sizes_is_the_one_of_the_readme() -> None:
    # One row of three blocks, two high; the middle one is left out for the queue.
    plan = plan_of_sizes(3, 1, 2)
    drawn = ["".join("." if free else "x" for free in row) for row in plan.highway]
    assert drawn == [
        "..........",
        ".xx....xx.",
        ".xx....xx.",
        "..........",
        "..........",
    ]
    assert plan.goals == ((4, 4), (4, 5))
    assert plan.shelves.tolist() == [11, 12, 17, 18, 21, 22, 27, 28]


def test_blocks_above_the_queue_stay() -> None:
    plan = plan_of_sizes(1, 2, 1)
    drawn = ["".join("." if free else "x" for free in row) for row in plan.highway]
    assert drawn == ["....", ".xx.", "....", "....", "....", "...."]
    assert plan.goals == ((5, 1), (5, 2))


def test_a_plan_of_a_text() -> None:
    plan = plan_of_text("\n  . X g\n  x . G  \n")
    assert plan.highway.tolist() == [[True, False, True], [False, True, True]]
    assert plan.goals == ((0, 2), (1, 2))
    assert plan.shelves.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shelf_columns": 2}, "shelf_columns is 2; give an odd number"),
        ({"shelf_columns": 0}, "shelf_columns is 0; give a whole number in 1.."),
        ({"column_height": 1.5}, "column_height is 1.5"),
        ({"n_agents": 0}, "n_agents is 0"),
        ({"n_agents": 111}, "n_agents is 111 in a warehouse of 11 x 10 = 110 cells"),
        ({"n_agents": True}, "n_agents is True"),
        ({"request_queue_size": 32}, "request_queue_size is 32 and there are 32 shelves"),
        ({"request_queue_size": -1}, "request_queue_size is -1"),
        ({"msg_bits": 9}, "msg_bits is 9; give a whole number in 0..8"),
        ({"msg_bits": 1, "observation_type": "image"}, "msg_bits is 1 with observation_type 'image'"),
        ({"max_steps": None}, "max_steps is None; give a whole number >= 1"),
        ({"max_inactivity_steps": 0}, "max_inactivity_steps is 0; give a whole number >= 1 or None"),
        ({"reward_type": "GLOBAL"}, "reward_type is 'GLOBAL'; expected one of global, individual, two_stage"),
        ({"observation_type": "flat"}, "observation_type is 'flat'"),
        ({"state": "none"}, "state is 'none'"),
        ({"compat": 1}, "compat is 1; give True or False"),
        ({"image_observation_layers": ["agents", "agents"]}, "image_observation_layers is"),
        ({"image_observation_layers": "agents"}, "image_observation_layers is"),
        ({"state_layers": []}, "state_layers is"),
        ({"normalised_coordinates": True, "observation_type": "image"}, "images hold no coordinates"),
        ({"normalised_coordinates": True, "layout": "xxxg"}, "a warehouse of one row or column has no scale"),
        ({"layout": "xg\nx"}, "layout has 1 cells in line 1 and 2 in line 0"),
        ({"layout": "xo\nxg"}, "layout has 'o' in line 0"),
        ({"layout": "xx\nxx"}, "layout has no goal"),
        ({"layout": 3}, "layout is 3"),
        (
            {"compat": True, "observation_type": "image", "image_observation_layers": ["agent_load"]},
            "'agent_load' in a warehouse of 11 x 10 cells, where rware itself raises IndexError",
        ),
        ({"compat": True, "state": "image"}, "'agent_direction' in a warehouse of 11 x 10 cells"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WarehouseRules(**options)


def test_bytes_hold_what_fits_into_them() -> None:
    assert WarehouseRules().obs_dtype == "uint8"
    assert WarehouseRules(normalised_coordinates=True).obs_dtype == "float32"
    corridor = "." * 256
    assert WarehouseRules(layout=corridor[3:] + "xxg", request_queue_size=1).obs_dtype == "uint8"
    assert WarehouseRules(layout=corridor + "xxg", request_queue_size=1).obs_dtype == "float32"
    assert WarehouseRules(layout=corridor + "xxg", request_queue_size=1, observation_type="image").obs_dtype == "uint8"
