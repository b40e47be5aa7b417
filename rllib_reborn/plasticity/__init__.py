"""Plasticity: which neurons still work, and what can be done about those that do not. Torch only; any ``nn.Module``.

Measure (never writes a weight): what is exported here. Act (all writes to weights): :mod:`.interventions`, performed by
:mod:`.interventions.apply`. Prove: :mod:`.invariance`.
"""

from rllib_reborn.plasticity.discovery import discover_neurons
from rllib_reborn.plasticity.history import DormancyHistory
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery, by_key, declare_neurons
from rllib_reborn.plasticity.schedule import Schedule
from rllib_reborn.plasticity.scores import (
    LayerDormancy,
    NetDormancy,
    dormancy,
    layer_dormancy,
    nas,
    nas_ranking,
    overlap_coefficient,
)
from rllib_reborn.plasticity.statistics import LayerStatistics, measure, recording

__all__ = [
    "ActivationHook",
    "DormancyHistory",
    "LayerDormancy",
    "LayerStatistics",
    "NetDormancy",
    "NeuronLayer",
    "Schedule",
    "Surgery",
    "by_key",
    "declare_neurons",
    "discover_neurons",
    "dormancy",
    "layer_dormancy",
    "measure",
    "nas",
    "nas_ranking",
    "overlap_coefficient",
    "recording",
]
