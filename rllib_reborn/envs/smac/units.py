"""What stands on the field: the one thing that a simulator and the game both hand to the rules."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclasses.dataclass
class Units:
    """The units of B battles, as arrays [B, U]: ``U = n + m``, the n allies first, in the order of the agents.

    A unit is alive while its health is above 0. A dead one keeps kind, place and largest health and shield; its health
    and shield are 0.

    Attributes:
        kind: int64, index into :data:`~rllib_reborn.envs.smac.unit_types.UNIT_TYPES`.
        x, y: float32, centre, in the map's cells; x to the east, y to the north.
        health, shield, energy: float32, points, >= 0.
        cooldown: float32, game loops until the weapon may fire again (``weapon_cooldown`` of the game's raw data).
        health_max, shield_max: float32; ``health_max > 0`` for every unit that ever stood.
    """

    kind: npt.NDArray[np.int64]
    x: FloatArray
    y: FloatArray
    health: FloatArray
    shield: FloatArray
    energy: FloatArray
    cooldown: FloatArray
    health_max: FloatArray
    shield_max: FloatArray

    @classmethod
    def zeros(cls, num_battles: int, num_units: int) -> Units:
        """An empty field: all 0, so nobody lives; ``health_max`` is 1, so that shares of it are defined."""
        shape = (num_battles, num_units)
        floats = {field: np.zeros(shape, np.float32) for field in FLOAT_FIELDS}
        floats["health_max"][:] = 1
        return cls(kind=np.zeros(shape, np.int64), **floats)

    @property
    def shape(self) -> tuple[int, int]:
        """(B, U)."""
        return self.kind.shape[0], self.kind.shape[1]

    def rows(self, rows: npt.NDArray[np.integer] | slice | list[int]) -> Units:
        """A copy of some battles, in the order given."""
        return Units(**{field: np.array(getattr(self, field)[rows]) for field in FIELDS})

    def copy(self) -> Units:
        """A copy of all battles."""
        return self.rows(slice(None))

    def put(self, rows: npt.NDArray[np.integer] | slice | list[int], other: Units) -> None:
        """Overwrite some battles with those of ``other``."""
        for field in FIELDS:
            getattr(self, field)[rows] = getattr(other, field)


#: Names of the float32 arrays, and of all.
FLOAT_FIELDS = ("x", "y", "health", "shield", "energy", "cooldown", "health_max", "shield_max")
FIELDS = ("kind", *FLOAT_FIELDS)
