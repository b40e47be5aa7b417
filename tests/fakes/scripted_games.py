"""A small single game that goes wrong on request. Importable by child processes, and quick to import."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import numpy as np

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, GameUnavailableError, TeamGame

LIMIT = 8


class CountingGame(TeamGame):
    """Three agents that die at random times; all that happens follows from the seed and the actions.

    Args:
        endless: The game never ends by itself.
        pid_file: Where every built game adds the number of the process that it started (``sleep``), if given.
    """

    closed = 0

    def __init__(self, endless: bool = False, pid_file: str | None = None) -> None:
        self.spec = TeamSpec(n_agents=3, n_actions=4, obs_dim=3, state_dim=2, episode_limit=LIMIT, has_win=True)
        self._endless, self._pid_file = endless, pid_file
        self._time = 0

    def reset(self, seed: int) -> GameObs:
        assert 0 <= seed < 2**31
        if self._pid_file is not None:
            program = subprocess.Popen(["sleep", "300"])
            with open(self._pid_file, "a") as file:
                file.write(f"{program.pid}\n{os.getpid()}\n")
            self._pid_file = None
        self._seed, self._time, self._sum = seed, 0, 0
        random = np.random.default_rng(seed)
        self._deaths = random.integers(1, LIMIT + 3, 3)
        self._end = LIMIT + 1 if self._endless else int(random.integers(2, LIMIT + 3))
        self._noise = random.random((LIMIT + 2, 3, 3), np.float32)
        return self._look()

    def step(self, actions: Any) -> GameStep:
        assert self._look().action_mask[np.arange(3), actions].all(), "an action was not available"
        self._time += 1
        self._sum += int(actions.sum())
        over = self._time >= self._end
        return GameStep(self._look(), float(actions.sum()), over, False, won=self._sum % 2 == 0)

    def _look(self) -> GameObs:
        alive = self._time < self._deaths
        mask = np.repeat(alive[:, None], 4, axis=1)
        mask[:, 0] = ~alive
        mask[alive, 1 + self._time % 3] = self._time % 2 == 0
        mask[~alive, 0] = True
        state = np.array([self._time, self._sum], np.float32)
        return GameObs(self._noise[self._time] * alive[:, None], state, mask)

    def get_state(self) -> dict[str, Any] | None:
        return {name: getattr(self, name) for name in ("_seed", "_time", "_sum", "_deaths", "_end", "_noise")}

    def set_state(self, state: dict[str, Any]) -> GameObs:
        for name, value in state.items():
            setattr(self, name, value)
        return self._look()

    def render(self) -> Any:
        return np.full((4, 5, 3), self._time, np.uint8)

    def close(self) -> None:
        type(self).closed += 1


class FaultyGame(CountingGame):
    """Goes wrong at step ``at`` (0: in reset) of the episodes with these seeds; ``seeds`` None: of all.

    Args:
        fault: ``raise``, ``unavailable``, ``hang``, ``exit``, ``kill``, ``close`` (raise, and again when it is closed), or
            what of its return value is wrong: ``obs``, ``state``, ``mask``, ``additive_mask``, ``no_action``,
            ``floats_as_bytes``, ``list``, ``reward``, ``step``.
    """

    def __init__(self, fault: str, at: int = 0, seeds: tuple[int, ...] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._fault, self._at, self._seeds = fault, at, seeds

    def reset(self, seed: int) -> GameObs:
        return self._go_wrong(super().reset(seed))

    def step(self, actions: Any) -> GameStep:
        step = super().step(actions)
        if self._fault == "reward" and self._is_time():
            return step._replace(reward=np.zeros(3))
        if self._fault == "step" and self._is_time():
            return tuple(step)  # type: ignore[return-value]
        return step._replace(obs=self._go_wrong(step.obs))

    def close(self) -> None:
        super().close()
        if self._fault == "close":
            raise OSError("closing is broken as well")

    def _is_time(self) -> bool:
        return self._time == self._at and (self._seeds is None or self._seed in self._seeds)

    def _go_wrong(self, obs: GameObs) -> GameObs:
        if not self._is_time():
            return obs
        match self._fault:
            case "raise" | "close":
                raise RuntimeError(f"the script says so at {self._time}")
            case "unavailable":
                raise GameUnavailableError("no such program; install it")
            case "hang":
                time.sleep(300)
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "obs":
                return obs._replace(obs=obs.obs[:2])
            case "state":
                return obs._replace(state=obs.state[None])
            case "mask":
                return obs._replace(action_mask=obs.action_mask[:, :3])
            case "additive_mask":
                return obs._replace(action_mask=np.where(obs.action_mask, 0.0, -1e9))
            case "floats_as_bytes":
                return obs._replace(obs=obs.obs.astype(complex))
            case "list":
                return obs._replace(obs=obs.obs.tolist())
            case "no_action":
                mask = obs.action_mask.copy()
                mask[1] = False
                return obs._replace(action_mask=mask)
        return obs


class VersionedGame(CountingGame):
    """Says which program it runs on, once it runs: an odd or an even seed."""

    def provenance(self) -> dict[str, str]:
        return {"game_version": f"1.{self._seed % 2}", "engine": "script"} if hasattr(self, "_seed") else {}


class StatelessGame(CountingGame):
    """Cannot give its state."""

    def get_state(self) -> None:
        return None


class StrangeStateGame(CountingGame):
    """Gives a state that cannot be sent to another process."""

    def get_state(self) -> dict[str, Any]:
        return {"callable": lambda: None}


class BrokenStateGame(CountingGame):
    """Fails when it is asked for its state."""

    def get_state(self) -> dict[str, Any]:
        raise RuntimeError("no state today")


class UndrawnGame(CountingGame):
    """Cannot be drawn."""

    def render(self) -> Any:
        return TeamGame.render(self)
