"""Agents that compare actions by the conditional value at risk of their returns (RMIX, Qiu et al., NeurIPS 2021).

For every action the network gives N atoms, equally probable values of the return; what acting compares is their CVaR
(:mod:`rllib_reborn.nets.cvar`) at a risk level that is fixed, or that a predictor chooses at every step.

Atoms of all actions are ``rows * A * N`` numbers. They are made only where acting compares actions, a block of rows at
a time and without a gradient; what is learnt from needs those of one action a row (:meth:`RiskAgentNet.chosen`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_reborn.nets.agents import GRU_SCORE_ONLY, AgentNet, AgentTeam
from rllib_reborn.nets.cvar import ascending, cached_weights, cvar_at
from rllib_reborn.nets.dense import DenseStack, Linear, linear
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.sequence import gru_sequence

#: Rows whose atoms of all actions are made at a time on the CPU: they stay in a core's cache.
_BLOCK_ROWS = 512


class Chosen(NamedTuple):
    """An agent's outputs for one action of each row.

    Attributes:
        value: [rows] CVaR, with a gradient.
        atoms: [rows, N] in the network's order, with a gradient.
        level: [rows] risk level in (0, 1], without.
    """

    value: Tensor
    atoms: Tensor
    level: Tensor


class RiskLevelPredictor(nn.Module):
    """Which of K risk levels to act by: ``softmax_k(<f(Z), g(history)_k> / sqrt(e))`` (RMIX's "dynamic risk level
    predictor").

    ``f`` is linear in the atoms of all actions, ``g`` linear in the state of a GRU over the inputs *before* this step
    (zeros at the first), so that the present distribution is held against the past. Gradients do not go from here into
    the atoms. The official code instead puts the GRU's state through the agent's own head, makes ``e`` the number of
    agents, and trains none of it (docs/method.md D16).

    Args:
        input_dim: Width of an agent's input.
        atoms_dim: ``A * N``.
        levels: K.
        hidden_dim: Width of encoder and GRU.
        embedding_dim: ``e``.
    """

    def __init__(self, input_dim: int, atoms_dim: int, *, levels: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.levels = levels
        self.embedding_dim = embedding_dim
        # A Sequential: of Linears directly in a module, methods that look for its last layer expect only one.
        self.current = nn.Sequential(Linear(atoms_dim, embedding_dim))
        self.encoder = DenseStack(Linear(input_dim, hidden_dim), nn.ReLU())
        self.memory = nn.GRU(hidden_dim, hidden_dim)
        #: Passes on the memory's output, so that it can be hooked.
        self.remembered = nn.Identity()
        self.history = Linear(hidden_dim, levels * embedding_dim)

    def step(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``x`` [rows, input_dim], ``hidden`` [rows, hidden_dim] -> hidden of the next step."""
        after: Tensor = self.remembered(torch.gru_cell(self.encoder(x), hidden, *self.memory.parameters()))
        return after

    def unroll(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """State in front of each step, [sum(batch_sizes), hidden_dim], of packed ``x`` [sum(batch_sizes),
        input_dim]."""
        return one_step_later(self.remembered(gru_sequence(self.memory, self.encoder(x), batch_sizes)), batch_sizes)

    def logits(self, features: Tensor, history: Tensor, head: tuple[Tensor, Tensor]) -> Tensor:
        """[rows, K] from what the head reads, [rows, hidden_dim], the state in front of the step, and the head's weight
        and bias."""
        weight, bias = (part.detach() for part in head)
        of_atoms, of_bias = applied(self.current[0])
        # The atoms are linear in the features: their embedding comes without making them.
        current = linear(features.detach(), of_atoms @ weight, of_bias + of_atoms @ bias)
        past: Tensor = self.history(history).view(-1, self.levels, self.embedding_dim)
        return (past * current.unsqueeze(1)).sum(2) / math.sqrt(self.embedding_dim)


class RiskAgentNet(AgentNet):
    """:class:`AgentNet` whose head gives N atoms for each action, and whose values are their CVaR.

    With ``risk="dynamic"`` the level of a row is the likeliest one of the predictor. The choice has no gradient, so a
    straight-through estimator takes its place (Bengio et al. 2013, arXiv:1308.3432; with a softmax, as in Jang et al.,
    ICLR 2017, section 2.2, without their noise): forward the CVaR of the level chosen; backward, for the predictor
    alone, the gradient of ``sum_k p_k stopgrad(CVaR_k)``. The choice of estimator is ours: the official code
    does not train its predictor (docs/method.md D16).

    Args:
        input_dim, n_actions, hidden_dim, fc_layers, recurrent: As in :class:`AgentNet`.
        atoms: N >= 1.
        risk: The level of all rows, in (0, 1]; or ``dynamic``, which needs ``recurrent``.
        levels: K >= 1: the dynamic levels are ``1/K, 2/K, ..., 1``.
        embedding_dim: Width that the predictor compares embeddings in, >= 1.
        compat: ``official_code``: CVaR as the official code computes it (:func:`~rllib_reborn.nets.cvar.tail_weights`),
            and the predictor stays as it was drawn.

    Raises:
        ValueError: A value outside its range, or ``dynamic`` without ``recurrent``.
    """

    def __init__(
        self,
        input_dim: int,
        n_actions: int,
        *,
        hidden_dim: int = 64,
        fc_layers: int = 1,
        recurrent: bool = True,
        atoms: int = 100,
        risk: float | Literal["dynamic"] = "dynamic",
        levels: int = 10,
        embedding_dim: int = 16,
        compat: Literal["official_code"] | None = None,
    ) -> None:
        for name, value in (("atoms", atoms), ("levels", levels), ("embedding_dim", embedding_dim)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1.")
        if compat not in (None, "official_code"):
            raise ValueError(f"compat is {compat!r}; expected 'official_code' or None.")
        super().__init__(input_dim, n_actions * atoms, hidden_dim=hidden_dim, fc_layers=fc_layers, recurrent=recurrent)
        self.n_actions = n_actions
        self.atoms = atoms
        self.risk = risk
        self.compat = compat
        self.level_values: tuple[float, ...]
        self.predictor: RiskLevelPredictor | None = None
        if risk == "dynamic":
            if not recurrent:
                raise ValueError(
                    "risk is 'dynamic', but the agents are feed-forward and the level is chosen by what they remember; "
                    "use recurrent agents, or a level in (0, 1]."
                )
            self.level_values = tuple((k + 1) / levels for k in range(levels))
            self.predictor = RiskLevelPredictor(
                input_dim, n_actions * atoms, levels=levels, hidden_dim=hidden_dim, embedding_dim=embedding_dim
            )
        elif isinstance(risk, int | float) and not isinstance(risk, bool) and 0 < risk <= 1:
            self.level_values = (float(risk),)
        else:
            raise ValueError(f"risk is {risk!r}; expected 'dynamic' or a number in (0, 1].")
        self._settings = {
            "atoms": atoms,
            "risk": risk,
            "levels": levels,
            "embedding_dim": embedding_dim,
            "compat": compat,
        }
        #: Passes on what the head reads, so that it can be hooked: training does not call the head as a module.
        self.features = nn.Identity()
        # Registered behind the predictor: methods that treat "the last layer" go by the order.
        for name in ("encoder", "memory", "head"):
            module = getattr(self, name)
            delattr(self, name)
            setattr(self, name, module)
        weights = cached_weights(
            self.level_values, atoms, compat == "official_code", torch.device("cpu"), torch.float64
        )
        self._is_mean = len(weights) == 1 and bool((weights == weights[:, :1]).all())

    @property
    def settings(self) -> dict[str, Any]:
        """What the constructor takes beyond the sizes, as plain JSON values."""
        return dict(self._settings)

    @property
    def state_dim(self) -> int:
        """Hidden state of the agent and, behind it, of the predictor."""
        return super().state_dim + (self.hidden_dim if self.predictor is not None else 0)

    def step_features(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AgentNet.step_features`; behind the features stands the predictor's state in front of this step."""
        if self.predictor is None:
            features, hidden = super().step_features(x, hidden)
            return self.features(features), hidden
        own, past = hidden.split(self.hidden_dim, dim=1)
        features, own = super().step_features(x, own)
        return torch.cat([self.features(features), past], dim=1), torch.cat([own, self.predictor.step(x, past)], dim=1)

    def unroll_features(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """As :meth:`AgentNet.unroll_features`, with columns as in :meth:`step_features`."""
        features: Tensor = self.features(super().unroll_features(x, batch_sizes))
        if self.predictor is None:
            return features
        # An encoder in front of x is the agent's: the predictor reads it and does not train it.
        return torch.cat([features, self.predictor.unroll(x.detach(), batch_sizes)], dim=1)

    def values(self, features: Tensor) -> Tensor:
        """CVaR of every action at the level of its row: ``features`` [rows, state_dim or hidden_dim] -> [rows, A]."""
        if torch.is_grad_enabled():
            atoms = self.head(self._of_head(features)).view(-1, self.atoms)
            level, chances = self._levels(features)
            value, of_levels = cvar_at(atoms, self._weights(atoms), level.repeat_interleave(self.n_actions))
            value = value.view(-1, self.n_actions)
            if chances is None:
                return value
            return self._straight_through(value, of_levels.view(*value.shape, -1), chances.unsqueeze(1))
        step = _BLOCK_ROWS if features.device.type == "cpu" else max(len(features), 1)
        level, _ = self._levels(features)
        out = features.new_empty(len(features), self.n_actions)
        for begin in range(0, len(features), step):
            rows = slice(begin, begin + step)
            out[rows] = self._block(self._of_head(features[rows]), level[rows])
        return out

    def _of_head(self, features: Tensor) -> Tensor:
        """The columns that the head reads: all but the predictor's (KNIFE may have widened a feed-forward memory)."""
        return features if self.predictor is None else features[:, : self.hidden_dim]

    def chosen(self, features: Tensor, actions: Tensor) -> Chosen:
        """One action of each row, with gradients: ``features`` as in :meth:`values`, ``actions`` [rows] int64."""
        atoms = self._atoms_of(self._of_head(features), actions)
        level, chances = self._levels(features)
        value, of_levels = cvar_at(atoms, self._weights(atoms), level)
        if chances is not None:
            value = self._straight_through(value, of_levels, chances)
        return Chosen(value, atoms, _tensor_of(self.level_values, level.device, value.dtype)[level])

    def _block(self, features: Tensor, level: Tensor) -> Tensor:
        atoms = self.head(features).view(-1, self.atoms)
        if self._is_mean:
            return atoms.mean(1).view(-1, self.n_actions)
        of_levels = (ascending(atoms) @ self._weights(atoms).t()).view(len(features), self.n_actions, -1)
        if self.predictor is None:
            return of_levels.squeeze(2)
        return of_levels.gather(2, level.view(-1, 1, 1).expand(-1, self.n_actions, 1)).squeeze(2)

    def _atoms_of(self, features: Tensor, actions: Tensor) -> Tensor:
        """[rows, N]: the head's rows of one action are a small head of its own, applied to the rows that chose it."""
        weight, bias = applied(self.head)
        if features.device.type != "cpu":
            return self._atoms_of_all(features, actions, weight, bias)
        order = actions.argsort()
        sizes = torch.bincount(actions, minlength=self.n_actions).tolist()
        parts = [
            linear(of_action, own_weight, own_bias)
            for of_action, own_weight, own_bias in zip(
                features.index_select(0, order).split(sizes), weight.split(self.atoms), bias.split(self.atoms)
            )
        ]
        return torch.cat(parts).index_select(0, order.argsort())

    def _atoms_of_all(self, features: Tensor, actions: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same by those of all actions: more sums, and the host need not know how often each action was taken."""
        every = linear(features, weight, bias).view(len(features), self.n_actions, self.atoms)
        return every.gather(1, actions.view(-1, 1, 1).expand(-1, 1, self.atoms)).squeeze(1)

    def _levels(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Number of each row's level [rows], and how likely each one is, [rows, K], where that is predicted."""
        if self.predictor is None:
            return torch.zeros(len(features), dtype=torch.int64, device=features.device), None
        own, past = features.split(self.hidden_dim, dim=1)
        logits = self.predictor.logits(own, past, applied(self.head))
        return logits.argmax(1), logits.softmax(1)

    def _straight_through(self, value: Tensor, of_levels: Tensor, chances: Tensor) -> Tensor:
        """``value`` [...], whose gradient also goes to ``chances`` [..., K] as if it were their mean of
        ``of_levels``."""
        expected = (chances * of_levels).sum(-1)
        # Released: untrained. Zeros rather than nothing, since DDP waits for a gradient of every parameter.
        return value + (expected - expected.detach()) * (0.0 if self.compat == "official_code" else 1.0)

    def _weights(self, like: Tensor) -> Tensor:
        return cached_weights(self.level_values, self.atoms, self.compat == "official_code", like.device, like.dtype)

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """As :meth:`AgentNet.hidden_layers`, and the predictor's hidden layers."""
        *layers, memory = super().hidden_layers(prefix=prefix)
        layers.append(dataclasses.replace(memory, read_at=self.features) if self.recurrent else memory)
        if self.predictor is not None:
            predictor, name = self.predictor, f"{prefix}predictor"
            first, relu = predictor.encoder
            layers.append(HiddenLayer(f"{name}.encoder.0", first, relu, predictor.memory))
            layers.append(
                HiddenLayer(
                    f"{name}.memory",
                    predictor.memory,
                    predictor.memory,
                    predictor.history,
                    read_at=predictor.remembered,
                    score_only=GRU_SCORE_ONLY,
                )
            )
        return layers


@functools.cache  # while a GPU captures an update, nothing can be copied to it
def _tensor_of(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return torch.tensor(numbers, device=device, dtype=dtype)


def applied(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [out, in] and bias [out] that a Linear multiplies by."""
    if isinstance(layer, InjectedLinear):
        weight, bias = layer.effective()
        return weight, cast(Tensor, bias)
    layer = cast(nn.Linear, layer)
    return layer.weight, layer.bias


def one_step_later(rows: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Packed ``rows`` [sum(batch_sizes), w] of the step before in each sequence's next one; zeros at the first
    steps."""
    first = batch_sizes[0]
    if batch_sizes[-1] == first:
        return functional.pad(rows[: len(rows) - first], (0, 0, first, 0))
    before = rows.index_select(0, _rows_before(tuple(batch_sizes)).to(rows.device))
    return torch.cat([rows.new_zeros(first, rows.shape[1]), before])


@functools.lru_cache(maxsize=4)
def _rows_before(batch_sizes: tuple[int, ...]) -> Tensor:
    """For each row behind the first step: the row of its sequence one step before."""
    sizes = torch.tensor(batch_sizes)
    begin = sizes.cumsum(0) - sizes
    return torch.cat([at + torch.arange(size) for at, size in zip(begin[:-1].tolist(), batch_sizes[1:])])


def of_each_net(team: AgentTeam, work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Let every network of ``team`` do row-wise ``work`` for its agents.

    Args:
        team: n agents.
        work: Called with a network and the rows [r, ...] of its agents from each tensor; returns tensors [r, ...].
        tensors: [rows, n, ...] each.

    Returns:
        What ``work`` returned, [rows, n, ...] each.
    """

    def of_net(net: nn.Module, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        shape = parts[0].shape[:2]
        return tuple(done.view(*shape, *done.shape[1:]) for done in work(net, *(part.flatten(0, 1) for part in parts)))

    if len(team.nets) == 1:
        return of_net(team.nets[0], tensors)
    device = tensors[0].device
    found = [of_net(net, [t[:, at] for t in tensors]) for net, at in zip(team.nets, team.places(device), strict=True)]
    return tuple(torch.cat(parts, dim=1).index_select(1, team.order(device)) for parts in zip(*found, strict=True))
