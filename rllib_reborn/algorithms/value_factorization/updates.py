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

from rllib_reborn.callbacks import Probe


@dataclasses.dataclass(frozen=True)
class Update:
    """One gradient step.

    Attributes:
        batch: Whole episodes, dealt out so that learners take contiguous parts.
        timesteps: The run's clocks at this update.
        probe: What is due at it, if anything.
    """

    batch: MultiAgentBatch
    timesteps: dict[str, int]
    probe: Probe | None = None

    @property
    def rest(self) -> dict[str, Any]:
        """Arguments of ``LearnerGroup.update`` beside the batch."""
        return {"timesteps": self.timesteps, **({} if self.probe is None else {"probe": self.probe})}


@dataclasses.dataclass(frozen=True)
class Updated:
    """What came of an update: ``results`` of every learner, and the seconds that it took them."""

    update: Update
    results: list[Any]
    seconds: float


def run_updates(group: LearnerGroup, updates: Iterator[Update]) -> Iterator[Updated]:
    """Do ``updates`` in their order and yield what came of each.

    With remote learners, an update is drawn from ``updates``, and its batch put into Ray's object store, while the learners
    are busy with the one before: they never wait for sampling or for bytes, only for a message. So ``updates`` must not
    depend on results, and whoever draws from it is one update ahead of what is yielded.
    """
    if group.is_local:
        for update in updates:
            start = time.perf_counter()
            yield Updated(update, group.update(batch=update.batch, **update.rest), time.perf_counter() - start)
        return

    def compute(update: Update, parts: list[ray.ObjectRef]) -> Updated:
        start = time.perf_counter()
        return Updated(update, group.update(batch_refs=parts, **update.rest), time.perf_counter() - start)

    with ThreadPoolExecutor(max_workers=1) as executor:
        under_way: Future[Updated] | None = None
        for update in updates:
            parts = [ray.put(part) for part in ShardBatchIterator(update.batch, len(group))]
            done = None if under_way is None else under_way.result()
            under_way = executor.submit(compute, update, parts)
            if done is not None:
                yield done
        if under_way is not None:
            yield under_way.result()
