"""VDN's mixer: the sum (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from torch import Tensor

from rllib_reborn.nets.mixers.mixer import Mixer
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer


class VDNMixer(Mixer):
    """Q_tot = sum_i q_i. No parameters, so nothing for an intervention on the mixer to treat."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] -> Q_tot [rows]; ``state`` is not read."""
        return q.sum(1)

    def unit_layers(self, choice: LayerChoice = "released") -> list[UnitLayer]:
        """None, whatever the choice: there is nothing to score or to operate on."""
        return []
