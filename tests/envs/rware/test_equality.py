"""Ours against the package rware, on the same states and actions: whole episodes, every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.envs.rware import warehouse as ours
from rllib_reborn.envs.rware.names import defaults
from tests.envs.rware.original import OriginalGame, compare, original_options

#: Small and full: robots meet all the time, and shelves are delivered by chance.
CROWDED = """
    ..x.x.
    .x.xx.
    g.x..g
    .xx.x.
    ......
"""
SQUARE = CROWDED.rstrip() + "\n    .x.xx.\n"
BUSY = {"layout": CROWDED, "request_queue_size": 8}

#: Name, options, steps of a short episode in `make test`.
TASKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "tiny": ("rware/tiny-2ag", {}, 80),
    "tiny, 4 robots": ("rware/tiny-4ag", {}, 40),
    "small": ("rware/small-4ag", {}, 40),
    "easy": ("rware/tiny-2ag-easy", {}, 40),
    "hard": ("rware/tiny-2ag-hard", {}, 40),
    "medium": ("rware/medium-6ag-hard", {}, 30),
    "large": ("rware/large-8ag", {}, 30),
    "19 robots": ("rware/tiny-19ag", {}, 40),
    "crowded": ("rware/tiny-19ag", BUSY, 40),
    "two stages": ("rware/tiny-7ag", {**BUSY, "reward_type": "two_stage"}, 100),
    "global": ("rware/tiny-7ag", {**BUSY, "reward_type": "global"}, 60),
    "own shape": ("rware/2s-2x5-4h-5ag-6req-twostage", {}, 40),
    "image": ("rware/img-tiny-4ag", {}, 40),
    "image, not turned": ("rware/img-Nd-2s-tiny-4h-4ag", {}, 40),
    "image, layers": (
        "rware/img-tiny-7ag",
        {"image_observation_layers": ["accessible", "goals", "agents", "requests"], "sensor_range": 3, **BUSY},
        40,
    ),
    "image and features": ("rware/imgdict-tiny-4ag", {}, 40),
    "sees far": ("rware/tiny-4ag", {"sensor_range": 4}, 60),
    "sees its cell": ("rware/tiny-4ag", {"sensor_range": 0}, 60),
    "messages": ("rware/tiny-7ag", {**BUSY, "msg_bits": 2, "sensor_range": 2}, 60),
    "dict": ("rware/tiny-4ag", {"observation_type": "dict", "msg_bits": 1}, 40),
    "normalised": ("rware/small-4ag", {"normalised_coordinates": True}, 60),
    "inactive": ("rware/tiny-7ag", {**BUSY, "max_inactivity_steps": 30}, 80),
    "compat": ("rware/tiny-4ag", {"compat": True, "observation_type": "dict", "normalised_coordinates": True}, 40),
    "compat, layers": (
        "rware/imgdict-tiny-7ag",
        {
            "compat": True,
            "layout": SQUARE,
            "image_observation_layers": ["agent_direction", "agent_load", "shelves"],
        },
        40,
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_episodes_are_the_package_s(task: str) -> None:
    name, options, steps = TASKS[task]
    happened = compare(name, 2, seed=1, num_envs=2, max_steps=steps, **options)
    assert happened["loaded"] > 0


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("task", TASKS)
def test_two_hundred_episodes_are_the_package_s(task: str) -> None:
    name, options, _ = TASKS[task]
    # Of the length that is registered in one task; shorter ones in the others.
    happened = compare(name, 200, seed=1000, num_envs=20, **({} if task == "tiny" else {"max_steps": 40}), **options)
    assert happened["loaded"] > 0
    assert happened["steps"] >= 200 * 25


def test_ties_in_the_crowded_one_go_to_who_the_package_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison above is worth: there are ties, and they often go to another than the first robot."""
    chosen: list[tuple[Sequence[int], int]] = []
    choose = ours.first_in_order

    def first(starts: Any, targets: Any, tied: Sequence[int]) -> int:
        chosen.append((tied, choose(starts, targets, tied)))
        return chosen[-1][1]

    monkeypatch.setattr(ours, "first_in_order", first)
    happened = compare("rware/tiny-12ag", 4, seed=3, num_envs=4, max_steps=60, **BUSY)
    assert happened["deliveries"] > 0
    assert len(chosen) > 4
    assert sum(one != min(tied) for tied, one in chosen) > 1


def test_without_compat_the_two_layers_are_where_the_robots_are() -> None:
    layers = ["agents", "agent_direction", "agent_load"]
    env = make_team_env("rware/img-Nd-tiny-4ag", num_envs=3, image_observation_layers=layers, sensor_range=2)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        obs = env.step(rng.choice(5, size=(3, 4), p=(0.05, 0.5, 0.125, 0.125, 0.2))).obs
        state = env.get_state()
        assert state is not None
        agents, direction, load = np.moveaxis(obs.obs.reshape(3, 4, 3, 5, 5), 2, 0)
        np.testing.assert_array_equal(direction > 0, agents)
        assert not (load > agents).any()
        np.testing.assert_array_equal(direction[:, :, 2, 2], state["directions"] + 1)
        np.testing.assert_array_equal(load[:, :, 2, 2], state["carried"] > 0)


def test_the_limit_is_no_end_of_the_game_and_compat_calls_it_one() -> None:
    stay = np.zeros((1, 2), int)
    for compat in (False, True):
        env = make_team_env("rware/tiny-2ag", max_steps=2, compat=compat)
        env.reset(seed=0)
        first, second = env.step(stay), env.step(stay)
        assert not (first.terminated | first.truncated).any()
        assert (bool(second.terminated[0]), bool(second.truncated[0])) == (compat, not compat)


def test_the_state_as_an_image_is_the_package_s_global_image() -> None:
    from rware.warehouse import ImageLayer

    layers = ["goals", "shelves", "requests", "agents", "accessible"]
    env = make_team_env("rware/tiny-7ag", num_envs=2, state="image", state_layers=layers, **BUSY)
    obs = env.reset(seed=5)
    made = defaults("tiny-7ag")
    assert made is not None
    rng = np.random.default_rng(0)
    for _ in range(40):
        state = env.get_state()
        assert state is not None
        game = OriginalGame(original_options({**made, **BUSY}), state, 1)
        image = game.env.get_global_image([ImageLayer[name.upper()] for name in layers], recompute=True)
        np.testing.assert_array_equal(image.reshape(-1), obs.state[1])
        obs = env.step(rng.choice(5, size=(2, 7), p=(0.05, 0.5, 0.125, 0.125, 0.2))).obs


def test_starts_are_distributed_as_the_package_s() -> None:
    """Two samples of starts: places, directions and requests are alike, to 5 standard deviations of chi-square."""
    episodes = 800
    env = make_team_env("rware/tiny-2ag", num_envs=episodes, max_steps=1)
    env.reset(seed=11)
    state = env.get_state()
    made = defaults("tiny-2ag")
    assert made is not None
    assert state is not None
    game = OriginalGame(original_options(made), state, 0)
    game.env.reset(seed=7)
    theirs: dict[str, list[Any]] = {"agents": [], "directions": [], "requests": []}
    for _ in range(episodes):
        game.env.reset()
        for key, values in theirs.items():
            values.append(game.state()[key])
    for key, values in theirs.items():
        size = {"agents": 110, "directions": 4, "requests": 33}[key]
        for column in range(2):
            one = np.bincount(state[key][:, column], minlength=size)
            two = np.bincount(np.array(values)[:, column], minlength=size)
            assert chi_square(one, two) < 5, (key, column)
    # Two robots never share a cell, and no shelf is requested twice.
    assert (state["agents"][:, 0] != state["agents"][:, 1]).all()
    assert (state["requests"][:, 0] != state["requests"][:, 1]).all()


def chi_square(one: np.ndarray, two: np.ndarray) -> float:
    """Of two samples of one size: how many standard deviations the statistic is above its mean."""
    there = one + two > 0
    statistic = ((one - two)[there] ** 2 / (one + two)[there]).sum()
    degrees = there.sum() - 1
    return float((statistic - degrees) / np.sqrt(2 * degrees))


def test_the_test_of_starts_can_fail() -> None:
    rng = np.random.default_rng(0)
    even = np.bincount(rng.integers(0, 110, 800), minlength=110)
    uneven = np.bincount(rng.integers(0, 110, 800) // 2 * 2, minlength=110)
    assert chi_square(even, uneven) > 5
