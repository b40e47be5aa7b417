"""The env runner: what RLlib asks of one (sampling, evaluation, metrics, state), around :class:`RunningGames`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
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

from rllib_reborn.envs.rollout import EpisodeOutcome, equal_quotas
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from rllib_reborn.replay.episode_replay import EpisodeBlock, blocks_of
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.checkpointed_runner import CheckpointedRunner
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.runtime.process_tuning import skip_filling_empty_buffers
from rllib_reborn.runtime.results import Collected, RunnerError
from rllib_reborn.runtime.running_games import RunningGames
from rllib_reborn.settings import parse

#: Largest block of episodes shipped in one piece, in bytes.
MAX_BLOCK_BYTES = 64 * 2**20


class TeamEnvRunner(CheckpointedRunner):
    """Samples whole episodes from ``num_envs_per_env_runner`` games of a :class:`VectorTeamEnv`.

    Running episodes survive between calls. Each game has its own random streams (the env's and the exploration's), so
    its trajectory depends on its seed and the weights, not on the games beside it.
    """

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.worker_index: int = kwargs.get("worker_index") or 0
        self.num_env_steps_sampled_lifetime: int = 0
        self.num_envs: int = self.config.num_envs_per_env_runner
        self._env_creator = kwargs["env_creator"]
        self._callbacks = ray_internals.make_callbacks(self.config)
        self._env_steps_counter = ray_internals.env_steps_counter(self)
        skip_filling_empty_buffers()
        remote = self.worker_index > 0
        gpus = self.config.num_gpus_per_env_runner if remote else 0
        self._device = torch.device(get_device(self.config, gpus))
        if remote:
            torch.set_num_threads(max(1, int(self.config.num_cpus_per_env_runner)))
        self._epsilon = parse(EpsilonSettings, self.config.epsilon, "epsilon")
        self._weights_seq_no = 0
        self._pending_weights: dict[str, Any] | None = None
        self.spec: TeamSpec = self.config.team_spec
        self._outcomes: list[EpisodeOutcome] = []
        self._unfit_games: dict[str, Any] | None = None
        self.env: VectorTeamEnv | None = None
        # With remote runners the local one only keeps weights and spaces: it must start no game.
        self.holds_games = remote or self.config.num_env_runners == 0 or self.config.create_env_on_local_worker
        if self.holds_games and not remote:
            self.make_env()  # remote ones are asked to (build_env): RLlib loses what a constructor raises

    # ------------------------------------------------------------------ env and module

    @override(EnvRunner)
    def make_env(self) -> VectorTeamEnv:
        self.close_env()
        context = EnvContext(
            dict(self.config.env_config),
            worker_index=self.worker_index,
            num_workers=self.num_workers,
        )
        self.env = self._env_creator(context, num_envs=self.num_envs, spec=self.spec)
        self._run_callbacks("on_environment_created", env=self.env, env_context=context)
        return self.env

    @cached_property
    def module(self) -> Any:
        """The agents' networks; built when first needed, unless somebody has set them."""
        module = self.make_module()
        if self._pending_weights is not None:
            module.set_state(self._pending_weights)
        return module

    @override(EnvRunner)
    def make_module(self) -> Any:
        spec = self.config.get_rl_module_spec(env=None, spaces=self.get_spaces(), inference_only=True)
        return spec.build().to(self._device)

    @cached_property
    def games(self) -> RunningGames:
        """The games; the first of them is the env that was made with this runner."""
        assert self.holds_games, "this env runner holds no env"
        return RunningGames(
            self.make_env() if self.env is None else self.env,
            self.make_env,
            self.module,
            self.spec,
            str(self.config.env),
            seed=self.games_seed,
            restart_failed=self.config.restart_failed_sub_environments,
        )

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
            force_reset: Drop running episodes and begin again with the runner's seed.

        Raises:
            EnvContractError: The env broke its contract.
        """
        explore = self.config.explore if explore is None else explore
        if num_timesteps is None and num_episodes is None:
            num_episodes = self.num_envs
        clock = self.num_env_steps_sampled_lifetime
        # Other runners sample meanwhile: this runner's steps stand for those of all until the clock is set again.
        per_step = max(1, self.num_workers)

        def epsilon(steps: int) -> float:
            if random_actions:
                return 1.0
            return self._epsilon.at(clock + steps * per_step) if explore else 0.0

        with self.metrics.log_time(SAMPLE_TIMER):
            episodes, outcomes, steps = self.games.run(
                clock,
                epsilon=epsilon,
                episodes=num_episodes,
                steps=num_timesteps,
                restart=force_reset,
                restart_seed=self.games_seed if force_reset else None,
            )
        if explore:
            self.num_env_steps_sampled_lifetime = clock + steps * per_step
        self._outcomes += outcomes
        blocks = blocks_of(episodes, MAX_BLOCK_BYTES)
        self._log_sampled(steps, len(episodes))
        self._run_callbacks("on_sample_end", samples=blocks)
        return blocks

    def collect(self, num_episodes: int, env_steps: int | None = None, **kwargs: Any) -> Collected:
        """Sample and report in one call.

        Args:
            num_episodes: Episodes to finish at least.
            env_steps: The run's env-step clock, which exploration follows; None goes on with this runner's own.
            **kwargs: As for :meth:`sample`.
        """
        if env_steps is not None:
            self.num_env_steps_sampled_lifetime = env_steps
        steps_before = self.metrics.peek(NUM_ENV_STEPS_SAMPLED_LIFETIME, default=0)
        error: RunnerError | None = None
        blocks: list[EpisodeBlock] = []
        provenance: dict[str, str] = {}
        try:
            blocks = self.sample(num_episodes=num_episodes, **kwargs)
            provenance = dict(self.env.provenance()) if self.env is not None else {}
        except Exception as failure:
            error = self.failed(failure)
        outcomes, self._outcomes = self._outcomes, []
        steps = int(self.metrics.peek(NUM_ENV_STEPS_SAMPLED_LIFETIME, default=0) - steps_before)
        counts = self.games.counts.take()
        self.log_outcomes(outcomes)
        return Collected(
            self.worker_index,
            blocks,
            outcomes,
            steps,
            counts.dropped_episodes,
            counts.env_failures,
            self.metrics.reduce(),
            error,
            provenance,
        )

    def evaluate(self, num_episodes: int, seed: int, *, random_actions: bool = False) -> list[EpisodeOutcome]:
        """Greedy (or random) episodes from fresh starts: exactly ``num_episodes``, each game a fixed share of them.

        Equal arguments and weights give equal outcomes.
        """
        _, outcomes, _ = self.games.run(
            self.num_env_steps_sampled_lifetime,
            epsilon=(lambda _: 1.0) if random_actions else None,
            quotas=equal_quotas(num_episodes, self.num_envs),
            restart=True,
            restart_seed=seed,
            keep=False,
        )
        self.games.drop()  # what runs on beyond the quotas is not continued
        return outcomes

    # ------------------------------------------------------------------ metrics

    def _log_sampled(self, steps: int, episodes: int) -> None:
        metrics, agent_steps = self.metrics, steps * self.spec.n_agents
        metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        metrics.log_value(NUM_EPISODES, episodes, reduce="sum")
        metrics.log_value((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), agent_steps, reduce="sum")
        metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        metrics.log_value((NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID), agent_steps, reduce="lifetime_sum")
        metrics.log_value(NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
        metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        if steps > 0:
            self._env_steps_counter.inc(value=steps)

    def log_outcomes(self, outcomes: list[EpisodeOutcome]) -> None:
        """Outcomes to RLlib's metrics."""
        window = max(1, self.config.metrics_num_episodes_for_smoothing // max(1, self.num_workers))
        for outcome in outcomes:
            self.metrics.log_value(EPISODE_RETURN_MEAN, outcome.episode_return, window=window)
            self.metrics.log_value(EPISODE_LEN_MEAN, outcome.length, window=window)
            self.metrics.log_value(EPISODE_RETURN_MIN, outcome.episode_return, reduce="min", window=window)
            self.metrics.log_value(EPISODE_RETURN_MAX, outcome.episode_return, reduce="max", window=window)
            if outcome.won is not None:
                self.metrics.log_value("win_rate", float(outcome.won), window=window)

    def _run_callbacks(self, name: str, **kwargs: Any) -> None:
        functions = getattr(self.config, f"callbacks_{name}")
        if self._callbacks or functions:
            ray_internals.run_callbacks(
                name, self._callbacks, functions, env_runner=self, metrics_logger=self.metrics, **kwargs
            )

    # ------------------------------------------------------------------ state

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            # 0 forces; otherwise late messages must not bring back older weights.
            if number == 0 or self._weights_seq_no < number:
                weights = state[COMPONENT_RL_MODULE]
                if isinstance(weights, ray.ObjectRef):
                    weights = ray.get(weights)
                self._take_weights(weights.get(DEFAULT_MODULE_ID, weights))
            if number > 0:
                self._weights_seq_no = number
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        if "games" in state:
            self.set_games_state(state["games"])

    def _take_weights(self, weights: dict[str, Any]) -> None:
        if "module" in vars(self):
            self.module.set_state(weights)
        else:
            self._pending_weights = weights  # nobody has acted yet: networks are built when somebody does

    def overwrite_weights(self, weights: dict[str, Any], seq_no: int, env_steps: int) -> None:
        """Take these weights whatever their number is compared with the present ones."""
        self.set_state({COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: 0, NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
        self._weights_seq_no = seq_no

    @override(EnvRunner)
    def stop(self) -> None:
        self.close_env()
