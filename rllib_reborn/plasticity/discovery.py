"""Finds the layers of units of a network that declares none: runs it once and follows who reads what.

A layer of units is a chain *source* (Linear or Conv) - *activation* - *consumer* (Linear, Conv, GRU, LSTM, RNN), with
modules between them that only pass units on (Flatten, Dropout, Identity, pooling behind a convolution). The chain is read
off the data, not off names or the order of registration: modules tell by hooks what they read and make, and everything
outside of modules (residual sums, concatenation, ``torch.relu``, weights used by hand) is seen by a dispatch mode, with
or without gradients. What is seen to break the maths comes back as :attr:`Surgery.IMPOSSIBLE` with the reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rllib_reborn.plasticity.units import Surgery, Tap, UnitLayer, declare_units

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SOURCES = (nn.Linear, *_CONVOLUTIONS)
_RECURRENT = (nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell, nn.LSTMCell, nn.RNNCell)
#: Each unit by itself, whatever the others say.
_ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink,
    nn.Softshrink, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
#: Units pass unchanged (in evaluation mode). Identity is no activation: linear layers have no hidden units to lose.
_PASSES = (
    nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout, nn.Sequential,
)  # fmt: skip
#: Channel by channel and positively homogeneous, so that splitting a channel stays exact.
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
#: The scale of a unit is normalised away, so scaling in and out does not cancel (method reference 10.3).
_NORMS = (
    nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm,
)  # fmt: skip
#: Activations called as functions, by operator.
_FUNCTIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "hardtanh": nn.Hardtanh, "hardswish": nn.Hardswish,
}  # fmt: skip
#: Operators that only look at a tensor in another shape; where units end up is checked at the consumer.
_RESHAPES = frozenset({"view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze", "alias", "detach", "clone"})
#: Operators that take a tensor for its shape and type alone.
_SHAPE_READS = frozenset(
    {"new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided", "zeros_like", "ones_like", "empty_like"}
    | {"full_like", "rand_like", "randn_like", "sym_size", "is_same_size"}
)


def discover_units(
    net: nn.Module, example: Callable[[], Any] | Tensor | Sequence[Tensor], *, name: str = "net"
) -> list[UnitLayer]:
    """Run ``net`` once, in evaluation mode and without gradients, and find its layers of units.

    Args:
        net: Any network. Parameters, gradients, training flags and torch's random state are left as they were.
        example: Arguments for ``net(...)`` (one tensor or several), or a function that runs the network as it is used,
            for networks that are not called as ``net(tensors)``.
        name: :attr:`UnitLayer.net` of the layers.

    Returns:
        In the order of the run; each is called after its source's path in ``net``. Surgery is

        - ``EXACT`` for ReLU and LeakyReLU, ``INEXACT`` for other activations (method reference 5.4);
        - ``IMPOSSIBLE``, with the reason, where there are several readers (modules, functions such as a residual sum or a
          concatenation, or the caller), a normalisation between source and consumer, a reader without columns of units,
          weights shared with another place, grouped convolutions, or weights computed by a parametrization.

        Activations called as functions are found where the next module reads their result directly; a layer whose
        activations can be read nowhere is named in a ``UserWarning``.
        Outputs of the network are no hidden units, even behind an activation.

    Raises:
        ValueError: Nothing was found, or a convolution was run without a batch dimension.
    """
    paths = {module: path for path, module in net.named_modules()}
    trace = _Trace(paths)
    with _in_evaluation(net), _random_state_kept(net), torch.no_grad(), trace:
        if callable(example) and not isinstance(example, Tensor):
            returned = example()
        else:
            returned = net(example) if isinstance(example, Tensor) else net(*example)
    trace.give_back(returned)
    found: list[UnitLayer] = []
    owners = _owners(net)
    for source, calls in trace.calls_of(_SOURCES).items():
        layer = _layer(name, source, calls, trace, owners)
        if layer is not None:
            found.append(layer)
    if not found:
        raise ValueError(_nothing(trace))
    return found


# ---------------------------------------------------------------------------------------------------- what the run showed


@dataclasses.dataclass(eq=False)
class _Value:
    """A tensor as it was made once (an in-place operation makes a new value of the same tensor)."""

    shape: tuple[int, ...]
    readers: list[_Reader] = dataclasses.field(default_factory=list)
    returned: bool = False


@dataclasses.dataclass(eq=False)
class _Reader:
    """A call of a module, or of an operator outside of modules (``module`` is None)."""

    what: str
    module: nn.Module | None = None
    input: _Value | None = None
    output: _Value | None = None

    def reads(self, value: _Value) -> None:
        self.input = self.input or value
        if self not in value.readers:
            value.readers.append(self)

    def is_a(self, kinds: tuple[type[nn.Module], ...]) -> bool:
        return self.module is not None and _plain(self.module, kinds)


class _Trace(TorchDispatchMode):
    """Records one run: calls of modules without children, and operators outside of them."""

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.paths = paths
        self.calls: list[_Reader] = []
        #: Parameters that were used outside of the module they belong to, by id.
        self.loose: set[int] = set()
        self._parameters = {id(parameter) for module in paths for parameter in module.parameters(recurse=False)}
        self._values: dict[int, _Value] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._open: list[_Reader] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Trace:
        for module in self.paths:
            if not next(module.children(), None) or _plain(module, (*_SOURCES, *_RECURRENT)):
                self._handles.append(module.register_forward_pre_hook(self._enters, with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._leaves))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def calls_of(self, kinds: tuple[type[nn.Module], ...]) -> dict[nn.Module, list[_Reader]]:
        """Calls by module, in order of the first."""
        found: dict[nn.Module, list[_Reader]] = {}
        for call in self.calls:
            if call.module is not None and call.is_a(kinds):
                found.setdefault(call.module, []).append(call)
        return found

    def calls_to(self, module: nn.Module | None) -> set[_Reader]:
        return {call for call in self.calls if call.module is module}

    def give_back(self, returned: Any) -> None:
        """What the run returned is read by the caller."""
        for tensor in _tensors(returned):
            if id(tensor) in self._values:
                self._values[id(tensor)].returned = True

    def _enters(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = _Reader(f"{self.paths[module]!r} ({type(module).__name__})", module)
        if not self._open:  # else: inside a module that is a unit for us
            self.calls.append(call)
            for tensor in _tensors((args, kwargs)):
                call.reads(self._value(tensor))
        self._open.append(call)

    def _leaves(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self._open.pop()
        if self._open:
            return
        for tensor in _tensors(output):
            value = self._makes(tensor)
            call.output = call.output or value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        operator = func.overloadpacket.__name__
        if self._open or operator in _SHAPE_READS:
            return output
        call = _Reader(operator)
        for tensor in _tensors((args, kwargs)):
            if id(tensor) in self._parameters:
                self.loose.add(id(tensor))
            elif id(tensor) in self._values:
                call.reads(self._values[id(tensor)])
        for tensor in _tensors(output):
            value = self._makes(tensor)
            call.output = call.output or value
        return output

    def _value(self, tensor: Tensor) -> _Value:
        return self._values[id(tensor)] if id(tensor) in self._values else self._makes(tensor)

    def _makes(self, tensor: Tensor) -> _Value:
        self._alive.append(tensor)
        self._values[id(tensor)] = _Value(tuple(tensor.shape))
        return self._values[id(tensor)]


def _plain(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Is the module of one of ``kinds``, and does it compute what that kind does?"""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for branch in tree.values():
            yield from _tensors(branch)
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _tensors(branch)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        yield from _tensors([getattr(tree, field.name) for field in dataclasses.fields(tree)])


@contextlib.contextmanager
def _in_evaluation(net: nn.Module) -> Iterator[None]:
    """Running statistics do not move and dropout passes; each module gets its own flag back."""
    flags = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def _random_state_kept(net: nn.Module) -> contextlib.AbstractContextManager[Any]:
    devices = {parameter.device for parameter in net.parameters() if parameter.device.type == "cuda"}
    return torch.random.fork_rng(devices=[device.index or 0 for device in devices])


# ------------------------------------------------------------------------------------------------------- following a chain


@dataclasses.dataclass(eq=False)
class _Chain:
    """The way of one call of a source up to the module that reads its units."""

    source: _Reader
    activation: _Reader | None = None
    h: _Value | None = None
    consumer: _Reader | None = None
    reason: str = ""

    def block(self, reason: str) -> None:
        """The first reason is the one that is told."""
        self.reason = self.reason or reason

    @property
    def ends(self) -> tuple[nn.Module | None, nn.Module | None]:
        """Where the call leads: activation and consumer."""
        return (
            None if self.activation is None else self.activation.module,
            None if self.consumer is None else self.consumer.module,
        )


def _follow(source: _Reader) -> _Chain | None:
    """Follow the units of one call; None where no activation makes hidden units of them."""
    chain = _Chain(source)
    passes = (*_PASSES, *_POOLS) if source.is_a(_CONVOLUTIONS) else _PASSES
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
                chain.block(f"several read the units: {_others(value, readers, None)}")
                return chain
        if _is_activation(reader):
            if chain.h is None:
                chain.activation, chain.h = reader, reader.output
            else:
                chain.block(f"a second activation follows, {reader.what}, so that no single one makes the units")
        elif reader.is_a(_NORMS):
            chain.block(
                f"{reader.what} lies between the layer and its consumer and normalises the scale of a unit away, so scaling "
                "its weights does not cancel"
            )
        elif not (reader.is_a(passes) or _is_reshape(reader)):
            if reader.input is value and reader.is_a((*_SOURCES, *_RECURRENT)):
                chain.consumer = reader
            else:
                chain.block(f"the units are read by {_told(reader)}, which has no columns of units to edit")
            return chain
        value = reader.output
    return None


def _readers(value: _Value) -> list[_Reader]:
    """Who reads a value; a view that nobody uses is no reader."""
    return [
        reader
        for reader in value.readers
        if not _is_reshape(reader) or reader.output is None or reader.output.returned or _readers(reader.output)
    ]


def _is_reshape(reader: _Reader) -> bool:
    return reader.module is None and reader.what in _RESHAPES


def _is_activation(reader: _Reader) -> bool:
    return reader.is_a(_ACTIVATIONS) or (reader.module is None and reader.what.rstrip("_") in _FUNCTIONS)


def _told(reader: _Reader) -> str:
    return reader.what if reader.module is not None else f"'{reader.what}' called as a function"


def _others(value: _Value, readers: Sequence[_Reader], but: _Reader | None) -> str:
    told = [_told(reader) for reader in readers if reader is not but]
    return ", ".join([*told, "the caller of the network"] if value.returned else told)


# --------------------------------------------------------------------------------------------------------- making the layer


def _layer(
    net: str, source: nn.Module, calls: Sequence[_Reader], trace: _Trace, owners: Mapping[int, Sequence[str]]
) -> UnitLayer | None:
    """The layer of units that a source makes, from all its calls; None where it makes none."""
    if isinstance(source, _CONVOLUTIONS):
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
        if consumer is None and not any(reader.is_a((*_SOURCES, *_RECURRENT)) for reader in first.h.readers):
            return None  # torch.tanh, say, as a gate of something: nothing says that these are units
        activation = _FUNCTIONS[first.activation.what.rstrip("_")]()
    assert activation is not None
    path = trace.paths[source]
    tap = _tap(chains, 1 if isinstance(source, _CONVOLUTIONS) else -1, trace)
    if tap is None:
        warnings.warn(
            f"{net}/{path}: its activations can be read nowhere, since {type(activation).__name__} is "
            f"{'called as a function' if functional else 'used by other layers too'} and no module reads them as they are; "
            "left out. Declare the layer with declare_units(..., tap=...), or give it an activation module of its own.",
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
        return declare_units(net, path, source, activation, consumer, tap=tap)
    assert isinstance(source, _SOURCES)
    weight, bias = source.weight, source.bias
    return UnitLayer(
        net=net,
        name=path,
        width=int(weight.shape[0]),
        tap=tap,
        activation=type(activation).__name__,
        surgery=Surgery.IMPOSSIBLE,
        reason=reason,
        input_weight=weight if isinstance(weight, nn.Parameter) else None,
        input_bias=bias if isinstance(bias, nn.Parameter) else None,
    )


def _tap(chains: Sequence[_Chain], unit_dim: int, trace: _Trace) -> Tap | None:
    """Where the units, and nothing else, can be read: at the activation, or at a module that reads exactly them."""
    activations = {chain.activation for chain in chains}
    module = chains[0].ends[0]
    if module is not None and trace.calls_to(module) <= activations:
        return Tap(module, unit_dim=unit_dim)
    values = [chain.h for chain in chains]
    for reader in values[0].readers if values[0] is not None else ():
        exclusive = reader.module is not None and all(call.input in values for call in trace.calls_to(reader.module))
        if exclusive and reader.input is values[0]:
            assert reader.module is not None
            return Tap(reader.module, side="input", unit_dim=unit_dim)
    return None


def _sharing(
    source: nn.Module, followed: Sequence[_Chain | None], trace: _Trace, owners: Mapping[int, Sequence[str]]
) -> str:
    """Why the rows of the source are not these units' alone; empty where they are."""
    ends = {(None, None) if chain is None else chain.ends for chain in followed}
    if len(ends) > 1 or None in followed:
        return f"its weights are used {len(followed)} times, and what is made of them differs"
    blocked = next((chain.reason for chain in followed if chain is not None and chain.reason), "")
    return blocked or _shared_parameter(source, trace, owners)


def _shared_parameter(module: nn.Module, trace: _Trace, owners: Mapping[int, Sequence[str]]) -> str:
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
    if isinstance(source, _CONVOLUTIONS) and source.groups > 1:
        return f"it is a convolution in {source.groups} groups, whose units do not read the same inputs"
    return ""


def _unfit_consumer(
    source: nn.Module, chains: Sequence[_Chain], trace: _Trace, owners: Mapping[int, Sequence[str]]
) -> str:
    """Why the columns of the consumer are not these units' alone; empty where they are."""
    consumer = chains[0].ends[1]
    assert consumer is not None
    told = f"{trace.paths[consumer]!r} ({type(consumer).__name__})"
    if trace.calls_to(consumer) - {chain.consumer for chain in chains}:
        return f"{told}, which reads the units, is also called on something else"
    shared = _shared_parameter(consumer, trace, owners)
    if shared:
        return shared
    if isinstance(consumer, nn.RNNBase) and consumer.bidirectional:
        return f"several read the units: both directions of {told}"
    if isinstance(consumer, _SOURCES) and not isinstance(consumer.weight, nn.Parameter):
        return f"the weight of {told}, which reads the units, is computed by a parametrization"
    if isinstance(consumer, _CONVOLUTIONS) and consumer.groups > 1:
        return f"{told} reads the units in {consumer.groups} groups, so they do not share their readers"
    if not all(_columns_fit(source, chain) for chain in chains):
        return f"between the activation and {told} the units are reshaped so that its columns are not units"
    return ""


def _columns_fit(source: nn.Module, chain: _Chain) -> bool:
    """Do the consumer's columns run over the units, k columns for each in a row?"""
    assert chain.h is not None
    assert chain.consumer is not None
    assert chain.consumer.input is not None
    h, x = chain.h.shape, chain.consumer.input.shape
    if not isinstance(source, _CONVOLUTIONS):
        # Reshapes keep the order of memory: with H last everywhere every row is still one row of units.
        return not chain.consumer.is_a(_CONVOLUTIONS) and x[-1] == h[-1]
    if chain.consumer.is_a(_CONVOLUTIONS):
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


def _nothing(trace: _Trace) -> str:
    ran = list(dict.fromkeys(call.what for call in trace.calls))
    listed = (
        ", ".join(ran[:20]) + (", ..." if len(ran) > 20 else "")
        or "none (does the example call the network, and the network its modules?)"
    )
    return (
        "no layer of units was found: no Linear or Conv followed by an activation module and by a Linear, Conv, GRU or LSTM "
        f"that reads it. Modules that ran: {listed}. Declare layers whose activations are called as functions, and networks "
        "that use their weights by hand, with declare_units(net, name, source, activation, consumer, tap=...)."
    )
