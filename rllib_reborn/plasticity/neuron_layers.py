"""Which neurons there are: hidden layers as surgery and scoring see them.

A :class:`NeuronLayer` is a layer of H neurons: what goes in (rows of a weight), where their activations are read (an
*activation hook* on the network), and what comes out (columns of the next weight). Networks declare theirs
(``neuron_layers`` of our agents and mixers), a user declares his with :func:`declare_neurons`, or
:func:`rllib_reborn.plasticity.discovery.discover_neurons` finds them.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear

#: Which hidden layers: ``official_code``, those that the official ReBorn code marks (docs/method.md 2.1);
#: ``editable``, every one whose neurons have weights of their own; ``full``, every one, also those that can be scored
#: only (QMIX's mixing neurons, a GRU).
LayerChoice = Literal["official_code", "editable", "full"]
LAYER_CHOICES: tuple[LayerChoice, ...] = get_args(LayerChoice)

#: phi(c z) = c phi(z) for c > 0; only then does splitting a neuron keep the function (docs/method.md 3.1, 5.4).
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity)


class Surgery(enum.Enum):
    """What moving weight between the neurons of a layer does to its function."""

    EXACT = "exact"  #: splitting a neuron keeps it: the activation is positively homogeneous
    INEXACT = "inexact"  #: splitting changes it; needs the opt-in ``allow_inexact``
    IMPOSSIBLE = "impossible"  #: the neurons have no weights of their own to edit, or several readers; scoring only


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationHook:
    """Where a layer's activations can be read while the network runs.

    Attributes:
        module: The module to hook.
        side: Read its first ``"input"`` or its ``"output"``.
        neuron_dim: Dimension of the neurons in that tensor: -1, or 1 behind a convolution.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    neuron_dim: int = -1

    def attach(self, read: Callable[[Tensor], None]) -> RemovableHandle:
        """Call ``read(h)`` with every tensor that passes, h as [..., H] with the neurons last, until the handle is
        removed."""

        def last(h: Tensor) -> Tensor:
            return h if self.neuron_dim in (-1, h.dim() - 1) else h.movedim(self.neuron_dim, -1)

        if self.side == "input":
            return self.module.register_forward_pre_hook(lambda module, args: read(last(args[0])))
        return self.module.register_forward_hook(lambda module, args, output: read(last(output)))


@dataclasses.dataclass(frozen=True, eq=False)
class NeuronLayer:
    """H neurons of one hidden layer.

    Attributes:
        net: The network they belong to, e.g. ``"mixer"`` or ``"agent"``; the first part of :attr:`key`.
        name: Their name in it, e.g. ``"hyper_w_final"``; unique within the net.
        width: H.
        hook: Where their activations are read.
        activation: Name of the activation, for messages.
        surgery: Whether weight can be moved between them, and whether that keeps the function.
        reason: Why surgery is not exact; empty when it is.
        input_weight: [H, ...] parameter whose row i makes neuron i; None where there is none to edit.
        input_bias: [H], or None.
        output_weight: [out, H * k, ...] parameter whose columns read the neurons (k > 1 where each neuron is a channel
            that was flattened), or None.
        output_bias: [out] bias beside ``output_weight``, or None.
        active: [H] bool: neurons that take part; None: all (spare slots of a method that adds neurons do not).
    """

    net: str
    name: str
    width: int
    hook: ActivationHook
    activation: str
    surgery: Surgery = Surgery.EXACT
    reason: str = ""
    input_weight: nn.Parameter | None = None
    input_bias: nn.Parameter | None = None
    output_weight: nn.Parameter | None = None
    output_bias: nn.Parameter | None = None
    active: Tensor | None = None

    def __post_init__(self) -> None:
        if self.surgery is Surgery.IMPOSSIBLE:
            return
        if self.input_weight is None or self.output_weight is None:
            raise ValueError(f"{self.key}: a layer that can be edited needs input_weight and output_weight.")
        if self.input_weight.shape[0] != self.width:
            raise ValueError(
                f"{self.key}: input_weight has {self.input_weight.shape[0]} rows for {self.width} neurons."
            )
        if self.output_weight.dim() < 2 or self.output_weight.shape[1] % self.width:
            raise ValueError(
                f"{self.key}: output_weight is {list(self.output_weight.shape)}; expected [out, k * {self.width}, ...]."
            )

    @property
    def key(self) -> str:
        """``net/name``: how metrics, reports and statistics call the layer."""
        return f"{self.net}/{self.name}" if self.net else self.name

    def columns(self, output_like: Tensor) -> Tensor:
        """A tensor shaped as ``output_weight`` (itself, its gradient, an optimizer's slot) as [out, H, rest], a
        view."""
        return output_like.reshape(output_like.shape[0], self.width, -1)

    def active_mask(self, device: torch.device | None = None) -> Tensor:
        """[H] bool: the neurons that take part."""
        if self.active is None:
            return torch.ones(self.width, dtype=torch.bool, device=device)
        return self.active.to(device) if device is not None else self.active


def declare_neurons(
    net: str,
    name: str,
    source: nn.Module,
    activation: nn.Module,
    consumer: nn.Module,
    *,
    hook: ActivationHook | None = None,
) -> NeuronLayer:
    """Neurons between ``source`` and ``consumer``, as the caller knows them to be: nothing else may read them.

    Args:
        net, name: See :class:`NeuronLayer`.
        source: ``nn.Linear`` or ``nn.Conv*d``; its output features are the neurons.
        activation: Module between them; its output is hooked unless ``hook`` names another place.
        consumer: ``nn.Linear``, ``nn.Conv*d`` or ``nn.GRU``/``nn.LSTM``/``nn.GRUCell`` that reads them.
        hook: Where activations are read, for networks that do not call ``activation`` as a module.

    Raises:
        ValueError: A module is of a kind that has no rows or columns of neurons, or sizes do not fit.
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if not isinstance(source, (nn.Linear, *convolutions)):
        raise ValueError(f"{net}/{name}: a {type(source).__name__} has no rows of neurons; expected Linear or Conv.")
    weight, bias = _reader(consumer, f"{net}/{name}")
    kind = type(activation).__name__
    surgery, reason = Surgery.EXACT, ""
    if isinstance(source, InjectedLinear) or isinstance(consumer, InjectedLinear):
        surgery, reason = Surgery.IMPOSSIBLE, "plasticity injection put a second weight beside its own"
    elif not isinstance(activation, HOMOGENEOUS):
        surgery = Surgery.INEXACT
        reason = f"{kind} is not positively homogeneous, so splitting a neuron changes the function"
    return NeuronLayer(
        net=net,
        name=name,
        width=source.weight.shape[0],
        hook=hook or ActivationHook(activation, neuron_dim=1 if isinstance(source, convolutions) else -1),
        activation=kind,
        surgery=surgery,
        reason=reason,
        input_weight=_parameter(source, "weight"),
        input_bias=_parameter(source, "bias"),
        output_weight=weight,
        output_bias=bias,
        active=source.active if isinstance(source, SlottedLinear) else None,
    )


def _reader(consumer: nn.Module, key: str) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """The parameter whose columns read the neurons, and the bias beside it."""
    if isinstance(consumer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _parameter(consumer, "weight"), _parameter(consumer, "bias")
    if isinstance(consumer, nn.GRU | nn.LSTM | nn.RNN):
        return _parameter(consumer, "weight_ih_l0"), _parameter(consumer, "bias_ih_l0")
    if isinstance(consumer, nn.GRUCell | nn.LSTMCell | nn.RNNCell):
        return _parameter(consumer, "weight_ih"), _parameter(consumer, "bias_ih")
    raise ValueError(
        f"{key}: a {type(consumer).__name__} has no columns that read neurons; expected Linear, Conv or GRU."
    )


def _parameter(module: nn.Module, name: str) -> nn.Parameter | None:
    """A parameter of the module itself, None where it was left out (``bias=False``)."""
    return dict(module.named_parameters(recurse=False)).get(name)


def by_key(layers: Iterable[NeuronLayer]) -> dict[str, NeuronLayer]:
    """Layers by their key.

    Raises:
        ValueError: Two have the same.
    """
    found: dict[str, NeuronLayer] = {}
    for layer in layers:
        if layer.key in found:
            raise ValueError(f"two layers are called {layer.key!r}; names must differ.")
        found[layer.key] = layer
    return found


def editable(layers: Iterable[NeuronLayer]) -> list[NeuronLayer]:
    """Those of ``layers`` whose neurons have weights of their own to edit: :data:`LayerChoice` ``editable``."""
    return [layer for layer in layers if layer.surgery is not Surgery.IMPOSSIBLE]


def nets_of(layers: Sequence[NeuronLayer]) -> list[str]:
    """Names of the networks, in order of their first layer."""
    return list(dict.fromkeys(layer.net for layer in layers))
