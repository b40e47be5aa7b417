"""ReBorn: over-active neurons share their weight with dormant ones (ReBorn, NeurIPS 2024, section 5.2 and Algorithm
1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.interventions.activity import scored, statistics_of
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    Plan,
    check_choice,
    check_either,
    check_number,
    check_whole,
)
from rllib_reborn.plasticity.interventions.edits import NeuronEdit, compensation_for, require_editable
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer, fresh_inputs
from rllib_reborn.plasticity.neuron_layers import NeuronLayer

Rule = Literal["paper", "official_code"]
#: Input scales: beta_0..beta_M of the paper, ``dec`` of the official code (docs/method.md D1).
IN_RANGES: dict[Rule, tuple[float, float]] = {"paper": (0.5, 1.5), "official_code": (0.3, 0.8)}
#: Initialiser of dormant neurons without a partner (docs/method.md D4).
RULE_INITIALIZERS: dict[Rule, Initializer] = {"paper": "xavier", "official_code": "kaiming"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReBorn(Intervention):
    """Each over-active neuron is split into itself and some dormant neurons; the other dormant neurons are
    re-initialised, outgoing weights 0.

    For a positively homogeneous activation the layer's output changes only by the output of the dormant neurons before:
    ``E|dF| <= alpha * mean_k E|h_k| * sum_{d in D} |w_out[:, d]|`` (docs/method.md 3.1), nothing at all if they are
    dead.

    *Rule "paper"* (docs/method.md 3.1). Every over-active neuron x (``s >= beta``), in the order of the layer, draws
    M uniformly from ``partners`` and takes M dormant neurons (``s <= alpha``) that no other took; fewer when they run
    out, and when none is left x stays bit-equal. With ``beta_i`` uniform in ``in_range`` and ``a = softmax`` of
    standard normals, i = 0 for x itself: ``w_in, b <- beta_i * those of x``, ``w_out <- a_i / beta_i * that of x``.
    Equation B.51's other form is a misprint.

    *Rule "official_code"* (docs/method.md 3.2). Over-active is ``s > beta``. Every dormant neuron, in random order,
    picks an over-active neuron that has fewer than ``partners[1]`` partners; ``dec`` is uniform in ``in_range``; the
    input side of x stays; the outgoing weights are shared by a softmax of its own for each output coordinate, divided
    by ``dec``.

    Layers are visited in the order of their keys, and in each the generator is used in this order: the pairing (paper:
    per over-active neuron, while dormant ones are left, M and then which; official code: the order of the dormant
    neurons, then their picks while there is room); the splits of over-active neurons in the order of the layer (input
    scales, then normals); the fresh weights of unpaired neurons.

    Attributes:
        alpha: Dormant at ``s <= alpha``; below ``beta``.
        beta: Over-active threshold.
        alpha_quantile, beta_quantile: In place of either, whatever the rule: the ``floor(alpha_quantile * H)`` lowest and
            the ``floor((1 - beta_quantile) * H)`` highest neurons of each layer, ties included, of those below and above the
            mean (:func:`~rllib_reborn.plasticity.masks.lowest`, ``highest``; ours). In 0..1, exclusive, the first below the
            second. Refused beside another ``alpha`` or ``beta``. The bound above then holds with the highest score among
            the dormant neurons in place of alpha. The report's fractions stay those at 0.1 and 3. The activation score
            alone: that bound is about activations.
        rule: ``paper`` or ``official_code``.
        partners: Fewest and most neurons that an over-active one shares with, 1 <= low <= high. The official code's
            rule has only the upper limit.
        in_range: Range of the input scales, 0 < low <= high. None: the rule's own, (0.5, 1.5) or (0.3, 0.8).
        unpaired: Dormant neurons without a partner: ``reinit`` (fresh input, output 0: Algorithm 1, lines 22-23)
            or ``keep`` (bit-equal).
        initializer: Of fresh input weights, see :data:`~.fresh_weights.Initializer`. None: the rule's own, ``xavier``
            or ``kaiming``.
    """

    kind: ClassVar[str] = "reborn"
    splits_neurons: ClassVar[bool] = True

    alpha: float = masks.ALPHA
    beta: float = masks.BETA
    alpha_quantile: float | None = None
    beta_quantile: float | None = None
    rule: Rule = "paper"
    partners: tuple[int, int] = (2, 5)
    in_range: tuple[float, float] | None = None
    unpaired: Literal["reinit", "keep"] = "reinit"
    initializer: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        masks.check_thresholds(self.alpha, self.beta)
        check_either("alpha", self.alpha, masks.ALPHA, "alpha_quantile", self.alpha_quantile)
        check_either("beta", self.beta, masks.BETA, "beta_quantile", self.beta_quantile)
        share, above = self.alpha_quantile, self.beta_quantile
        if share is not None and above is not None and share >= above:
            raise ValueError(
                f"alpha_quantile {share:g} and beta_quantile {above:g} overlap; expected the first below the second, such "
                "as 0.1 and 0.95."
            )
        check_choice("rule", self.rule, ("paper", "official_code"))
        check_choice("unpaired", self.unpaired, ("reinit", "keep"))
        if self.initializer is not None:
            check_choice("initializer", self.initializer, INITIALIZERS)
        low, high = _pair("partners", self.partners)
        check_whole("partners[0]", low, 1)
        check_whole("partners[1]", high, int(low))
        object.__setattr__(
            self, "partners", (low, high)
        )  # a list, as YAML gives it, becomes a tuple as the type demands
        if self.in_range is not None:
            low, high = _pair("in_range", self.in_range)
            check_number("in_range[0]", low, 1e-6)
            check_number("in_range[1]", high, low)
            object.__setattr__(self, "in_range", (float(low), float(high)))

    @property
    def scales(self) -> tuple[float, float]:
        """Range of the input scales, the rule's own if none was given."""
        return self.in_range if self.in_range is not None else IN_RANGES[self.rule]

    @property
    def fresh(self) -> Initializer:
        """Initialiser of unpaired neurons, the rule's own if none was given."""
        return self.initializer if self.initializer is not None else RULE_INITIALIZERS[self.rule]

    @property
    def dormant_at(self) -> float:
        return self.alpha

    @property
    def overactive_at(self) -> float:
        return self.beta

    def plan(self, context: Context) -> Plan:
        """See the class; a layer with nothing to share and nothing dormant gets no edit.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited, or not without ``allow_inexact``; or
                ``bias_compensation`` where there is no bias.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=True, allow_inexact=self.allow_inexact)
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            statistics = statistics_of(key, context.statistics)
            dormant, overactive = self._choose(*scored(statistics))
            edit, change = self._plan_layer(
                context.layers[key], dormant, overactive, statistics.mean, context.generator
            )
            changes.append(change)
            if edit is not None:
                edits.append(edit)
        return Plan(tuple(edits), tuple(changes))

    def _choose(self, nas: Tensor, active: Tensor) -> tuple[list[int], list[int]]:
        """Dormant and over-active neurons, each ascending, by scores [H] and who is active [H] bool."""
        dormant = masks.dormant(nas, self.alpha) & active
        if self.alpha_quantile is not None:
            dormant = masks.lowest(nas, self.alpha_quantile, active)
        overactive = masks.overactive(nas, self.beta, strict=self.rule == "official_code") & active
        if self.beta_quantile is not None:
            overactive = masks.highest(nas, self.beta_quantile, active)
        return indices(dormant), indices(overactive)

    def _plan_layer(
        self, layer: NeuronLayer, dormant: list[int], overactive: list[int], mean: Tensor, generator: torch.Generator
    ) -> tuple[NeuronEdit | None, LayerChange]:
        low, high = self.partners
        if self.rule == "paper":
            pairs = pair_paper(dormant, overactive, low, high, generator)
        else:
            pairs = pair_official_code(dormant, overactive, high, generator)
        split = self._split_paper if self.rule == "paper" else self._split_official_code
        splits = [split(layer, len(partners), generator) for partners in pairs.values()]
        paired = [neuron for partners in pairs.values() for neuron in partners]
        anew = sorted(set(dormant) - set(paired)) if self.unpaired == "reinit" else []
        change = LayerChange(
            layer=layer.key,
            width=layer.width,
            dormant=len(dormant),
            overactive=len(overactive),
            neurons=tuple(sorted([*pairs, *paired, *anew])),
            donors=tuple(pairs),
            reinitialised=tuple(anew),
        )
        if not change.neurons:
            return None, change
        neurons = [neuron for x, partners in pairs.items() for neuron in (x, *partners)] + anew
        donors = [x for x, partners in pairs.items() for _ in range(1 + len(partners))] + [-1] * len(anew)
        shared = len(neurons) - len(anew)
        fresh_in, fresh_bias = fresh_inputs(layer, len(anew), self.fresh, generator)
        # Rows of neurons with a donor are not read.
        fresh_in = torch.cat([torch.zeros((shared, *fresh_in.shape[1:])), fresh_in])
        fresh_bias = torch.cat([torch.zeros(shared), fresh_bias])
        ones = torch.ones(len(anew), dtype=torch.float64)
        width = splits[0][1].shape[0] if splits else 1
        dropped = torch.tensor(paired + anew, dtype=torch.int64)
        edit = NeuronEdit(
            layer=layer.key,
            neurons=torch.tensor(neurons, dtype=torch.int64),
            donors=torch.tensor(donors, dtype=torch.int64),
            in_scale=torch.cat([*(scale for scale, _ in splits), ones]),
            out_scale=torch.cat([*(scale for _, scale in splits), ones.expand(width, -1)], dim=1),
            fresh_in=fresh_in,
            fresh_bias=fresh_bias,
            compensation=compensation_for(layer, mean, dropped) if self.bias_compensation else None,
        )
        return edit, change

    def _split_paper(self, layer: NeuronLayer, partners: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input scales [1 + M] and output scales [1, 1 + M] of an over-active neuron (first) and its M partners."""
        beta = _uniform(self.scales, 1 + partners, generator)
        share = _normals((1 + partners,), generator).softmax(dim=0)
        return beta, (share / beta).unsqueeze(0)

    def _split_official_code(
        self, layer: NeuronLayer, partners: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Input scales [1 + M] and output scales [out, 1 + M] of an over-active neuron (first) and its M partners."""
        assert layer.output_weight is not None  # require_editable saw to that
        own = torch.ones(1, dtype=torch.float64)
        scale = torch.cat([own, _uniform(self.scales, partners, generator)])
        share = _normals((layer.output_weight.shape[0], 1 + partners), generator).softmax(dim=1)
        return scale, share / scale


def pair_paper(
    dormant: Sequence[int], overactive: Sequence[int], low: int, high: int, generator: torch.Generator
) -> dict[int, list[int]]:
    """Over-active neuron -> its partners: ``low..high`` each (uniform), random, fewer when they run out; without any:
    absent.

    docs/method.md 3.1, step 2.
    """
    left = list(dormant)
    pairs: dict[int, list[int]] = {}
    for x in overactive:
        if not left:
            break
        wanted = int(torch.randint(low, high + 1, (), generator=generator))
        order = torch.randperm(len(left), generator=generator)[:wanted].tolist()
        pairs[x] = [left[k] for k in order]
        left = [neuron for neuron in left if neuron not in pairs[x]]
    return pairs


def pair_official_code(
    dormant: Sequence[int], overactive: Sequence[int], capacity: int, generator: torch.Generator
) -> dict[int, list[int]]:
    """Over-active neuron -> its partners, in the order of ``overactive``: each dormant neuron, in random order, picks
    uniformly among those with fewer than ``capacity`` partners (docs/method.md 3.2, step 3). Neurons without partners
    are absent."""
    pairs: dict[int, list[int]] = {x: [] for x in overactive}
    for k in torch.randperm(len(dormant), generator=generator).tolist():
        room = [x for x, partners in pairs.items() if len(partners) < capacity]
        if not room:
            break
        pick = int(torch.randint(len(room), (), generator=generator))
        pairs[room[pick]].append(dormant[k])
    return {x: partners for x, partners in pairs.items() if partners}


def indices(mask: Tensor) -> list[int]:
    """Where ``mask`` [H] is True, ascending."""
    found: list[int] = mask.nonzero().flatten().tolist()
    return found


# In float64, so that the shares of a neuron add up to 1 whatever the precision of the weights.
def _uniform(bounds: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def _normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _pair(name: str, value: Sequence[float]) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} is {value!r}; expected two numbers, the lowest and the highest.")
    return value[0], value[1]
