"""The replay's episodes on the learner's GPU, so that an update copies little more than their numbers there.

1. The replay of main memory stays the truth: it alone draws (one random stream, so the same batches with and without a
   mirror), is saved and restored, weighs by age, and serves dormancy checks and interventions. A mirror has no state.
2. It lies with the one learner that is in the replay's process. A learner in another process (``num_learners`` of 1 and
   more, DDP) cannot share it and is sent whole batches, which go to its GPU from pinned memory without waiting.
3. Its size is the replay's largest, capacity x longest episode in storage dtypes, allocated at the start, so that nothing
   can run out later. It fits where that is at most :data:`FREE_SHARE` of what is free of the learner's share of the GPU.
4. Episode number k of a run lies in slot ``k % capacity``; behind its end all is 0 and every action allowed, as in a padded
   batch. Episodes that left the replay are overwritten in time and never asked for: ``replay: clear`` needs nothing.
5. Before a draw is used the mirror takes what it lacks, in blocks of at most :data:`BLOCK_BYTES`, by one asynchronous copy
   each. After a restore (``EpisodeReplay.restores``) that is everything.
6. A batch names slots, lengths and the factor of the rewards: the running deviation moves, so they are stored as they came.
   Captured updates gather padded episodes (:mod:`.captured_updates`), others packed ones, in the order of the replay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.learner_updates import REWARD_FACTOR, packed_columns
from rllib_reborn.replay import EpisodeBlock, EpisodeReplay, ReplaySample
from rllib_reborn.replay.episode_replay import SLOTS, SlotBlock, blocks_of
from rllib_reborn.replay.fields import OBSERVATION_FIELDS

#: The largest share of the GPU's free memory that a mirror may take; networks, activations and graphs need the rest.
FREE_SHARE = 0.5
#: Largest block of episodes that is copied at once: so much pinned memory is kept.
BLOCK_BYTES = 64_000_000
#: Where arrays begin in the one block that is copied: at multiples of it.
_ALIGNMENT = 64
_OBS_ROWS, _STEP_ROWS = "obs_rows", "step_rows"


def one_copy(arrays: Mapping[str, npt.NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """The arrays on ``device``, by one copy for all of them. To a GPU it is asynchronous, from pinned memory; what is
    done with the tensors on the present stream comes after it.

    Args:
        arrays: Numbers or bools, any shapes.
        device: Where to.
    """
    size, starts = 0, {}
    for name, array in arrays.items():
        starts[name] = size
        size += math.ceil(array.nbytes / _ALIGNMENT) * _ALIGNMENT
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    room = host.numpy()
    for name, array in arrays.items():
        room[starts[name] : starts[name] + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
    moved = host.to(device, non_blocking=True)
    return {
        name: moved[starts[name] : starts[name] + array.nbytes].view(torch_dtype(array.dtype)).view(array.shape)
        for name, array in arrays.items()
    }


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """Torch's name of a NumPy dtype."""
    return torch.from_numpy(np.empty(0, dtype)).dtype


class ReplayMirror:
    """A copy of a replay's episodes on a device. See the top of this module.

    Args:
        replay: The truth.
        device: The learner's.
    """

    def __init__(self, replay: EpisodeReplay, device: torch.device) -> None:
        self.device = device
        self._replay = replay
        self._restores = replay.restores
        self._next = 0  #: Running number of the first episode that is not here yet.
        self._fields = {name: self._room(name, *row) for name, row in replay.layout.items()}

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        rows = self._replay.episode_limit + (name in OBSERVATION_FIELDS)
        size = (self._replay.capacity, rows, *shape)
        return torch.full(size, _behind_the_end(name), dtype=torch_dtype(dtype), device=self.device)

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """For every field the shape and dtype of a row."""
        return {name: (tuple(room.shape[2:]), room.dtype) for name, room in self._fields.items()}

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(room.nbytes for room in self._fields.values())

    def sample(self, episodes: int) -> ReplaySample:
        """What ``EpisodeReplay.sample`` of the replay would give, by slots; the replay's random stream moves as there.

        Raises:
            ValueError: As there.
        """
        drawn = self._replay.draw(episodes)
        self.catch_up()
        return ReplaySample(SlotBlock(drawn.lengths, drawn.indices % self._replay.capacity), drawn.indices)

    def catch_up(self) -> None:
        """Take the episodes of the replay that are not here yet."""
        replay = self._replay
        if replay.restores != self._restores:
            self._restores, self._next = replay.restores, 0
        missing = min(replay.episodes_added - self._next, len(replay))
        number = replay.episodes_added - missing
        for block in blocks_of(replay.newest(missing), BLOCK_BYTES):
            self._take(block, number)
            number += len(block)
        self._next = replay.episodes_added

    def _take(self, block: EpisodeBlock, first: int) -> None:
        """Copy episodes in, whose first one has the running number ``first``."""
        slots = (first + np.arange(len(block))) % self._replay.capacity
        moved = one_copy({**block.fields, SLOTS: slots, **self._rows(slots, block.lengths)}, self.device)
        for name, room in self._fields.items():
            room.index_fill_(0, moved[SLOTS], _behind_the_end(name))
            room.flatten(0, 1).index_copy_(0, moved[_rows_of(name)], moved[name])

    def _rows(self, slots: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[np.int64]]:
        """Where the rows of episodes lie, one episode after the other, in fields without their first two dimensions."""
        limit = self._replay.episode_limit
        return {_OBS_ROWS: _ranges(slots * (limit + 1), lengths + 1), _STEP_ROWS: _ranges(slots * limit, lengths)}

    # ------------------------------------------------------------------ what updates read

    def packed(self, slots: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> dict[str, Tensor]:
        """The fields of an :class:`~rllib_reborn.replay.EpisodeBlock` of these episodes, on the device."""
        rows = one_copy(self._rows(slots, lengths), self.device)
        return {name: room.flatten(0, 1).index_select(0, rows[_rows_of(name)]) for name, room in self._fields.items()}

    def fill_padded(self, batch: Mapping[str, Tensor], slots: Tensor, length: int) -> None:
        """Fill the fields of a padded batch; nothing of the batch before is left.

        Args:
            batch: Fields [1, E * length, ...], those of observations [1, E * (length + 1), ...]; dtypes as stored, or
                float32 for floating ones.
            slots: [E] int64 on the device.
            length: Env steps of each episode with its padding, at least those of the longest.
        """
        for name, room in self._fields.items():
            rows = length + (name in OBSERVATION_FIELDS)
            taken = room[:, :rows].index_select(0, slots)
            batch[name].view(taken.shape).copy_(taken)


def room_for_mirror(free: int, total: int, gpus: float) -> int:
    """Bytes that a mirror may take of a GPU that has ``free`` of ``total`` bytes left, of which a learner asks for the share
    ``gpus`` (``num_gpus_per_learner``, > 0)."""
    return int(FREE_SHARE * min(free, total * gpus))


def on_device(batch: MultiAgentBatch, device: torch.device, mirror: ReplayMirror | None) -> MultiAgentBatch:
    """A learner's batch with its packed columns as tensors on ``device``, equal to those that RLlib would convert and copy
    one by one: arrays of the host by :func:`one_copy`, episodes that it names by slots from ``mirror``."""
    columns = packed_columns(batch.policy_batches[DEFAULT_MODULE_ID])
    slots, factor = columns.pop(SLOTS, None), columns.pop(REWARD_FACTOR, None)
    arrays = {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}
    found = columns | one_copy(arrays, device)
    if slots is not None:
        assert mirror is not None
        found |= mirror.packed(slots, columns["lengths"])
        if factor is not None:
            found["reward"].mul_(float(factor[0]))
    rows = SampleBatch({name: column.unsqueeze(0) for name, column in found.items()})
    return MultiAgentBatch({DEFAULT_MODULE_ID: rows}, env_steps=batch.env_steps())


def _behind_the_end(name: str) -> bool:
    """What a field has behind the end of an episode: zeros, and every action allowed."""
    return name == "action_mask"


def _rows_of(name: str) -> str:
    return _OBS_ROWS if name in OBSERVATION_FIELDS else _STEP_ROWS


def _ranges(starts: npt.NDArray[np.int64], counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """``starts[0], starts[0] + 1, ...`` (``counts[0]`` numbers), then those from ``starts[1]``, ...; [sum(counts)]."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1])
