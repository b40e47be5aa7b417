"""CPU time per env step of an environment of this package, played at random."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import cpu_seconds  # before numpy: it sets the number of threads

import numpy as np  # isort: skip
from rllib_reborn import make_team_env  # isort: skip
from rllib_reborn.envs.random_policy import random_legal_actions  # isort: skip

NUM_ENVS = 64
#: ``original(name, seconds)`` of a suite.
Original = Callable[[str, float], float | None]


def ours(name: str, seconds: float) -> float:
    """CPU microseconds per env step, resets included, of :data:`NUM_ENVS` games that play random available actions for about
    ``seconds`` of CPU time. Choosing the actions is not counted."""
    env = make_team_env(name, num_envs=NUM_ENVS)
    rng = np.random.default_rng(0)
    obs = env.reset(seed=0)
    spent, steps = 0.0, 0
    while spent < seconds:
        actions = random_legal_actions(obs.action_mask, rng.random(obs.action_mask.shape[:2]))
        begin = time.process_time()
        step = env.step(actions)
        done = step.terminated | step.truncated
        obs = env.reset(mask=done) if done.any() else step.obs
        spent += time.process_time() - begin
        steps += NUM_ENVS
    env.close()
    return 1e6 * spent / steps


def microseconds(play: Callable[[], int], seconds: float) -> float:
    """CPU microseconds per env step of ``play()``, which plays and returns how many env steps it was, called again until
    ``seconds`` of CPU time are over. For suites' ``original``."""
    spent, steps = 0.0, 0

    def once() -> None:
        nonlocal steps
        steps += play()

    while spent < seconds:
        spent += cpu_seconds(once)
    return 1e6 * spent / steps


def row(name: str, original: Original, seconds: float, repeats: int) -> dict[str, Any]:
    """Both in turn, ``repeats`` times: medians of CPU microseconds per env step, and of the ratio of a pair."""
    ours(name, seconds / 10)  # warm
    pairs = [(ours(name, seconds), original(name, seconds)) for _ in range(repeats)]
    result: dict[str, Any] = {
        "name": name,
        "shape": f"{NUM_ENVS} games, env only",
        "cpu_us": statistics.median(mine for mine, _ in pairs),
        "original_cpu_us": None,
        "ratio": None,
        "threads": 1,
        "repeats": repeats,
    }
    both = [(mine, theirs) for mine, theirs in pairs if theirs is not None]
    if both:
        result["original_cpu_us"] = statistics.median(theirs for _, theirs in both)
        result["ratio"] = statistics.median(theirs / mine for mine, theirs in both)
    return result
