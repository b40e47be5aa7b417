"""A learned encoder of the state in front of a mixer: all hypernetworks read what it makes of the state."""

from __future__ import annotations

from typing import Any

from torch import nn

from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import Mixer

_NAME = "state_encoder"


class StateEncoder(nn.Sequential):
    """Linear, ReLU, Linear: [rows, s] -> [rows, width]. The second Linear is followed by the Linears of the hypernetworks
    at once and adds nothing to what they can express; with it the hidden neurons have one reader, so that interventions
    can edit them. (Our own: no paper of ours has it.)

    Args:
        state_dim: ``s``.
        width: Hidden neurons, and numbers that come out.
    """

    def __init__(self, state_dim: int, width: int) -> None:
        super().__init__(Linear(state_dim, width), nn.ReLU(), Linear(width, width))


def put_state_encoder(mixer: Mixer, state_dim: int, width: int) -> None:
    """Make ``mixer``, which was built for a state of ``width`` numbers, read one of ``state_dim`` through a
    :class:`StateEncoder`. The mixers of its critics (WQMIX, ResQ) get one each: they are networks of their own."""
    for part in [module for module in mixer.modules() if isinstance(module, Mixer) and module.needs_state]:
        part.add_module(_NAME, StateEncoder(state_dim, width))
        # A function of the module that is called, so that it holds for copies (the target network) too.
        part.register_forward_pre_hook(_encode_state)


def encoder_layers(mixer: Mixer, prefix: str = "") -> list[HiddenLayer]:
    """The hidden layer of a mixer's encoder; none, where it has no encoder.

    Args:
        mixer: Not looked into for further mixers.
        prefix: In front of the name.
    """
    encoder = getattr(mixer, _NAME, None)
    return [] if encoder is None else [HiddenLayer(f"{prefix}{_NAME}.0", *encoder)]


def _encode_state(mixer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    q, state, *rest = arguments
    return (q, mixer.get_submodule(_NAME)(state), *rest)
