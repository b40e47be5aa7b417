"""Particle worlds beside mpe2."""

from __future__ import annotations

import importlib

from benchmarks.array_envs.measure import microseconds

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)

NAMES = (
    "mpe/simple_spread",
    "mpe/simple_reference",
    "mpe/simple_speaker_listener",
    "mpe/simple_tag",
    "mpe/simple_world_comm",
    "mpe/simple_push",
    "mpe/simple_adversary",
)


def original(name: str, seconds: float) -> float | None:
    """CPU microseconds per env step of mpe2's game as a ``parallel_env``, in which all agents play at random (in ours
    opponents are scripted); see the package's docstring."""
    version = 4 if name.endswith("speaker_listener") else 3
    try:
        env = importlib.import_module(f"mpe2.{name.removeprefix('mpe/')}_v{version}").parallel_env()
    except ImportError:
        return None
    agents = env.possible_agents
    counts = [env.action_space(agent).n for agent in agents]
    rng = np.random.default_rng(0)
    env.reset(seed=0)

    def play() -> int:
        actions = rng.integers(0, counts, (100, len(agents))).tolist()
        for joint in actions:
            env.step(dict(zip(agents, joint)))
            if not env.agents:
                env.reset()
        return len(actions)

    return microseconds(play, seconds)
