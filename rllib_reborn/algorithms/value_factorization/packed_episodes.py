"""A learner's batch without its padding: what the networks of a team read, packed (:mod:`rllib_reborn.nets.sequence`)."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from rllib_reborn.nets.sequence import PackedLayout


@dataclasses.dataclass(frozen=True)
class PackedEpisodes:
    """E episodes of at most T env steps: ``rows`` observations in all and ``steps`` transitions.

    Attributes:
        layout: Where rows and steps lie.
        taken: [steps, n] int64 actions.
        x: [rows, n, input_dim] inputs of the agents' networks.
        state: [rows, s] float32.
        action_mask: [rows, n, A] bool.
        shape: (E, T).
    """

    layout: PackedLayout
    taken: Tensor
    x: Tensor
    state: Tensor
    action_mask: Tensor
    shape: tuple[int, int]

    def now(self, rows: Tensor) -> Tensor:
        """[rows, ...] -> [steps, ...]: at the observation before each transition."""
        return rows[self.layout.now]

    def next(self, rows: Tensor) -> Tensor:
        """[rows, ...] -> [steps, ...]: at the observation after each transition."""
        return rows[self.layout.next]

    def dense(self, steps: Tensor) -> Tensor:
        """[steps, ...] -> [E, T, ...], zeros behind the end of an episode."""
        flat = steps.new_zeros(self.shape[0] * self.shape[1], *steps.shape[1:])
        return flat.index_put((self.layout.step_rows,), steps).view(*self.shape, *steps.shape[1:])
