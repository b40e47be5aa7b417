"""Overlapped sampling: what remote runners have ready while the learner learns."""

from __future__ import annotations

import time
from typing import Any

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_reborn.runtime.results import Collected

_LOOK_EVERY_S = 0.005


def first_ready(group: EnvRunnerGroup, request: dict[str, Any], wait_s: float) -> list[Collected]:
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


def under_way(group: EnvRunnerGroup, timeout_s: float) -> list[Collected]:
    """What requests that are under way come to."""
    if group.num_in_flight_async_reqs(tag="collect") == 0:
        return []
    answers = group.fetch_ready_async_reqs(tags="collect", timeout_seconds=timeout_s, return_obj_refs=False)
    return [answer for _, answer in answers]
