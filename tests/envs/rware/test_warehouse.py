"""Warehouses as team environments: by hand, and the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.envs.rware.rules import FORWARD, LEFT, NOOP, RIGHT, TOGGLE, WarehouseRules
from rllib_reborn.envs.rware.warehouse import Warehouse
from tests.envs.rware import poses

UP, DOWN, WEST, EAST = poses.UP, poses.DOWN, poses.LEFT, poses.RIGHT

#: Shelves 1, 2 and 3; goals on (0, 3) and (2, 0).
ROOM = """
    ..xg
    .xx.
    g...
"""


def room(n_agents: int = 1, num_envs: int = 1, **options: Any) -> Warehouse:
    options = {"request_queue_size": 1, "layout": ROOM, **options}
    return Warehouse(WarehouseRules(n_agents=n_agents, **options), num_envs)


def start(
    env: Warehouse, agents: list[tuple[int, int, int]], carried: dict[int, int] | None = None, **more: Any
) -> None:
    env.set_state(poses.posed(env, agents, carried, **more))


def act(env: Warehouse, *actions: int) -> float:
    return float(env.step(np.array([actions])).reward[0])


def test_turns() -> None:
    env = room()
    start(env, [(1, 0, UP)])
    for action, expected in ((RIGHT, (EAST, DOWN, WEST, UP)), (LEFT, (WEST, DOWN, EAST, UP))):
        for direction in expected:
            act(env, action)
            assert env.get_state()["directions"][0, 0] == direction


def test_a_shelf_is_taken_to_a_goal_and_put_back() -> None:
    env = room(reward_type="two_stage")
    start(env, [(0, 2, EAST)], requests=[1])
    assert act(env, TOGGLE) == 0
    assert env.get_state()["carried"][0, 0] == 1
    assert act(env, FORWARD) == 0.5
    state = env.get_state()
    assert state["shelves"][0, 0] == 3
    assert state["delivered"][0, 0]
    assert state["requests"][0, 0] in (2, 3)
    assert state["idle_steps"][0] == 0
    # On a highway it cannot be put down, and what is delivered is paid once.
    assert act(env, TOGGLE) == 0
    assert env.get_state()["carried"][0, 0] == 1
    assert [act(env, LEFT), act(env, LEFT), act(env, FORWARD)] == [0, 0, 0]
    assert act(env, TOGGLE) == 0.5
    state = env.get_state()
    assert (state["carried"][0, 0], state["shelves"][0, 0], state["idle_steps"][0]) == (0, 2, 5)
    assert not state["delivered"][0, 0]
    # To take it up and put it down again pays no more.
    assert [act(env, TOGGLE), act(env, TOGGLE)] == [0, 0]


@pytest.mark.parametrize(("reward_type", "paid"), [("individual", 1.0), ("global", 3.0), ("two_stage", 0.5)])
def test_what_a_delivery_pays(reward_type: str, paid: float) -> None:
    env = room(3, reward_type=reward_type)
    start(env, [(0, 2, EAST), (2, 2, UP), (2, 3, UP)], {0: 1}, requests=[1])
    assert act(env, FORWARD, NOOP, NOOP) == paid


def test_a_shelf_on_a_later_goal_may_be_requested_and_delivered_in_the_same_step() -> None:
    """A new request falls on each of the other two shelves by chance; one of them waits on the second goal."""
    rewards = set()
    for seed in range(30):
        env = room(2)
        env.reset(seed=seed)
        streams = env.get_state()["streams"]
        start(env, [(0, 2, EAST), (2, 0, UP)], {0: 1, 1: 2}, requests=[1])
        state = env.get_state()
        env.set_state({**state, "streams": streams})
        rewards.add(act(env, FORWARD, NOOP))
        assert env.get_state()["requests"][0, 0] != 2
    assert rewards == {1.0, 2.0}


def test_what_a_robot_observes() -> None:
    env = room(2)
    start(env, [(1, 0, EAST), (1, 1, UP)], {1: 2}, requests=[3])
    own, other = env.step(np.array([[NOOP, NOOP]])).obs.obs[0].tolist()
    # x, y, loaded, up/down/left/right, highway
    assert own[:8] == [0, 1, 0, 0, 0, 0, 1, 1]
    assert other[:8] == [1, 1, 1, 1, 0, 0, 0, 0]
    cells = np.array(other[8:]).reshape(3, 3, 7).tolist()
    nothing, shelf = [0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 1, 0]
    assert cells[0] == [nothing, nothing, shelf]
    assert cells[1] == [[1, 0, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1, 1]]
    assert cells[2] == [nothing, nothing, nothing]


def test_messages_are_seen_by_those_near_until_others_are_sent() -> None:
    env = room(2, msg_bits=2)
    assert env.spec.n_actions == 20
    start(env, [(1, 0, EAST), (1, 1, UP)])
    obs = env.step(np.array([[NOOP * 4 + 2, LEFT * 4 + 1]])).obs.obs[0]
    cells = obs[:, 8:].reshape(2, 3, 3, 9)
    assert cells[0, 1, 2].tolist() == [1, 0, 0, 1, 0, 0, 1, 1, 0]
    assert cells[1, 1, 0].tolist() == [1, 0, 0, 0, 1, 1, 0, 0, 0]
    assert cells[1, 1, 1, 5:7].tolist() == [0, 1]
    assert env.reset().obs[0, :, 8:].reshape(2, 9, 9)[:, :, 5:7].max() == 0


def test_an_image_is_turned_to_where_the_robot_looks() -> None:
    layers = ["shelves", "accessible"]
    env = room(1, observation_type="image", image_observation_layers=layers)
    images = {}
    for direction in (UP, DOWN, WEST, EAST):
        start(env, [(1, 0, direction)])
        images[direction] = env.step(np.array([[NOOP]])).obs.obs[0, 0].reshape(2, 3, 3).tolist()
    assert images[UP] == [[[0, 0, 0], [0, 0, 1], [0, 0, 0]], [[0, 1, 1], [0, 0, 1], [0, 1, 1]]]
    assert images[EAST] == [[[0, 1, 0], [0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 0, 1], [0, 0, 0]]]
    assert images[WEST] == [[[0, 0, 0], [0, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 1], [1, 1, 1]]]
    assert images[DOWN] == [[[0, 0, 0], [1, 0, 0], [0, 0, 0]], [[1, 1, 0], [1, 0, 0], [1, 1, 0]]]


def test_inactivity_terminates_and_the_limit_truncates() -> None:
    env = room(1, max_inactivity_steps=3, max_steps=3)
    start(env, [(1, 0, UP)])
    ends = [env.step(np.array([[NOOP]])) for _ in range(3)]
    assert [bool(end.terminated[0]) for end in ends] == [False, False, True]
    assert not any(end.truncated[0] for end in ends)
    env = room(1, max_inactivity_steps=4, max_steps=3)
    start(env, [(1, 0, UP)])
    ends = [env.step(np.array([[NOOP]])) for _ in range(4)]
    assert [bool(end.truncated[0]) for end in ends] == [False, False, True, False]
    assert [bool(end.terminated[0]) for end in ends] == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rware/medium-6ag-hard", {}),
        ("rware/img-tiny-2ag", {}),
        ("rware/imgdict-Nd-tiny-3ag-easy", {"state": "image"}),
        ("rware/tiny-2ag", {"normalised_coordinates": True, "max_inactivity_steps": 30}),
        ("rware/tiny-2ag", {"msg_bits": 2, "sensor_range": 2}),
        ("rware/tiny-9ag", {"layout": ROOM, "request_queue_size": 2, "reward_type": "two_stage"}),
        ("rware/tiny-1ag-hard", {}),
    ],
)
def test_the_contract_is_kept(name: str, options: dict[str, Any]) -> None:
    def make(num_envs: int) -> Any:
        return make_team_env(name, num_envs=num_envs, max_steps=40, **options)

    results = check_team_env(make(3), make=make)
    assert all(result.ok for result in results), [result for result in results if not result.ok]


def test_a_game_goes_on_exactly_from_its_state_in_another_env() -> None:
    options = {"layout": ROOM, "request_queue_size": 2, "max_steps": 30, "reward_type": "two_stage", "msg_bits": 1}
    rng = np.random.default_rng(0)
    one, two = (make_team_env("rware/tiny-4ag", num_envs=5, **options) for _ in range(2))
    one.reset(seed=1)
    two.reset(seed=2)
    actions = rng.integers(10, size=(400, 5, 4))
    for action in actions[:200]:
        out = one.step(action)
        if out.truncated.any():
            one.reset(mask=out.truncated)
    two.set_state(one.get_state())
    paid = 0.0
    for action in actions[200:]:
        outs = [env.step(action) for env in (one, two)]
        np.testing.assert_array_equal(outs[0].obs.obs, outs[1].obs.obs)
        np.testing.assert_array_equal(outs[0].reward, outs[1].reward)
        paid += float(outs[0].reward.sum())
        if outs[0].truncated.any():
            for env in (one, two):
                env.reset(mask=outs[0].truncated)
    assert paid > 0


def test_states_that_cannot_be_are_refused_and_change_nothing() -> None:
    env = room(2)
    start(env, [(1, 0, UP), (1, 1, UP)], {1: 2})
    before = env.get_state()
    for changed, message in (
        ({"agents": [[4, 4]]}, "agents twice"),
        ({"agents": [[4, 12]]}, "agents outside 0..11"),
        ({"agents": [[4]]}, r"agents of shape \(1, 1\)"),
        ({"directions": [[0, 4]]}, "directions outside 0..3"),
        ({"carried": [[2, 2]]}, "carried twice"),
        ({"carried": [[1, 2]]}, "carries a shelf from elsewhere"),
        ({"shelves": [[2, 5, 5]]}, "shelves twice"),
        ({"shelves": [[3, 5, 6]]}, "a shelf that nobody carries on a highway"),
        ({"requests": [[0]]}, "requests outside 1..3"),
    ):
        with pytest.raises(ValueError, match=message):
            env.set_state({**before, **{key: np.array(value) for key, value in changed.items()}})
    for key, value in env.get_state().items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, before[key])


def test_requests_are_uniform_over_the_shelves_that_are_not_requested() -> None:
    count = 3_000
    env = room(1, num_envs=count)
    env.reset(seed=4)
    streams = env.get_state()["streams"]
    start(env, [(0, 2, EAST)], {0: 1}, requests=[1])
    env.set_state({**env.get_state(), "streams": streams})
    out = env.step(np.full((count, 1), FORWARD))
    assert (out.reward == 1).all()
    drawn = np.bincount(env.get_state()["requests"][:, 0], minlength=4)
    assert drawn[:2].tolist() == [0, 0]
    assert abs(drawn[2] - count / 2) < 5 * np.sqrt(count / 4)


def test_calls_in_the_wrong_order_are_refused() -> None:
    env = room(1, num_envs=2)
    with pytest.raises(ValueError, match="before reset"):
        env.step(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="first reset must start all games"):
        env.reset(mask=np.array([True, False]))
    with pytest.raises(ValueError, match="reset mask has shape"):
        env.reset(mask=np.array([True]))
    with pytest.raises(ValueError, match="num_envs is 0"):
        Warehouse(WarehouseRules(), 0)
    state = env.get_state()
    assert not state["ready"]
    env.set_state(state)
    with pytest.raises(ValueError, match="before reset"):
        env.step(np.zeros((2, 1), int))


def test_pictures_show_what_moves() -> None:
    pytest.importorskip("PIL")
    env = room(2)
    start(env, [(0, 2, EAST), (1, 1, UP)], {0: 1}, requests=[1])
    before = env.render()
    assert before.dtype == np.uint8
    assert before.shape[2] == 3
    env.step(np.array([[NOOP, NOOP]]))
    env.step(np.array([[FORWARD, LEFT]]))
    assert before.shape == env.render().shape
    assert (before != env.render()).any()
