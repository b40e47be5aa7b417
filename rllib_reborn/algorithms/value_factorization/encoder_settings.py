"""``training(model={"encoder": ..., "encoder_settings": {...}})``: the settings of each shipped encoder, and whether an
encoder fits a team's observations, asked before anything is built."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.encoders import ENCODERS, check_encoder_settings, encoder_class
from rllib_reborn.obs_parts import ObsLayout
from rllib_reborn.settings import REASON_GIVEN, Settings, parse
from rllib_reborn.short_repr import short_repr

logger = logging.getLogger(__name__)

Layers = Annotated[list[int], Field(min_length=1, max_length=8)]
Width = Annotated[int, Field(ge=1, le=4096)]


class CNNSettings(Settings):
    """``model.encoder_settings`` of ``cnn``, for observations that are one picture.

    Attributes:
        width: Features that come out, 1..4096. Default 64.
        channels: Of each convolution, 1..1024; 1 to 8 of them. Default [16, 32].
        kernels: Height and width of each, 1..99. Default [3, 3].
        strides: Of each, 1..99. Default [1, 2]. There is no padding, so that (size - kernel) // stride + 1 points are left:
            of 8 x 8 points 6 x 6 and 2 x 2.
        channels_first: Whether the shape of pictures in the environment's space is (channels, height, width). Default False:
            (height, width, channels).
    """

    width: Width = 64
    channels: Layers = Field(default=[16, 32])
    kernels: Layers = Field(default=[3, 3])
    strides: Layers = Field(default=[1, 2])
    channels_first: bool = False

    @pydantic.model_validator(mode="after")
    def _as_many_of_each(self) -> Self:
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise PydanticCustomError(
                REASON_GIVEN,
                "channels, kernels and strides are {channels}, {kernels} and {strides}; expected lists of one length, an "
                "entry in each for every convolution.",
                {"channels": self.channels, "kernels": self.kernels, "strides": self.strides},
            )
        return self


class PerFieldSettings(CNNSettings):
    """``model.encoder_settings`` of ``per_field``, for observations of several parts: convolutions (as in
    :class:`CNNSettings`) for pictures, Linear-ReLU-Linear for all others.

    Attributes:
        width: Features of each part, 1..4096. Default 32.
    """

    width: Width = 32


def obs_layout(spec: TeamSpec) -> ObsLayout:
    """What an encoder of a team's observations is made for."""
    return ObsLayout(dim=int(spec.obs_dim), scale=float(spec.obs_scale), parts=spec.obs_parts)


#: By the name of each shipped encoder.
SETTINGS: Mapping[str, type[Settings]] = MappingProxyType({"cnn": CNNSettings, "per_field": PerFieldSettings})


def complete_settings(name: str | None, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """``encoder_settings`` with all defaults that are known; None without an encoder.

    Raises:
        ValueError: There is no such encoder, or it takes no such settings.
    """
    if name is None:
        # Resolved experiments write defaults out, so that these are no wish for an encoder.
        if any(dict(settings) == model().model_dump() for model in SETTINGS.values()):
            return None
        raise ValueError(
            f"encoder_settings is {short_repr(dict(settings))}, but encoder is null, which reads none of them; set encoder "
            f"to one of {', '.join(ENCODERS)}, or module:Class, or leave encoder_settings out."
        )
    if name in SETTINGS:
        return parse(SETTINGS[name], dict(settings), "encoder_settings").model_dump()
    check_encoder_settings(name, settings)
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"encoder_settings is {short_repr(dict(settings))}; expected plain data (texts, finite numbers, true and false, "
            f"lists and mappings of them), which configs and portable policies can hold ({error})."
        ) from None
    return dict(settings)


def check_encoder_fits(spec: TeamSpec, name: str, given: Mapping[str, Any], *, measures: bool) -> None:
    """Whether an encoder can read a team's observations; none is built. What one's own makes of them is looked at when
    networks are built.

    Args:
        spec: The team.
        name, given: ``model.encoder``, and its complete ``encoder_settings``.
        measures: Whether neurons are measured or treated.

    Raises:
        ValueError: It cannot: the setting, what the observations are, and the remedy.
    """
    layout = obs_layout(spec)
    if name not in ENCODERS:
        if measures and not hasattr(encoder_class(name), "hidden_layers"):
            _say_not_measured(name)
        return
    try:
        ENCODERS[name].numbers_of(layout, **given)
    except ValueError as error:
        raise ValueError(f"model.encoder is {name!r}: {error}") from None
    if not any(part.kind == "picture" for part in layout.parts):
        defaults = SETTINGS[name]().model_dump()
        for key in ("channels", "kernels", "strides", "channels_first"):
            if given[key] != defaults[key]:
                raise ValueError(
                    f"model.encoder_settings.{key} is {given[key]}, but no part of the observations is a picture "
                    f"({', '.join(map(str, layout.parts))}); leave it out."
                )


@functools.lru_cache(maxsize=64)
def _say_not_measured(name: str) -> None:
    """Once in a process for each encoder."""
    logger.warning(
        "model.encoder %s has no hidden_layers(): its neurons are neither measured nor treated one by one; those of the "
        "layers behind it are. docs/extending.md says how to declare them.",
        name,
    )
