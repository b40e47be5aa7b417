"""How updates reach the learners: one after the other, the next one made and stored while the present one is computed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.minibatch_utils import ShardBatchIterator

from rllib_reborn.algorithms.value_factorization.probing import take_events
from rllib_reborn.callbacks import Probe


@dataclasses.dataclass(frozen=True)
class Update:
    """One gradient step.

    Attributes:
        batch: Whole episodes, dealt out so that learners take contiguous parts.
        timesteps: The run's clocks at this update.
        env_steps: Env steps in the batch.
        probe: What is due at it, if anything.
    """

    batch: MultiAgentBatch
    timesteps: dict[str, int]
    env_steps: int
    probe: Probe | None = None

    @property
    def rest(self) -> dict[str, Any]:
        """Arguments of ``LearnerGroup.update`` beside the batch."""
        return {"timesteps": self.timesteps, **({} if self.probe is None else {"probe": self.probe})}


@dataclasses.dataclass(frozen=True)
class Updated:
    """What came of an update: ``results`` of every learner, ``events`` that its probe led to, and the seconds it took."""

    update: Update
    results: list[Any]
    events: list[dict[str, Any]]
    seconds: float


def run_updates(group: LearnerGroup, updates: Iterator[Update]) -> Iterator[Updated]:
    """Do ``updates`` in their order and yield what came of each.

    With remote learners, an update is drawn from ``updates``, and its batch put into Ray's object store, while the learners
    are busy with the one before: they never wait for sampling or for bytes, only for a message. So ``updates`` must not
    depend on results, and whoever draws from it is one update ahead of what is yielded.
    """

    def compute(update: Update, **batch: Any) -> Updated:
        start = time.perf_counter()
        results = group.update(**batch, **update.rest)
        # Before any other update, so that they are this one's.
        events = [] if update.probe is None else take_events(group)
        return Updated(update, results, events, time.perf_counter() - start)

    if group.is_local:
        for update in updates:
            yield compute(update, batch=update.batch)
        return

    with ThreadPoolExecutor(max_workers=1) as executor:
        under_way: Future[Updated] | None = None
        for update in updates:
            parts = [ray.put(part) for part in ShardBatchIterator(update.batch, len(group))]
            done = None if under_way is None else under_way.result()
            under_way = executor.submit(compute, update, batch_refs=parts)
            if done is not None:
                yield done
        if under_way is not None:
            yield under_way.result()
