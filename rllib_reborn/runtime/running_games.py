"""The games of one env runner: acting, recording, what happens when they fail, and their state for checkpoints."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import check_obs, check_step
from rllib_reborn.envs.rollout import EnvCallError, EpisodeOutcome, Rollout, Transition
from rllib_reborn.envs.team_env import IllegalActionError, TeamObs, TeamSpec, TeamStep, VectorTeamEnv
from rllib_reborn.replay.fields import STEP_FIELDS, Episode
from rllib_reborn.runtime.env_restarts import EnvRestarts
from rllib_reborn.runtime.exploration import ActingModule, EpsilonGreedyActor
from rllib_reborn.runtime.spaces import replay_layout

logger = logging.getLogger(__name__)

#: Separates the exploration draws from the env's own draws under one seed.
_EXPLORATION_SALT = 0xE5


class CheckedEnv:
    """Steps ``env``; what it raises becomes an :class:`EnvCallError`, so that nothing else is taken for one.

    An :class:`IllegalActionError` is no failure of the environment (a new one would refuse these actions too) and stays as
    it is. What the environment returns is checked against its contract, which raises :class:`EnvContractError`.

    Args:
        env: The environment; may be replaced while it is in use.
        spec: Of the team, as the config has it.
        name: The environment's name, for messages.
    """

    def __init__(self, env: VectorTeamEnv, spec: TeamSpec, name: str) -> None:
        self.env = env
        self.spec = spec
        self.num_envs = env.num_envs
        self.name = name

    @property
    def last_failure(self) -> str | None:
        """Why a game failed last, where the environment says so."""
        return getattr(self.env, "last_failure", None)

    def reset(self, *, seed: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        try:
            # As the rollout calls it: with one of the two.
            obs = self.env.reset(seed=seed) if mask is None else self.env.reset(mask=mask)
        except Exception as failure:
            raise EnvCallError from failure
        check_obs(obs, self.spec, self.num_envs, self.name)
        return obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        try:
            step = self.env.step(actions)
        except IllegalActionError:
            raise
        except Exception as failure:
            raise EnvCallError from failure
        check_step(step, self.spec, self.num_envs, self.name)
        return step


class EpisodeRecorder:
    """Writes observations and transitions of all games into arrays made once.

    Args:
        spec: Of the team.
        num_envs: ``B``.
        lengths: [B] env steps of the running episodes: a live array that the rollout counts in.
    """

    def __init__(self, spec: TeamSpec, num_envs: int, lengths: npt.NDArray[np.int64]) -> None:
        layout = replay_layout(spec)
        rows = spec.episode_limit + 1
        #: Every field [B, T + 1, ...] (one row too many for the per-step fields keeps indices equal).
        self._buffers = {name: np.zeros((num_envs, rows, *shape), dtype) for name, (shape, dtype) in layout.items()}
        # The same as [B * (T + 1), ...]; not with -1, which has no answer for a state of no numbers.
        self._rows = {name: array.reshape(num_envs * rows, *array.shape[2:]) for name, array in self._buffers.items()}
        self._first_row = np.arange(num_envs) * rows
        self._lengths = lengths

    def record_obs(self, obs: TeamObs) -> None:
        """Present observations of all games."""
        rows = self._first_row + self._lengths
        self._rows["obs"][rows] = obs.obs
        self._rows["state"][rows] = obs.state
        self._rows["action_mask"][rows] = obs.action_mask

    def record_step(self, transition: Transition) -> None:
        """A step of all games, and the observations after it; ``lengths`` count it already."""
        rows = self._first_row + (self._lengths - 1)
        self._rows["actions"][rows] = transition.actions
        self._rows["reward"][rows] = transition.step.reward
        self._rows["terminated"][rows] = transition.step.terminated
        self.record_obs(transition.step.obs)

    def episode(self, game: int) -> Episode:
        """A copy of the running episode of a game."""
        length = int(self._lengths[game])
        return {name: array[game, : length + (name not in STEP_FIELDS)].copy() for name, array in self._buffers.items()}

    def get_state(self) -> dict[str, npt.NDArray[Any]]:
        longest = int(self._lengths.max()) + 1
        return {name: array[:, :longest].copy() for name, array in self._buffers.items()}

    def set_state(self, buffers: dict[str, npt.NDArray[Any]]) -> None:
        for name, array in buffers.items():
            self._buffers[name][:, : array.shape[1]] = array


@dataclasses.dataclass
class FailureCounts:
    """Since they were taken last: episodes lost with failed games, and how often games failed."""

    dropped_episodes: int = 0
    env_failures: int = 0

    def take(self) -> FailureCounts:
        """The counts, which begin again at 0."""
        taken = dataclasses.replace(self)
        self.dropped_episodes = self.env_failures = 0
        return taken


class RunningGames:
    """``B`` games that go on from call to call. A game that fails loses its running episode only, which is counted and
    never learnt from; where all fail at once the environment is made again.

    Args:
        env: The environment to begin with.
        make_env: Makes another one in its place, closing the one before.
        module: The networks that act.
        spec: Of the team.
        name: The environment's name, for messages.
        seed: Seed of games and exploration; None: unseeded.
        restart_failed: False: the first failure of the whole environment is an error.
    """

    def __init__(
        self,
        env: VectorTeamEnv,
        make_env: Callable[[], VectorTeamEnv],
        module: ActingModule,
        spec: TeamSpec,
        name: str,
        *,
        seed: int | None,
        restart_failed: bool,
    ) -> None:
        self.spec = spec
        self.counts = FailureCounts()
        self._restarts = EnvRestarts(make_env, name, seed=seed, restart_failed=restart_failed)
        self._env = CheckedEnv(env, spec, name)
        self.num_envs = self._env.num_envs
        self._actor = EpsilonGreedyActor(module, self.num_envs, spec.n_agents, seed=seed, salt=_EXPLORATION_SALT)
        self._rollout = Rollout(
            self._env,
            self._actor,
            name,
            on_begin=self._on_begin,
            on_step=self._on_step,
            recover=self._replace_env,
        )
        self._recorder = EpisodeRecorder(spec, self.num_envs, self._rollout.lengths)
        self._failed_resets = 0
        # Of the present call of run():
        self._env_steps = self._taken = 0
        self._epsilon: Callable[[int], float] = _greedy
        self._keep = True
        self._episodes: list[Episode] = []
        self._outcomes: list[EpisodeOutcome] = []

    @property
    def env(self) -> VectorTeamEnv:
        """The present environment."""
        return self._env.env

    def run(
        self,
        env_steps: int,
        *,
        epsilon: Callable[[int], float] | None = None,
        quotas: npt.NDArray[np.int64] | None = None,
        episodes: int | None = None,
        steps: int | None = None,
        restart: bool = False,
        restart_seed: int | None = None,
        keep: bool = True,
    ) -> tuple[list[Episode], list[EpisodeOutcome], int]:
        """Play until enough is finished (:meth:`Rollout.run`).

        Args:
            env_steps: The run's clock; a later start from nothing gets another seed by it.
            epsilon: Share of random actions after so many env steps of this call; None: greedy.
            quotas, episodes, steps: One of them, as in :meth:`Rollout.run`.
            restart, restart_seed: Drop running episodes and begin with this seed (None: the random streams go on).
            keep: Whether whole episodes are given back, not only their outcomes.

        Returns:
            Finished episodes (none without ``keep``), their outcomes, and the env steps taken.

        Raises:
            EnvContractError: The environment broke its contract, or fails again and again.
        """
        self._env_steps, self._epsilon, self._keep = env_steps, epsilon or _greedy, keep
        self._episodes, self._outcomes, self._taken = [], [], 0
        if self._rollout.obs is None or restart:
            try:
                self._begin(restart_seed if restart else self._restarts.start_seed(self._env_steps))
            except EnvCallError as failure:
                self._replace_env(failure)
        self._actor.epsilon = self._epsilon(0)
        taken = self._rollout.run(quotas=quotas, episodes=episodes, steps=steps)
        self._count_failed_resets()
        return self._episodes, self._outcomes, taken

    def drop(self) -> int:
        """Running episodes, of which there are so many, are not continued."""
        self._rollout.obs = None
        return int((self._rollout.lengths > 0).sum())

    # ------------------------------------------------------------------ hooks of the rollout

    def _on_begin(self, obs: Any) -> None:
        self._count_failed_resets()
        self._recorder.record_obs(obs)

    def _on_step(self, transition: Transition) -> None:
        self._recorder.record_step(transition)
        self._taken += self.num_envs
        self._actor.epsilon = self._epsilon(self._taken)
        if not transition.any_done:
            return
        failed = int(transition.failed.sum())
        self.counts.dropped_episodes += failed
        self.counts.env_failures += failed
        for game in np.flatnonzero(transition.counted).tolist():
            self._outcomes.append(transition.outcome(game))
            if self._keep:
                self._episodes.append(self._recorder.episode(game))

    # ------------------------------------------------------------------ starts and failures

    def _begin(self, seed: int | None) -> None:
        try:
            self._rollout.begin(seed)
        finally:
            self._count_failed_resets()

    def _count_failed_resets(self) -> None:
        self.counts.env_failures += self.env.failed_resets - self._failed_resets
        self._failed_resets = self.env.failed_resets

    def _replace_env(self, failure: EnvCallError) -> None:
        """The whole batch of games failed at once: make it again, dropping the running episodes."""
        self._count_failed_resets()
        self.counts.dropped_episodes += self.drop()
        before = self._restarts.failures
        try:
            self._restarts.begin_again(failure, self._put, self._begin, self._env_steps)
        finally:
            self.counts.env_failures += self._restarts.failures - before

    def _put(self, env: VectorTeamEnv) -> None:
        self._env.env, self._failed_resets = env, 0

    # ------------------------------------------------------------------ state

    def get_state(self) -> dict[str, Any] | None:
        """Running episodes, hidden states, boards and random streams; None before the first step, or where the env cannot
        give its state (its running episodes are then dropped at a restore)."""
        if self._rollout.obs is None:
            return None
        env_state = self.env.get_state()
        if env_state is None:
            return None
        return {
            "num_envs": self.num_envs,
            "env": env_state,
            "time": self._rollout.lengths.copy(),
            "returns": self._rollout.returns.copy(),
            "actor": self._actor.get_state(),
            "buffers": self._recorder.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with the games of :meth:`get_state`; ``num_envs`` must be this one's."""
        self._rollout.obs = self.env.set_state(state["env"])
        self._rollout.lengths[:] = state["time"]
        self._rollout.returns[:] = state["returns"]
        self._actor.set_state(state["actor"])
        self._recorder.set_state(state["buffers"])


def _greedy(env_steps: int) -> float:
    return 0.0
