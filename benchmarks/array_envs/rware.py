"""The multi-robot warehouse beside the package rware."""

from __future__ import annotations

import importlib

from benchmarks.array_envs.measure import microseconds

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)

NAMES = (
    "rware/tiny-2ag",
    "rware/tiny-4ag",
    "rware/small-4ag",
    "rware/large-19ag",
    "rware/img-tiny-2ag",
)
_ACTIONS = 5


def original(name: str, seconds: float) -> float | None:
    """CPU microseconds per env step of rware's game; see the package's docstring."""
    try:
        import gymnasium

        rware = importlib.import_module("rware")
    except ImportError:
        return None
    given = f"rware-{name.removeprefix('rware/')}-v2"
    if given not in gymnasium.registry:
        rware.image_registration()
    env = gymnasium.make(given, disable_env_checker=True).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    n_agents = env.get_wrapper_attr("n_agents")

    def play() -> int:
        actions = rng.integers(0, _ACTIONS, (500, n_agents)).tolist()
        for joint in actions:
            _, _, terminated, truncated, _ = env.step(joint)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return microseconds(play, seconds)
