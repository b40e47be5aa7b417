"""QPLEX's duplex dueling mixer (Wang et al., ICLR 2021, section 3; docs/method.md 7.4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import Linear, linear
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import Mixer, chosen_values
from rllib_reborn.nets.mixers.state_encoder import encoder_layers

#: Added to what must be positive, as in the published code: weights of values, and of a head.
_POSITIVE = 1e-10


class QPLEXMixer(Mixer):
    """Values and advantages of the agents, mixed by weights that read the state and the joint action.

    ::

        q~_i    = w_i(s) q_i + b_i(s)                  w_i = |hyper_w_final(s)_i| + 1e-10,  b_i = V(s)_i
        adv_i   = q~_i - max over allowed actions of q~_i = w_i (q_i - max q_i)                       (<= 0)
        lambda_i = sum over heads k of (|key_k(s)| + 1e-10) * sigmoid(agents_k(s))_i * sigmoid(actions_k(s, u))_i   (>=
        0) Q_tot   = sum_i q~_i + sum_i (lambda_i - 1) adv_i  =  sum_i max q~_i + sum_i lambda_i adv_i

    (paper: equations 8 to 11.) Whatever the weights are, no joint action is worth more than that of the agents' own
    best actions, which is worth ``sum_i max q~_i`` (individual-global-max); with ``lambda`` instead of ``lambda - 1``
    that value is the same and the others are lower by ``-sum_i adv_i``.

    Args:
        n_agents: ``n``.
        n_actions: ``A``.
        state_dim: ``s >= 1``.
        hypernet_dim: Hidden width of ``hyper_w_final`` and ``V``.
        adv_hypernet_layers: Linear layers of the nets behind lambda, 1..3, with ReLU between them.
        adv_hypernet_dim: Their hidden width, where there are more than 1.
        n_head: Heads, ``k``.
        weighted_head: False: ``w = 1``, ``b = 0``, and there are no nets for them.
        is_minus_one: False: ``lambda_i`` in place of ``lambda_i - 1``.
        stop_gradient: No gradient through ``adv`` (the published code); False: through both of its values and ``w``.

    Attributes:
        hyper_w_final, V: The nets of w and b, by the published code's names; absent without ``weighted_head``.
        key_extractors, agents_extractors, action_extractors: The nets of lambda, one for each head.

    Raises:
        ValueError: ``state_dim`` is 0, or another number is out of range.
    """

    @classmethod
    def for_team(cls, n_agents: int, n_actions: int, state_dim: int, **settings: Any) -> Mixer:
        return cls(n_agents, n_actions, state_dim, **settings)

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        state_dim: int,
        *,
        hypernet_dim: int = 64,
        adv_hypernet_layers: int = 1,
        adv_hypernet_dim: int = 64,
        n_head: int = 4,
        weighted_head: bool = True,
        is_minus_one: bool = True,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        if state_dim < 1:
            raise ValueError(
                f"QPLEXMixer needs a global state; state_dim is {state_dim}. Use VDN for a task without one."
            )
        if adv_hypernet_layers not in (1, 2, 3):
            raise ValueError(f"adv_hypernet_layers is {adv_hypernet_layers!r}; expected 1, 2 or 3.")
        if n_head < 1:
            raise ValueError(f"n_head is {n_head}; expected a whole number >= 1.")
        self.n_agents = n_agents
        self.state_dim = state_dim
        self.n_head = n_head
        self.weighted_head = weighted_head
        self.is_minus_one = is_minus_one
        self.stop_gradient = stop_gradient
        if weighted_head:
            self.hyper_w_final = _net(state_dim, hypernet_dim, n_agents, layers=2)
            self.V = _net(state_dim, hypernet_dim, n_agents, layers=2)

        def heads(in_dim: int, out_dim: int) -> nn.ModuleList:
            return nn.ModuleList(_net(in_dim, adv_hypernet_dim, out_dim, adv_hypernet_layers) for _ in range(n_head))

        self.key_extractors = heads(state_dim, 1)
        self.agents_extractors = heads(state_dim, n_agents)
        self.action_extractors = heads(state_dim + n_agents * n_actions, n_agents)

    def of_actions(self, q: Tensor, actions: Tensor, action_mask: Tensor, state: Tensor) -> Tensor:
        """See :meth:`Mixer.of_actions`."""
        best = (q.detach() if self.stop_gradient else q).masked_fill(~action_mask, -torch.inf).amax(2)
        joint = state.new_zeros(q.shape).scatter_(2, actions.unsqueeze(2), 1.0).flatten(1)
        value: Tensor = self(chosen_values(q, actions), state, best, joint)
        return value

    def forward(self, q: Tensor, state: Tensor, best: Tensor, joint: Tensor) -> Tensor:  # type: ignore[override]
        """Q_tot [rows].

        Args:
            q: [rows, n] values of the chosen actions.
            state: [rows, s].
            best: [rows, n] each agent's best value of an allowed action, >= ``q``.
            joint: [rows, n * A], the chosen actions as one-hot vectors side by side.
        """
        w, b, weight = self._weights(state, joint)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.stop_gradient):
            # The difference before the product: exactly 0 for the best action, and b need not cancel.
            advantage = q - best if w is None else w * (q - best)
        if self.is_minus_one:
            weight = weight - 1
        value = q if w is None or b is None else torch.addcmul(b, w, q)
        return torch.addcmul(value, weight, advantage).sum(1)

    def _weights(self, state: Tensor, joint: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """w and b (None without a weighted head), and lambda; each [rows, n]."""
        of_head: list[list[nn.Sequential]] = [[self.hyper_w_final], [self.V]] if self.weighted_head else []
        of_lambda = (self.key_extractors, self.agents_extractors, self.action_extractors)
        groups = [*of_head, *([cast(nn.Sequential, net) for net in nets] for nets in of_lambda)]
        firsts = [[_weight_and_bias(cast(nn.Linear, net[0])) for net in group] for group in groups]
        # All nets start with a Linear of the same state: as one product the (wide) state is read once. Those of the
        # joint action, the last group, read it beside the state, which is a product more.
        of_actions = torch.cat([weight for weight, _ in firsts[-1]])
        of_state = [weight for group in firsts[:-1] for weight, _ in group]
        weights = torch.cat([*of_state, of_actions[:, : self.state_dim]])
        fused = linear(state, weights, torch.cat([bias for group in firsts for _, bias in group]))
        *by_state, by_action = fused.split([sum(len(bias) for _, bias in group) for group in firsts], dim=1)
        by_action = by_action + linear(joint, of_actions[:, self.state_dim :], None)
        *head, key, agents, actions = [
            _after_firsts(group, part) for group, part in zip(groups, (*by_state, by_action), strict=True)
        ]
        heads = (len(state), self.n_head, self.n_agents)
        gate = agents.sigmoid().view(heads) * actions.sigmoid().view(heads)
        weight = ((key.abs() + _POSITIVE).unsqueeze(2) * gate).sum(1)
        return (head[0].abs() + _POSITIVE, head[1], weight) if head else (None, None, weight)

    def hidden_layers(self) -> list[HiddenLayer]:
        """Those of the state's encoder, ``hyper_w_final`` and ``V``, and the nets behind lambda that have hidden layers."""
        layers = encoder_layers(self)
        if self.weighted_head:
            layers += [HiddenLayer(name, *self.get_submodule(name).children()) for name in ("hyper_w_final", "V")]
        for name in ("key_extractors", "agents_extractors", "action_extractors"):
            for head, net in enumerate(cast(Iterable[nn.Sequential], self.get_submodule(name))):
                for at in range(0, len(net) - 1, 2):
                    layers.append(HiddenLayer(f"{name}.{head}.{at}", net[at], net[at + 1], net[at + 2]))
        return layers


def _net(in_dim: int, hidden_dim: int, out_dim: int, layers: int) -> nn.Sequential:
    """Linear ``layers`` times, ReLU between them."""
    widths = [in_dim, *[hidden_dim] * (layers - 1), out_dim]
    modules: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        modules += [Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _weight_and_bias(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """What a first layer multiplies by and adds."""
    if isinstance(layer, InjectedLinear):
        weight, bias = layer.effective()
        return weight, cast(Tensor, bias)
    return layer.weight, layer.bias


def _after_firsts(nets: Sequence[nn.Sequential], x: Tensor) -> Tensor:
    """The rest of several nets of one depth, from what their first layers made, side by side; and so the results."""
    if len(nets[0]) == 1:
        return x
    results = []
    for net, part in zip(nets, x.split([cast(nn.Linear, net[0]).out_features for net in nets], dim=1), strict=True):
        for module in itertools.islice(net, 1, None):
            part = module(part)
        results.append(part)
    return torch.cat(results, dim=1) if len(results) > 1 else results[0]
