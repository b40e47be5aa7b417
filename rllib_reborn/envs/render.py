"""Pictures and GIFs of games. Pillow is imported only when something is drawn.

Colours are from the Okabe-Ito palette, which stays distinguishable under the common kinds of colour
blindness; kinds also differ in shape, so that a picture survives printing in grey.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BLUE = (0, 114, 178)
ORANGE = (230, 159, 0)
GREEN = (0, 158, 115)
VERMILION = (213, 94, 0)
BACKGROUND = (250, 250, 248)
GRID_LINE = (218, 218, 214)
INK = (40, 40, 40)

#: Side of a picture's drawing area, in pixels; the caption comes on top of it.
PICTURE_SIZE = 480
CAPTION_HEIGHT = 28


def pillow() -> tuple[Any, Any, Any]:
    """Pillow's modules (Image, ImageDraw, ImageFont).

    Raises:
        ImportError: Pillow is not installed; the message says how to get it.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError("drawing needs Pillow; install it with: pip install pillow") from error
    return Image, ImageDraw, ImageFont


def drawing_remedy() -> str:
    """What to do where a library cannot draw, as the rest of a sentence that says why."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return ". There is no display here: put 'xvfb-run -a' before the command (package xvfb)."
    return ". The option render_mode=rgb_array draws without a window, where an environment has it."


def blank(height: int, width: int, caption: str = "") -> tuple[Any, Any]:
    """An empty picture (image, draw) of ``height`` x ``width`` pixels, with a line of text above that area.

    The drawing area begins at y = :data:`CAPTION_HEIGHT`.
    """
    image_module, draw_module, font_module = pillow()
    image = image_module.new("RGB", (width, height + CAPTION_HEIGHT), BACKGROUND)
    draw = draw_module.Draw(image)
    draw.text((8, CAPTION_HEIGHT // 2), caption, fill=INK, font=font_module.load_default(15), anchor="lm")
    return image, draw


def as_array(image: Any) -> npt.NDArray[np.uint8]:
    """A Pillow image as [height, width, 3] uint8."""
    return np.asarray(image.convert("RGB"), np.uint8).copy()


def record_gif(frames: Iterable[npt.NDArray[np.uint8]], path: str | os.PathLike[str], fps: float = 8.0) -> Path:
    """Write pictures as an endlessly looping GIF.

    Args:
        frames: Pictures [height, width, 3] uint8, all of one size; at least one.
        path: File to write; its folder is made if it does not exist.
        fps: Pictures per second, above 0 and at most 50 (the format counts in hundredths of a second).

    Returns:
        The path.

    Raises:
        ValueError: There are no frames, one has another shape or dtype, or ``fps`` is out of range.
        ImportError: Pillow is not installed.
    """
    if not 0 < fps <= 50:
        raise ValueError(f"fps is {fps}; give a number above 0 and at most 50.")
    image_module = pillow()[0]
    images: list[Any] = []
    shape: tuple[int, ...] = ()
    for number, frame in enumerate(frames):
        shape = shape or frame.shape
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.shape != shape:
            raise ValueError(
                f"frame {number} has shape {frame.shape} and dtype {frame.dtype}; expected uint8 of shape "
                f"{shape if number else '[height, width, 3]'}."
            )
        # A palette made for each frame is exact here: the pictures have few colours.
        images.append(image_module.fromarray(frame).quantize(colors=128))
    if not images:
        raise ValueError("no frames were given; a GIF needs at least one.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Equal pictures in a row would be merged by Pillow; `duration` of the merged one is then their sum, which
    # is right.
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=max(20, round(1000 / fps)),
        loop=0,
        optimize=False,
    )
    return path
