"""A trained team and its environment, without a Ray cluster: acting, evaluation, comparison with random play, films."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_reborn.algorithms.value_factorization.saved_team import TEAM_MODULE, saved_task
from rllib_reborn.checkpoints import CheckpointError, check_listed
from rllib_reborn.envs.registry import is_stepped_as_arrays, make_same_team_env
from rllib_reborn.envs.render import drawing_remedy
from rllib_reborn.envs.rollout import EnvCallError, EpisodeOutcome, Rollout, Transition, equal_quotas
from rllib_reborn.envs.task_sequence import TASK, Tasks, is_sequence
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, VectorTeamEnv
from rllib_reborn.envs.vectorize.game_executor import GameFailedError
from rllib_reborn.policy import Policy, PolicyState
from rllib_reborn.runtime.env_restarts import EnvRestarts
from rllib_reborn.runtime.exploration import EpsilonGreedyActor
from rllib_reborn.runtime.running_games import CheckedEnv
from rllib_reborn.studies.portable import policy_from_module

#: Separates the exploration draws from the games' own draws under one seed.
_EXPLORATION_SALT = 0xF1
#: Games side by side by default.
_MOST_GAMES, _MOST_OF_OTHERS = 32, 8


@dataclasses.dataclass(frozen=True)
class EpisodeOutcomes:
    """Finished episodes, in the order of the games: E of them."""

    returns: npt.NDArray[np.float64]  #: [E]
    lengths: npt.NDArray[np.int64]  #: [E], env steps
    won: npt.NDArray[np.bool_] | None  #: [E]; None where the env has no notion of winning
    frames: list[npt.NDArray[np.uint8]] | None = None  #: pictures of the first game's first episode, if recorded


class TrainedPolicy:
    """A trained team and its environment.

    Args:
        module: The (inference-only or full) module.
        env: Name of the environment.
        env_config: Its keyword arguments.
    """

    def __init__(self, module: Any, env: str, env_config: dict[str, Any]) -> None:
        self.module = module
        self.env_name = env
        self.env_config = dict(env_config)
        self.spec: TeamSpec = module.spec

    def tasks(self) -> list[TrainedPolicy]:
        """This team on each task of the sequence that its environment is; of any other environment, itself alone."""
        if not is_sequence(self.env_name):
            return [self]
        tasks = Tasks.of(self.env_name, self.env_config)
        return [TrainedPolicy(self.module, *one) for one in zip(tasks.names, tasks.options, strict=True)]

    @property
    def played(self) -> str:
        """Name of the environment that :meth:`evaluate` plays: of a sequence that of the task."""
        task = self.env_config.get(TASK, 0) if is_sequence(self.env_name) else 0
        return self.tasks()[task].env_name

    def portable(self) -> Policy:
        """The agents as a portable policy, with copies of their weights.

        Raises:
            PolicyError: See :func:`~rllib_reborn.studies.portable.policy_from_module`.
        """
        return policy_from_module(self.module)

    def act(
        self, obs: Any, action_mask: Any, state: PolicyState | None = None
    ) -> tuple[npt.NDArray[np.int64], PolicyState]:
        """As :meth:`Policy.act`: the best allowed action of each agent, and the state for the next call."""
        if not hasattr(self, "_portable"):
            self._portable = self.portable()
        return self._portable.act(obs, action_mask, state)

    def evaluate(
        self,
        episodes: int,
        seed: int,
        *,
        num_envs: int | None = None,
        epsilon: float = 0.0,
        record: bool = False,
    ) -> EpisodeOutcomes:
        """Play exactly ``episodes`` episodes, each game a fixed share of them (so that short ones are not favoured).

        Args:
            episodes: >= 1.
            seed: Seed of all games; equal arguments give equal outcomes.
            num_envs: Games side by side; default: as many as episodes, at most 32 (8 of environments that this package
                does not step as arrays).
            epsilon: Share of uniformly random legal actions, 0..1; 1 is the random policy.
            record: Keep pictures of the first game's first episode (that is finished: a crashed one is dropped).

        Raises:
            EnvContractError: The games, or one of them, fail again and again without a finished episode in between, or one
                does not end at its limit.
            ValueError: ``episodes`` below 1, ``epsilon`` outside 0..1, or ``record`` where the env cannot be drawn.
        """
        if episodes < 1:
            raise ValueError(f"episodes is {episodes}; expected at least 1.")
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is {epsilon}; expected a number in 0..1.")
        most = _MOST_GAMES if is_stepped_as_arrays(self.env_name) else _MOST_OF_OTHERS
        count = min(episodes, most) if num_envs is None else num_envs
        finished: list[tuple[int, EpisodeOutcome]] = []
        made = self.make_env(count, drawable=record)
        env = CheckedEnv(made, made.spec, self.env_name)
        film = _Film(env, self.env_name) if record else None
        restarts = EnvRestarts(lambda: self._made_again(env, record), self.env_name, seed=seed, restart_failed=True)

        def on_step(transition: Transition) -> None:
            if film is not None:
                film.add(transition)
            for game in np.flatnonzero(transition.counted).tolist():
                finished.append((game, transition.outcome(game)))

        def on_begin(obs: TeamObs) -> None:
            if film is not None:
                film.begin()

        def recover(failure: EnvCallError) -> None:
            if film is not None:
                film.drop()
            restarts.begin_again(
                failure, lambda another: setattr(env, "env", another), rollout.begin, rollout.env_steps
            )

        try:
            actor = self.make_actor(count, seed, _EXPLORATION_SALT, epsilon)
            rollout = Rollout(env, actor, self.env_name, on_begin=on_begin, on_step=on_step, recover=recover)
            try:
                rollout.begin(restarts.start_seed(0))
            except EnvCallError as failure:
                recover(failure)
            rollout.run(quotas=equal_quotas(episodes, count))
        finally:
            env.env.close()
        finished.sort(key=lambda item: item[0])  # stable: episodes of one game stay in order
        outcomes = [outcome for _, outcome in finished]
        return EpisodeOutcomes(
            returns=np.array([outcome.episode_return for outcome in outcomes]),
            lengths=np.array([outcome.length for outcome in outcomes]),
            won=np.array([bool(outcome.won) for outcome in outcomes]) if self.spec.has_win else None,
            frames=None if film is None else film.frames,
        )

    def _made_again(self, failed: CheckedEnv, record: bool) -> VectorTeamEnv:
        with contextlib.suppress(Exception):  # it has failed before
            failed.env.close()
        return self.make_env(failed.num_envs, drawable=record)

    def make_env(self, num_envs: int, *, drawable: bool = False) -> VectorTeamEnv:
        """The environment with ``num_envs`` games, its agents in the order of the trained team.

        Args:
            num_envs: Games side by side.
            drawable: Whether pictures of it will be wanted.

        Raises:
            OtherTeamError: It is played by another team.
            ValueError: It cannot be built.
        """
        return make_same_team_env(
            self.spec, self.env_name, num_envs, self.env_config, networks_only=True, drawable=drawable
        )

    def make_actor(self, num_envs: int, seed: int, salt: int, epsilon: float) -> EpsilonGreedyActor:
        """This team as an actor in ``num_envs`` games; ``salt`` separates its random streams from others of the seed."""
        return EpsilonGreedyActor(self.module, num_envs, self.spec.n_agents, seed=seed, salt=salt, epsilon=epsilon)


class _Film:
    """Pictures of the first game's first finished episode."""

    def __init__(self, env: CheckedEnv, name: str) -> None:
        self._env = env
        self._name = name
        self._is_over = False
        self.frames: list[npt.NDArray[np.uint8]] = []

    def begin(self) -> None:
        """Episodes have begun, perhaps the first game's."""
        if not self.frames:
            self.frames.append(self._picture())

    def add(self, transition: Transition) -> None:
        """A step was taken."""
        if self._is_over:
            return
        if transition.failed[0]:
            self.drop()
            return
        self.frames.append(self._picture())
        self._is_over = bool(transition.done[0])

    def drop(self) -> None:
        """The episode has crashed; another one is filmed, unless it was over."""
        if not self._is_over:
            self.frames.clear()

    def _picture(self) -> npt.NDArray[np.uint8]:
        try:
            return self._env.env.render(0)
        except (ValueError, ImportError) as error:
            raise ValueError(str(error)) from error
        except Exception as error:  # a foreign library's: no display, no graphics driver, ...
            kind = "" if isinstance(error, GameFailedError) else f"{type(error).__name__}: "
            what = " ".join(f"{kind}{error}".split()).rstrip(".")
            raise ValueError(f"{self._name!r} cannot be drawn: {what}{drawing_remedy()}") from error


def load_team(checkpoint: str | Path) -> TrainedPolicy:
    """The team of a checkpoint folder (of ``train``, or written by ``algo.save_to_path``); only load checkpoints you trust:
    RLlib pickles. Of a sequence of tasks it plays the one that was trained last.

    Raises:
        FileNotFoundError: The folder is no checkpoint of an algorithm.
        CheckpointError: It is a damaged one, another run's, renamed, or what is in it cannot be read.
    """
    folder = Path(checkpoint).absolute()  # RLlib takes a relative path for a URI without a scheme
    check_listed(folder)
    module_folder = folder / TEAM_MODULE
    if not module_folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no checkpoint of an algorithm: it has no {module_folder.relative_to(folder)}."
        )
    try:
        module = RLModule.from_checkpoint(module_folder)
        env, task = module.model_config["env"], saved_task(folder, module.model_config["env"])
        return TrainedPolicy(module, env, module.model_config["env_config"] | ({} if task is None else {TASK: task}))
    except Exception as error:  # a pickle can raise anything
        raise CheckpointError(f"the networks in {folder} cannot be read ({type(error).__name__}: {error}).") from error


def team_from_algo(algorithm: Any) -> TrainedPolicy:
    """The team of a live algorithm, with its present weights (a copy)."""
    spec = algorithm.config.get_rl_module_spec(spaces=algorithm.spaces, inference_only=True)
    module = spec.build()
    module.set_state(algorithm.runners.learner_weights().rl_module[DEFAULT_MODULE_ID])
    return TrainedPolicy(module, algorithm.config.env, algorithm.config.env_config)
