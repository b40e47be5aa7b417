"""Self-normalised resets: a neuron that is silent for longer than it ever used to be is re-initialised (Farias and Jozefiak,
ICLR 2025; docs/method.md 9.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

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
    SurgeryRefused,
    fresh_neurons_edit,
    require_editable,
)
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer, fresh_inputs
from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.plasticity.schedule import ClockUnit
from rllib_reborn.plasticity.scope import Scope

#: Activations with one sign for every input: their neurons fire always, or never.
ONE_SIGN = frozenset({"Sigmoid", "Softplus", "Softmax", "LogSigmoid", "LogSoftmax", "Hardsigmoid"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SNR(Intervention):
    """**Our reading** of SNR: the abstract, and a third party's notes on the authors' code, are what we have of it
    (docs/method.md 9.3).

    A neuron *fires* at an update if any row of the update's batch, of all learners together, gives it ``h > 0``; rows of
    agents that have no choice (dead ones) do not count. From one such update to the next is an inter-firing time, >= 1; the
    start, and a re-initialisation, count as firing. With F the empirical distribution of a neuron's own inter-firing times
    since then, and s the updates for which it has been silent, it is re-initialised when::

        s >= min(max(q, min_silence), max_silence)       q the smallest t with F(t) >= 1 - eta
        s >= max_silence                                 while it has fewer than min_intervals inter-firing times

    The first is the paper's: the time that goes on is longer than the percentile ``1 - eta``. The two limits are ours: a
    batch holds thousands of rows, so most neurons fire at every update, and q is then 1.

    Re-initialised neurons get fresh input weights and biases, outgoing weights 0, and a new history. Their outputs were not
    above 0 at the latest updates, so for ReLU the function stays on what these saw. Layers are visited, and draw, in the
    order of their keys. The memory, ``state["layers"][layer]``, holds ``silence`` [H] and ``intervals`` [H, max_silence]:
    how often each inter-firing time was found, the last column for all from ``max_silence`` on.

    In the report of a layer ``dormant`` is the number of neurons that are treated.

    Attributes:
        every, unit: How often neurons are looked at, not counted: they are counted at every update. The paper looks each
            time; an application costs forward passes for its report, so the default is every 100 updates.
        eta: Tail 0..1, exclusive, the paper's one setting; 0.02 is ours.
        min_silence, max_silence: Limits in updates, 1 <= min_silence <= max_silence.
        min_intervals: Inter-firing times, >= 1, before a neuron is judged by its own.
        initializer: Of the input weights.
        scope: ``all`` by default: the method knows no mixer.
        optimizer: ``zero`` by default, as in ReDo.
    """

    kind: ClassVar[str] = "snr"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    counts_firing: ClassVar[bool] = True

    every: int = 100
    unit: ClockUnit = "updates"
    scope: Scope = "all"
    optimizer: OptimizerPolicy = "zero"
    eta: float = 0.02
    min_silence: int = 100
    max_silence: int = 1_000
    min_intervals: int = 100
    initializer: Initializer = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("eta", self.eta, 0, 1)
        if self.eta in (0, 1):
            raise ValueError(f"eta is {self.eta!r}; expected a number between 0 and 1, such as 0.02.")
        check_whole("min_silence", self.min_silence, 1)
        check_whole("max_silence", self.max_silence, self.min_silence)
        check_whole("min_intervals", self.min_intervals, 1)
        check_choice("initializer", self.initializer, INITIALIZERS)

    def note_firing(self, fired: Mapping[str, Tensor], state: dict[str, Any]) -> None:
        """One update more; see the class for what is remembered. Nothing is copied from the device."""
        memory: dict[str, dict[str, Tensor]] = state.setdefault("layers", {})
        for key, now in fired.items():
            record = memory.setdefault(key, _newborn(len(now), self.max_silence))
            silence, intervals = record["silence"].to(now.device), record["intervals"].to(now.device)
            column = silence.clamp(max=self.max_silence - 1).unsqueeze(1)
            intervals.scatter_add_(1, column, now.unsqueeze(1).to(intervals.dtype))
            memory[key] = {"silence": torch.where(now, 0, silence + 1), "intervals": intervals}

    def plan(self, context: Context) -> Plan:
        """See the class.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited, its activation has one sign only, or firing was not counted.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=False, allow_inexact=self.allow_inexact)
            _require_silence(layer)
        memory: dict[str, dict[str, Tensor]] = context.state.setdefault("layers", {})
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer = context.layers[key]
            if key not in memory:
                raise SurgeryRefused(
                    f"{key}: when its neurons fired was not counted; call note_firing at every update before snr is applied."
                )
            record = {name: value.cpu() for name, value in memory[key].items()}
            limits = silence_limits(
                record["intervals"], self.eta, self.min_silence, self.max_silence, self.min_intervals
            )
            neurons = ((record["silence"] >= limits) & layer.active_mask(limits.device)).nonzero().flatten()
            touched = tuple(neurons.tolist())
            changes.append(
                LayerChange(layer=key, width=layer.width, dormant=len(neurons), neurons=touched, reinitialised=touched)
            )
            if touched:
                fresh_in, fresh_bias = fresh_inputs(layer, len(neurons), self.initializer, context.generator)
                edits.append(fresh_neurons_edit(layer, neurons, fresh_in, fresh_bias))
                for value in record.values():
                    value[neurons] = 0
                memory[key] = record
        return Plan(tuple(edits), tuple(changes))


def silence_limits(intervals: Tensor, eta: float, min_silence: int, max_silence: int, min_intervals: int) -> Tensor:
    """For how many updates each neuron may be silent: [H] int64, see :class:`SNR`.

    Args:
        intervals: [H, L] how often each neuron had an inter-firing time of 1, 2, ..., L updates (L: or more).
        eta, min_silence, max_silence, min_intervals: See :class:`SNR`.
    """
    so_far = intervals.cumsum(1)
    number = so_far[:, -1:]
    # A hair less, as 0.98 of 50 is 49.
    percentile = (so_far < (1 - eta) * number.double() - 1e-9).sum(1) + 1
    own = percentile.clamp(min_silence, max_silence)
    return torch.where(number.squeeze(1) >= min_intervals, own, max_silence)


def _require_silence(layer: NeuronLayer) -> None:
    if layer.activation in ONE_SIGN:
        raise SurgeryRefused(
            f"{layer.key}: {layer.activation} has one sign for every input, so its neurons fire always or never. Choose "
            "layers or a scope without it, or another kind."
        )


def _newborn(width: int, max_silence: int) -> dict[str, Tensor]:
    return {
        "silence": torch.zeros(width, dtype=torch.int64),
        "intervals": torch.zeros(width, max_silence, dtype=torch.int32),
    }
