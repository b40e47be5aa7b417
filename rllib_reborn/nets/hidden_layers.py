"""How a network says which hidden layers it has: plain declarations, from which plasticity makes what it needs."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from torch import nn


@dataclasses.dataclass(frozen=True, eq=False)
class HiddenLayer:
    """H neurons of one hidden layer: *source* makes them, *activation* acts on them, *reader* alone reads them.

    Attributes:
        name: Path of the source (or of the activation, where the source is no module) in the network; unique in it.
        source: ``nn.Linear`` or ``nn.Conv*d`` whose output features are the neurons, or an ``nn.GRU`` whose state they are;
            None where their weights are made by other networks.
        activation: The module between source and reader; the GRU itself where a GRU is the source.
        reader: The module that reads the neurons: ``nn.Linear``, ``nn.Conv*d`` or ``nn.GRU``; None without a source.
        width: H; needed without a source only.
        read_at: A module that is called with the activations as its first argument. None: they are the activation's output;
            needed where the network does not call ``activation`` as a module.
        score_only: Why the neurons have no weights of their own that could be edited; empty: they have.
    """

    name: str
    source: nn.Module | None
    activation: nn.Module
    reader: nn.Module | None
    _: dataclasses.KW_ONLY
    width: int | None = None
    read_at: nn.Module | None = None
    score_only: str = ""


@runtime_checkable
class DeclaresHiddenLayers(Protocol):
    """A network that knows its hidden layers, as all of ours do."""

    def hidden_layers(self) -> list[HiddenLayer]:
        """Every hidden layer, in the order of the network."""
