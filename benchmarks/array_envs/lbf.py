"""Level-based foraging beside lbforaging."""

from __future__ import annotations

import importlib

from benchmarks.array_envs.measure import microseconds

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)

NAMES = (
    "lbf/8x8-2p-3f",
    "lbf/8x8-2p-3f-coop",
    "lbf/2s-10x10-3p-3f",
    "lbf/15x15-4p-3f",
    "lbf/grid-2s-10x10-3p-3f",
)
_ACTIONS = 6


def original(name: str, seconds: float) -> float | None:
    """CPU microseconds per env step of lbforaging's game; see the package's docstring."""
    try:
        import gymnasium

        importlib.import_module("lbforaging")  # registers its games
    except ImportError:
        return None
    if "grid" in name:
        return None  # lbforaging's own games of pictures cannot be built with the gymnasium of today
    env = gymnasium.make(f"Foraging-{name.removeprefix('lbf/')}-v3", disable_env_checker=True).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    n_agents = env.get_wrapper_attr("n_agents")

    def play() -> int:
        actions = rng.integers(0, _ACTIONS, (1_000, n_agents)).tolist()
        for joint in actions:
            _, _, terminated, truncated, _ = env.step(joint)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return microseconds(play, seconds)
