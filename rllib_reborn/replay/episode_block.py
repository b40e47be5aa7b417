"""Finished episodes as they travel from an env runner to the replay: a few large arrays, packed by real length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: Fields with one row per observation (``L + 1`` per episode) and with one row per env step (``L``).
OBSERVATION_FIELDS = ("obs", "state", "action_mask")
STEP_FIELDS = ("actions", "reward", "terminated")

Episode = dict[str, npt.NDArray[Any]]


def field_layout(
    n_agents: int, n_actions: int, obs_dim: int, state_dim: int, obs_dtype: str, state_dtype: str
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """For every field the shape and storage dtype of one row. Actions are int8 up to 127 actions, else int16."""
    action_dtype = np.int8 if n_actions <= 127 else np.int16
    return {
        "obs": ((n_agents, obs_dim), np.dtype(obs_dtype)),
        "state": ((state_dim,), np.dtype(state_dtype)),
        "action_mask": ((n_agents, n_actions), np.dtype(np.bool_)),
        "actions": ((n_agents,), np.dtype(action_dtype)),
        "reward": ((), np.dtype(np.float32)),
        "terminated": ((), np.dtype(np.bool_)),
    }


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
        names = OBSERVATION_FIELDS + STEP_FIELDS
        return EpisodeBlock(lengths, {name: np.concatenate([e[name] for e in episodes]) for name in names})

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

    def episodes(self) -> Iterator[Episode]:
        """The episodes one by one, as views."""
        row_obs = row_step = 0
        for length in self.lengths.tolist():
            episode = {name: self.fields[name][row_obs : row_obs + length + 1] for name in OBSERVATION_FIELDS}
            episode |= {name: self.fields[name][row_step : row_step + length] for name in STEP_FIELDS}
            yield episode
            row_obs += length + 1
            row_step += length


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
