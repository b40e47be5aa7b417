"""WQMIX's centralised part: QMIX's mixing network, and beside it an unrestricted critic (Rashid et al., NeurIPS
2020)."""

from __future__ import annotations

from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.critic import CentralCritic, CriticNetworks
from rllib_reborn.nets.mixers.qmix import QMixer


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

    def hidden_layers(self) -> list[HiddenLayer]:
        """Those of :meth:`QMixer.hidden_layers`, and of each critic, names beginning with the critic's."""
        return [*super().hidden_layers(), *CriticNetworks(self.critics).hidden_layers()]
