"""A ring of whole episodes, stored packed, sampled uniformly with replacement as one dense batch."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.episode_block import OBSERVATION_FIELDS, STEP_FIELDS, Episode, EpisodeBlock
from rllib_reborn.replay.memory import available_memory, check_fits, largest_size

_FIELDS = OBSERVATION_FIELDS + STEP_FIELDS


class ReplaySample(NamedTuple):
    """E episodes of up to ``T`` steps (the longest one of the sample), padded with zeros behind their end.

    ``batch``: ``obs`` [E, T+1, n, d], ``state`` [E, T+1, s], ``action_mask`` [E, T+1, n, A], ``actions`` [E, T, n],
    ``reward`` [E, T], ``terminated`` [E, T], ``lengths`` [E] int32.
    ``indices`` [E]: the running number of each episode since the replay began (0 for the first one ever added).
    """

    batch: dict[str, npt.NDArray[Any]]
    indices: npt.NDArray[np.int64]

    @property
    def env_steps(self) -> int:
        return int(self.batch["lengths"].sum())


class EpisodeReplay:
    """The last ``capacity`` episodes.

    Args:
        capacity: Episodes kept, >= 1.
        layout: Row shape and dtype of every field (:func:`~rllib_reborn.replay.episode_block.field_layout`).
        episode_limit: Longest possible episode, in env steps.
        seed: Seed of the sampling generator; None draws one from the system.
        memory_limit: Bytes that may be used; None asks the system.

    Raises:
        ReplayMemoryError: Full-length episodes would not fit into memory; nothing was allocated.
    """

    def __init__(
        self,
        capacity: int,
        layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
        episode_limit: int,
        *,
        seed: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"the replay's capacity is {capacity}; expected at least 1 episode.")
        self.capacity = capacity
        self.layout = dict(layout)
        self.episode_limit = episode_limit
        self.largest_nbytes = largest_size(layout, capacity, episode_limit)
        check_fits(
            self.largest_nbytes,
            available_memory() if memory_limit is None else memory_limit,
            episodes=capacity,
            episode_limit=episode_limit,
        )
        self._episodes: deque[Episode] = deque()
        self._rng = np.random.default_rng(seed)
        self.episodes_added = 0
        self.nbytes = 0

    def __len__(self) -> int:
        """Episodes held now."""
        return len(self._episodes)

    @property
    def env_steps(self) -> int:
        """Env steps held now."""
        return sum(len(episode["reward"]) for episode in self._episodes)

    def add(self, block: EpisodeBlock) -> None:
        """Copy the episodes of ``block`` in; the oldest make room.

        Raises:
            ValueError: A field's shape or dtype is not the layout's, or an episode is longer than the limit; then
                nothing was added.
        """
        self._check(block)
        for view in block.episodes():
            # Copied, so that a block's shared memory can be released and every episode can be freed on its own.
            episode = {name: view[name].copy() for name in _FIELDS}
            if len(self._episodes) == self.capacity:
                self.nbytes -= _nbytes(self._episodes.popleft())
            self._episodes.append(episode)
            self.nbytes += _nbytes(episode)
            self.episodes_added += 1

    def clear(self) -> None:
        """Forget all episodes; their running numbers go on."""
        self._episodes.clear()
        self.nbytes = 0

    def _check(self, block: EpisodeBlock) -> None:
        if len(block) and not 1 <= block.lengths.min() <= block.lengths.max() <= self.episode_limit:
            raise ValueError(
                f"episode lengths reach from {block.lengths.min()} to {block.lengths.max()}; "
                f"expected 1..{self.episode_limit}."
            )
        for name, (shape, dtype) in self.layout.items():
            array = block.fields[name]
            if array.shape[1:] != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name} rows are {array.dtype}{list(array.shape[1:])}; expected {dtype}{list(shape)}."
                )

    def sample(self, episodes: int, *, shards: int = 1, rng: np.random.Generator | None = None) -> ReplaySample:
        """Draw uniformly, with replacement.

        Args:
            episodes: ``E``, >= 1.
            shards: Learners that will each take one contiguous part of E / shards rows; the episodes are dealt out by
                length, so that each part holds about equally many steps. Within a part the longest come first.
            rng: Draws from it in place of the replay's own stream, which then does not move.

        Raises:
            ValueError: The replay is empty, or ``episodes`` is no multiple of ``shards``.
        """
        if not self._episodes:
            raise ValueError("the replay is empty; add episodes before sampling.")
        if episodes < 1 or episodes % shards:
            raise ValueError(f"cannot sample {episodes} episodes for {shards} learners; expected a multiple.")
        drawn = (self._rng if rng is None else rng).integers(0, len(self._episodes), episodes)
        lengths = np.array([len(self._episodes[i]["reward"]) for i in drawn], np.int32)
        by_length = np.argsort(-lengths, kind="stable")
        # Round-robin over the shards, then one shard after the other.
        order = by_length.reshape(-1, shards).T.reshape(-1)
        return self._gather(drawn[order], lengths[order])

    def latest(self, episodes: int) -> ReplaySample:
        """The newest episodes (fewer while fewer are held), longest first.

        Raises:
            ValueError: The replay is empty, or ``episodes`` is below 1.
        """
        if not self._episodes:
            raise ValueError("the replay is empty; add episodes before sampling.")
        if episodes < 1:
            raise ValueError(f"cannot take the latest {episodes} episodes; expected at least 1.")
        newest = np.arange(max(0, len(self._episodes) - episodes), len(self._episodes))
        lengths = np.array([len(self._episodes[i]["reward"]) for i in newest], np.int32)
        order = np.argsort(-lengths, kind="stable")
        return self._gather(newest[order], lengths[order])

    def _gather(self, positions: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> ReplaySample:
        first = self.episodes_added - len(self._episodes)
        return ReplaySample(self._dense(positions, lengths), positions + first)

    def _dense(self, chosen: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[Any]]:
        horizon = int(lengths.max())
        batch: dict[str, npt.NDArray[Any]] = {"lengths": lengths}
        episodes = [self._episodes[i] for i in chosen]
        for name in _FIELDS:
            shape, dtype = self.layout[name]
            rows = horizon + (name in OBSERVATION_FIELDS)
            dense = np.empty((len(episodes), rows, *shape), dtype)
            for target, episode in zip(dense, episodes):
                source = episode[name]
                target[: len(source)] = source
                target[len(source) :] = 0
            batch[name] = dense
        return batch

    # ------------------------------------------------------------------ checkpoints

    def get_state(self) -> dict[str, Any]:
        """Everything as plain data and the episodes themselves; they are never changed after they were added, so the
        state costs no second copy of the replay and does not change when training goes on."""
        return {
            "episodes": list(self._episodes),
            "episodes_added": self.episodes_added,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`get_state` gave. A smaller capacity keeps the newest episodes.

        Raises:
            ValueError: An episode does not fit this replay's layout; the replay is then unchanged.
        """
        episodes = list(state["episodes"])[-self.capacity :]
        for episode in episodes:
            self._check_episode(episode)
        self._episodes = deque(episodes)
        self.nbytes = sum(_nbytes(episode) for episode in episodes)
        self.episodes_added = int(state["episodes_added"])
        self._rng.bit_generator.state = state["rng"]

    @staticmethod
    def save(state: Mapping[str, Any], open_file: Callable[[str], BinaryIO]) -> None:
        """Write a state of :meth:`get_state`: raw ``.npy`` arrays, one per field, episodes end to end, oldest first; the
        rest as ``replay.json``. Nothing is pickled and no array is built in memory.

        Args:
            state: From :meth:`get_state`.
            open_file: Opens a file of that name for binary writing.
        """
        episodes: list[Episode] = state["episodes"]
        lengths = np.array([len(episode["reward"]) for episode in episodes], np.int32)
        facts = {"episodes_added": state["episodes_added"], "rng": state["rng"], "lengths": lengths.tolist()}
        with open_file("replay.json") as file:
            file.write(json.dumps(facts).encode())
        for name in _FIELDS if episodes else ():
            first = episodes[0][name]
            rows = int(lengths.sum()) + (len(episodes) if name in OBSERVATION_FIELDS else 0)
            header = {"descr": first.dtype.str, "fortran_order": False, "shape": (rows, *first.shape[1:])}
            with open_file(f"{name}.npy") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for episode in episodes:
                    file.write(np.ascontiguousarray(episode[name]).tobytes())

    def load(self, open_file: Callable[[str], BinaryIO]) -> None:
        """Read what :meth:`save` wrote, one episode at a time.

        Args:
            open_file: Opens a file of that name for binary reading.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is cut short, or the episodes do not fit this replay's layout.
        """
        with open_file("replay.json") as file:
            facts = json.loads(file.read())
        episodes: list[Episode] = [{} for _ in facts["lengths"]]
        for name in _FIELDS if episodes else ():
            with open_file(f"{name}.npy") as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise ValueError(f"{name}.npy has format version {version}; expected (1, 0).")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                for episode, length in zip(episodes, facts["lengths"]):
                    rows = length + (name in OBSERVATION_FIELDS)
                    wanted = rows * int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
                    data = file.read(wanted)
                    if len(data) != wanted:
                        raise ValueError(f"{name}.npy is cut short; restore an older checkpoint.")
                    episode[name] = np.frombuffer(data, dtype).reshape(rows, *shape[1:])
        self.set_state({"episodes": episodes, "episodes_added": facts["episodes_added"], "rng": facts["rng"]})

    def _check_episode(self, episode: Episode) -> None:
        self._check(EpisodeBlock(np.array([len(episode["reward"])], np.int32), episode))


def _nbytes(episode: Episode) -> int:
    return sum(array.nbytes for array in episode.values())
