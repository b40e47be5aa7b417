"""How much faster are eight games of StarCraft II stepped on threads than one after another?

The games are eight mock servers (the simulator behind the game's protocol; no StarCraft II) that sleep 5 ms in every
``step`` request, as the game would compute. Both ways step the same number of joint steps, in turn, so that what disturbs
the machine disturbs them alike; wall clock, since what is measured is waiting. ``ratio`` is of the time in ``step``;
``ratio_with_resets`` of all time: a game that begins a new episode (after some 25 steps of 3m at random) keeps the others
waiting either way. ``cpu_ms`` is what one step of one of the games on threads takes of this process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import interleaved, main

from rllib_reborn.envs import RandomStreams, VectorTeamEnv, make_team_env, random_legal_actions  # isort: skip

GAMES = 8
STEP_DELAY_MS = 5.0
#: Joint steps per timed piece of work.
STEPS = 60


class Player:
    """Plays at random, starts over what has ended, and keeps how long steps took."""

    def __init__(self, env: VectorTeamEnv) -> None:
        self.env = env
        self.steps = 0
        self.step_seconds = 0.0
        self._obs = env.reset(seed=1)
        self._policy = RandomStreams(env.num_envs, 1)

    def play(self, steps: int = STEPS) -> None:
        for _ in range(steps):
            actions = random_legal_actions(self._obs.action_mask, self._policy.uniform(self.env.spec.n_agents))
            start = time.perf_counter()
            step = self.env.step(actions)
            self.step_seconds += time.perf_counter() - start
            self.steps += self.env.num_envs
            if step.info["failed"].any():
                raise RuntimeError("a game failed; the machine is too busy for a measurement.")
            over = step.terminated | step.truncated
            self._obs = self.env.reset(mask=over) if over.any() else step.obs


def threads_against_inline(name: str, repeats: int) -> dict[str, Any]:
    from rllib_reborn.envs.starcraft.mock_server.faults import FaultPlan
    from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install

    with tempfile.TemporaryDirectory() as folder:
        root = make_mock_install(Path(folder) / "sc2", faults=FaultPlan(step_delay_ms=STEP_DELAY_MS), backend="numba")
        make: Callable[..., VectorTeamEnv] = partial(make_team_env, name, GAMES, sc2_path=str(root))
        inline, threads = make(workers="inline"), make(workers="threads")
        try:
            players = {"inline": Player(inline), "threads": Player(threads)}
            seconds = interleaved(
                repeats, clock=time.perf_counter, inline=players["inline"].play, threads=players["threads"].play
            )
            start = time.process_time()
            players["threads"].play()
            cpu = time.process_time() - start
        finally:
            inline.close()
            threads.close()
    rates = {way: STEPS * GAMES / taken for way, taken in seconds.items()}
    step_rates = {way: player.steps / player.step_seconds for way, player in players.items()}
    return {
        "games": GAMES,
        "step_delay_ms": STEP_DELAY_MS,
        "inline_steps_per_s": step_rates["inline"],
        "threads_steps_per_s": step_rates["threads"],
        "ratio": step_rates["threads"] / step_rates["inline"],
        "ratio_with_resets": rates["threads"] / rates["inline"],
        "cpu_ms": 1000 * cpu / (STEPS * GAMES),
    }


if __name__ == "__main__":
    main(
        __doc__ or "",
        {f"starcraft_threads/{name}": partial(threads_against_inline, f"smac/{name}") for name in ("3m", "2s3z")},
        repeats=5,
    )
