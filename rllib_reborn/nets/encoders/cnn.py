"""``cnn``: an encoder of observations that are one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rllib_reborn.nets.encoders.checks import check_switch, check_width
from rllib_reborn.nets.encoders.convolutions import PictureNet, grid_sizes, in_front, picture_net_numbers
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.obs_parts import ObsLayout, ObsPart


class CNN(nn.Module):
    """Convolution-ReLU for each of ``channels``, without padding, then Linear (:class:`PictureNet`).

    Args:
        layout: Of observations that are one picture and nothing else.
        width: Features that come out, 1..4096.
        channels, kernels, strides: Of each convolution, 1 to 8 of them.
        channels_first: Whether the picture's shape is (channels, height, width) and not (height, width, channels).

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
        picture = _picture(layout)
        self.width = width
        self.net = PictureNet(
            layout,
            picture.name,
            picture.shape,
            width=width,
            channels=channels,
            kernels=kernels,
            strides=strides,
            channels_first=channels_first,
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
            ValueError: The observations are not one picture, a setting is not as the class says, or the convolutions do not
                fit the picture.
        """
        picture = _picture(layout)
        check_width(width)
        check_switch("channels_first", channels_first)
        sizes = grid_sizes(in_front(picture.shape, channels_first), channels, kernels, strides, picture.name)
        return picture_net_numbers(sizes, kernels, width)

    @staticmethod
    def width_of(layout: ObsLayout, settings: Mapping[str, Any]) -> int:
        """Features that one of these settings makes; builds nothing."""
        return int(settings["width"])

    def forward(self, obs: Tensor) -> Tensor:
        """``obs`` [rows, d], as it is stored -> [rows, width]."""
        features: Tensor = self.net(obs)
        return features

    def hidden_layers(self) -> list[HiddenLayer]:
        """The channels of each convolution."""
        return self.net.hidden_layers(prefix="net.")


def _picture(layout: ObsLayout) -> ObsPart:
    if len(layout.parts) == 1 and layout.parts[0].kind == "picture":
        return layout.parts[0]
    if not layout.parts:
        raise ValueError(
            f"the environment does not say what the {layout.dim} numbers of an observation are, or its agents see unlike "
            "things; expected a picture: a Box of height, width and channels, or TeamSpec.obs_parts of an environment of "
            "your own (docs/extending.md)."
        )
    raise ValueError(
        f"observations are {', '.join(map(str, layout.parts))}; expected one picture and nothing else. Set encoder: "
        "per_field for several parts, or leave the encoder out for numbers."
    )
