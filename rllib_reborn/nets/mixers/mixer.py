"""What every mixer is."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from rllib_reborn.nets.joint_actions import chosen_values
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer


class Mixer(nn.Module, abc.ABC):
    """Values of the agents' chosen actions and the state to the team's value."""

    @abc.abstractmethod
    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] and ``state`` [rows, s] -> Q_tot [rows]."""

    def of_actions(self, q: Tensor, actions: Tensor, action_mask: Tensor, state: Tensor) -> Tensor:
        """Q_tot of joint actions, for mixers that look at more than the values of the chosen actions too.

        Args:
            q: [rows, n, A] values of all actions.
            actions: [rows, n] int64, allowed ones.
            action_mask: [rows, n, A] bool.
            state: [rows, s].

        Returns:
            [rows].
        """
        value: Tensor = self(chosen_values(q, actions), state)
        return value

    @abc.abstractmethod
    def unit_layers(self, choice: LayerChoice = "released") -> list[UnitLayer]:
        """The mixer's hidden layers as plasticity sees them.

        Args:
            choice: ``released``: those that the official ReBorn code marks (method reference 2.1); ``operable``: every one
                whose units have weights of their own; ``full``: every one.
        """
