"""Remote processes that do not answer or are dead: given up, ended, counted, and replaced where that is possible."""

from __future__ import annotations

import abc
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from rllib_reborn.limits import MOST_LOSSES_IN_ROW, STOP_S
from rllib_reborn.runtime import ray_internals

logger = logging.getLogger(__name__)


class LearnersLostError(RuntimeError):
    """A learner is dead or does not answer: what it has learnt since the last checkpoint is lost."""


class RunnersLostError(RuntimeError):
    """Env runners are lost again and again without an answer in between."""


@dataclasses.dataclass
class Losses:
    """Since they were taken last.

    Attributes:
        lost: Processes that died or were given up.
        hung: Of these, the ones that were given up because they did not answer.
    """

    lost: int = 0
    hung: int = 0


class RemoteProcesses(abc.ABC):
    """The processes of one RLlib group. No call to them waits for ever, whoever makes it: RLlib's own included.

    Args:
        manager: RLlib's, of the group; changed in place.
        name: What one of them is called.
        limit_s: For calls that have none of their own.
        settings: Names of the settings, by their values, for messages.

    Attributes:
        in_all: How many were lost in all.
        last_loss: How one was lost last, as the end of a sentence.
    """

    def __init__(self, manager: Any, name: str, limit_s: float, settings: dict[float, str]) -> None:
        self.name = name
        self.limit_s = limit_s
        self.in_all = 0
        self.last_loss = ""
        self._are_ending = False
        self._settings = settings
        self._losses = Losses()
        self._manager = manager
        ray_internals.watch_calls(manager, self)

    def take_losses(self) -> Losses:
        """What was lost, which begins again at nothing."""
        taken, self._losses = self._losses, Losses()
        return taken

    def stopping(self) -> None:
        """All of them are about to be ended: none is waited for long any more."""
        self.limit_s, self._are_ending = STOP_S, True

    def late(self, workers: Sequence[int], waited_s: float) -> None:
        """They have not answered within ``waited_s`` seconds."""
        if self._are_ending:
            return
        setting = self._settings.get(waited_s)
        within = f"within {waited_s:g} s" + (f" ({setting})" if setting else "")
        for worker in workers:
            ray_internals.end_actor(self._manager, worker)
            self._count(hung=1)
        self.last_loss = f"did not answer {within}"
        self.on_late(workers, within)

    def lost(self, worker: int, error: Exception) -> None:
        """A call has found it dead."""
        if self._are_ending:
            return
        self._count(hung=0)
        self.last_loss = f"died: {ray_internals.reason_of(error)}"
        self.on_lost(worker, error)

    def _count(self, hung: int) -> None:
        self.in_all += 1
        self._losses.lost += 1
        self._losses.hung += hung

    def require_answers(self, in_all_before: int) -> None:
        """Raise where they are lost again and again.

        Args:
            in_all_before: :attr:`in_all` when one answered last.

        Raises:
            RunnersLostError: Each was lost :data:`MOST_LOSSES_IN_ROW` times since then.
        """
        in_row, there = self.in_all - in_all_before, len(self._manager.actor_ids())
        if in_row >= MOST_LOSSES_IN_ROW * there:
            raise RunnersLostError(
                f"{there} {self.name}{'s were' if there > 1 else ' was'} lost {in_row} times without an answer in between, "
                f"the last time because it {self.last_loss}; 'rllib-reborn envs NAME' tries the environment, and Ray's log "
                "folder has what the processes printed"
            )

    @abc.abstractmethod
    def on_late(self, workers: Sequence[int], within: str) -> None:
        """These have been ended."""

    @abc.abstractmethod
    def on_lost(self, worker: int, error: Exception) -> None:
        """This one is dead."""


class RunnerProcesses(RemoteProcesses):
    """Env runners: Ray starts another one in place of each."""

    def on_late(self, workers: Sequence[int], within: str) -> None:
        for worker in workers:
            logger.warning(
                "%s %d did not answer %s: it is ended, its running games are lost, and another one is started.",
                self.name,
                worker,
                within,
            )

    def on_lost(self, worker: int, error: Exception) -> None:
        """RLlib logs it."""


class LearnerProcesses(RemoteProcesses):
    """Learners, whose state is in no other process.

    Raises:
        LearnersLostError: By any call to them, once one is lost.
    """

    def on_late(self, workers: Sequence[int], within: str) -> None:
        numbers = ", ".join(map(str, workers))
        self._end_all()
        raise LearnersLostError(
            f"{self.name} {numbers} did not answer {within} and was ended; what was learnt since the last checkpoint is lost"
        )

    def on_lost(self, worker: int, error: Exception) -> None:
        if not ray_internals.is_death(error):
            return  # what it raised itself, which is not lost with it
        self._end_all()
        raise LearnersLostError(
            f"{self.name} {worker} is dead ({ray_internals.reason_of(error)}); what was learnt since the last checkpoint is "
            "lost"
        ) from error

    def _end_all(self) -> None:
        # The others wait for it in a sum of gradients, for ever.
        for worker in self._manager.healthy_actor_ids():
            ray_internals.end_actor(self._manager, worker)


def watch_processes(algorithm: Any) -> dict[str, RemoteProcesses]:
    """From now on no call to the processes of ``algorithm`` waits for ever; by kind, those kinds that there are."""
    config = algorithm.config
    found: dict[str, RemoteProcesses] = {}
    names = ("answer_timeout_s", "learner_timeout_s", "evaluation_sample_timeout_s", "sample_timeout_s")
    settings = {float(getattr(config, name)): name for name in names}
    for kind, name, group in (
        ("runners", "env runner", algorithm.env_runner_group),
        ("evaluation", "evaluation runner", algorithm.eval_env_runner_group),
    ):
        if group is not None and group.num_remote_env_runners():
            manager = ray_internals.actor_manager(group)
            found[kind] = RunnerProcesses(manager, name, config.answer_timeout_s, settings)
    learners: Any = algorithm.learner_group
    if learners is not None and learners.is_remote:
        manager = ray_internals.actor_manager(learners)
        found["learners"] = LearnerProcesses(manager, "learner", config.learner_timeout_s, settings)
    return found
