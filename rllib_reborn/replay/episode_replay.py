"""Whole episodes: packed by their real length as they travel, and a ring of them that is sampled without replacement."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.fields import FIELDS, OBSERVATION_FIELDS, STEP_FIELDS, Episode
from rllib_reborn.replay.memory import available_memory, check_fits, largest_size

#: Column of a mirrored sample in place of the fields: where each episode lies, [E] int64.
SLOTS = "slots"


@dataclasses.dataclass(frozen=True)
class EpisodeBlock:
    """E whole episodes end to end. A plain class, not a dict: RLlib flattens dicts it receives from env runners.

    Attributes:
        lengths: [E] int32, env steps of each episode (>= 1).
        fields: ``obs`` [sum(L+1), n, d], ``state`` [sum(L+1), s], ``action_mask`` [sum(L+1), n, A] bool,
            ``actions`` [sum(L), n], ``reward`` [sum(L)] float32, ``terminated`` [sum(L)] bool.
    """

    lengths: npt.NDArray[np.int32]
    fields: Mapping[str, npt.NDArray[Any]]

    @staticmethod
    def of(episodes: list[Episode]) -> EpisodeBlock:
        """Join single episodes (dicts of the fields above, one episode each); ``episodes`` must not be empty."""
        lengths = np.array([len(episode["reward"]) for episode in episodes], np.int32)
        return EpisodeBlock(lengths, {name: np.concatenate([e[name] for e in episodes]) for name in FIELDS})

    @property
    def n_agents(self) -> int:
        return int(self.fields["actions"].shape[1])

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.fields.values())

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.lengths)

    def env_steps(self) -> int:
        """Env steps of all episodes (the name is RLlib's)."""
        return int(self.lengths.sum())

    def agent_steps(self) -> int:
        """Env steps times agents (the name is RLlib's)."""
        return self.env_steps() * self.n_agents

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """``lengths`` and all fields, by name."""
        return {"lengths": self.lengths, **self.fields}

    def parts(self, count: int) -> list[EpisodePart]:
        """Contiguous parts of equally many episodes, as views; ``count`` must divide their number."""
        size = len(self) // count
        step_start = np.concatenate([[0], np.cumsum(self.lengths)])
        found = []
        for first in range(0, len(self), size):
            episodes = slice(first, first + size)
            steps = slice(int(step_start[first]), int(step_start[first + size]))
            observations = slice(steps.start + first, steps.stop + first + size)
            fields = {
                name: array[observations if name in OBSERVATION_FIELDS else steps]
                for name, array in self.fields.items()
            }
            found.append(EpisodePart(EpisodeBlock(self.lengths[episodes], fields), episodes, steps))
        return found

    def episodes(self) -> Iterator[Episode]:
        """The episodes one by one, as views."""
        row_obs = row_step = 0
        for length in self.lengths.tolist():
            episode = {name: self.fields[name][row_obs : row_obs + length + 1] for name in OBSERVATION_FIELDS}
            episode |= {name: self.fields[name][row_step : row_step + length] for name in STEP_FIELDS}
            yield episode
            row_obs += length + 1
            row_step += length


class SlotBlock(NamedTuple):
    """E episodes of a mirror by their slots, in place of an :class:`EpisodeBlock`.

    Attributes:
        lengths: [E] int32, env steps of each.
        slots: [E] int64.
    """

    lengths: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int64]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {"lengths": self.lengths, SLOTS: self.slots}

    def env_steps(self) -> int:
        """Env steps of all episodes (the name is RLlib's)."""
        return int(self.lengths.sum())

    def parts(self, count: int) -> list[EpisodePart]:
        """All of it, for the one learner that reads a mirror.

        Raises:
            ValueError: ``count`` is not 1.
        """
        if count != 1:
            raise ValueError(f"episodes of a mirror are asked for in {count} parts; expected 1: one learner reads it.")
        return [EpisodePart(self, slice(0, len(self.lengths)), slice(0, self.env_steps()))]


@dataclasses.dataclass(frozen=True)
class EpisodePart:
    """A part of a sample, and which of its episodes and env steps these are."""

    block: EpisodeBlock | SlotBlock
    episodes: slice
    steps: slice


def blocks_of(episodes: list[Episode], max_bytes: int) -> list[EpisodeBlock]:
    """Episodes in blocks of at most ``max_bytes`` each (a single larger episode gets a block of its own)."""
    blocks: list[EpisodeBlock] = []
    pending: list[Episode] = []
    size = 0
    for episode in episodes:
        nbytes = sum(array.nbytes for array in episode.values())
        if pending and size + nbytes > max_bytes:
            blocks.append(EpisodeBlock.of(pending))
            pending, size = [], 0
        pending.append(episode)
        size += nbytes
    if pending:
        blocks.append(EpisodeBlock.of(pending))
    return blocks


class ReplaySample(NamedTuple):
    """E whole episodes, packed by their real length, or named where they lie in a mirror of the replay.

    Attributes:
        block: The episodes, or their slots.
        indices: [E] the running number of each episode since the replay began (0 for the first one ever added).
    """

    block: EpisodeBlock | SlotBlock
    indices: npt.NDArray[np.int64]

    @property
    def batch(self) -> dict[str, npt.NDArray[Any]]:
        """``lengths`` [E] int32, and the fields of :class:`EpisodeBlock` or the slots, by name."""
        return self.block.columns()

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """[E] env steps of each episode."""
        return self.block.lengths

    @property
    def env_steps(self) -> int:
        return self.block.env_steps()

    def parts(self, shards: int) -> list[EpisodePart]:
        """What each of ``shards`` learners takes."""
        return self.block.parts(shards)


class DrawnEpisodes(NamedTuple):
    """Which episodes were drawn, before anything of them is copied.

    Attributes:
        positions: [E] int64, 0 the oldest one held.
        lengths: [E] int32, env steps of each.
        indices: [E] int64, see :class:`ReplaySample`.
    """

    positions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int64]


class EpisodeReplay:
    """The last ``capacity`` episodes.

    Args:
        capacity: Episodes kept, >= 1.
        layout: Row shape and dtype of every field (:func:`~rllib_reborn.replay.fields.field_layout`).
        episode_limit: Longest possible episode, in env steps.
        seed: Seed of the sampling generator; None draws one from the system.
        memory_limit: Bytes that may be used; None asks the system.

    Attributes:
        episodes_added: The running number of the next episode.
        restores: How often a state was put in: what was copied of episodes before is of another time line.

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
        self.restores = 0
        self.nbytes = 0
        self.batch_metrics: dict[str, float | None] = {}  #: Of the last batch to learn from, by name.

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
            episode = {name: view[name].copy() for name in FIELDS}
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
        """Draw uniformly, no episode twice (as PyMARL and all that came of it); where fewer are held than asked for, each
        one equally often, or once more.

        Args:
            episodes: ``E``, >= 1.
            shards: Learners that will each take one contiguous part of E / shards rows; the episodes are dealt out by
                length, so that each part holds about equally many steps. Within a part the longest come first.
            rng: To measure: draws uniformly from it in place of the replay's own stream, which then does not move.

        Raises:
            ValueError: The replay is empty, or ``episodes`` is no multiple of ``shards``.
        """
        return self._gather(self.draw(episodes, shards=shards, rng=rng))

    def draw(self, episodes: int, *, shards: int = 1, rng: np.random.Generator | None = None) -> DrawnEpisodes:
        """Which episodes :meth:`sample` would give; the random stream moves as there.

        Raises:
            ValueError: As there.
        """
        if not self._episodes:
            raise ValueError("the replay is empty; add episodes before sampling.")
        if episodes < 1 or episodes % shards:
            raise ValueError(f"cannot sample {episodes} episodes for {shards} learners; expected a multiple.")
        drawn = self._longest_first(self._draw(episodes, rng))
        if shards == 1:
            return drawn
        # Round-robin over the shards, then one shard after the other.
        dealt = np.arange(episodes).reshape(-1, shards).T.reshape(-1)
        return DrawnEpisodes(drawn.positions[dealt], drawn.lengths[dealt], drawn.indices[dealt])

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
        return self._gather(self._longest_first(newest))

    def _draw(self, episodes: int, rng: np.random.Generator | None) -> npt.NDArray[np.int64]:
        """Positions, 0 the oldest; see :meth:`sample`."""
        return _balanced_draw(self._rng if rng is None else rng, len(self._episodes), episodes)

    def newest(self, count: int) -> list[Episode]:
        """The last ``count`` episodes (0..``len``), oldest first; not copied, and never changed."""
        return list(itertools.islice(self._episodes, len(self._episodes) - count, None))

    def _longest_first(self, positions: npt.NDArray[np.int64]) -> DrawnEpisodes:
        lengths = np.array([len(self._episodes[i]["reward"]) for i in positions], np.int32)
        order = np.argsort(-lengths, kind="stable")
        positions = positions[order]
        return DrawnEpisodes(positions, lengths[order], positions + (self.episodes_added - len(self._episodes)))

    def _gather(self, drawn: DrawnEpisodes) -> ReplaySample:
        return ReplaySample(EpisodeBlock.of([self._episodes[i] for i in drawn.positions]), drawn.indices)

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
            self._check(EpisodeBlock(np.array([len(episode["reward"])], np.int32), episode))
        self._episodes = deque(episodes)
        self.restores += 1
        self.nbytes = sum(_nbytes(episode) for episode in episodes)
        self.episodes_added = int(state["episodes_added"])
        self._rng.bit_generator.state = state["rng"]


def _balanced_draw(rng: np.random.Generator, held: int, count: int) -> npt.NDArray[np.int64]:
    """``count`` positions in ``range(held)``, none more than once oftener than another."""
    rounds, rest = divmod(count, held)
    return np.concatenate([np.tile(np.arange(held), rounds), rng.choice(held, rest, replace=False)])


def _nbytes(episode: Episode) -> int:
    return sum(array.nbytes for array in episode.values())
