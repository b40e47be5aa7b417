"""Convolutions over a picture, and what they make of its size; which sizes fit is computed, not tried."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.obs_parts import ObsLayout

#: Layers, and the largest of each size: beyond all use.
_MOST_LAYERS = 8
_MOST = {"channels": 1_024, "kernels": 99, "strides": 99}


def grid_sizes(
    shape: Sequence[int], channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int], name: str
) -> list[tuple[int, int, int]]:
    """(channels, height, width) of a picture, then of what each convolution makes of it: ``(size - kernel) // stride + 1``,
    without padding.

    Args:
        shape: Channels, height and width of the picture.
        channels, kernels, strides: Of each convolution, one after the other.
        name: Of the picture, for messages.

    Raises:
        ValueError: They are not as many or not as large as they may be, or a kernel is larger than what is left of the
            picture.
    """
    for what, values in (("channels", channels), ("kernels", kernels), ("strides", strides)):
        if not isinstance(values, list | tuple) or not 1 <= len(values) <= _MOST_LAYERS:
            raise ValueError(f"{what} is {values!r}; expected a list of 1 to {_MOST_LAYERS} numbers, one a layer.")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST[what]:
                raise ValueError(f"{what} is {values!r}; expected whole numbers in 1..{_MOST[what]:,}.")
    if not len(channels) == len(kernels) == len(strides):
        raise ValueError(
            f"channels, kernels and strides are {list(channels)}, {list(kernels)} and {list(strides)}; expected lists of "
            "one length, an entry in each for every convolution."
        )
    sizes = [(int(shape[0]), int(shape[1]), int(shape[2]))]
    for number, (channel, kernel, stride) in enumerate(zip(channels, kernels, strides)):
        _, height, width = sizes[-1]
        if kernel > min(height, width):
            raise ValueError(
                f"kernels is {list(kernels)} and strides {list(strides)}, but picture {name!r} has {shape[1]} x {shape[2]} "
                f"points, of which {height} x {width} are left in front of convolution {number}; expected a kernel of at "
                f"most {min(height, width)} there: take smaller kernels or strides, or fewer layers (and say "
                "channels_first: true where the channels come first in the picture's shape)."
            )
        sizes.append((channel, (height - kernel) // stride + 1, (width - kernel) // stride + 1))
    return sizes


class PictureNet(nn.Module):
    """Convolution-ReLU for each of ``channels``, then Linear: pictures [rows, H * W * C] -> [rows, width].

    The Linear is followed by the first one of whatever reads the features, and adds nothing to what they can express
    together; with it the last channels have one reader, so that interventions can edit them.

    Args:
        layout: Of the whole observation; what numbers are multiplied by.
        name: Of the picture, for messages.
        shape: (height, width, channels), or (channels, height, width) with ``channels_first``.
        width: Numbers that come out, >= 1.
        channels, kernels, strides: Of each convolution; see :func:`grid_sizes`.
        channels_first: How ``shape`` is meant.

    Raises:
        ValueError: See :func:`grid_sizes`.
    """

    def __init__(
        self,
        layout: ObsLayout,
        name: str,
        shape: Sequence[int],
        *,
        width: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        channels_first: bool,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.shape = tuple(shape)
        self.channels_first = channels_first
        sizes = grid_sizes(in_front(self.shape, channels_first), channels, kernels, strides, name)
        layers: list[nn.Module] = []
        for (before, _, _), channel, kernel, stride in zip(sizes[:-1], channels, kernels, strides, strict=True):
            layers += [nn.Conv2d(before, channel, kernel, stride), nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        last, height, across = sizes[-1]
        self.out = Linear(last * height * across, width)

    def forward(self, obs: Tensor) -> Tensor:
        """``obs`` [rows, H * W * C], as it is stored -> [rows, width]."""
        pictures = obs.unflatten(1, self.shape)
        if not self.channels_first:
            pictures = pictures.movedim(3, 1)
        features: Tensor = self.out(self.convs(self.layout.numbers(pictures)).flatten(1))
        return features

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """The channels of each convolution.

        Args:
            prefix: In front of the names.
        """
        layers = list(self.convs)
        readers = [*layers[2::2], self.out]
        return [
            HiddenLayer(f"{prefix}convs.{2 * at}", layers[2 * at], layers[2 * at + 1], reader)
            for at, reader in enumerate(readers)
        ]


def in_front(shape: Sequence[int], channels_first: bool) -> tuple[int, int, int]:
    """(channels, height, width) of a picture whose shape is meant as ``channels_first`` says."""
    first, second, third = shape
    return (first, second, third) if channels_first else (third, first, second)


def picture_net_numbers(sizes: Sequence[tuple[int, int, int]], kernels: Sequence[int], width: int) -> tuple[int, int]:
    """Numbers and arrays that a :class:`PictureNet` learns, of what :func:`grid_sizes` gave; nothing is built."""
    convolutions = [
        after[0] * (before[0] * kernel**2 + 1) for (before, after), kernel in zip(itertools.pairwise(sizes), kernels)
    ]
    last, height, across = sizes[-1]
    return sum(convolutions) + (last * height * across + 1) * width, 2 * len(convolutions) + 2
