"""Whole episodes padded to one length, in which a test reads and changes the step that it means; and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.learner_updates import LONGEST_EPISODE, STEPS_OF_ALL_LEARNERS
from rllib_reborn.replay import ReplaySample
from rllib_reborn.replay.fields import OBSERVATION_FIELDS


def padded_episodes(sample: ReplaySample) -> dict[str, Tensor]:
    """The fields of a sample, [E, T + 1, ...] or [E, T, ...] with zeros behind the end of an episode; ``lengths`` [E]; and
    the env steps of all episodes, [E] times the same number, so that rows can be taken as a learner's part."""
    episodes = list(sample.block.episodes())
    longest = int(sample.lengths.max())
    found: dict[str, Tensor] = {"lengths": torch.from_numpy(sample.lengths.copy())}
    for name in episodes[0]:
        rows = longest + (name in OBSERVATION_FIELDS)
        array = np.zeros((len(episodes), rows, *episodes[0][name].shape[1:]), episodes[0][name].dtype)
        for e, episode in enumerate(episodes):
            array[e, : len(episode[name])] = episode[name]
        found[name] = torch.from_numpy(array)
    found[STEPS_OF_ALL_LEARNERS] = torch.full((len(episodes),), float(sample.env_steps))
    return found


def columns(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What networks read of such episodes: rows that exist, one episode after the other. Per-step columns may be added to
    ``batch`` as [E, T, ...] and per-episode ones as [E]; the longest episode counts as T steps long."""
    lengths, longest = batch["lengths"], batch["reward"].shape[1]
    is_step = torch.arange(longest) < lengths.unsqueeze(1)
    is_observation = torch.arange(longest + 1) <= lengths.unsqueeze(1)
    found = {}
    for name, value in batch.items():
        if name == STEPS_OF_ALL_LEARNERS:
            found[name] = value[:1]
        elif value.dim() == 1:
            found[name] = value
        else:
            found[name] = value[is_observation if name in OBSERVATION_FIELDS else is_step]
    found[LONGEST_EPISODE] = torch.tensor([float(longest)])
    return found


def learner_columns(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same as RLlib gives it to a learner: with a first dimension of 1."""
    return {name: value.unsqueeze(0) for name, value in columns(batch).items()}
