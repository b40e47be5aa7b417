"""Sampling on remote runners: all together, or overlapped, i.e. what is ready while the learner learns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.idle_watch import IdleWatch
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.runtime.remote_processes import RemoteProcesses
from rllib_reborn.runtime.results import Collected

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.005
#: How long the loop waits for episodes when it has nothing else to do, before it looks after its runners again.
_IDLE_WAIT_S = 1.0


class WaitGivenUpError(InterruptedIterationError):
    """No episodes came, and they are waited for no longer."""


class RemoteSampling:
    """The remote runners of a group, of which there is at least one.

    Args:
        config: Of the algorithm.
        group: The runners.
    """

    def __init__(self, config: Any, group: EnvRunnerGroup) -> None:
        self._config = config
        self._group = group
        self._idle = IdleWatch(logger.warning)
        self._is_wanted: Callable[[], bool] = lambda: True
        self._processes: RemoteProcesses | None = ray_internals.watcher_of(group)
        self._lost_before = 0
        #: When each runner has answered last, in overlapped sampling.
        self._answered: dict[int, float] = {}
        self._next_look = 0.0
        #: Came when a checkpoint was made, which an error must not prevent; raised by the next :meth:`collect`.
        self._failed: list[Collected] = []

    def wait_only_while(self, is_wanted: Callable[[], bool]) -> None:
        """Where nothing comes, look at ``is_wanted()``."""
        self._is_wanted = is_wanted

    def collect(self, request: dict[str, Any]) -> list[Collected]:
        """What runners answer to ``collect(**request)``; empty if nothing came in time.

        Raises:
            WaitGivenUpError: Nothing came, and nobody wants to wait (:meth:`wait_only_while`).
            RunnersLostError: They are lost again and again.
        """
        if self._failed:
            failed, self._failed = self._failed, []
            return failed
        if self._config.sampling == "async":
            answers = _first_ready(self._group, request, _IDLE_WAIT_S)
            self._give_up_overdue(answers)
        else:
            answers = self._from_all(request)
        if answers:
            self._idle.came()
            self._lost_before = 0 if self._processes is None else self._processes.in_all
        else:
            self._idle.nothing_came(self._runners_missing)
            if self._processes is not None:
                self._processes.require_answers(self._lost_before)
            if not self._is_wanted():
                raise WaitGivenUpError("no episodes came, and nobody waits for them any longer.")
        return sorted(answers, key=lambda answer: answer.worker_index)

    def drain(self) -> list[Collected]:
        """:meth:`under_way`; errors are kept for the next :meth:`collect`."""
        answers = self.under_way()
        self._failed += [answer for answer in answers if answer.error is not None]
        return [answer for answer in answers if answer.error is None]

    def under_way(self) -> list[Collected]:
        """Wait for overlapped requests that are under way, and take what they come to; empty in sync sampling."""
        if self._config.sampling != "async" or self._group.num_in_flight_async_reqs(tag="collect") == 0:
            return []
        answers = self._group.fetch_ready_async_reqs(
            tags="collect", timeout_seconds=self._config.sample_timeout_s, return_obj_refs=False
        )
        return [answer for _, answer in answers]

    def set_state(self, state: dict[str, Any]) -> None:
        """State to all runners; with overlapped sampling without waiting for them."""
        request = {"state": ray.put(state)}
        if self._config.sampling == "async":
            self._group.foreach_env_runner_async_fetch_ready(
                func="set_state", kwargs=request, tag="set_state", timeout_seconds=0.0
            )
        else:
            # Waited for, so that what is sampled next depends on the seed alone and not on when a message arrives.
            self._group.foreach_env_runner("set_state", kwargs=request, local_env_runner=False)

    def _give_up_overdue(self, answers: list[Collected]) -> None:
        """In overlapped sampling nobody waits for a runner that hangs, so that its time is looked at instead."""
        now, limit = time.monotonic(), self._config.sample_timeout_s
        self._answered |= {answer.worker_index: now for answer in answers}
        if self._processes is None or now < self._next_look:
            return
        self._next_look = now + min(1.0, limit)
        alive = self._group.healthy_env_runner_ids()
        self._answered = {worker: self._answered.get(worker, now) for worker in alive}
        late = [worker for worker, since in self._answered.items() if now - since > limit]
        if late:
            self._processes.late(late, limit)

    def _from_all(self, request: dict[str, Any]) -> list[Collected]:
        answers: list[Collected] = self._group.foreach_env_runner(
            "collect", kwargs=request, local_env_runner=False, timeout_seconds=self._config.sample_timeout_s
        )
        if not answers:
            time.sleep(_IDLE_WAIT_S)  # all runners are being restarted
        return answers

    def _runners_missing(self) -> str:
        alive, all_of_them = self._group.num_healthy_remote_env_runners(), self._group.num_remote_env_runners()
        if alive == all_of_them:
            return (
                f"{alive} env runner(s) play, and none has finished its episodes; one that takes longer than "
                f"sample_timeout_s={self._config.sample_timeout_s:g} s is given up"
            )
        return (
            f"{alive} of {all_of_them} env runners are alive; training goes on when Ray has found room for the others"
        )


def _first_ready(group: EnvRunnerGroup, request: dict[str, Any], wait_s: float) -> list[Collected]:
    """What runners have ready, as soon as one has; each is sent its next request at once. Empty after ``wait_s``.

    RLlib's own timeout waits for all runners, so that the slowest would set the pace; hence short looks.
    """
    deadline = time.monotonic() + wait_s
    while True:
        answers: list[Collected] = group.foreach_env_runner_async_fetch_ready(
            func="collect", kwargs=request, tag="collect", timeout_seconds=0.0
        )
        if answers or time.monotonic() > deadline:
            return answers
        time.sleep(_LOOK_EVERY_S)
