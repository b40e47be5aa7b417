"""VDN's mixer: the sum (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from torch import Tensor, nn


class VDNMixer(nn.Module):
    """Q_tot = sum_i q_i. No parameters, so nothing for an intervention on the mixer to treat."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] -> Q_tot [rows]; ``state`` is not read."""
        return q.sum(1)
