"""Whole-sequence work without padding: the packed layout of a batch of episodes, and a GRU over it.

Packed layout: episodes are sorted by length, longest first, and their rows laid out time-major; time step ``t`` holds one
row for each episode that is still running, which is a prefix of the sorted episodes. So nothing is computed for padding,
every matrix product covers a whole sequence, and only the hidden recurrence is a loop.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rllib_reborn.nets.cpu_gru import cpu_gru


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Where the steps of E episodes of lengths ``L_e`` (env steps) lie. An episode has ``L_e + 1`` observations (the last
    one is final) and ``L_e`` transitions.

    Attributes:
        order: [E] sorted position -> episode.
        obs_sizes: Running episodes at each time step, for observations; sums to ``sum(L + 1)``.
        obs_rows: [sum(L+1)] where each row is in arrays [sum(L+1), ...] that hold one episode after the other.
        step_rows: [sum(L)] the same for transitions, in arrays [sum(L), ...].
        obs_episodes: [sum(L+1)] the episode of each observation.
        dense_rows: [sum(L)] flat index ``episode * T + t`` of each transition into arrays [E, T, ...].
        now, next: [sum(L)] packed observation row before and after each transition; slices where all lengths are equal,
            which take views instead of copies.
    """

    order: Tensor
    obs_sizes: tuple[int, ...]
    obs_rows: Tensor
    step_rows: Tensor
    obs_episodes: Tensor
    dense_rows: Tensor
    now: Tensor | slice
    next: Tensor | slice

    @staticmethod
    def of(lengths: Tensor, horizon: int, device: torch.device) -> PackedLayout:
        """Layout for ``lengths`` [E] (1..horizon each; on the CPU, since sizes are needed as Python numbers).

        Raises:
            ValueError: No episode, or a length outside 1..horizon.
        """
        if len(lengths) == 0:
            raise ValueError("cannot lay out a batch of no episodes.")
        low, high = int(lengths.min()), int(lengths.max())
        if low < 1 or high > horizon:
            raise ValueError(f"episode lengths reach from {low} to {high}; expected 1..{horizon}.")
        return _layout(tuple(lengths.tolist()), horizon, device)

    @staticmethod
    @functools.cache  # a captured update reads its tensors where they are
    def alike(episodes: int, length: int, device: torch.device) -> PackedLayout:
        """Layout of episodes that all have ``length`` env steps; the same tensors for all who ask."""
        return _layout.__wrapped__((length,) * episodes, length, device)


# Where all episodes are of one length, every update asks for the same layout.
@functools.lru_cache(maxsize=1)
def _layout(lengths: tuple[int, ...], horizon: int, device: torch.device) -> PackedLayout:
    steps = torch.tensor(lengths)
    step_start = steps.cumsum(0) - steps
    obs_start = step_start + torch.arange(len(lengths))
    sorted_lengths, order = torch.sort(steps, descending=True, stable=True)
    time = torch.arange(max(lengths) + 1).unsqueeze(1)
    # [T + 1, E] in sorted order: does the episode have an observation (a transition) at time t?
    has_obs = time <= sorted_lengths
    has_step = time[:-1] < sorted_lengths
    obs_sizes = has_obs.sum(1)
    first = torch.cat([obs_sizes.new_zeros(1), obs_sizes.cumsum(0)[:-1]])
    obs_t, obs_e = has_obs.nonzero(as_tuple=True)
    step_t, step_e = has_step.nonzero(as_tuple=True)
    now: Tensor | slice = (first[step_t] + step_e).to(device)
    following: Tensor | slice = (first[step_t + 1] + step_e).to(device)
    if min(lengths) == max(lengths):
        now, following = slice(0, len(step_t)), slice(len(lengths), None)
    return PackedLayout(
        order=order.to(device),
        obs_sizes=tuple(obs_sizes.tolist()),
        obs_rows=(obs_start[order[obs_e]] + obs_t).to(device),
        step_rows=(step_start[order[step_e]] + step_t).to(device),
        obs_episodes=order[obs_e].to(device),
        dense_rows=(order[step_e] * horizon + step_t).to(device),
        now=now,
        next=following,
    )


def rows_of(x: Tensor, rows: Tensor | slice) -> Tensor:
    """``x[rows]``, in half the time for a tensor of numbers."""
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


def gru_sequence(gru: nn.GRU, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Hidden states of a one-layer GRU over packed sequences, from a zero initial state.

    Args:
        gru: ``nn.GRU(width, hidden)``, one layer, one direction, with biases.
        x: [sum(batch_sizes), width], packed time-major.
        batch_sizes: Rows of each time step, never increasing.

    Returns:
        [sum(batch_sizes), hidden].

    On CUDA this is cuDNN's GRU: where all sequences are of one length the plain call, which may run as one kernel that keeps
    its weights (cuDNN never does that for packed sequences, even of one length), else the packed one. On the CPU it is
    :func:`~rllib_reborn.nets.cpu_gru.cpu_gru`.
    """
    if x.device.type == "cpu":
        w_ih, w_hh, b_ih, b_hh = gru.parameters()
        return cpu_gru(x, w_ih, w_hh, b_ih, b_hh, tuple(batch_sizes))
    return _torch_gru(gru, x, batch_sizes)


def _torch_gru(gru: nn.GRU, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    if batch_sizes[0] == batch_sizes[-1]:
        dense: Tensor = gru(x.view(len(batch_sizes), batch_sizes[0], -1))[0]
        return dense.flatten(0, 1)
    packed, _ = gru(PackedSequence(x, torch.tensor(batch_sizes, dtype=torch.int64)))
    of_rows: Tensor = packed.data
    return of_rows
