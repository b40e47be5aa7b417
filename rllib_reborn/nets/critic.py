"""A joint action-value function of its own: agent networks that nobody acts by, and an unrestricted mixer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.joint_actions import chosen_values
from rllib_reborn.nets.mixers.feed_forward import FeedForwardMixer
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer


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

    def unit_layers(self, choice: LayerChoice = "released", *, prefix: str = "") -> list[UnitLayer]:
        """Hidden layers, all of net ``mixer``: with the main mixer this is what acting does not need.

        Args:
            choice: ``released``: those of the mixer. The official ReBorn code also marks the first layer of a central
                agent, but under the name of the agents' own (``A``), and has no learner that would say where it counts; here
                it is ``operable``, with every other layer of these agents that has weights of its own. ``full``: every
                layer.
            prefix: In front of the names.
        """
        layers = self.mixer.unit_layers(choice, prefix=f"{prefix}mixer.")
        if choice == "released":
            return layers
        return [*(layer for of_net in self.layers_by_net(choice, prefix=prefix) for layer in of_net), *layers]

    def layers_by_net(self, choice: LayerChoice = "released", *, prefix: str = "") -> list[list[UnitLayer]]:
        """Hidden layers of each network of the critic's agents, named as in :meth:`unit_layers`."""
        return [
            [dataclasses.replace(layer, net="mixer", name=f"{prefix}agents.{layer.name}") for layer in of_net]
            for of_net in self.agents.layers_by_net(choice)
        ]
