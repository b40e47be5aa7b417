"""Agents that predict the distribution of the return: implicit quantile networks (Dabney et al.: IQN, ICML 2018).

A quantile fraction tau in 0..1 goes in beside the observation, and out comes that quantile of the return of every action.
The head is linear, so that a sum over agents or a mean over fractions can be taken before it and not behind it: values of
all agents, actions and fractions, ``rows * n * A * N`` numbers, are never made.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.dense import DenseStack, Linear
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import chosen_values

_SHARED_COLUMNS = "the head reads the products of the memory's neurons with those of the quantile embedding"


class QuantileAgentNet(AgentNet):
    """``Q(tau) = head(h * phi(tau))`` with ``phi(tau) = ReLU(Linear(cos(pi i tau)))``, i = 0..``cosines`` - 1 (IQN, equation
    4); h is what :class:`AgentNet`'s head reads.

    Acting compares means over the fixed fractions ``(j + 0.5) / acting_quantiles``, the midpoints of equal parts of 0..1,
    where IQN draws as many at random at every step: the same expectation with less noise, the same whatever else is in the
    batch, and no random stream to keep.

    Args:
        input_dim, n_actions, hidden_dim, fc_layers, recurrent: As in :class:`AgentNet`.
        acting_quantiles: Fractions that acting takes the mean over, >= 1 (DFAC and IQN: 32).
        cosines: Cosine features of a fraction, >= 1 (IQN: 64).

    Raises:
        ValueError: One of the two is no whole number >= 1.
    """

    def __init__(
        self,
        input_dim: int,
        n_actions: int,
        *,
        hidden_dim: int = 64,
        fc_layers: int = 1,
        recurrent: bool = True,
        acting_quantiles: int = 32,
        cosines: int = 64,
    ) -> None:
        super().__init__(input_dim, n_actions, hidden_dim=hidden_dim, fc_layers=fc_layers, recurrent=recurrent)
        for name, value in (("acting_quantiles", acting_quantiles), ("cosines", cosines)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1.")
        self.acting_quantiles = acting_quantiles
        self.cosines = cosines
        #: Passes on the memory's output, so that it can be hooked: training does not call the head as a module.
        self.features = nn.Identity()
        head = self.head
        del self.head
        self.phi = DenseStack(Linear(cosines, hidden_dim), nn.ReLU())
        self.head = head  # registered last: methods that treat "the last layer" go by that order

    @property
    def settings(self) -> dict[str, Any]:
        return {"acting_quantiles": self.acting_quantiles, "cosines": self.cosines}

    def step_features(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        features, hidden = super().step_features(x, hidden)
        return self.features(features), hidden

    def unroll_features(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        features: Tensor = self.features(super().unroll_features(x, batch_sizes))
        return features

    def values(self, features: Tensor) -> Tensor:
        """Means over the acting fractions: ``features`` [rows, hidden_dim] -> [rows, A]."""
        phi = self.phi(midpoint_cosines(self.acting_quantiles, self.cosines, features.device, features.dtype))
        # mean_j head(h * phi_j) = head(h * mean_j phi_j)
        values: Tensor = self.head(features * phi.mean(0))
        return values

    def embedding(self, cosines: Tensor) -> Tensor:
        """:func:`cosine_features` [rows, N, cosines] -> phi [rows, N, hidden_dim]."""
        phi: Tensor = self.phi(cosines.flatten(0, 1))
        return phi.view(*cosines.shape[:2], -1)

    def quantiles(self, features: Tensor, actions: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Of the actions chosen by m agents: the mean of each over the fractions, and their sum at each fraction.

        Args:
            features: [rows, m, hidden_dim].
            actions: [rows, m] int64.
            phi: [rows, N, hidden_dim], from :meth:`embedding`; the same fractions for all agents of a row.

        Returns:
            Means [rows, m] and sums [rows, N].
        """
        weight, bias = _applied(self.head)
        # q(tau) = (h * w_a) . phi(tau) + b_a: linear in phi, and in (h * w_a), which so can be added up over the agents.
        of_action = features * _rows_of(weight, actions)
        of_bias = chosen_values(bias.expand(*actions.shape, -1), actions)
        means = (of_action @ phi.mean(1).unsqueeze(2)).squeeze(2) + of_bias
        sums = (phi @ of_action.sum(1).unsqueeze(2)).squeeze(2) + of_bias.sum(1, keepdim=True)
        return means, sums

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """As :meth:`AgentNet.hidden_layers`; the layer in front of the head (GRU or Linear-ReLU) and ``phi`` can be scored
        only, because their products share the head's columns."""
        *encoder, memory = super().hidden_layers(prefix=prefix)
        if self.recurrent:
            memory = dataclasses.replace(memory, read_at=self.features)
        else:
            memory = dataclasses.replace(memory, score_only=_SHARED_COLUMNS)
        # Its columns are the memory's: no reader of its own.
        phi = HiddenLayer(f"{prefix}phi.0", None, self.phi[1], None, width=self.hidden_dim, score_only=_SHARED_COLUMNS)
        return [*encoder, memory, phi]


def cosine_features(fractions: Tensor, count: int) -> Tensor:
    """``cos(pi i tau)`` for i = 0..count - 1: ``fractions`` [...] -> [..., count]."""
    frequencies = math.pi * torch.arange(count, device=fractions.device, dtype=fractions.dtype)
    return (fractions.unsqueeze(-1) * frequencies).cos_()


def midpoints(count: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """[count] fractions ``(j + 0.5) / count``."""
    return (torch.arange(count, device=device, dtype=dtype) + 0.5) / count


@functools.cache  # a captured update reads it where it is
def midpoint_cosines(count: int, cosines: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[count, cosines]: :func:`cosine_features` of :func:`midpoints`; one tensor for all who ask, not to be written to."""
    with torch.inference_mode(False), torch.no_grad():  # it outlives the caller's mode
        return cosine_features(midpoints(count, device, dtype), cosines)


def team_quantiles(team: AgentTeam, features: Tensor, actions: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
    """:meth:`QuantileAgentNet.quantiles` of a whole team, each agent by its own network.

    Args:
        team: Of :class:`QuantileAgentNet`.
        features: [rows, n, hidden_dim].
        actions: [rows, n] int64.
        fractions: [rows, N], in 0..1.

    Returns:
        Means over the fractions, of each agent, [rows, n]; sums over the agents, at each fraction, [rows, N].
    """
    nets = [cast(QuantileAgentNet, net) for net in team.nets]
    cosines = cosine_features(fractions, nets[0].cosines)
    if len(nets) == 1:
        return nets[0].quantiles(features, actions, nets[0].embedding(cosines))
    parts = [
        net.quantiles(features[:, agents], actions[:, agents], net.embedding(cosines))
        for net, agents in zip(nets, team.places(features.device), strict=True)
    ]
    means = torch.cat([part for part, _ in parts], dim=1).index_select(1, team.order(features.device))
    return means, torch.stack([part for _, part in parts]).sum(0)


def _applied(head: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [A, hidden_dim] and bias [A] that the head multiplies by."""
    if isinstance(head, InjectedLinear):
        weight, bias = head.effective()
        return weight, cast(Tensor, bias)
    head = cast(nn.Linear, head)
    return head.weight, head.bias


def _rows_of(weight: Tensor, actions: Tensor) -> Tensor:
    """``weight`` [A, h] at ``actions`` [...] -> [..., h]."""
    if weight.device.type == "cpu":
        return nn.functional.embedding(actions, weight)
    # An embedding's gradient sorts the actions and may wait for the host; actions are few.
    return _by_product(weight, actions)


def _by_product(weight: Tensor, actions: Tensor) -> Tensor:
    every_action = torch.arange(len(weight), device=actions.device)
    return (actions.unsqueeze(-1) == every_action).to(weight.dtype) @ weight
