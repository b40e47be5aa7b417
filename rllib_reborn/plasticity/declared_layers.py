"""The layers of neurons of networks that declare their hidden layers (:mod:`rllib_reborn.nets.hidden_layers`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from rllib_reborn.nets.hidden_activation import NORMALISED, TWO_OUTPUTS, CReLU, NormalisedActivation
from rllib_reborn.nets.hidden_layers import DeclaresHiddenLayers, HiddenLayer
from rllib_reborn.plasticity.neuron_layers import (
    ActivationHook,
    LayerChoice,
    NeuronLayer,
    Surgery,
    declare_neurons,
    editable,
)
from rllib_reborn.plasticity.official_layers import official_layers


def declared_layers(net: str, network: nn.Module, choice: LayerChoice = "official_code") -> list[NeuronLayer]:
    """The layers of neurons of ``network``, in the order in which it declares them.

    Args:
        net: :attr:`NeuronLayer.net` of the layers.
        network: A network with ``hidden_layers()``, see :class:`DeclaresHiddenLayers`.
        choice: See :data:`LayerChoice`.

    Raises:
        ValueError: The network declares nothing.
    """
    if not isinstance(network, DeclaresHiddenLayers):
        raise ValueError(
            f"{net}: a {type(network).__name__} does not declare its hidden layers (hidden_layers); find them with "
            "discover_neurons, or declare them with declare_neurons."
        )
    declared: Sequence[HiddenLayer] = network.hidden_layers()
    if choice == "official_code":
        declared = official_layers(network, declared)
    layers = [neuron_layer(net, layer) for layer in declared]
    return editable(layers) if choice == "editable" else layers


def neuron_layer(net: str, declared: HiddenLayer) -> NeuronLayer:
    """The layer of neurons that ``declared`` describes, of the network called ``net``.

    Raises:
        ValueError: See :func:`declare_neurons`; or neither a width nor a source is given.
    """
    hook = None if declared.read_at is None else ActivationHook(declared.read_at, side="input")
    source, reader = declared.source, declared.reader
    activation, reason = declared.activation, declared.score_only
    if isinstance(activation, NormalisedActivation):
        activation, reason = activation[-1], NORMALISED
    if isinstance(activation, CReLU):
        # What it is given: |z| = relu(z) + relu(-z), so a neuron's score counts both of its outputs.
        hook, reason = ActivationHook(activation, side="input"), reason or TWO_OUTPUTS
    if source is not None and reader is not None and not isinstance(source, nn.GRU):
        layer = declare_neurons(net, declared.name, source, activation, reader, hook=hook)
        if reason:
            layer = dataclasses.replace(layer, surgery=Surgery.IMPOSSIBLE, reason=reason)
        return layer
    width = source.hidden_size if isinstance(source, nn.GRU) else declared.width
    if width is None:
        raise ValueError(f"{net}/{declared.name}: neither a width nor a source is given; expected one of them.")
    return NeuronLayer(
        net=net,
        name=declared.name,
        width=width,
        hook=hook or ActivationHook(declared.activation),
        activation=type(declared.activation).__name__,
        surgery=Surgery.IMPOSSIBLE,
        reason=declared.score_only,
    )
