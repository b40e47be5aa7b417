"""What a net is asked to learn: new rewards of states and joint actions, or the returns of another task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.episode_replay import EpisodeBlock

Array = npt.NDArray[np.float64]

#: Hidden neurons of a random function.
_HIDDEN = 64
#: Rows that a random function is given at once.
_CHUNK = 8192
#: Separates the draws of a random reward from others of one seed.
_SALT = 0x9E


class RandomReward:
    """A new reward of transitions: a fixed random function of what the team sees and does, and of the state.

    ``r = (u + v) / sqrt(2)`` with ``u = sum_i g(o_i, a_i)``, the same ``g`` for all agents i, and ``v = h(s)``. ``g`` and
    ``h`` are two-layer nets of 64 tanh neurons with normal weights, inputs centred and scaled to length about 1; ``g`` has
    an output for each action, with mean 0 whatever the action, so that an action alone tells nothing. ``u`` and ``v`` have
    mean 0 and deviation 1 on the reference episodes; one that is constant there is left out, and the other one stands alone.

    Args:
        reference: Episodes by which inputs and outputs are scaled; the training episodes.
        seed: Of both functions, >= 0.

    Raises:
        ValueError: Nothing in ``reference`` varies, so that there is nothing to learn.
    """

    def __init__(self, reference: EpisodeBlock, seed: int) -> None:
        self._parts: list[tuple[_Inputs, _RandomFunction, float, float]] = []
        for number, inputs in enumerate((_of_agents, _of_state)):
            known, actions = inputs(reference)
            rng = np.random.default_rng([seed, _SALT, number])
            function = _RandomFunction(known, 1 if actions is None else actions.n_actions, rng)
            found = _summed(function, known, actions)
            if found.std() > 1e-9:
                self._parts.append((inputs, function, float(found.mean()), float(found.std())))
        if not self._parts:
            raise ValueError(
                "the episodes are all alike, so that every reward of states and actions is a constant; give other episodes."
            )

    def __call__(self, block: EpisodeBlock) -> Array:
        """[sum(L)] float64, one episode after the other."""
        total = np.zeros(block.env_steps())
        for inputs, function, mean, spread in self._parts:
            total += (_summed(function, *inputs(block)) - mean) / spread
        return total / np.sqrt(len(self._parts))


def discounted_returns(block: EpisodeBlock, gamma: float) -> Array:
    """``G_t = sum_k gamma^k r_{t+k}`` up to the end of the episode, [sum(L)]; nothing is added behind a time limit.

    Args:
        block: Episodes with their own rewards.
        gamma: Discount, 0..1.
    """
    found = np.zeros(block.env_steps())
    end = 0
    for length in block.lengths.tolist():
        following = 0.0
        for t in range(end + length - 1, end - 1, -1):
            following = float(block.fields["reward"][t]) + gamma * following
            found[t] = following
        end += length
    return found


class _Actions:
    """Actions [rows, n] taken at observations, out of ``n_actions``."""

    def __init__(self, taken: npt.NDArray[np.int64], n_actions: int) -> None:
        self.taken, self.n_actions = taken, n_actions


def _of_agents(block: EpisodeBlock) -> tuple[npt.NDArray[Any], _Actions | None]:
    """Observations [steps, n, d] before each transition, and the actions."""
    taken = block.fields["actions"].astype(np.int64)
    return block.fields["obs"][rows_before(block)], _Actions(taken, block.fields["action_mask"].shape[2])


def _of_state(block: EpisodeBlock) -> tuple[npt.NDArray[Any], _Actions | None]:
    """States [steps, 1, s] before each transition."""
    return block.fields["state"][rows_before(block)][:, np.newaxis], None


def rows_before(block: EpisodeBlock) -> npt.NDArray[np.bool_]:
    """[sum(L + 1)] bool: observations that a transition begins with, i.e. all but the final ones."""
    before = np.ones(int((block.lengths + 1).sum()), np.bool_)
    before[np.cumsum(block.lengths + 1) - 1] = False
    return before


_Inputs = Callable[[EpisodeBlock], tuple[npt.NDArray[Any], _Actions | None]]


class _RandomFunction:
    """``x [rows, d] -> [rows, out]``: a two-layer net that is drawn once."""

    def __init__(self, known: npt.NDArray[Any], out: int, rng: np.random.Generator) -> None:
        rows = known.reshape(-1, known.shape[-1])
        wide = rows[:: max(1, len(rows) // _CHUNK)].astype(np.float64)
        self._mean = wide.mean(axis=0)
        length = float(np.sqrt(((wide - self._mean) ** 2).sum(axis=1).mean()))
        self._scale = 1.0 / length if length > 0 else 0.0
        self._first = rng.standard_normal((known.shape[-1], _HIDDEN))
        self._bias = rng.standard_normal(_HIDDEN)
        self._second = rng.standard_normal((_HIDDEN, out))
        self._offset = self._hidden(wide).mean(axis=0) @ self._second

    def __call__(self, rows: npt.NDArray[Any]) -> Array:
        return np.asarray(self._hidden(rows) @ self._second - self._offset)

    def _hidden(self, rows: npt.NDArray[Any]) -> Array:
        return np.asarray(np.tanh((rows.astype(np.float64) - self._mean) * self._scale @ self._first + self._bias))


def _summed(function: _RandomFunction, known: npt.NDArray[Any], actions: _Actions | None) -> Array:
    """[steps]: the function's output, for the action taken where there are actions, summed over agents."""
    found = []
    for first in range(0, len(known), _CHUNK):
        part = known[first : first + _CHUNK]
        out = function(part.reshape(-1, part.shape[-1])).reshape(*part.shape[:2], -1)
        if actions is not None:
            out = np.take_along_axis(out, actions.taken[first : first + _CHUNK, :, np.newaxis], axis=2)
        found.append(out[..., 0].sum(axis=1))
    return np.concatenate(found)
