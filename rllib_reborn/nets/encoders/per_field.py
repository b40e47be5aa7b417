"""``per_field``: an encoder of observations of several parts, a small network for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.encoders.checks import check_switch, check_width
from rllib_reborn.nets.encoders.convolutions import PictureNet, grid_sizes, in_front, picture_net_numbers
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.obs_parts import ObsLayout


class VectorNet(nn.Module):
    """Linear-ReLU-Linear: [rows, k], as they are stored -> [rows, width]. What the second Linear is for: see
    :class:`PictureNet`.

    Args:
        layout: Of the whole observation; what numbers are multiplied by.
        size: k.
        width: Hidden neurons, and numbers that come out.
    """

    def __init__(self, layout: ObsLayout, size: int, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.net = nn.Sequential(Linear(size, width), nn.ReLU(), Linear(width, width))

    def forward(self, obs: Tensor) -> Tensor:
        features: Tensor = self.net(self.layout.numbers(obs))
        return features

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """The neurons between the two."""
        return [HiddenLayer(f"{prefix}net.0", *self.net)]


class PerField(nn.Module):
    """A :class:`PictureNet` for each picture and a :class:`VectorNet` for every other part, beside each other.

    Args:
        layout: Of observations whose parts are known.
        width: Features of each part, 1..4096; as many times that as there are parts come out.
        channels, kernels, strides, channels_first: Of pictures, see :class:`CNN`.

    Raises:
        ValueError: See :meth:`numbers_of`.
    """

    def __init__(
        self,
        layout: ObsLayout,
        *,
        width: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        channels_first: bool,
    ) -> None:
        super().__init__()
        self.numbers_of(  # raises for what does not fit
            layout, width=width, channels=channels, kernels=kernels, strides=strides, channels_first=channels_first
        )
        self.columns = layout.columns()
        self.width = width * len(layout.parts)
        self.fields = nn.ModuleList(
            PictureNet(
                layout,
                part.name,
                part.shape,
                width=width,
                channels=channels,
                kernels=kernels,
                strides=strides,
                channels_first=channels_first,
            )
            if part.kind == "picture"
            else VectorNet(layout, part.size, width)
            for part in layout.parts
        )

    @staticmethod
    def numbers_of(
        layout: ObsLayout,
        *,
        width: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        channels_first: bool,
    ) -> tuple[int, int]:
        """Numbers and arrays that it would learn; builds nothing.

        Raises:
            ValueError: The parts of the observations are not known, a setting is not as the class says, or the convolutions
                do not fit a picture.
        """
        if not layout.parts:
            raise ValueError(
                f"the environment does not say of which parts the {layout.dim} numbers of an observation are made, or its "
                "agents see unlike things; expected a Dict or a Tuple, or TeamSpec.obs_parts of an environment of your own "
                "(docs/extending.md)."
            )
        check_width(width)
        check_switch("channels_first", channels_first)
        numbers = arrays = 0
        for part in layout.parts:
            if part.kind == "picture":
                sizes = grid_sizes(in_front(part.shape, channels_first), channels, kernels, strides, part.name)
                more = picture_net_numbers(sizes, kernels, width)
            else:
                more = (part.size + 1 + width + 1) * width, 4
            numbers, arrays = numbers + more[0], arrays + more[1]
        return numbers, arrays

    @staticmethod
    def width_of(layout: ObsLayout, settings: Mapping[str, Any]) -> int:
        """Features that one of these settings makes; builds nothing."""
        return int(settings["width"]) * len(layout.parts)

    def forward(self, obs: Tensor) -> Tensor:
        """``obs`` [rows, d], as it is stored -> [rows, width of each * parts]."""
        return torch.cat([net(obs[:, columns]) for net, columns in zip(self.fields, self.columns, strict=True)], dim=1)

    def hidden_layers(self) -> list[HiddenLayer]:
        """Those of each part's network."""
        return [
            layer
            for number, net in enumerate(self.fields)
            for layer in cast(PictureNet | VectorNet, net).hidden_layers(prefix=f"fields.{number}.")
        ]
