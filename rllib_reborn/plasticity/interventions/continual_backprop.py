"""Continual backprop: old neurons of little use are replaced, a few at a time (Dohare et al., Nature 2024)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from rllib_reborn.plasticity import scores
from rllib_reborn.plasticity.interventions.activity import statistics_of
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    OptimizerPolicy,
    Plan,
    check_choice,
    check_number,
    check_whole,
)
from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    compensation_for,
    fresh_neurons_edit,
    refusal,
    require_editable,
)
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer, fresh_inputs
from rllib_reborn.plasticity.schedule import ClockUnit


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinualBackprop(Intervention):
    """At each check, the share ``replacement_rate`` of the mature neurons, those of lowest utility, are replaced.

    Utility and mean activation of a neuron are running averages over *checks* (docs/method.md 9.2), corrected for
    their start at 0 in the neuron's own age::

        u <- eta * u + (1 - eta) * E|h| * mean_k |w_out[k]|        used as u / (1 - eta ** age)

    A replaced neuron gets fresh input weights, outgoing weights 0 and age 0, and the next layer's bias takes over
    its mean output. Fractions of neurons are saved up until they make a whole one.

    The original looks after every update: that is ``every=1, unit="updates", replacement_rate=1e-4, maturity=10_000``
    (its RL settings). Looking costs a forward pass over the scoring batch, so the default is every 100 updates, with
    100 times the rate.

    The memory, ``state["layers"][layer]``, holds utility and mean [H] (running averages), age [H] in checks and the
    saved up fraction. Layers are visited, and draw, in the order of their keys.

    Attributes:
        replacement_rate: Share 0..1 of the mature neurons that is replaced at each check.
        eta: Decay 0..1 (exclusive) of the running averages.
        maturity: Checks that a neuron is left alone after its start; it can be replaced when it is older.
        initializer: Of the input weights; the original uses ``kaiming``.
        optimizer: ``zero`` by default, as in the original (whose step counter per neuron does not exist here).
        bias_compensation: True by default, it is part of the method; a layer whose reader has no bias needs False.
    """

    kind: ClassVar[str] = "continual_backprop"

    every: int = 100
    unit: ClockUnit = "updates"
    replacement_rate: float = 0.01
    eta: float = 0.99
    maturity: int = 20
    initializer: Initializer = "kaiming"
    optimizer: OptimizerPolicy = "zero"
    bias_compensation: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("replacement_rate", self.replacement_rate, 0, 1)
        check_number("eta", self.eta, 0, 1)
        if self.eta == 1:
            raise ValueError("eta is 1; expected a number below 1, or nothing new is ever learned of a neuron.")
        check_whole("maturity", self.maturity, 0)
        check_choice("initializer", self.initializer, INITIALIZERS)

    def plan(self, context: Context) -> Plan:
        """See the class.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited; or ``bias_compensation`` where there is no bias.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=False, allow_inexact=self.allow_inexact)
        memory: dict[str, dict[str, Any]] = context.state.setdefault("layers", {})
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            if layer.output_weight is None:
                raise refusal(layer)
            active = statistics.active.cpu()
            record = self._observe(
                memory.get(key) or _newborn(layer.width),
                utility=scores.cbp_utility(statistics.mean_abs, layer.columns(layer.output_weight.detach())).cpu(),
                mean=statistics.mean.cpu(),
                active=active,
            )
            neurons, record["owed"] = self._choose(record, active)
            touched = tuple(neurons.tolist())
            changes.append(LayerChange(layer=key, width=layer.width, neurons=touched, reinitialised=touched))
            if touched:
                fresh_in, fresh_bias = fresh_inputs(layer, len(neurons), self.initializer, context.generator)
                dropped = (
                    compensation_for(layer, self._corrected(record, "mean"), neurons)
                    if self.bias_compensation
                    else None
                )
                edits.append(fresh_neurons_edit(layer, neurons, fresh_in, fresh_bias, compensation=dropped))
                for name in ("utility", "mean", "age"):
                    record[name][neurons] = 0
            memory[key] = record
        return Plan(tuple(edits), tuple(changes))

    def _observe(self, record: dict[str, Any], *, utility: Tensor, mean: Tensor, active: Tensor) -> dict[str, Any]:
        """A new record, one check later; neurons that do not take part do not age."""
        new = {"utility": utility.double(), "mean": mean.double()}
        averages: dict[str, Any] = {
            name: torch.where(active, self.eta * record[name] + (1 - self.eta) * value, record[name])
            for name, value in new.items()
        }
        return {**averages, "age": record["age"] + active.long(), "owed": record["owed"]}

    def _corrected(self, record: dict[str, Any], name: str) -> Tensor:
        """[H] the running average without the weight of its start at 0 (0 for neurons of age 0)."""
        average: Tensor = record[name]
        weight = 1 - self.eta ** record["age"].double()
        return torch.where(weight > 0, average / weight.clamp(min=1e-300), torch.zeros_like(average))

    def _choose(self, record: dict[str, Any], active: Tensor) -> tuple[Tensor, float]:
        """Neurons [K] to replace, ascending, and the fraction of a neuron that is owed to the next check."""
        mature = ((record["age"] > self.maturity) & active).nonzero().flatten()
        owed = record["owed"] + self.replacement_rate * len(mature)
        # A rate of 0.1 has to reach a whole neuron in ten checks, although ten times 0.1 is less than 1 in floating
        # point.
        count = min(int(owed + 1e-9), len(mature))
        worst = torch.argsort(self._corrected(record, "utility")[mature], stable=True)[:count]
        return mature[worst].sort().values, max(0.0, owed - count)


def _newborn(width: int) -> dict[str, Any]:
    zeros = torch.zeros(width, dtype=torch.float64)
    return {"utility": zeros, "mean": zeros.clone(), "age": torch.zeros(width, dtype=torch.int64), "owed": 0.0}
