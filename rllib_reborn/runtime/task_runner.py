"""The env runner of a sequence of tasks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.annotations import override

from rllib_reborn.envs.task_sequence import TaskSequenceEnv
from rllib_reborn.envs.team_env import VectorTeamEnv
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.runtime.results import Collected
from rllib_reborn.runtime.task_schedule import EpsilonOfTask, TaskSchedule
from rllib_reborn.settings import parse

#: Separates the games of later periods from all others of a seed.
_PERIOD_SALT = 0x7A5
#: Key of the period in the state of running games.
_PERIOD = "period"


@dataclasses.dataclass(frozen=True)
class TaskCollected(Collected):
    """As :class:`Collected`.

    Attributes:
        period: The period that the episodes are of.
        cut_off: Running episodes of the period before that were dropped because this one began.
    """

    period: int = 0
    cut_off: int = 0


class TaskEnvRunner(TeamEnvRunner):
    """Plays the task that it is asked for: in sampling by the period that comes with each request, so that a runner that was
    started again plays what the others do; in evaluation by :meth:`switch_task`.

    Where a period begins, running episodes of the one before are dropped, and games and exploration begin with random
    streams that depend on the runner's seed and the period alone.
    """

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._schedule = TaskSchedule.of(config)
        self._task: int | None = None
        self._period: int | None = None
        self._begins = False
        super().__init__(config=config, **kwargs)

    @override(EnvRunner)
    def make_env(self) -> VectorTeamEnv:
        env = super().make_env()
        if self._task is not None and isinstance(env, TaskSequenceEnv):
            env.switch(self._task)
        return env

    def switch_task(self, task: int) -> None:
        """From the next start of all games on, play the task of this number; without effect where the environment is no
        sequence."""
        self._task = task
        if isinstance(self.env, TaskSequenceEnv) and self.env.task != task:
            self.games.drop()
            self.env.switch(task)

    @override(TeamEnvRunner)
    def collect(
        self,
        num_episodes: int,
        env_steps: int | None = None,
        *,
        period: int | None = None,
        period_began: int = 0,
        **kwargs: Any,
    ) -> Collected:
        """As :meth:`TeamEnvRunner.collect`.

        Args:
            num_episodes, env_steps, **kwargs: As there.
            period: Which period of the run; None goes on with the present one.
            period_began: The run's env-step clock when it began.
        """
        cut_off = 0 if period is None else self._follow(period, period_began)
        collected = super().collect(num_episodes, env_steps, **kwargs)
        parts = {field.name: getattr(collected, field.name) for field in dataclasses.fields(collected)}
        return TaskCollected(**parts, period=self._period or 0, cut_off=cut_off)

    def _follow(self, period: int, began: int) -> int:
        """Be in ``period``; how many running episodes that has cut off."""
        assert self._schedule is not None
        if self._schedule.settings.epsilon == "restart":
            settings = parse(EpsilonSettings, self.config.epsilon, "epsilon")
            self._epsilon = EpsilonOfTask(**settings.model_dump(), begins_at=began)
        if period == self._period:
            return 0
        # At the first request games begin as they always do: of the run's start, or of a runner that was started again.
        self._begins = self._period is not None
        self._period, cut_off = period, self.games.drop() if self._begins else 0
        self.switch_task(self._schedule.task_of(period))
        return cut_off

    @override(TeamEnvRunner)
    def sample(self, **kwargs: Any) -> list[EpisodeBlock]:
        """As :meth:`TeamEnvRunner.sample`; where a period begins, its games begin."""
        if self._begins:
            self._begins = False
            self.games.run(
                self.num_env_steps_sampled_lifetime, episodes=0, restart=True, restart_seed=self._seed_of_period()
            )
        return super().sample(**kwargs)

    def _seed_of_period(self) -> int | None:
        if self.games_seed is None:
            return None
        entropy = (self.games_seed, _PERIOD_SALT, self._period or 0)
        return int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1

    # ------------------------------------------------------------------ state

    @override(TeamEnvRunner)
    def games_state(self) -> dict[str, Any] | None:
        """As :meth:`TeamEnvRunner.games_state`, with the period that they are of."""
        state = super().games_state()
        return None if state is None else {**state, _PERIOD: self._period}

    @override(TeamEnvRunner)
    def set_games_state(self, games: dict[str, Any] | None) -> bool:
        """As :meth:`TeamEnvRunner.set_games_state`."""
        goes_on = super().set_games_state(games)
        self._begins = False
        self._period = games.get(_PERIOD) if goes_on and games is not None else None
        self._task = self.env.task if goes_on and isinstance(self.env, TaskSequenceEnv) else None
        return goes_on
