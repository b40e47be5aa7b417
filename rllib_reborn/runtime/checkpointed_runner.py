"""The state of an env runner in checkpoints: weights, clock, running games."""

from __future__ import annotations

import abc
import logging
import socket
from collections.abc import Collection
from functools import cached_property
from typing import Any

import gymnasium as gym
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EpisodeOutcome
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.results import Evaluated, RunnerError
from rllib_reborn.runtime.running_games import RunningGames
from rllib_reborn.runtime.seeds import Role, remote_seed
from rllib_reborn.runtime.spaces import team_spaces

logger = logging.getLogger(__name__)


class CheckpointedRunner(EnvRunner, Checkpointable, abc.ABC):
    """The parts of :class:`TeamEnvRunner` that no step runs through."""

    env: VectorTeamEnv | None
    holds_games: bool
    num_envs: int
    spec: TeamSpec
    worker_index: int
    num_env_steps_sampled_lifetime: int
    _env_creator: Any
    _outcomes: list[EpisodeOutcome]
    _unfit_games: dict[str, Any] | None
    _weights_seq_no: int

    @property
    @abc.abstractmethod
    def games(self) -> RunningGames:
        """The games."""

    @abc.abstractmethod
    def make_env(self) -> VectorTeamEnv:
        """Makes the environment, in place of one that there is."""

    def close_env(self) -> None:
        """Close the environment, if there is one. What it raises is logged: another one is made all the same."""
        try:
            if self.env is not None:
                self.env.close()
        except Exception:
            logger.warning("Closing %r failed.", self.config.env, exc_info=True)

    def build_env(self) -> RunnerError | None:
        """Make the environment unless there is one; gives back why it cannot be, which is its author's mistake, or None."""
        try:
            if self.env is None:
                self.make_env()
        except Exception as error:
            where = f"env runner {self.worker_index} on {socket.gethostname()}"
            what = (
                str(error) if isinstance(error, ValueError | EnvContractError | GameUnavailableError) else repr(error)
            )
            return RunnerError(
                f"{where} cannot build the environment {str(self.config.env)!r}: {what}", env_is_broken=True
            )
        return None

    @abc.abstractmethod
    def evaluate(self, num_episodes: int, seed: int) -> list[EpisodeOutcome]:
        """Greedy episodes."""

    def evaluate_remote(self, num_episodes: int, seed: int) -> Evaluated:
        """:meth:`evaluate` for the driver, with an error as data."""
        outcomes: list[EpisodeOutcome] = []
        error: RunnerError | None = None
        try:
            outcomes = self.evaluate(num_episodes, seed)
        except Exception as failure:
            error = self.failed(failure)
        return Evaluated(self.worker_index, outcomes, self.games.counts.take().env_failures, error)

    @abc.abstractmethod
    def log_outcomes(self, outcomes: list[EpisodeOutcome]) -> None:
        """Outcomes to RLlib's metrics."""

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights (component ``rl_module``), the env-step clock and the running games (component ``games``)."""
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if ray_internals.wants_component(self, COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        if ray_internals.wants_component(self, "games", components, not_components):
            state["games"] = self.games_state()
        return state

    def failed(self, failure: Exception) -> RunnerError:
        """What went wrong, as data. Nobody knows what state the games are in: they begin anew."""
        self._drop_games()
        return RunnerError.of(failure)

    def _drop_games(self) -> None:
        games: RunningGames | None = vars(self).get("games")  # not made where the environment cannot be
        if games is not None:
            games.counts.dropped_episodes += games.drop()

    def games_state(self) -> dict[str, Any] | None:
        """See :meth:`RunningGames.get_state`; None where there are no games, or they cannot give it."""
        if self.env is None:
            return None
        try:
            return self.games.get_state()
        except Exception as error:  # a checkpoint is worth more than the running episodes
            logger.warning("%r cannot give its state (%r): its running episodes are dropped.", self.config.env, error)
            self._drop_games()
            return None

    def set_games_state(self, games: dict[str, Any] | None) -> bool:
        """Go on with the games of :meth:`games_state`; returns False (and begins new ones) where there are none or they do
        not fit; :meth:`take_unfit_games` then gives them back."""
        if games is None or not self.holds_games or games["num_envs"] != self.num_envs:
            if self.env is not None:
                self.games.drop()
            self._unfit_games = games
            return False
        self.games.set_state(games)
        self._outcomes = []
        return True

    def take_unfit_games(self) -> dict[str, Any] | None:
        """The games that :meth:`set_games_state` could not go on with, once."""
        games, self._unfit_games = self._unfit_games, None
        return games

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"config": self.config, "env_creator": self._env_creator}

    @override(Checkpointable)
    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        return [(COMPONENT_RL_MODULE, self.module)]

    # ------------------------------------------------------------------ what else RLlib asks

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        pair = team_spaces(self.spec)
        return {INPUT_ENV_SPACES: pair, INPUT_ENV_SINGLE_SPACES: pair, DEFAULT_MODULE_ID: pair}

    @cached_property
    def games_seed(self) -> int | None:
        """Seed of this runner's games and exploration, that of the config for the local runner; None if unseeded."""
        if self.worker_index == 0 or self.config.seed is None:
            return ray_internals.env_runner_seed(self)
        role: Role = "evaluation" if self.config.in_evaluation else "training"
        return remote_seed(self.config.seed, role, self.worker_index)

    @override(EnvRunner)
    def get_metrics(self) -> Any:
        outcomes, self._outcomes = self._outcomes, []
        self.log_outcomes(outcomes)
        return self.metrics.reduce()

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        assert self.spec is not None
