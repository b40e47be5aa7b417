"""A map's ground as the game sends it: images of a byte or a bit per cell, rows from the south to the north."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def grid_as_bits(grid: npt.NDArray[np.bool_]) -> bytes:
    """[map_x, map_y] bool as one bit per cell, the first cell in the highest bit."""
    return np.packbits(grid.T).tobytes()


def heights_as_bytes(heights: npt.NDArray[np.floating]) -> bytes:
    """[map_x, map_y] numbers 0..1 as one byte per cell."""
    return np.rint(heights.T * 255).astype(np.uint8).tobytes()
