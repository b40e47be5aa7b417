"""How much CPU does one env step of the battle simulator take: physics, observations, states, masks and rewards?

64 battles (``B64``) or one (``B1``); uniformly random available actions, whose making is not counted; every ended battle
is reset, which is counted. ``backend`` is numpy or numba, ``collisions`` whether units get in each other's way;
``--only 2s3z/B64/numba`` and ``--only no_collisions`` choose by them. Rows ``.../parts`` say where the time of a step goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.common import main

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv
from rllib_reborn.envs.random_policy import random_legal_actions

#: Env steps per timed piece of work, by map: a second or so each.
STEPS = {"2s3z": 12_800, "27m_vs_30m": 3_200}
MAPS = ("3m", "2s3z", "3s5z_vs_3s6z", "10m_vs_11m", "MMM2", "27m_vs_30m")
BACKENDS = ("numpy", "numba") if find_spec("numba") else ("numpy",)


class _Play:
    """Random play; ``seconds`` holds the CPU seconds of each part."""

    def __init__(self, name: str, num_envs: int, backend: Any, collisions: bool) -> None:
        self.env = BattleTeamEnv(name, num_envs, backend=backend, collisions=collisions, seed=0)
        self.rng = np.random.default_rng(0)
        self.obs = self.env.reset()
        self.seconds: dict[str, float] = {}

    def _timed(self, part: str, work: Callable[[], Any]) -> Any:
        begin = time.process_time()
        result = work()
        self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - begin
        return result

    def run(self, steps: int, *, in_parts: bool = False) -> float:
        """CPU seconds of ``steps`` env steps, not counting the policy."""
        self.seconds = {}
        for _ in range(steps // self.env.num_envs):
            mask = self.obs.action_mask
            actions = random_legal_actions(mask, self.rng.random(mask.shape[:2]))
            out = self._step_in_parts(actions) if in_parts else self._timed("step", partial(self.env.step, actions))
            over = out.terminated | out.truncated
            self.obs = out.obs
            if over.any():
                self.obs = self._timed("reset", partial(self.env.reset, mask=over))
        return sum(self.seconds.values())

    def _step_in_parts(self, actions: Any) -> Any:
        """As ``env.step`` goes, but for the check of the actions."""
        field, rules = self.env.field, self.env.rules
        orders = self._timed("orders", partial(rules.orders, actions))
        self._timed("order", partial(field.order, orders))
        self._timed("advance", partial(field.advance, self.env.options.step_mul))
        return self._timed("score", partial(rules.score, field.units))


def whole(name: str, num_envs: int, backend: str, collisions: bool, repeats: int) -> dict[str, Any]:
    play = _Play(name, num_envs, backend, collisions)
    steps = _steps(name, num_envs)
    play.run(steps // 4)  # so that the battles are at all stages
    spent = float(np.median([play.run(steps) for _ in range(repeats)]))
    return {
        **_labels(f"{name}/B{num_envs}", num_envs, name, backend, collisions, repeats),
        "cpu_us": 1e6 * spent / steps,
        "env_steps_per_cpu_second": steps / spent,
    }


def parts(name: str, backend: str, repeats: int) -> dict[str, Any]:
    play = _Play(name, 64, backend, True)
    steps = _steps(name, 64)
    play.run(steps // 4)
    rounds = []
    for _ in range(repeats):
        play.run(steps, in_parts=True)
        rounds.append(play.seconds)
    shares = {f"{part}_us": 1e6 * float(np.median([r[part] for r in rounds])) / steps for part in rounds[0]}
    return {**_labels(f"{name}/B64/parts", 64, name, backend, True, repeats), **shares}


def _steps(name: str, num_envs: int) -> int:
    steps = STEPS.get(name, 6_400)
    return steps if num_envs > 1 else steps // 16


def _labels(row: str, num_envs: int, name: str, backend: str, collisions: bool, repeats: int) -> dict[str, Any]:
    return {
        "name": row,
        "shape": f"{num_envs} battles, {name}",
        "backend": backend,
        "collisions": collisions,
        "threads": 1,
        "repeats": repeats,
    }


def _rows() -> dict[str, Callable[[int], dict[str, Any]]]:
    rows: dict[str, Callable[[int], dict[str, Any]]] = {}
    for backend in BACKENDS:
        end = "" if backend == "numpy" else f"/{backend}"
        for name in MAPS:
            rows[f"{name}/B64{end}"] = partial(whole, name, 64, backend, True)
        for name in ("2s3z", "27m_vs_30m"):
            rows[f"{name}/B64{end}/no_collisions"] = partial(whole, name, 64, backend, False)
            rows[f"{name}/B64{end}/parts"] = partial(parts, name, backend)
            rows[f"{name}/B1{end}"] = partial(whole, name, 1, backend, True)
    return rows


ROWS = _rows()

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=5)
