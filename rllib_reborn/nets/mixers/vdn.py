"""VDN's mixer: the sum (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import Mixer


class VDNMixer(Mixer):
    """Q_tot = sum_i q_i. No parameters, so nothing for an intervention on the mixer to treat."""

    needs_state = False

    @classmethod
    def for_team(cls, n_agents: int, n_actions: int, state_dim: int, **settings: Any) -> Mixer:
        return cls()

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] -> Q_tot [rows]; ``state`` is not read."""
        return q.sum(1)

    def hidden_layers(self) -> list[HiddenLayer]:
        """None."""
        return []
