"""What a mixer reads of the global state: ``training(mixer={"state": ..., "state_encoder_dim": ...})``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.settings import HiddenLayerSettings, StateSettings
from rllib_reborn.envs.state_views import FULL, NONE
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.hidden_activation import shape_hidden_layers
from rllib_reborn.nets.mixers import Mixer
from rllib_reborn.nets.mixers.state_encoder import put_state_encoder


@dataclasses.dataclass(frozen=True)
class MixerState:
    """What is made of the state [rows, s] before a mixer reads it.

    Attributes:
        spec: The team.
        dim: Numbers that are left of the state.
        reduce: [rows, s] -> [rows, dim]; None: the state is read as it is.
        encoder_dim: Width of the mixer's own encoder of that; None: it has none.
    """

    spec: TeamSpec
    dim: int
    reduce: Callable[[Tensor], Tensor] | None
    encoder_dim: int | None

    @classmethod
    def of(cls, spec: TeamSpec, settings: Mapping[str, Any]) -> MixerState:
        """Of ``training.mixer``; a mixer without these settings reads the state as it is.

        Raises:
            ValueError: The environment has no such state; what it has.
        """
        name, encoder_dim = settings.get("state", FULL), settings.get("state_encoder_dim")
        if name == FULL:
            return cls(spec, spec.state_dim, None, encoder_dim)
        if name == NONE:
            return cls(spec, spec.state_dim, torch.zeros_like, encoder_dim)
        for view in spec.state_views:
            if view.name == name:
                return cls(spec, view.size, view, encoder_dim)
        has = ", ".join([FULL, NONE, *(view.name for view in spec.state_views)])
        raise ValueError(
            f"mixer.state is {name!r}, which this environment does not define; it has {has}. Set "
            "training.mixer.state to one of these. An environment declares smaller states in TeamSpec.state_views "
            "(docs/your_env.md); the tasks of a sequence have those in common that are equal."
        )

    @property
    def read_dim(self) -> int:
        """Numbers that the mixer's own networks read."""
        return self.dim if self.encoder_dim is None else self.encoder_dim

    def build(self, make_mixer: Callable[[TeamSpec, dict[str, Any]], Mixer], settings: Mapping[str, Any]) -> Mixer:
        """The mixer that ``make_mixer`` makes of the team, with a state of :attr:`read_dim`, and of the settings that are
        not about the state; with its encoder, and with the hidden layers that the settings ask for."""
        own = {key: value for key, value in settings.items() if key not in StateSettings.model_fields}
        mixer = make_mixer(dataclasses.replace(self.spec, state_dim=self.read_dim), own)
        if self.encoder_dim is not None:
            put_state_encoder(mixer, self.dim, self.encoder_dim)
        hidden = HiddenLayerSettings(
            **{key: settings[key] for key in HiddenLayerSettings.model_fields if key in settings}
        )
        shape_hidden_layers(mixer, hidden.normalisation, hidden.activation)
        return mixer


def check_mixer_state(spec: TeamSpec, settings: Mapping[str, Any]) -> None:
    """Whether the environment has the state that a mixer shall read, and its function gives it.

    Raises:
        ValueError: It has not, or it does not.
    """
    reduce = MixerState.of(spec, settings).reduce
    if reduce is None or reduce is torch.zeros_like:
        return
    size = MixerState.of(spec, settings).dim
    try:
        found = reduce(torch.zeros(2, spec.state_dim))
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"mixer.state is {settings['state']!r}, whose function fails on a state of zeros: {what}"
        ) from error
    if not isinstance(found, Tensor) or found.shape != (2, size) or found.dtype != torch.float32:
        shown = f"{list(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"mixer.state is {settings['state']!r}, whose function makes {shown} of 2 states; expected [2, {size}] "
            "torch.float32, as StateView.size says."
        )
