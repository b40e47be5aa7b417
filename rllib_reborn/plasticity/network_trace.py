"""One run of a network, recorded: which module or operator reads which tensor, and what it makes of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SOURCES = (nn.Linear, *CONVOLUTIONS)
RECURRENT = (nn.GRU, nn.LSTM, nn.RNN, nn.GRUCell, nn.LSTMCell, nn.RNNCell)
#: Operators that take a tensor for its shape and type alone.
_SHAPE_READS = frozenset(
    {"new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided", "zeros_like", "ones_like", "empty_like"}
    | {"full_like", "rand_like", "randn_like", "sym_size", "is_same_size"}
)


@dataclasses.dataclass(eq=False)
class Value:
    """A tensor as it was made once (an in-place operation makes a new value of the same tensor)."""

    shape: tuple[int, ...]
    readers: list[Call] = dataclasses.field(default_factory=list)
    returned: bool = False


@dataclasses.dataclass(eq=False)
class Call:
    """A call of a module, or of an operator outside of modules (``module`` is None)."""

    what: str
    module: nn.Module | None = None
    input: Value | None = None
    output: Value | None = None

    def reads(self, value: Value) -> None:
        self.input = self.input or value
        if self not in value.readers:
            value.readers.append(self)

    def is_a(self, kinds: tuple[type[nn.Module], ...]) -> bool:
        return self.module is not None and computes_as(self.module, kinds)


class Trace(TorchDispatchMode):
    """Records one run: calls of modules without children, and operators outside of them."""

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.paths = paths
        self.calls: list[Call] = []
        #: Parameters that were used outside of the module they belong to, by id.
        self.loose: set[int] = set()
        self._parameters = {id(parameter) for module in paths for parameter in module.parameters(recurse=False)}
        self._values: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._open: list[Call] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Trace:
        for module in self.paths:
            if not next(module.children(), None) or computes_as(module, (*SOURCES, *RECURRENT)):
                self._handles.append(module.register_forward_pre_hook(self._enters, with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._leaves))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def calls_of(self, kinds: tuple[type[nn.Module], ...]) -> dict[nn.Module, list[Call]]:
        """Calls by module, in order of the first."""
        found: dict[nn.Module, list[Call]] = {}
        for call in self.calls:
            if call.module is not None and call.is_a(kinds):
                found.setdefault(call.module, []).append(call)
        return found

    def calls_to(self, module: nn.Module | None) -> set[Call]:
        return {call for call in self.calls if call.module is module}

    def give_back(self, returned: Any) -> None:
        """What the run returned is read by the caller."""
        for tensor in tensors_in(returned):
            if id(tensor) in self._values:
                self._values[id(tensor)].returned = True

    def _enters(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = Call(f"{self.paths[module]!r} ({type(module).__name__})", module)
        if not self._open:  # else: inside a module that is a neuron for us
            self.calls.append(call)
            for tensor in tensors_in((args, kwargs)):
                call.reads(self._value(tensor))
        self._open.append(call)

    def _leaves(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self._open.pop()
        if self._open:
            return
        for tensor in tensors_in(output):
            value = self._makes(tensor)
            call.output = call.output or value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        operator = func.overloadpacket.__name__
        if self._open or operator in _SHAPE_READS:
            return output
        call = Call(operator)
        for tensor in tensors_in((args, kwargs)):
            if id(tensor) in self._parameters:
                self.loose.add(id(tensor))
            elif id(tensor) in self._values:
                call.reads(self._values[id(tensor)])
        for tensor in tensors_in(output):
            value = self._makes(tensor)
            call.output = call.output or value
        return output

    def _value(self, tensor: Tensor) -> Value:
        return self._values[id(tensor)] if id(tensor) in self._values else self._makes(tensor)

    def _makes(self, tensor: Tensor) -> Value:
        self._alive.append(tensor)
        self._values[id(tensor)] = Value(tuple(tensor.shape))
        return self._values[id(tensor)]


def computes_as(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Is the module of one of ``kinds``, and does it compute what that kind does?"""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for branch in tree.values():
            yield from tensors_in(branch)
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from tensors_in(branch)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        yield from tensors_in([getattr(tree, field.name) for field in dataclasses.fields(tree)])


@contextlib.contextmanager
def in_evaluation(net: nn.Module) -> Iterator[None]:
    """Running statistics do not move and dropout passes; each module gets its own flag back."""
    flags = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def random_state_kept(net: nn.Module) -> contextlib.AbstractContextManager[Any]:
    devices = {parameter.device for parameter in net.parameters() if parameter.device.type == "cuda"}
    return torch.random.fork_rng(devices=[device.index or 0 for device in devices])
