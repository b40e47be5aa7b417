"""SMACv2's cone of sight: who is within it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: The original keeps horizontal differences this far from 0.
_EPS = 1e-7


class FieldOfView:
    """The cone of ``num_directions`` directions, each ``360 / num_directions`` degrees wide.

    Args:
        num_directions: Directions that can be looked in; number 0 is east, the others follow to the left.
        double: Keep the original's cone, whose angles come from an arcus tangent (see ``CompatFlags.double_field_of_view``).

    Attributes:
        directions: [num_directions, 2] float64, unit vectors.
    """

    def __init__(self, num_directions: int, double: bool) -> None:
        angles = 2 * np.pi * (np.arange(num_directions) / num_directions)
        self.directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self._half_angle = np.pi / num_directions
        self._double = double

    def holds(
        self,
        dx: npt.NDArray[np.float32],
        dy: npt.NDArray[np.float32],
        looks: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.bool_]:
        """Whether points are in the cone, at any distance.

        Args:
            dx, dy: [..., k] from the observer to the points.
            looks: [..., 2] where the observer looks.

        Returns:
            [..., k]. A point on the edge of two cones is in both, one at the observer's own place in all.
        """
        x, y = dx.astype(np.float64), dy.astype(np.float64)
        look_x, look_y = looks[..., None, 0], looks[..., None, 1]
        if not self._double:
            return x * look_x + y * look_y >= np.hypot(x, y) * (np.cos(self._half_angle) - 1e-12)
        east = x > 0
        x = np.where(east, np.maximum(x, _EPS), np.minimum(x, -_EPS))
        look_x = np.where(east, np.maximum(look_x, _EPS), np.minimum(look_x, -_EPS))
        return np.abs(np.arctan(y / x) - np.arctan(look_y / look_x)) < self._half_angle
