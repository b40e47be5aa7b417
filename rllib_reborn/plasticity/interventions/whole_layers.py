"""Whole layers of a network: which are the last ones, and new weights for them as if they had just been built."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused
from rllib_reborn.plasticity.interventions.fresh_weights import Initializer, kaiming_default, xavier_uniform
from rllib_reborn.suggestions import did_you_mean

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def layer_names(net: nn.Module, prefix: str = "") -> list[str]:
    """Paths of the layers with weights (Linear, Conv, GRU, LSTM, RNN, normalisation), in order of registration."""
    return [
        join(prefix, name) for name, module in net.named_modules() if isinstance(module, _DENSE + _RECURRENT + _NORMS)
    ]


def chains(net: nn.Module, prefix: str = "") -> list[list[str]]:
    """Paths of the layers that lead to each output of ``net``, last layer last, as far as its structure tells.

    - An ``nn.Sequential`` that ends in a Linear is a chain: its layers in order. One that ends in anything else (an
      activation) is a stage: its features are read on.
    - In any other module, a Linear of its own is the end of a chain, behind the stages before it (Sequentials without an
      end of their own, GRUs, convolutions); parts that have ends of their own are chains beside each other.

    So an agent's network is one chain that ends in ``head``, and a QMIX mixer has four: the hypernetworks and ``V``.

    Raises:
        ValueError: A module has several Linears of its own: its structure does not tell which of them is the last.
    """
    if isinstance(net, nn.Linear):
        return [[prefix]]
    if isinstance(net, nn.Sequential):
        *before, (name, last) = [*net.named_children()] or [("", net)]
        if last is net:
            return []
        stages = [path for child, module in before for path in layer_names(module, join(prefix, child))]
        return [stages + chain for chain in chains(last, join(prefix, name))]
    alone = [join(prefix, name) for name, child in net.named_children() if isinstance(child, nn.Linear)]
    if len(alone) > 1:
        raise ValueError(
            f"which is the last layer of a {type(net).__name__}: {', '.join(alone)}? Its structure does not tell; name "
            "the ones that are meant in 'parameters'."
        )
    stages = []
    found: list[list[str]] = []
    for name, child in net.named_children():
        inner = chains(child, join(prefix, name))
        if inner:
            found += [stages + chain for chain in inner]
        else:
            stages += layer_names(child, join(prefix, name))
    return found


def named_by(net_name: str, names: list[str], prefix: str) -> list[str]:
    """Those of ``names`` that ``prefix`` means: the name, a part of its path from the left, with or without ``net/``."""
    short = prefix.removeprefix(f"{net_name}/")
    return [name for name in names if name == short or name.startswith(f"{short}.")]


def check_prefixes(prefixes: tuple[str, ...], names_by_net: Mapping[str, list[str]]) -> None:
    """Raise ValueError for a prefix that means nothing in any of the networks."""
    for prefix in prefixes:
        if not any(named_by(net, names, prefix) for net, names in names_by_net.items()):
            known = [name for names in names_by_net.values() for name in names]
            raise ValueError(f"parameters names {prefix!r}, which is not there.{did_you_mean(prefix, known)}")


def fresh_layer(layer: nn.Module, name: str, initializer: Initializer, generator: torch.Generator) -> dict[str, Tensor]:
    """Values for all parameters of one layer, by their local name, drawn on the CPU.

    ``xavier``: Glorot uniform from the layer's fans, for each gate of a recurrent layer on its own, biases 0. ``kaiming``:
    PyTorch's defaults, ``U(-1/sqrt(fan_in), 1/sqrt(fan_in))`` for weights and biases, ``fan_in`` being the hidden width
    in a recurrent layer. Normalisations start at scale 1, shift 0, and draw nothing; running statistics stay.

    Raises:
        SurgeryRefused: The layer holds the slots of another method, or is of an unknown kind.
    """
    if isinstance(layer, SlottedLinear | InjectedLinear):
        raise SurgeryRefused(
            f"{name}: re-initialising the layer would fill the spare neurons or break the pairs that injection or KNIFE "
            "keep in it. Do not combine them in one network: give one of them another scope."
        )
    local = dict(layer.named_parameters(recurse=False))
    if isinstance(layer, _NORMS):
        return {key: torch.full_like(p, float(key == "weight"), device="cpu") for key, p in local.items()}
    if isinstance(layer, _RECURRENT):
        return {key: _fresh_gates(p, layer.hidden_size, initializer, generator) for key, p in local.items()}
    if not isinstance(layer, _DENSE):
        raise SurgeryRefused(f"{name}: no rule for new weights of a {type(layer).__name__}; name other layers.")
    weight = layer.weight
    fan_in = weight[0].numel()
    if initializer == "kaiming":
        rows, bias = kaiming_default(weight.shape, fan_in, generator)
    else:
        rows = xavier_uniform(weight.shape, fan_in, weight.shape[0] * weight[0, 0].numel(), generator)
        bias = torch.zeros(weight.shape[0])
    return {"weight": rows, "bias": bias} if "bias" in local else {"weight": rows}


def owned_parameters(net: nn.Module) -> Iterator[tuple[str, nn.Module, list[str]]]:
    """Path, module and local parameter names of every module that has parameters of its own; a shared one comes once."""
    visited: set[int] = set()
    for path, module in net.named_modules():
        local = [name for name, p in module.named_parameters(recurse=False) if id(p) not in visited]
        visited |= {id(p) for p in module.parameters(recurse=False)}
        if local:
            yield path, module, local


def join(prefix: str, name: str) -> str:
    """``prefix.name``, or what there is of it."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _fresh_gates(parameter: Tensor, hidden: int, initializer: Initializer, generator: torch.Generator) -> Tensor:
    if initializer == "kaiming":
        bound = 1 / math.sqrt(hidden)
        return (2 * torch.rand(tuple(parameter.shape), generator=generator) - 1) * bound
    if parameter.dim() == 1:
        return torch.zeros(tuple(parameter.shape))
    width = parameter.shape[1]
    if parameter.shape[0] % hidden:  # an LSTM's projection
        return xavier_uniform(parameter.shape, width, parameter.shape[0], generator)
    gates = parameter.shape[0] // hidden
    return torch.cat([xavier_uniform((hidden, width), width, hidden, generator) for _ in range(gates)])
