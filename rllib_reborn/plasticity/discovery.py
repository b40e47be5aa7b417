"""Finds the layers of neurons of a network that declares none: runs it once and follows who reads what.

A layer of neurons is a chain *source* (Linear or Conv) - *activation* - *consumer* (Linear, Conv, GRU, LSTM, RNN), with
modules between them that only pass neurons on (Flatten, Dropout, Identity, pooling behind a convolution). The chain is
read
off the data, not off names or the order of registration: modules tell by hooks what they read and make, and everything
outside of modules (residual sums, concatenation, ``torch.relu``, weights used by hand) is seen by a dispatch mode, with
or without gradients. What is seen to break the maths comes back as :attr:`Surgery.IMPOSSIBLE` with the reason.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.network_trace import (
    CONVOLUTIONS,
    RECURRENT,
    SOURCES,
    Call,
    Trace,
    Value,
    in_evaluation,
    random_state_kept,
)
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery, declare_neurons

#: Each neuron by itself, whatever the others' outputs are.
_ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink,
    nn.Softshrink, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
#: Neurons pass unchanged (in evaluation mode). Identity is no activation: linear layers have no hidden neurons to lose.
_PASSES = (
    nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.Sequential,
)  # fmt: skip
#: Channel by channel and positively homogeneous, so that splitting a channel stays exact.
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
#: The scale of a neuron is normalised away, so scaling in and out does not cancel (docs/method.md 9.2).
_NORMS = (
    nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm,
)  # fmt: skip
#: Activations called as functions, by operator.
_FUNCTIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish,
}  # fmt: skip
#: Operators that only look at a tensor in another shape; where neurons end up is checked at the consumer.
_RESHAPES = frozenset({"view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze", "alias", "detach", "clone"})


def discover_neurons(
    net: nn.Module, example: Callable[[], Any] | Tensor | Sequence[Tensor], *, name: str = "net"
) -> list[NeuronLayer]:
    """Run ``net`` once, in evaluation mode and without gradients, and find its layers of neurons.

    Args:
        net: Any network. Parameters, gradients, training flags and torch's random state are left as they were.
        example: Arguments for ``net(...)`` (one tensor or several), or a function that runs the network as it is used,
            for networks that are not called as ``net(tensors)``.
        name: :attr:`NeuronLayer.net` of the layers.

    Returns:
        In the order of the run; each is called after its source's path in ``net``. Surgery is

        - ``EXACT`` for ReLU and LeakyReLU, ``INEXACT`` for other activations (docs/method.md 5.4);
        - ``IMPOSSIBLE``, with the reason, where there are several readers (modules, functions such as a residual sum or
          a concatenation, or the caller), a normalisation between source and consumer, a reader without columns of
          neurons, weights shared with another place, grouped convolutions, or weights computed by a parametrization.

        Activations called as functions are found where the next module reads their result directly; a layer whose
        activations can be read nowhere is named in a ``UserWarning``.
        Outputs of the network are no hidden neurons, even behind an activation.

    Raises:
        ValueError: Nothing was found, or a convolution was run without a batch dimension.
    """
    paths = {module: path for path, module in net.named_modules()}
    trace = Trace(paths)
    with in_evaluation(net), random_state_kept(net), torch.no_grad(), trace:
        if callable(example) and not isinstance(example, Tensor):
            returned = example()
        else:
            returned = net(example) if isinstance(example, Tensor) else net(*example)
    trace.give_back(returned)
    found: list[NeuronLayer] = []
    owners = _owners(net)
    for source, calls in trace.calls_of(SOURCES).items():
        layer = _layer(name, source, calls, trace, owners)
        if layer is not None:
            found.append(layer)
    if not found:
        raise ValueError(_nothing(trace))
    return found


# ------------------------------------------------------------------------------------------------------- following a
# chain


@dataclasses.dataclass(eq=False)
class _Chain:
    """The way of one call of a source up to the module that reads its neurons."""

    source: Call
    activation: Call | None = None
    h: Value | None = None
    consumer: Call | None = None
    reason: str = ""

    def block(self, reason: str) -> None:
        """The first reason is the one that is reported."""
        self.reason = self.reason or reason

    @property
    def ends(self) -> tuple[nn.Module | None, nn.Module | None]:
        """Where the call leads: activation and consumer."""
        return (
            None if self.activation is None else self.activation.module,
            None if self.consumer is None else self.consumer.module,
        )


def _follow(source: Call) -> _Chain | None:
    """Follow the neurons of one call; None where no activation makes hidden neurons of them."""
    chain = _Chain(source)
    passes = (*_PASSES, *_POOLS) if source.is_a(CONVOLUTIONS) else _PASSES
    value = source.output
    while value is not None:
        readers = _readers(value)
        if chain.h is None:
            onward = [reader for reader in readers if _is_activation(reader)]
            onward += [reader for reader in readers if reader.is_a((*passes, *_NORMS)) or _is_reshape(reader)]
            if not onward:
                return None
            reader = onward[0]
            if len(readers) > 1 or value.returned:
                chain.block(f"what goes into the activation is also read by {_others(value, readers, reader)}")
        else:
            if not readers:
                return None  # only the caller reads them, if anyone: outputs
            reader = readers[0]
            if len(readers) > 1 or value.returned:
                chain.block(f"several read the neurons: {_others(value, readers, None)}")
                return chain
        if _is_activation(reader):
            if chain.h is None:
                chain.activation, chain.h = reader, reader.output
            else:
                chain.block(f"a second activation follows, {reader.what}, so that no single one makes the neurons")
        elif reader.is_a(_NORMS):
            chain.block(
                f"{reader.what} lies between the layer and its consumer and normalises the scale of a neuron away, so "
                "scaling its weights does not cancel"
            )
        elif not (reader.is_a(passes) or _is_reshape(reader)):
            if reader.input is value and reader.is_a((*SOURCES, *RECURRENT)):
                chain.consumer = reader
            else:
                chain.block(f"the neurons are read by {_describe(reader)}, which has no columns of neurons to edit")
            return chain
        value = reader.output
    return None


def _readers(value: Value) -> list[Call]:
    """What reads a value; a view that is not used is no reader."""
    return [
        reader
        for reader in value.readers
        if not _is_reshape(reader) or reader.output is None or reader.output.returned or _readers(reader.output)
    ]


def _is_reshape(reader: Call) -> bool:
    return reader.module is None and reader.what in _RESHAPES


def _is_activation(reader: Call) -> bool:
    return reader.is_a(_ACTIVATIONS) or (reader.module is None and reader.what.rstrip("_") in _FUNCTIONS)


def _describe(reader: Call) -> str:
    return reader.what if reader.module is not None else f"'{reader.what}' called as a function"


def _others(value: Value, readers: Sequence[Call], but: Call | None) -> str:
    named = [_describe(reader) for reader in readers if reader is not but]
    return ", ".join([*named, "the caller of the network"] if value.returned else named)


# --------------------------------------------------------------------------------------------------------- making the
# layer


def _layer(
    net: str, source: nn.Module, calls: Sequence[Call], trace: Trace, owners: Mapping[int, Sequence[str]]
) -> NeuronLayer | None:
    """The layer of neurons that a source makes, from all its calls; None where it makes none."""
    if isinstance(source, CONVOLUTIONS):
        for call in calls:
            if call.output is not None and len(call.output.shape) != source.weight.dim():
                raise ValueError(
                    f"{call.what} gave {list(call.output.shape)}, without a batch dimension; run the example with one."
                )
    followed = [_follow(call) for call in calls]
    chains = [chain for chain in followed if chain is not None]
    if not chains:
        return None
    first = chains[0]
    activation, consumer = first.ends
    functional = activation is None
    if functional:
        assert first.activation is not None
        assert first.h is not None
        if consumer is None and not any(reader.is_a((*SOURCES, *RECURRENT)) for reader in first.h.readers):
            return None  # torch.tanh, for example, as a gate of something: nothing shows that these are neurons
        activation = _FUNCTIONS[first.activation.what.rstrip("_")]()
    assert activation is not None
    path = trace.paths[source]
    hook = _hook(chains, 1 if isinstance(source, CONVOLUTIONS) else -1, trace)
    if hook is None:
        warnings.warn(
            f"{net}/{path}: its activations can be read nowhere, since {type(activation).__name__} is "
            f"{'called as a function' if functional else 'used by other layers too'} and no module reads them as they are; "
            "left out. Declare the layer with declare_neurons(..., hook=...), or give it an activation module of its own.",
            stacklevel=3,
        )
        return None
    reason = (
        first.reason
        or _sharing(source, followed, trace, owners)
        or _unfit_source(source)
        or (_unfit_consumer(source, chains, trace, owners) if consumer is not None else "")
    )
    if not reason and consumer is not None:
        return declare_neurons(net, path, source, activation, consumer, hook=hook)
    assert isinstance(source, SOURCES)
    weight, bias = source.weight, source.bias
    return NeuronLayer(
        net=net,
        name=path,
        width=int(weight.shape[0]),
        hook=hook,
        activation=type(activation).__name__,
        surgery=Surgery.IMPOSSIBLE,
        reason=reason,
        input_weight=weight if isinstance(weight, nn.Parameter) else None,
        input_bias=bias if isinstance(bias, nn.Parameter) else None,
    )


def _hook(chains: Sequence[_Chain], neuron_dim: int, trace: Trace) -> ActivationHook | None:
    """Where the neurons, and nothing else, can be read: at the activation, or at a module that reads exactly them."""
    activations = {chain.activation for chain in chains}
    module = chains[0].ends[0]
    if module is not None and trace.calls_to(module) <= activations:
        return ActivationHook(module, neuron_dim=neuron_dim)
    values = [chain.h for chain in chains]
    for reader in values[0].readers if values[0] is not None else ():
        exclusive = reader.module is not None and all(call.input in values for call in trace.calls_to(reader.module))
        if exclusive and reader.input is values[0]:
            assert reader.module is not None
            return ActivationHook(reader.module, side="input", neuron_dim=neuron_dim)
    return None


def _sharing(
    source: nn.Module, followed: Sequence[_Chain | None], trace: Trace, owners: Mapping[int, Sequence[str]]
) -> str:
    """Why the rows of the source are not these neurons' alone; empty where they are."""
    ends = {(None, None) if chain is None else chain.ends for chain in followed}
    if len(ends) > 1 or None in followed:
        return f"its weights are used {len(followed)} times, and what is made of them differs"
    blocked = next((chain.reason for chain in followed if chain is not None and chain.reason), "")
    return blocked or _shared_parameter(source, trace, owners)


def _shared_parameter(module: nn.Module, trace: Trace, owners: Mapping[int, Sequence[str]]) -> str:
    for parameter in module.parameters():
        if id(parameter) in trace.loose:
            return f"a weight of {trace.paths[module]!r} is also used outside of its module"
        if len(owners[id(parameter)]) > 1:
            return f"a weight is shared: {' and '.join(owners[id(parameter)])} are the same parameter"
    return ""


def _unfit_source(source: nn.Module) -> str:
    if not isinstance(source.weight, nn.Parameter):
        return (
            "its weight is computed (a parametrization such as weight or spectral norm), so there are no rows to edit"
        )
    if isinstance(source, CONVOLUTIONS) and source.groups > 1:
        return f"it is a convolution in {source.groups} groups, whose neurons do not read the same inputs"
    return ""


def _unfit_consumer(
    source: nn.Module, chains: Sequence[_Chain], trace: Trace, owners: Mapping[int, Sequence[str]]
) -> str:
    """Why the columns of the consumer are not these neurons' alone; empty where they are."""
    consumer = chains[0].ends[1]
    assert consumer is not None
    reader = f"{trace.paths[consumer]!r} ({type(consumer).__name__})"
    if trace.calls_to(consumer) - {chain.consumer for chain in chains}:
        return f"{reader}, which reads the neurons, is also called on something else"
    shared = _shared_parameter(consumer, trace, owners)
    if shared:
        return shared
    if isinstance(consumer, nn.RNNBase) and consumer.bidirectional:
        return f"several read the neurons: both directions of {reader}"
    if isinstance(consumer, SOURCES) and not isinstance(consumer.weight, nn.Parameter):
        return f"the weight of {reader}, which reads the neurons, is computed by a parametrization"
    if isinstance(consumer, CONVOLUTIONS) and consumer.groups > 1:
        return f"{reader} reads the neurons in {consumer.groups} groups, so they do not share their readers"
    if not all(_columns_fit(source, chain) for chain in chains):
        return f"between the activation and {reader} the neurons are reshaped so that its columns are not neurons"
    return ""


def _columns_fit(source: nn.Module, chain: _Chain) -> bool:
    """Do the consumer's columns run over the neurons, k columns for each in a row?"""
    assert chain.h is not None
    assert chain.consumer is not None
    assert chain.consumer.input is not None
    h, x = chain.h.shape, chain.consumer.input.shape
    if not isinstance(source, CONVOLUTIONS):
        # Reshapes keep the order of memory: with H last everywhere every row is still one row of neurons.
        return not chain.consumer.is_a(CONVOLUTIONS) and x[-1] == h[-1]
    if chain.consumer.is_a(CONVOLUTIONS):
        return len(x) == len(h) and x[:2] == h[:2]
    # [B, C, ...] flattened to B rows: C times k columns, channel by channel.
    rows = 1
    for size in x[:-1]:
        rows *= size
    return rows == h[0] and x[-1] % h[1] == 0


def _owners(net: nn.Module) -> dict[int, list[str]]:
    """All names of each parameter; a module that is registered twice counts once."""
    names: dict[int, list[str]] = {}
    for path, module in net.named_modules():
        for own, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(f"{path}.{own}" if path else own)
    return names


def _nothing(trace: Trace) -> str:
    ran = list(dict.fromkeys(call.what for call in trace.calls))
    listed = (
        ", ".join(ran[:20]) + (", ..." if len(ran) > 20 else "")
        or "none (does the example call the network, and the network its modules?)"
    )
    return (
        "no layer of neurons was found: no Linear or Conv followed by an activation module and by a Linear, Conv, GRU or "
        f"LSTM that reads it. Modules that ran: {listed}. Declare layers whose activations are called as functions, and "
        "networks that use their weights by hand, with declare_neurons(net, name, source, activation, consumer, hook=...)."
    )
