"""The environment of a config, and the team that it was found to be: it is asked once, and is the same in all processes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override

from rllib_reborn.algorithms.value_factorization.tasks import check_tasks, runner_class
from rllib_reborn.envs.carried_factory import MAIN, CarriedFactory, carried_factory
from rllib_reborn.envs.registry import team_spec, team_spec_in_order
from rllib_reborn.envs.same_team import require_same_team
from rllib_reborn.envs.task_sequence import is_sequence, task_names
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.runtime.env_creator import env_name, register_team_env


@dataclasses.dataclass(frozen=True)
class KnownTeam:
    """The team of one environment. It goes wherever its config goes: into env runners, trials and checkpoints.

    Attributes:
        env, env_config: The environment, and what it is built with.
        spec: Its team.
    """

    env: str
    env_config: dict[str, Any]
    spec: TeamSpec

    @classmethod
    def of(cls, env: str, env_config: Mapping[str, Any], spec: TeamSpec) -> KnownTeam:
        return cls(env, copy.deepcopy(dict(env_config)), spec)

    def is_of(self, env: Any, env_config: Mapping[str, Any]) -> bool:
        """Whether an environment is still the one that was asked."""
        try:
            return bool(self.env == env and self.env_config == dict(env_config))
        except ValueError:  # arrays, which do not say whether they are equal
            return False


class EnvironmentConfig(AlgorithmConfig):
    """The part of :class:`ValueFactorizationConfig` that is about the environment."""

    #: How a run goes through its tasks; None: ``env`` is one environment.
    task_sequence: dict[str, Any] | None = None

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        #: Found once, and then the same in every process that this config reaches.
        self.known_team: KnownTeam | None = None
        #: Where ``env`` lies in the main script or a notebook; see :class:`CarriedFactory`.
        self.carried_env: CarriedFactory | None = None
        self.task_sequence = None

    @override(AlgorithmConfig)
    def environment(
        self, env: Any = NotProvided, *, task_sequence: dict[str, Any] | None = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the environment.

        Args:
            env: A name (``predator_prey/small``, ``matrix/two_step``, ...; ``rllib-reborn envs`` lists them), or
                ``package.module:callable``, or that callable itself: it is called with ``num_envs=`` and the entries of
                ``env_config`` and returns a :class:`~rllib_reborn.envs.VectorTeamEnv`. A list of two or more: tasks that are
                trained one after the other, by one set of networks.
            task_sequence: How the run goes through them:
                :class:`~rllib_reborn.runtime.task_schedule.TaskSequenceSettings`. None: ``env`` is no list.
            **kwargs: RLlib's, ``env_config`` first of all: keyword arguments of the environment.

        Raises:
            ValueError: The name is unknown, or an argument of ``env_config`` is.
        """
        if env is not NotProvided and env is not None:
            kwargs["env"] = name = env_name(env)
            _refuse_carried_tasks(name)
            # What the name means may have changed since, in a notebook.
            self.known_team, self.carried_env = None, carried_factory(env, name) or self._carried(name)
        if task_sequence is not NotProvided:
            self.task_sequence = task_sequence
        super().environment(**kwargs)
        if self.env is not None:
            register_team_env(self.env)
        return self

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Check what concerns tasks, and have them played where there are some; then RLlib's own checks.

        Raises:
            ValueError: See :func:`~rllib_reborn.algorithms.value_factorization.tasks.check_tasks`.
        """
        check_tasks(self)
        self.env_runner_cls = runner_class(self)
        super().validate()

    @property
    def team_spec(self) -> TeamSpec:
        """The team of ``environment(...)``; starts no game. The environment is asked once; from then on all processes that
        get this config expect this team."""
        if self.env is None:
            raise ValueError("no environment is set; call config.environment(name), for instance with matrix/two_step.")
        if self.known_team is None or not self.known_team.is_of(self.env, self.env_config):
            self.set_team(team_spec(self.env, **self.env_config))
        assert self.known_team is not None
        return self.known_team.spec

    @property
    def reads_obs_parts(self) -> bool:
        """Whether networks depend on what the numbers of an observation are."""
        return False

    @property
    def team_of_networks(self) -> TeamSpec:
        """:attr:`team_spec`, with ``obs_parts`` where networks depend on them."""
        spec = self.team_spec
        return spec if self.reads_obs_parts else dataclasses.replace(spec, obs_parts=())

    def set_team(self, spec: TeamSpec) -> None:
        """Expect this team of the present environment, in its order of agents; no environment is asked. A process that finds
        another one refuses it."""
        # Also where the config is frozen: what is found changes no setting.
        object.__setattr__(self, "known_team", KnownTeam.of(self.env, self.env_config, spec))

    def _carried(self, name: str) -> CarriedFactory | None:
        return self.carried_env if self.carried_env is not None and self.carried_env.name == name else None

    def expect_same_team(self, evaluation: Any) -> None:
        """Evaluation may be played with other options of the environment, but by the same team; of tasks, those that are
        trained, or one environment.

        Raises:
            OtherTeamError: It is another team.
            ValueError: It is another sequence of tasks.
        """
        if evaluation.env != self.env:
            if is_sequence(evaluation.env):
                raise ValueError(
                    f"evaluation is to play the tasks {evaluation.env!r}, and training those of {self.env!r}; expected the "
                    "same ones, or one environment."
                )
            evaluation.task_sequence = None
        trained = self.team_of_networks
        if not self.known_team.is_of(evaluation.env, evaluation.env_config):  # type: ignore[union-attr]
            found = team_spec_in_order(trained.agent_ids, evaluation.env, evaluation.env_config)
            require_same_team(trained, found, evaluation.env, networks_only=True)
            evaluation.set_team(found)


def _refuse_carried_tasks(name: str) -> None:
    for task in task_names(name) if is_sequence(name) else ():
        if task.startswith(f"{MAIN}:"):
            raise ValueError(
                f"task {task!r} lies in the main script, where other processes do not find it; put it into a module of its "
                "own and name that."
            )
