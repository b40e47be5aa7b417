"""Updates: whole episodes as columns, how they reach the learners, and what networks and loss read of them there."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from rllib_reborn.callbacks.request import PlasticityRequest
from rllib_reborn.callbacks.scheduler import take_events
from rllib_reborn.nets.sequence import PackedLayout, rows_of
from rllib_reborn.replay import ReplaySample
from rllib_reborn.replay.episode_replay import SLOTS
from rllib_reborn.replay.fields import FIELDS
from rllib_reborn.replay.reward_scaling import RewardScaler

#: Columns with one number: env steps, and env steps of the longest episode, in the whole batch, the parts of other learners
#: included.
STEPS_OF_ALL_LEARNERS = "steps_of_all_learners"
LONGEST_EPISODE = "longest_episode"
#: Column of padded batches alone, [E]: env steps of each episode that count; ``lengths`` are those with the padding behind
#: them, one for all (:mod:`.captured_updates`).
REAL_LENGTHS = "real_lengths"
#: Column with one number, of batches that name episodes of a mirror by :data:`SLOTS` (:mod:`.replay_mirror`): what their
#: rewards are multiplied by, where they are scaled.
REWARD_FACTOR = "reward_factor"
#: Optional column, [E]: observations and states of an episode are multiplied by it (MARR).
AMPLITUDE = "amplitude"


def learner_batches(
    sample: ReplaySample,
    learners: int,
    *,
    scaler: RewardScaler | None = None,
    episode_columns: Mapping[str, npt.NDArray[Any]] | None = None,
    step_columns: Mapping[str, npt.NDArray[Any]] | None = None,
) -> list[MultiAgentBatch]:
    """A replay sample as RLlib's learners take it, without padding.

    RLlib wants columns of equal length; observations, env steps and episodes differ. So every column gets a first dimension
    of 1, which :func:`packed_columns` takes off again.

    Args:
        sample: From the replay, dealt out over ``learners``, or from a mirror, for one.
        learners: How many share the batch.
        scaler: Applied to the rewards.
        episode_columns, step_columns: Further columns, [episodes, ...] and [env steps, ...] in the order of ``sample``.

    Raises:
        ValueError: A further column has a name that the batch has already.
    """
    taken = {"lengths", SLOTS, REWARD_FACTOR, *FIELDS} & {*(episode_columns or {}), *(step_columns or {})}
    if taken:
        raise ValueError(f"a further column is called {min(taken)!r}, which the batch has already; use another name.")
    whole = {STEPS_OF_ALL_LEARNERS: sample.env_steps, LONGEST_EPISODE: int(sample.lengths.max())}
    batches = []
    for part in sample.parts(learners):
        columns: dict[str, npt.NDArray[Any]] = part.block.columns()
        if scaler is not None and "reward" in columns:
            columns["reward"] = scaler(columns["reward"])
        elif scaler is not None:
            columns[REWARD_FACTOR] = np.full(1, scaler.factor, np.float32)
        columns |= {name: array[part.episodes] for name, array in (episode_columns or {}).items()}
        columns |= {name: array[part.steps] for name, array in (step_columns or {}).items()}
        columns |= {name: np.full(1, value, np.float32) for name, value in whole.items()}
        rows = SampleBatch({name: array[np.newaxis] for name, array in columns.items()})
        batches.append(MultiAgentBatch({DEFAULT_MODULE_ID: rows}, env_steps=part.block.env_steps()))
    return batches


@dataclasses.dataclass(frozen=True)
class PackedEpisodes:
    """E episodes of at most T env steps: ``rows`` observations in all and ``steps`` transitions.

    Attributes:
        layout: Where rows and steps lie.
        taken: [steps, n] int64 actions.
        x: [rows, n, input_dim] inputs of the agents' networks.
        state: [rows, s] float32.
        action_mask: [rows, n, A] bool.
        shape: (E, T).
    """

    layout: PackedLayout
    taken: Tensor
    x: Tensor
    state: Tensor
    action_mask: Tensor
    shape: tuple[int, int]

    def now(self, rows: Tensor) -> Tensor:
        """[rows, ...] -> [steps, ...]: at the observation before each transition."""
        return rows_of(rows, self.layout.now)

    def next(self, rows: Tensor) -> Tensor:
        """[rows, ...] -> [steps, ...]: at the observation after each transition."""
        return rows_of(rows, self.layout.next)

    def dense(self, steps: Tensor) -> Tensor:
        """[steps, ...] -> [E, T, ...], zeros behind the end of an episode."""
        if len(steps) == self.shape[0] * self.shape[1]:  # all are of one length, so in their order at each time step
            return steps.unflatten(0, self.shape[::-1]).transpose(0, 1).contiguous()
        flat = steps.new_zeros(self.shape[0] * self.shape[1], *steps.shape[1:])
        return flat.index_put((self.layout.dense_rows,), steps).view(*self.shape, *steps.shape[1:])


def layout_of(columns: Mapping[str, Tensor]) -> PackedLayout:
    """The layout of a batch's episodes."""
    if REAL_LENGTHS in columns:
        return PackedLayout.alike(len(columns["lengths"]), longest_episode(columns), columns["obs"].device)
    return PackedLayout.of(columns["lengths"].cpu(), longest_episode(columns), columns["obs"].device)


def longest_episode(columns: Mapping[str, Tensor]) -> int:
    """``T``: env steps of the longest episode, those of other learners included; of a padded batch, of all."""
    if REAL_LENGTHS in columns:
        return len(columns["reward"]) // len(columns["lengths"])  # a GPU need not be asked
    longest = columns[LONGEST_EPISODE] if LONGEST_EPISODE in columns else columns["lengths"].max()
    return int(longest)


def as_tensors(columns: Mapping[str, Any]) -> dict[str, Tensor]:
    """Columns of a batch as tensors in the same memory, numbers of 64 bits as float32; tensors stay what they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what comes from Ray's object store cannot be written to, and is not
        tensors = {name: torch.as_tensor(column) for name, column in columns.items()}
    return {name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in tensors.items()}


def as_numbers(scalars: Mapping[str, Any]) -> dict[str, float]:
    """Scalars, tensors of one element among them, as plain numbers; a GPU is waited for once."""
    tensors = {name: value.detach() for name, value in scalars.items() if isinstance(value, Tensor)}
    elsewhere = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
    fetched: dict[str, Any] = {}
    if elsewhere:
        together = torch.stack([tensor.double().view(()) for tensor in elsewhere.values()])
        fetched = dict(zip(elsewhere, together.tolist(), strict=True))
    return {name: float(value) for name, value in {**scalars, **tensors, **fetched}.items()}


def packed_columns(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of an RLlib batch without the first dimension of 1, see :func:`learner_batches`."""
    return {name: column[0] for name, column in batch.items()}


def dense_steps(columns: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """Per-step columns [steps, ...], one episode after the other, as the loss takes them.

    Returns:
        ``mask`` [E, T] bool, true for env steps and false behind the end of an episode; the columns ``names``, [E, T, ...]
        each, zeros behind the end.
    """
    padded = REAL_LENGTHS in columns
    lengths = columns[REAL_LENGTHS if padded else "lengths"].to(columns[names[0]].device)
    mask = torch.arange(longest_episode(columns), device=lengths.device) < lengths.unsqueeze(1)
    if padded:
        return mask, {name: columns[name].unflatten(0, mask.shape) for name in names}
    if len(columns[names[0]]) == mask.numel():  # all are of one length
        return mask, {name: columns[name].unflatten(0, mask.shape).clone() for name in names}
    dense = {}
    for name in names:
        dense[name] = columns[name].new_zeros(*mask.shape, *columns[name].shape[1:])
        dense[name][mask] = columns[name]
    return mask, dense


def last_steps(mask: Tensor) -> Tensor:
    """[E, T] bool, true at the last env step of every episode; ``mask`` as :func:`dense_steps` gives it."""
    return mask & ~torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)


@dataclasses.dataclass(frozen=True)
class Update:
    """One gradient step.

    Attributes:
        batches: For each learner its part of the whole episodes.
        timesteps: The run's clocks at this update.
        env_steps: Env steps in all parts.
        request: What is due at it, if anything.
    """

    batches: Sequence[MultiAgentBatch]
    timesteps: dict[str, int]
    env_steps: int
    request: PlasticityRequest | None = None

    @property
    def keywords(self) -> dict[str, Any]:
        """Arguments of ``LearnerGroup.update`` beside the batches."""
        return {
            "timesteps": self.timesteps,
            "scalars_only": True,
            **({} if self.request is None else {"request": self.request}),
        }


@dataclasses.dataclass(frozen=True)
class Updated:
    """What came of an update: ``scalars`` that every learner logs, ``events`` that its request led to, and the seconds it
    took."""

    update: Update
    scalars: list[dict[str, float]]
    events: list[dict[str, Any]]
    seconds: float


def run_updates(group: LearnerGroup, updates: Iterator[Update]) -> Iterator[Updated]:
    """Do ``updates`` in their order and yield what came of each.

    With remote learners, an update is drawn from ``updates``, and its batches put into Ray's object store, while the
    learners are busy with the one before: they never wait for sampling or for bytes, only for a message. So ``updates`` must
    not depend on results, and what is drawn from it is one update ahead of what is yielded.
    """

    def compute(update: Update, **batch: Any) -> Updated:
        start = time.perf_counter()
        scalars = group.update(**batch, **update.keywords)
        # Before any other update, so that they are this one's.
        events = [] if update.request is None else take_events(group)
        return Updated(update, scalars, events, time.perf_counter() - start)

    if group.is_local:
        for update in updates:
            (batch,) = update.batches
            yield compute(update, batch=batch)
        return

    with ThreadPoolExecutor(max_workers=1) as executor:
        under_way: Future[Updated] | None = None
        for update in updates:
            parts = [ray.put(part) for part in update.batches]
            done = None if under_way is None else under_way.result()
            under_way = executor.submit(compute, update, batch_refs=parts)
            if done is not None:
                yield done
        if under_way is not None:
            yield under_way.result()
