"""WQMIX's centralised part: QMIX's mixing network, and beside it an unrestricted critic (Rashid et al., NeurIPS
2020)."""

from __future__ import annotations

from rllib_reborn.nets.critic import CentralCritic
from rllib_reborn.nets.mixers.qmix import QMixer
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer


class WQMixer(QMixer):
    """Q_tot is :class:`QMixer`'s, monotonic in every agent's value; ``central`` is Q-hat*, which gives targets and
    weights and has no say in what the agents do. Both are one module, so that targets, checkpoints, runners without a
    mixer and interventions with scope ``mixer`` treat the centralised networks together.

    Args:
        n_agents, state_dim, embed_dim, hypernet_layers, hypernet_dim: As in :class:`QMixer`.
        central: Q-hat*.
    """

    def __init__(
        self,
        n_agents: int,
        state_dim: int,
        central: CentralCritic,
        *,
        embed_dim: int = 32,
        hypernet_layers: int = 2,
        hypernet_dim: int = 64,
    ) -> None:
        super().__init__(
            n_agents, state_dim, embed_dim=embed_dim, hypernet_layers=hypernet_layers, hypernet_dim=hypernet_dim
        )
        self.central = central

    @property
    def critics(self) -> dict[str, CentralCritic]:
        """The unrestricted joint functions, by the name they are registered under."""
        return {"central": self.central}

    def unit_layers(self, choice: LayerChoice = "released") -> list[UnitLayer]:
        """Those of :meth:`QMixer.unit_layers`, and of each critic, names beginning with the critic's."""
        layers = super().unit_layers(choice)
        for name, critic in self.critics.items():
            layers += critic.unit_layers(choice, prefix=f"{name}.")
        return layers
