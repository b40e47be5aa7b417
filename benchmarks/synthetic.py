"""Random batches in the layout of the replay, so that learners can be timed without an environment."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, STEP_FIELDS, field_layout

SHORTEST_VARIABLE = 20


def synthetic_batch(
    episodes: int,
    horizon: int,
    n_agents: int,
    n_actions: int,
    obs_dim: int,
    state_dim: int,
    *,
    lengths: Literal["full", "variable"] = "full",
    obs_dtype: Literal["uint8", "float32"] = "uint8",
    state_dtype: Literal["uint8", "float32"] = "float32",
    seed: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """Whole episodes padded to the longest, as PyMARL-like programs hold them, filled with random numbers.

    Every real observation has a mask with an allowed action, and every action taken is allowed. Every second
    episode ends by termination, the others by truncation. Behind the end of an episode everything is zero.

    Args:
        episodes: ``E``.
        horizon: Longest possible episode, in env steps.
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        lengths: ``full``: every episode has ``horizon`` steps. ``variable``: uniform in 20..``horizon`` (all
            ``horizon`` where that is below 20).
        obs_dtype, state_dtype: ``uint8`` draws zeros and ones, ``float32`` standard normal numbers.
        seed: Seed of all draws.

    Returns:
        ``obs`` [E, T+1, n, d], ``state`` [E, T+1, s], ``action_mask`` [E, T+1, n, A] bool, ``actions``
        [E, T, n] int8 (int16 above 127 actions), ``reward`` [E, T] float32, ``terminated`` [E, T] bool,
        ``lengths`` [E] int32. As in the replay the longest episodes come first and ``T`` is the longest length drawn.
    """
    rng = np.random.default_rng(seed)
    drawn = np.full(episodes, horizon, np.int32)
    if lengths == "variable":
        drawn = rng.integers(min(SHORTEST_VARIABLE, horizon), horizon + 1, episodes, dtype=np.int32)
        drawn = -np.sort(-drawn)
    steps = int(drawn.max())

    def values(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
        if dtype == "uint8":
            return rng.integers(0, 2, shape, dtype=np.uint8)
        return rng.standard_normal(shape, dtype=np.float32)

    # One action per observation makes every mask non-empty; all but the last are the actions taken.
    allowed = rng.integers(0, n_actions, (episodes, steps + 1, n_agents))
    action_mask = rng.random((episodes, steps + 1, n_agents, n_actions)) < 0.7
    np.put_along_axis(action_mask, allowed[..., None], True, axis=-1)
    terminated = np.zeros((episodes, steps), np.bool_)
    terminated[np.arange(0, episodes, 2), drawn[::2] - 1] = True

    layout = field_layout(n_agents, n_actions, obs_dim, state_dim, obs_dtype, state_dtype)
    batch: dict[str, npt.NDArray[Any]] = {
        "obs": values((episodes, steps + 1, n_agents, obs_dim), obs_dtype),
        "state": values((episodes, steps + 1, state_dim), state_dtype),
        "action_mask": action_mask,
        "actions": allowed[:, :-1].astype(layout["actions"][1]),
        "reward": rng.standard_normal((episodes, steps), dtype=np.float32),
        "terminated": terminated,
    }
    for name, array in batch.items():
        end = drawn + (name in OBSERVATION_FIELDS)
        array[np.arange(array.shape[1]) >= end[:, None]] = 0
    batch["lengths"] = drawn
    return batch


def packed(batch: dict[str, npt.NDArray[Any]]) -> EpisodeBlock:
    """The same episodes without padding, as the replay gives them."""
    lengths = batch["lengths"]
    step = np.arange(batch["reward"].shape[1]) < lengths[:, np.newaxis]
    observation = np.arange(batch["obs"].shape[1]) <= lengths[:, np.newaxis]
    fields = {name: batch[name][observation] for name in OBSERVATION_FIELDS}
    return EpisodeBlock(lengths, fields | {name: batch[name][step] for name in STEP_FIELDS})
