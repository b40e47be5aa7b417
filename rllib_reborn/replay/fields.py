"""The fields of an episode: their names, row shapes and storage dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Fields with one row per observation (``L + 1`` per episode) and with one row per env step (``L``).
OBSERVATION_FIELDS = ("obs", "state", "action_mask")
STEP_FIELDS = ("actions", "reward", "terminated")

#: All of them.
FIELDS = OBSERVATION_FIELDS + STEP_FIELDS

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
