"""Several environments of one team, of which one is played at a time: the tasks of a sequence.

A sequence has a name like any other environment, ``a -> b``, so that configs, checkpoints, reports and other processes can
refer to it; ``env: [a, b]`` is another way to write it. When which task is played is decided by whoever holds the
environment (:mod:`rllib_reborn.runtime.task_schedule`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.factories import close_or_warn
from rllib_reborn.envs.same_team import OtherTeamError
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv

#: Between the names of tasks; in no name of an environment, of a module or of a Gymnasium id.
SEPARATOR = " -> "
#: Options of a sequence itself; every other one is handed to all tasks.
TASKS, TASK = "tasks", "task"
#: What tasks may differ in: the longest one is what replay and recorders are made for.
_MAY_DIFFER = ("episode_limit", "state_views", "obs_parts")


def sequence_name(names: Sequence[str]) -> str:
    """The name of the sequence of these tasks, which :func:`task_names` takes apart.

    Raises:
        ValueError: There are fewer than two, or one is no name of an environment.
    """
    if len(names) < 2:
        raise ValueError(
            f"env is {list(names)!r}; expected two or more environments, or the name itself, not in a list."
        )
    for name in names:
        if not isinstance(name, str) or not name.strip() or SEPARATOR in name:
            raise ValueError(f"env holds {name!r}; expected names such as [matrix/monotonic, matrix/penalty].")
    return SEPARATOR.join(name.strip() for name in names)


def is_sequence(name: Any) -> bool:
    """Whether a name is that of several tasks."""
    return isinstance(name, str) and SEPARATOR in name


def task_names(name: str) -> tuple[str, ...]:
    """The tasks of a sequence, in their order; of any other environment its own name alone."""
    return tuple(name.split(SEPARATOR))


@dataclasses.dataclass(frozen=True)
class Tasks:
    """The tasks of a sequence.

    Attributes:
        names: Of the environments; the same one may be there more than once.
        options: What each is built with.
        first: Number of the one that is played until another one is asked for.
    """

    names: tuple[str, ...]
    options: tuple[dict[str, Any], ...]
    first: int

    @classmethod
    def of(cls, name: str, kwargs: Mapping[str, Any]) -> Tasks:
        """Those that a name and the options of the whole mean: ``tasks`` (a mapping of options for each) is laid over what
        all tasks share, ``task`` is the number of the first one to be played.

        Raises:
            ValueError: ``tasks`` or ``task`` is not of this form.
        """
        names = task_names(name)
        shared = {key: value for key, value in kwargs.items() if key not in (TASKS, TASK)}
        own = kwargs.get(TASKS, [{}] * len(names))
        if not isinstance(own, list | tuple) or len(own) != len(names) or not all(isinstance(o, Mapping) for o in own):
            raise ValueError(
                f"{TASKS} of {name!r} is {own!r}; expected a list of {len(names)} mappings, the options of each task."
            )
        first = kwargs.get(TASK, 0)
        if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < len(names):
            raise ValueError(f"{TASK} of {name!r} is {first!r}; expected the number of a task, 0..{len(names) - 1}.")
        return cls(names, tuple({**shared, **of_task} for of_task in own), first)

    def joint_spec(self, spec_of: Callable[[Sequence[str], str, Mapping[str, Any]], TeamSpec]) -> TeamSpec:
        """The team of all tasks: that of the first one, with the longest of the episode limits and those of the smaller
        states that are the same in all.

        Args:
            spec_of: Called with an order of agents, the name and the options of a task.

        Raises:
            ValueError: Two tasks are not of one team; the message names both, and what differs.
        """
        specs: list[TeamSpec] = []
        for name, options in zip(self.names, self.options, strict=True):
            specs.append(spec_of(specs[0].agent_ids if specs else (), name, options))
            _require_one_team(self.names[0], specs[0], name, specs[-1])
        views = [view for view in specs[0].state_views if all(view in spec.state_views for spec in specs)]
        longest = max(spec.episode_limit for spec in specs)
        parts = specs[0].obs_parts if len({spec.obs_parts for spec in specs}) == 1 else ()
        return dataclasses.replace(specs[0], episode_limit=longest, state_views=tuple(views), obs_parts=parts)


def _require_one_team(first: str, expected: TeamSpec, name: str, found: TeamSpec) -> None:
    for field in dataclasses.fields(TeamSpec):
        there, here = getattr(expected, field.name), getattr(found, field.name)
        if field.name not in _MAY_DIFFER and there != here:
            raise ValueError(
                f"{first!r} and {name!r} cannot be tasks of one sequence: {field.name} is {_shown(there)} in the one and "
                f"{_shown(here)} in the other; expected environments of one team, in which only the episode limit differs."
            )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)


class TaskSequenceEnv(VectorTeamEnv):
    """``num_envs`` games of one task of a sequence; :meth:`switch` makes it another one.

    One task's games exist at a time: those of the one that is left are closed, and when it comes back there are new ones.

    Args:
        tasks: The tasks.
        spec: Their joint team.
        num_envs: Games side by side, >= 1.
        make: ``make(number)`` builds the games of a task.

    Attributes:
        task: Number of the one that is played.
    """

    def __init__(self, tasks: Tasks, spec: TeamSpec, num_envs: int, make: Callable[[int], VectorTeamEnv]) -> None:
        self.spec = spec
        self.num_envs = num_envs
        self.task = tasks.first
        self._tasks = tasks
        self._make = make
        self._env: VectorTeamEnv | None = None
        self._failed_resets_before = 0
        self._present()  # what cannot be built is found here

    def switch(self, task: int) -> None:
        """Play another task from the next :meth:`reset` on, which must be one of all games. Its games are built then. What
        closing those of the task before raises is logged.

        Raises:
            ValueError: There is no such task.
        """
        if not 0 <= task < len(self._tasks.names):
            raise ValueError(
                f"task is {task!r}; expected 0..{len(self._tasks.names) - 1} ({', '.join(self._tasks.names)})."
            )
        if task != self.task:
            close_or_warn(self, self._tasks.names[self.task])
            self.task = task

    @property
    def last_failure(self) -> str | None:
        """Why a game failed last, where the task's environment says so."""
        return getattr(self._env, "last_failure", None)

    def _present(self) -> VectorTeamEnv:
        if self._env is None:
            made, name = self._make(self.task), self._tasks.names[self.task]
            try:
                _require_one_team(self._tasks.names[0], self.spec, name, made.spec)
            except ValueError as error:
                made.close()
                raise OtherTeamError(str(error)) from None
            self._env, self.repeatable = made, made.repeatable
        return self._env

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`."""
        env = self._present()
        try:
            return env.reset(seed=seed, mask=mask)
        finally:
            self.failed_resets = self._failed_resets_before + env.failed_resets

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`."""
        return self._present().step(actions)

    def get_state(self) -> dict[str, Any] | None:
        """Which task is played, and its games; None where these cannot be given."""
        state = None if self._env is None else self._env.get_state()
        return None if state is None else {TASK: self.task, "env": state}

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`."""
        self.switch(state[TASK])
        return self._present().set_state(state["env"])

    def provenance(self) -> Mapping[str, str]:
        """See :meth:`VectorTeamEnv.provenance`."""
        return {} if self._env is None else self._env.provenance()

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """See :meth:`VectorTeamEnv.render`."""
        return self._present().render(index)

    def close(self) -> None:
        """See :meth:`VectorTeamEnv.close`."""
        if self._env is not None:
            env, self._env = self._env, None
            self._failed_resets_before += env.failed_resets
            env.close()
