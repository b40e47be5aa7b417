"""Playing at random among the available actions."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs

IntArray = npt.NDArray[np.intp]


def random_legal_actions(action_mask: npt.NDArray[np.bool_], uniforms: npt.NDArray[np.float64]) -> IntArray:
    """Uniformly random available actions.

    Args:
        action_mask: [..., A] bool, at least one True in each row.
        uniforms: [...] numbers in [0, 1), one per agent.

    Returns:
        [...] actions: with c actions available, the number floor(c * uniform) of them, in ascending order.

    >>> random_legal_actions(np.array([[False, True, True]]), np.array([0.6]))
    array([2])
    """
    # Rows are short, where numpy's running sums are slow: eight actions at a time become a byte, and a table
    # tells how many of them are available and which is the k-th.
    counts_of, choice_of = _byte_tables()
    shape, n_actions = action_mask.shape[:-1], action_mask.shape[-1]
    n_bytes = -(-n_actions // 8)
    padded = np.zeros((*shape, 8 * n_bytes), np.bool_)
    padded[..., :n_actions] = action_mask
    packed = np.packbits(padded.reshape(-1), bitorder="little").reshape(-1, n_bytes)
    columns = np.ascontiguousarray(packed.T).astype(np.intp)
    counts = counts_of[columns]
    k = (uniforms.reshape(-1) * np.add.reduce(counts, axis=0)).astype(np.intp)
    columns <<= 3
    actions = choice_of[columns[0] + np.minimum(k, 7)]
    for byte in range(1, n_bytes):
        k -= counts[byte - 1]
        later = (k >= 0).nonzero()[0]  # the k-th is in this byte or a later one
        actions[later] = choice_of[columns[byte, later] + np.minimum(k[later], 7)] + 8 * byte
    return actions.reshape(shape)


def epsilon_greedy(
    greedy: npt.NDArray[np.integer[Any]],
    action_mask: npt.NDArray[np.bool_],
    uniforms: npt.NDArray[np.float64],
    epsilon: float,
) -> npt.NDArray[np.int64]:
    """Each agent's greedy action, or with probability ``epsilon`` a uniformly random available one.

    Args:
        greedy: [B, n] actions.
        action_mask: [B, n, A] bool, at least one True in each row.
        uniforms: [B, n] numbers in [0, 1), one per agent: it explores where its number is below ``epsilon``, and the
            number divided by ``epsilon`` is then uniform again and chooses the action.
        epsilon: 0..1.

    Returns:
        [B, n] int64 actions.
    """
    actions = greedy.astype(np.int64)
    explore = uniforms < epsilon
    if explore.any():
        actions[explore] = random_legal_actions(action_mask[explore], uniforms[explore] / epsilon)
    return actions


@functools.lru_cache(maxsize=1)
def _byte_tables() -> tuple[IntArray, IntArray]:
    """By byte of a mask: [256] how many bits are set; [256 * 8] at ``byte * 8 + k`` which is the k-th."""
    counts = np.zeros(256, np.intp)
    choices = np.zeros((256, 8), np.intp)
    for byte in range(256):
        bits = [i for i in range(8) if byte >> i & 1]
        counts[byte] = len(bits)
        choices[byte, : len(bits)] = bits
    return counts, choices.reshape(-1)


class RandomActor:
    """Plays at random in B games side by side, with one random stream for each: an actor of a
    :class:`~rllib_reborn.envs.rollout.Rollout`.

    Args:
        num_envs: ``B``.
        n_agents: ``n``.
        seed: Seed of the random streams.
        salt: Separates these streams from others of the same seed.
    """

    def __init__(self, num_envs: int, n_agents: int, seed: int, *, salt: int) -> None:
        self._n_agents = n_agents
        self._streams = RandomStreams(num_envs, seed, salt=salt)

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        """Random play remembers nothing of an episode; with a seed the streams begin again."""
        if seed is not None:
            self._streams.seed(seed, mask)

    def act(self, obs: TeamObs) -> IntArray:
        return random_legal_actions(obs.action_mask, self._streams.uniform(self._n_agents))
