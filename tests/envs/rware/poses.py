"""States of warehouses made up by tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.envs.rware.warehouse import Warehouse

UP, DOWN, LEFT, RIGHT = range(4)


def posed(
    env: Warehouse, agents: list[tuple[int, int, int]], carried: dict[int, int] | None = None, **more: Any
) -> dict[str, Any]:
    """A state of all games of ``env`` with robots at (row, column, direction), the shelves where they stand at the start but
    for those that are carried (robot -> shelf)."""
    env.reset(seed=0)
    state = env.get_state()
    width = env.rules.plan.width
    state["agents"][:] = [y * width + x for y, x, _ in agents]
    state["directions"][:] = [direction for _, _, direction in agents]
    for robot, shelf in (carried or {}).items():
        state["carried"][:, robot] = shelf
        state["shelves"][:, shelf - 1] = state["agents"][:, robot]
    for key, value in more.items():
        state[key][:] = value
    return state


def random_states(env: Warehouse, rng: np.random.Generator) -> dict[str, Any]:
    """States that could come about: robots on different cells, some loaded, other shelves on places for shelves."""
    env.reset(seed=int(rng.integers(1000)))
    state = env.get_state()
    plan, B, n = env.rules.plan, env.num_envs, env.spec.n_agents
    cells, free = np.arange(plan.height * plan.width), plan.shelves
    for g in range(B):
        state["agents"][g] = rng.permutation(cells)[:n]
        state["directions"][g] = rng.integers(4, size=n)
        loaded = np.flatnonzero(rng.random(min(n, len(free))) < 0.5)
        shelves = rng.permutation(len(free))
        state["carried"][g] = 0
        state["carried"][g, loaded] = shelves[: len(loaded)] + 1
        state["shelves"][g, shelves[: len(loaded)]] = state["agents"][g, loaded]
        places = rng.permutation(np.setdiff1d(free, state["agents"][g, loaded]))
        state["shelves"][g, shelves[len(loaded) :]] = places[: len(free) - len(loaded)]
        state["delivered"][g, loaded] = rng.random(len(loaded)) < 0.5
    return state
