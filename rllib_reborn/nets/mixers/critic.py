"""A joint action-value function of its own: agent networks that do not choose actions, and an unrestricted mixer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.feed_forward import FeedForwardMixer
from rllib_reborn.nets.mixers.mixer import chosen_values


class CentralCritic(nn.Module):
    """``Q(s, u) = mixer(q_1(u_1), ..., q_n(u_n), s)`` with agent networks of its own, used in training only: Q-hat* of
    WQMIX (Rashid et al., NeurIPS 2020), Q* and, negated, the residual of ResQ (Shen et al., NeurIPS 2022).

    Args:
        agents: Networks that see what the acting agents see; one value per action, as in the official codes
            (``central_action_embed: 1``).
        mixer: What makes one value of theirs.
    """

    def __init__(self, agents: AgentTeam, mixer: FeedForwardMixer) -> None:
        super().__init__()
        self.agents = agents
        self.mixer = mixer

    def unroll(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """As :meth:`AgentTeam.unroll`: ``x`` [rows, n, input_dim], packed -> values [rows, n, A]."""
        return self.agents.unroll(x, batch_sizes)

    def of_actions(self, q: Tensor, actions: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n, A] of :meth:`unroll`, ``actions`` [rows, n] int64, ``state`` [rows, s] -> [rows]."""
        value: Tensor = self.mixer(chosen_values(q, actions), state)
        return value

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """Every hidden layer, those of the agents first.

        Args:
            prefix: In front of the names.
        """
        of_agents = [layer for of_net in self.hidden_layers_by_net(prefix=prefix) for layer in of_net]
        return [*of_agents, *self.mixer.hidden_layers(prefix=f"{prefix}mixer.")]

    def hidden_layers_by_net(self, *, prefix: str = "") -> list[list[HiddenLayer]]:
        """Hidden layers of each network of the critic's agents, named as in :meth:`hidden_layers`."""
        return self.agents.hidden_layers_by_net(prefix=f"{prefix}agents.")


class CriticNetworks(nn.ModuleDict):
    """The critics that live inside a mixer as a network by themselves, called as the mixer calls them: a parameter has the
    same path here and there. A view: it is registered nowhere, and holds the mixer's own modules.

    Args:
        critics: The critics by the names under which the mixer has them.
    """

    def __init__(self, critics: Mapping[str, CentralCritic]) -> None:
        super().__init__(dict(critics))

    def hidden_layers(self) -> list[HiddenLayer]:
        """Every hidden layer of each critic, names beginning with the critic's."""
        return [
            layer
            for name, critic in self.items()
            for layer in cast(CentralCritic, critic).hidden_layers(prefix=f"{name}.")
        ]
