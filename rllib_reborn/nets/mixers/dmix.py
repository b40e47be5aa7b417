"""DMIX's mixer: QMIX for the mean of the return, a sum for its shape (Sun et al.: DFAC, ICML 2021)."""

from __future__ import annotations

from torch import Tensor

from rllib_reborn.nets.mixers.qmix import QMixer


class DMixer(QMixer):
    """``Z_tot(tau) = sum_i Z_i(tau) - sum_i Q_i + QMIX(Q_1, ..., Q_n)`` with ``Q_i`` the mean of ``Z_i`` (DFAC's mean-shape
    decomposition). The shape has mean 0, so the mean of ``Z_tot`` is QMIX's value, and what is said about greedy actions
    and monotonicity there holds here.

    Called with means it is :class:`QMixer`; arguments and layers as there.
    """

    def quantiles(self, means: Tensor, sums: Tensor, state: Tensor) -> Tensor:
        """Quantiles of the team's return.

        Args:
            means: [rows, n], of each agent's quantiles, over the fractions.
            sums: [rows, N], over the agents, of their quantiles at each fraction.
            state: [rows, s].

        Returns:
            [rows, N].
        """
        shift = self(means, state) - means.sum(1)
        return sums + shift.unsqueeze(1)
