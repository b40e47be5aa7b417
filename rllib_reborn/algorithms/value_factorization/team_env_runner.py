"""The env runner: steps a batch of games, acts for all of them and all agents in one forward, ships whole episodes."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Collection, Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)

from rllib_reborn.algorithms.value_factorization import ray_internals
from rllib_reborn.algorithms.value_factorization.process_tuning import skip_filling_empty_buffers
from rllib_reborn.algorithms.value_factorization.seeds import Role, remote_seed
from rllib_reborn.algorithms.value_factorization.settings import EpsilonSettings, parse
from rllib_reborn.envs.failure_budget import EnvContractError, FailureBudget
from rllib_reborn.envs.random_policy import epsilon_greedy
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import IllegalActionError, TeamObs, TeamSpec, TeamStep, VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.replay.episode_block import Episode, EpisodeBlock, blocks_of, field_layout

logger = logging.getLogger(__name__)

#: Separates the exploration draws from the env's own draws under one seed.
_EXPLORATION_SALT = 0xE5
#: The envs of one runner may fail this often without a finished episode in between before the runner gives up.
_MAX_FAILURES_IN_ROW = 3
#: Keep the seeds of later starts apart from those of the first one and of other seeds: primes.
_START_STRIDE, _CLOCK_STRIDE = 15_485_863, 32_452_843
#: Largest block of episodes shipped in one piece, in bytes.
MAX_BLOCK_BYTES = 64 * 2**20


class EnvCallError(Exception):
    """A call of the environment raised; the cause is chained."""


@dataclasses.dataclass(frozen=True)
class EpisodeOutcome:
    """What is reported of a finished episode. ``won`` is None where the env has no notion of winning."""

    episode_return: float
    length: int
    won: bool | None


@dataclasses.dataclass(frozen=True)
class Collected:
    """Answer of :meth:`TeamEnvRunner.collect`; a plain class, because RLlib flattens dicts and lists."""

    worker_index: int
    blocks: list[EpisodeBlock]
    outcomes: list[EpisodeOutcome]
    env_steps: int
    dropped_episodes: int
    env_failures: int
    metrics: Any
    error: str | None = None
    env_is_broken: bool = False
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Played:
    """Answer of :meth:`TeamEnvRunner.play_for_driver`."""

    worker_index: int
    outcomes: list[EpisodeOutcome]
    env_failures: int = 0
    error: str | None = None
    env_is_broken: bool = False


class TeamEnvRunner(EnvRunner, Checkpointable):
    """Samples whole episodes from ``num_envs_per_env_runner`` games of a :class:`VectorTeamEnv`.

    Running episodes survive between calls. Each game has its own random streams (the env's and the exploration's), so
    its trajectory depends on its seed and the weights, not on the games beside it. A game that fails loses its running
    episode only, which is counted and never learnt from.
    """

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.worker_index: int = kwargs.get("worker_index") or 0
        self.num_env_steps_sampled_lifetime: int = 0
        self.num_envs: int = self.config.num_envs_per_env_runner
        self._env_creator = kwargs["env_creator"]
        self._spaces: dict[str, Any] | None = kwargs.get("spaces")
        self._callbacks = ray_internals.make_callbacks(self.config)
        skip_filling_empty_buffers()
        remote = self.worker_index > 0
        gpus = self.config.num_gpus_per_env_runner if remote else 0
        self._device = torch.device(get_device(self.config, gpus))
        if remote:
            torch.set_num_threads(max(1, int(self.config.num_cpus_per_env_runner)))
        self._epsilon = parse(EpsilonSettings, self.config.epsilon, "epsilon")
        self._weights_seq_no = 0
        self.spec: TeamSpec = self.config.team_spec
        self.env: VectorTeamEnv | None = None
        self._outcomes: list[EpisodeOutcome] = []
        self._starts = 0
        self._failures_in_row = 0
        self._failure_budget = FailureBudget(str(self.config.env), self.num_envs)
        self._dropped_episodes = self._env_failures = self._failed_resets = 0
        self._unfit_games: dict[str, Any] | None = None
        self._games_seed = self._own_seed()
        self._streams = RandomStreams(self.num_envs, self._games_seed, salt=_EXPLORATION_SALT)
        # With remote runners the local one only keeps weights and spaces: it must start no game.
        if remote or self.config.num_env_runners == 0 or self.config.create_env_on_local_worker:
            self.make_env()
        self.module: Any = None
        self.make_module()

    # ------------------------------------------------------------------ env and module

    @override(EnvRunner)
    def make_env(self) -> None:
        if self.env is not None:
            self.env.close()
        context = EnvContext(
            dict(self.config.env_config),
            worker_index=self.worker_index,
            num_workers=self.num_workers,
        )
        self.env = self._env_creator(context, num_envs=self.num_envs)
        ray_internals.run_callbacks(
            "on_environment_created",
            self._callbacks,
            self.config.callbacks_on_environment_created,
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.env,
            env_context=context,
        )
        self._failed_resets = 0
        self._make_buffers()

    def _make_buffers(self) -> None:
        spec, rows = self.spec, self.num_envs
        layout = field_layout(
            spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype
        )
        horizon = spec.episode_limit
        #: Running episodes: every field [B, T + 1, ...] (one row too many for the per-step fields keeps indices equal).
        self._buffers = {name: np.zeros((rows, horizon + 1, *shape), dtype) for name, (shape, dtype) in layout.items()}
        self._time = np.zeros(rows, np.int64)
        self._returns = np.zeros(rows, np.float64)
        self._first_row = np.arange(rows) * (horizon + 1)
        self._last_actions = np.full((rows, spec.n_agents), -1, np.int64)
        self._hidden: torch.Tensor | None = None
        self._obs: TeamObs | None = None

    @override(EnvRunner)
    def make_module(self) -> None:
        spec = self.config.get_rl_module_spec(env=None, spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self.module.to(self._device)

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        pair = team_spaces(self.spec)
        return {INPUT_ENV_SPACES: pair, INPUT_ENV_SINGLE_SPACES: pair, DEFAULT_MODULE_ID: pair}

    # ------------------------------------------------------------------ sampling

    @override(EnvRunner)
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[EpisodeBlock]:
        """Step all games until enough is collected; finished episodes come back as blocks.

        Args:
            num_timesteps: Env steps to take at least.
            num_episodes: Episodes to finish at least (default: one per game).
            explore: Epsilon-greedy instead of greedy actions; default: the config's.
            random_actions: Uniformly random legal actions.
            force_reset: Drop running episodes and start anew with the runner's seed.

        Raises:
            EnvContractError: The env broke its contract.
        """
        explore = self.config.explore if explore is None else explore
        if num_timesteps is None and num_episodes is None:
            num_episodes = self.num_envs
        with self.metrics.log_time(SAMPLE_TIMER):
            episodes, steps = self._run(
                steps_wanted=num_timesteps,
                episodes_wanted=num_episodes,
                explore=explore,
                random_actions=random_actions,
                force_reset=force_reset,
            )
        blocks = blocks_of(episodes, MAX_BLOCK_BYTES)
        self._log_sampled(steps, len(episodes))
        ray_internals.run_callbacks(
            "on_sample_end",
            self._callbacks,
            self.config.callbacks_on_sample_end,
            env_runner=self,
            metrics_logger=self.metrics,
            samples=blocks,
        )
        return blocks

    def collect(self, num_episodes: int, env_steps: int | None = None, **kwargs: Any) -> Collected:
        """Sample and report in one call. An error is answered as data: an exception would make RLlib restart this process
        for ever instead of telling the user.

        Args:
            num_episodes: Episodes to finish at least.
            env_steps: The run's env-step clock, which exploration follows; None goes on with this runner's own.
            **kwargs: As for :meth:`sample`.
        """
        if env_steps is not None:
            self.num_env_steps_sampled_lifetime = env_steps
        steps_before = self.metrics.peek(NUM_ENV_STEPS_SAMPLED_LIFETIME, default=0)
        error, env_is_broken = None, False
        blocks: list[EpisodeBlock] = []
        provenance: dict[str, str] = {}
        try:
            blocks = self.sample(num_episodes=num_episodes, **kwargs)
            provenance = dict(self.env.provenance()) if self.env is not None else {}
        except Exception as failure:
            error, env_is_broken = _as_data(failure)
        outcomes, self._outcomes = self._outcomes, []
        steps = int(self.metrics.peek(NUM_ENV_STEPS_SAMPLED_LIFETIME, default=0) - steps_before)
        dropped, self._dropped_episodes = self._dropped_episodes, 0
        failures = self.take_env_failures()
        self._log_outcomes(outcomes)
        return Collected(
            self.worker_index,
            blocks,
            outcomes,
            steps,
            dropped,
            failures,
            self.metrics.reduce(),
            error,
            env_is_broken,
            provenance,
        )

    def play_for_driver(self, num_episodes: int, seed: int) -> Played:
        """:meth:`play` for the driver, with an error as data."""
        try:
            outcomes = self.play(num_episodes, seed)
        except Exception as failure:
            return Played(self.worker_index, [], self.take_env_failures(), *_as_data(failure))
        return Played(self.worker_index, outcomes, self.take_env_failures())

    def take_env_failures(self) -> int:
        """How often games failed since this was asked last."""
        failures, self._env_failures = self._env_failures, 0
        return failures

    def play(self, num_episodes: int, seed: int, *, random_actions: bool = False) -> list[EpisodeOutcome]:
        """Greedy (or random) episodes from fresh starts: exactly ``num_episodes``, each game a fixed share of them.

        Taking the first ``num_episodes`` to finish would favour short episodes. Equal arguments and weights give equal
        outcomes.
        """
        quotas = np.full(self.num_envs, num_episodes // self.num_envs)
        quotas[: num_episodes % self.num_envs] += 1
        self._outcomes = []
        self._run(
            quotas=quotas, explore=False, random_actions=random_actions, force_reset=True, reset_seed=seed, keep=False
        )
        outcomes, self._outcomes = self._outcomes, []
        self._obs = None  # what runs on beyond the quotas is not continued
        return outcomes

    def _run(
        self,
        *,
        steps_wanted: int | None = None,
        episodes_wanted: int | None = None,
        quotas: npt.NDArray[np.int64] | None = None,
        explore: bool,
        random_actions: bool,
        force_reset: bool,
        reset_seed: int | None = None,
        keep: bool = True,
    ) -> tuple[list[Episode], int]:
        """The loop: act, step, store, finish; returns finished episodes and env steps taken."""
        if self._obs is None or force_reset:
            runner_seed = self._next_start_seed() if not force_reset else self._games_seed
            seed = runner_seed if reset_seed is None else reset_seed
            try:
                self._start_all(seed)
            except EnvCallError as failure:
                self._replace_env(failure)
        episodes: list[Episode] = []
        finished = steps = 0
        clock = self.num_env_steps_sampled_lifetime
        # Other runners sample meanwhile: this runner's steps stand for those of all until the clock is set again.
        per_step = max(1, self.num_workers)
        played = np.zeros(self.num_envs, np.int64)
        no_failures = np.zeros(self.num_envs, np.bool_)
        while True:
            if quotas is not None:
                if (played >= quotas).all():
                    break
            elif episodes_wanted is not None:
                if finished >= episodes_wanted:
                    break
            elif steps_wanted is not None and steps >= steps_wanted:
                break
            epsilon = self._epsilon.at(clock + steps * per_step) if explore else 0.0
            try:
                step = self._step(1.0 if random_actions else epsilon)
            except EnvCallError as failure:
                self._replace_env(failure)
                continue
            steps += self.num_envs
            done = step.terminated | step.truncated
            failed = step.info.get("failed", no_failures)
            done = done | failed
            if not done.any():
                continue
            self._dropped_episodes += int(failed.sum())
            self._env_failures += int(failed.sum())
            self._failure_budget.note(done, failed, self.env, each_must_finish=quotas is not None)
            for i in np.flatnonzero(done & ~failed):
                finished += 1
                self._failures_in_row = 0
                if quotas is not None and played[i] >= quotas[i]:
                    continue
                played[i] += 1
                self._finish(int(i), step, episodes if keep else None)
            try:
                self._reset(done)
            except EnvCallError as failure:
                self._replace_env(failure)
        self.num_env_steps_sampled_lifetime = clock + steps * per_step if explore else clock
        return episodes, steps

    def _own_seed(self) -> int | None:
        """Seed of this runner's games and exploration, that of the config for the local runner; None if unseeded."""
        if self.worker_index == 0 or self.config.seed is None:
            return ray_internals.env_runner_seed(self)
        role: Role = "evaluation" if self.config.in_evaluation else "training"
        return remote_seed(self.config.seed, role, self.worker_index)

    def _next_start_seed(self) -> int | None:
        """Seed of a start from nothing: the runner's own at the very first, another one at each later start and each later
        time of the run, so that a restored or restarted runner does not play the run's beginning again."""
        seed = self._games_seed
        if seed is None:
            return None
        number = self._starts * _START_STRIDE + self.num_env_steps_sampled_lifetime * _CLOCK_STRIDE
        self._starts += 1
        # Small enough for any library's seed; the first start keeps the seed that the user gave.
        return seed if number == 0 else (seed + number) % 2**31

    def _start_all(self, seed: int | None) -> None:
        if seed is not None:
            self._streams.seed(seed)
        obs = self._call_env("reset", seed=seed)
        self._check_obs(obs)
        self._obs = obs
        self._hidden = self.module.initial_hidden(self.num_envs)
        self._last_actions.fill(-1)
        self._time.fill(0)
        self._returns.fill(0)
        self._store_obs(obs)

    def _call_env(self, method: Literal["reset", "step"], *args: Any, **kwargs: Any) -> Any:
        """Call the env; whatever it raises becomes an EnvCallError, so that nothing else is taken for one.

        Raises:
            EnvCallError: The env raised.
            IllegalActionError: It refused the actions, which is no failure of the env: a new one would refuse them too.
        """
        assert self.env is not None, "this env runner holds no env"
        call = self.env.step if method == "step" else self.env.reset
        try:
            return call(*args, **kwargs)
        except IllegalActionError:
            raise
        except Exception as failure:
            raise EnvCallError from failure
        finally:
            self._env_failures += self.env.failed_resets - self._failed_resets
            self._failed_resets = self.env.failed_resets

    def _step(self, epsilon: float) -> TeamStep:
        """Act and step every game once."""
        assert self._obs is not None
        actions = self._act(self._obs, epsilon)
        step: TeamStep = self._call_env("step", actions)
        self._check_step(step)
        rows = self._first_row + self._time
        _rows(self._buffers["actions"])[rows] = actions
        _rows(self._buffers["reward"])[rows] = step.reward
        _rows(self._buffers["terminated"])[rows] = step.terminated
        self._returns += step.reward
        self._time += 1
        self._last_actions = actions
        self._obs = step.obs
        ended = step.terminated | step.truncated | step.info.get("failed", False)
        overdue = (self._time >= self.spec.episode_limit) & ~ended
        if overdue.any():
            raise EnvContractError(
                f"game {int(np.flatnonzero(overdue)[0])} of {self.config.env!r} runs on after its "
                f"{self.spec.episode_limit} steps; it must set truncated (or terminated) at TeamSpec.episode_limit."
            )
        self._store_obs(step.obs)
        return step

    def _act(self, obs: TeamObs, epsilon: float) -> npt.NDArray[np.int64]:
        """Joint actions [B, n] of all games."""
        out = self.module._forward_inference(
            {
                "obs": torch.from_numpy(obs.obs).to(self._device),
                "action_mask": torch.from_numpy(obs.action_mask).to(self._device),
                "last_actions": torch.from_numpy(self._last_actions).to(self._device),
                "hidden": self._hidden,
            }
        )
        self._hidden = out["hidden"]
        # Drawn whatever epsilon is, so that streams keep step.
        uniforms = self._streams.uniform(self.spec.n_agents)
        return epsilon_greedy(out["actions"].cpu().numpy(), obs.action_mask, uniforms, epsilon)

    def _store_obs(self, obs: TeamObs) -> None:
        rows = self._first_row + self._time
        _rows(self._buffers["obs"])[rows] = obs.obs
        _rows(self._buffers["state"])[rows] = obs.state
        _rows(self._buffers["action_mask"])[rows] = obs.action_mask

    def _finish(self, i: int, step: TeamStep, episodes: list[Episode] | None) -> None:
        length = int(self._time[i])
        won = bool(step.info["won"][i]) if self.spec.has_win else None
        self._outcomes.append(EpisodeOutcome(float(self._returns[i]), length, won))
        if episodes is None:
            return
        episode = {name: array[i, : length + 1].copy() for name, array in self._buffers.items()}
        for name in ("actions", "reward", "terminated"):
            episode[name] = episode[name][:length]
        episodes.append(episode)

    def _reset(self, done: npt.NDArray[np.bool_]) -> None:
        obs = self._call_env("reset", mask=done)
        self._check_obs(obs)
        self._obs = obs
        self._time[done] = 0
        self._returns[done] = 0
        self._last_actions[done] = -1
        assert self._hidden is not None
        self._hidden[torch.from_numpy(done).to(self._device)] = 0
        self._store_obs(obs)

    def _replace_env(self, failure: EnvCallError) -> None:
        """The whole batch of games failed at once: make it anew, dropping the running episodes.

        Raises:
            EnvContractError: It failed too often, or says that it cannot be played here.
        """
        self._dropped_episodes += int((self._time > 0).sum())
        while True:
            cause = failure.__cause__
            if isinstance(cause, GameUnavailableError):
                raise EnvContractError(f"{self.config.env!r} cannot be played on this machine: {cause}") from cause
            self._env_failures += 1
            self._failures_in_row += 1
            if self._failures_in_row >= _MAX_FAILURES_IN_ROW or not self.config.restart_failed_sub_environments:
                raise EnvContractError(
                    f"{self.config.env!r} failed {self._failures_in_row} time(s) in a row without a finished episode in "
                    f"between, last with {type(cause).__name__}: {cause}"
                ) from cause
            logger.warning("Env %r failed (%r); it is made anew.", self.config.env, cause)
            try:
                self._make_env_or_fail()
                self._start_all(self._next_start_seed())
            except EnvCallError as again:
                failure = again
            else:
                return

    def _make_env_or_fail(self) -> None:
        try:
            self.make_env()
        except Exception as failure:
            raise EnvCallError from failure

    # ------------------------------------------------------------------ contract checks

    def _check_obs(self, obs: TeamObs) -> None:
        if not isinstance(obs, TeamObs):
            raise self._wrong_type("its observations", obs, "a TeamObs(obs, state, action_mask)")
        spec, rows = self.spec, self.num_envs
        for name, shape, dtype in (
            ("obs", (rows, spec.n_agents, spec.obs_dim), spec.obs_dtype),
            ("state", (rows, spec.state_dim), spec.state_dtype),
            ("action_mask", (rows, spec.n_agents, spec.n_actions), "bool"),
        ):
            self._check_array(name, getattr(obs, name), shape, dtype)
        if not obs.action_mask.any(axis=2).all():
            game, agent = np.argwhere(~obs.action_mask.any(axis=2))[0]
            raise EnvContractError(
                f"{self.config.env!r} allows agent {agent} of game {game} no action; every agent needs one at every step "
                "(a no-op for a dead one)."
            )

    def _check_step(self, step: TeamStep) -> None:
        if not isinstance(step, TeamStep):
            raise self._wrong_type("its step", step, "a TeamStep(obs, reward, terminated, truncated, info)")
        self._check_obs(step.obs)
        self._check_array("reward", step.reward, (self.num_envs,), "float32")
        self._check_array("terminated", step.terminated, (self.num_envs,), "bool")
        self._check_array("truncated", step.truncated, (self.num_envs,), "bool")
        info = step.info
        if not isinstance(info, Mapping):
            raise self._wrong_type("info", info, "a dict of arrays, {} where there is nothing to tell")
        if "failed" in info:
            self._check_array("info['failed']", info["failed"], (self.num_envs,), "bool")
        if not self.spec.has_win:
            return
        if "won" in info:
            self._check_array("info['won']", info["won"], (self.num_envs,), "bool")
        elif (step.terminated | step.truncated).any():
            raise EnvContractError(
                f"{self.config.env!r} ended an episode and returned info with the keys {list(info)}; expected 'won' among "
                "them, since TeamSpec.has_win is set. Give it, or leave has_win out."
            )

    def _wrong_type(self, name: str, value: Any, expected: str) -> EnvContractError:
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return EnvContractError(
            f"{self.config.env!r} returned {name} as {type(value).__name__} ({shown}); expected {expected}. "
            "Run `rllib-reborn envs` on it."
        )

    def _check_array(self, name: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: str) -> None:
        if not isinstance(array, np.ndarray):
            raise self._wrong_type(name, array, f"a numpy array of shape {shape} and dtype {dtype}")
        if array.shape != shape or array.dtype != dtype:
            raise EnvContractError(
                f"{self.config.env!r} returned {name} of shape {array.shape} and dtype {array.dtype}; expected {shape} and "
                f"{dtype}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise EnvContractError(
                f"{self.config.env!r} returned {name} with the value {array[~np.isfinite(array)].flat[0]}; expected finite "
                "numbers. Run `rllib-reborn envs` on it."
            )

    # ------------------------------------------------------------------ metrics

    def _log_sampled(self, steps: int, episodes: int) -> None:
        metrics = self.metrics
        metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        metrics.log_value(NUM_EPISODES, episodes, reduce="sum")
        metrics.log_value((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), steps * self.spec.n_agents, reduce="sum")
        metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        metrics.log_value(
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID),
            steps * self.spec.n_agents,
            reduce="lifetime_sum",
        )
        metrics.log_value(NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
        metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        ray_internals.count_env_steps(self, steps)

    def _log_outcomes(self, outcomes: list[EpisodeOutcome]) -> None:
        window = max(1, self.config.metrics_num_episodes_for_smoothing // max(1, self.num_workers))
        for outcome in outcomes:
            self.metrics.log_value(EPISODE_RETURN_MEAN, outcome.episode_return, window=window)
            self.metrics.log_value(EPISODE_LEN_MEAN, outcome.length, window=window)
            self.metrics.log_value(EPISODE_RETURN_MIN, outcome.episode_return, reduce="min", window=window)
            self.metrics.log_value(EPISODE_RETURN_MAX, outcome.episode_return, reduce="max", window=window)
            if outcome.won is not None:
                self.metrics.log_value("win_rate", float(outcome.won), window=window)

    @override(EnvRunner)
    def get_metrics(self) -> Any:
        outcomes, self._outcomes = self._outcomes, []
        self._log_outcomes(outcomes)
        return self.metrics.reduce()

    # ------------------------------------------------------------------ state

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

    def games_state(self) -> dict[str, Any] | None:
        """Running episodes, hidden states, boards and random streams; None before the first step, or where the env cannot
        give its state (its episodes are then started anew after a restore)."""
        if self.env is None or self._obs is None or self._hidden is None:
            return None
        env_state = self.env.get_state()
        if env_state is None:
            return None
        longest = int(self._time.max()) + 1
        return {
            "num_envs": self.num_envs,
            "env": env_state,
            "streams": self._streams.get_state(),
            "time": self._time.copy(),
            "returns": self._returns.copy(),
            "last_actions": self._last_actions.copy(),
            "hidden": self._hidden.cpu().numpy().copy(),
            "buffers": {name: array[:, :longest].copy() for name, array in self._buffers.items()},
        }

    def set_games_state(self, games: dict[str, Any] | None) -> bool:
        """Continue the games of :meth:`games_state`; returns False (and starts anew) where there are none or they do not
        fit; :meth:`take_unfit_games` then gives them back."""
        if games is None or self.env is None or games["num_envs"] != self.num_envs:
            self._obs = None
            self._unfit_games = games
            return False
        self._obs = self.env.set_state(games["env"])
        self._streams.set_state(games["streams"])
        self._time[:] = games["time"]
        self._returns[:] = games["returns"]
        self._last_actions = games["last_actions"].copy()
        self._hidden = torch.from_numpy(games["hidden"].copy()).to(self._device)
        for name, array in games["buffers"].items():
            self._buffers[name][:, : array.shape[1]] = array
        self._outcomes = []
        return True

    def take_unfit_games(self) -> dict[str, Any] | None:
        """The games that :meth:`set_games_state` could not go on with, once."""
        games, self._unfit_games = self._unfit_games, None
        return games

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            # 0 forces; otherwise late messages must not bring back older weights.
            if number == 0 or self._weights_seq_no < number:
                weights = state[COMPONENT_RL_MODULE]
                if isinstance(weights, ray.ObjectRef):
                    weights = ray.get(weights)
                self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
            if number > 0:
                self._weights_seq_no = number
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        if "games" in state:
            self.set_games_state(state["games"])

    def force_weights(self, weights: dict[str, Any], seq_no: int, env_steps: int) -> None:
        """Take these weights whatever their number is compared with the present ones."""
        self.set_state({COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: 0, NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
        self._weights_seq_no = seq_no

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"config": self.config, "env_creator": self._env_creator}

    @override(Checkpointable)
    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        return [(COMPONENT_RL_MODULE, self.module)]

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        assert self.module is not None

    @override(EnvRunner)
    def stop(self) -> None:
        if self.env is not None:
            self.env.close()


def team_spaces(spec: TeamSpec) -> tuple[gym.Space, gym.Space]:
    """Observation and action space of a team as Gymnasium sees it (one joint step)."""
    n, a = spec.n_agents, spec.n_actions
    return (
        gym.spaces.Dict(
            {
                "obs": gym.spaces.Box(-np.inf, np.inf, (n, spec.obs_dim), np.float32),
                "state": gym.spaces.Box(-np.inf, np.inf, (spec.state_dim,), np.float32),
                "action_mask": gym.spaces.Box(0, 1, (n, a), np.int8),
            }
        ),
        gym.spaces.MultiDiscrete([a] * n),
    )


def _as_data(failure: Exception) -> tuple[str, bool]:
    """An error as text, and whether the environment is to blame for it."""
    if isinstance(failure, EnvContractError):
        return str(failure), True
    return f"env runner failed with {type(failure).__name__}: {failure}\n{traceback.format_exc()}", False


def _rows(buffer: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[B, T + 1, ...] as [B * (T + 1), ...], a view."""
    # Not with -1, which has no answer for a state of no numbers.
    return buffer.reshape(buffer.shape[0] * buffer.shape[1], *buffer.shape[2:])
