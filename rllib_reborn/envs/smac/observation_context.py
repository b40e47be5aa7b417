"""What observations depend on beside the units: options, terrain and the state of the running episodes."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.compat import CompatFlags
from rllib_reborn.envs.smac.field_of_view import FieldOfView
from rllib_reborn.envs.smac.layout import Layout, layout_of
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.terrain_tables import TerrainTables
from rllib_reborn.envs.smac.unit_slots import UnitSlots, others_index

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


class EpisodeState(NamedTuple):
    """State of the running episodes; arrays [B, ...] that :class:`SmacRules` updates."""

    last_action: IntArray  #: [n], -1 before the first
    looks: npt.NDArray[np.float64]  #: [n, 2] where agents look
    steps: IntArray  #: [] steps since the start


class ObservationBuffers(NamedTuple):
    """Arrays that an observer fills, [B, ...]."""

    obs: FloatArray  #: [n, d]
    state: FloatArray  #: [s]
    action_mask: BoolArray  #: [n, A]
    shoot: BoolArray  #: [n, n_targets] which targets are within reach, whatever the mask says

    @classmethod
    def empty(cls, scenario: Scenario, layout: Layout, battles: int) -> ObservationBuffers:
        """Zeros for that many battles."""
        n = scenario.n_agents
        return cls(
            obs=np.zeros((battles, n, layout.obs_dim), np.float32),
            state=np.zeros((battles, layout.state_dim), np.float32),
            action_mask=np.zeros((battles, n, layout.n_actions), np.bool_),
            shoot=np.zeros((battles, n, layout.n_targets), np.bool_),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationContext:
    """All that observing a scenario needs beside the units.

    Attributes:
        others: [n * (n-1)] the other agents of each agent, one agent after the other.
        centre, extent, map_size: [2, 1, 1] float32: middle of the map, size of its playable part, its size.
        time_shares: [episode_limit + 1] float32, the step as a share of the limit.
    """

    scenario: Scenario
    options: SmacOptions
    layout: Layout
    compat: CompatFlags
    unit_slots: UnitSlots
    episodes: EpisodeState
    terrain_tables: TerrainTables
    field_of_view: FieldOfView | None
    others: IntArray
    centre: FloatArray
    extent: FloatArray
    map_size: FloatArray
    time_shares: FloatArray

    @classmethod
    def of(
        cls, scenario: Scenario, options: SmacOptions, terrain: Terrain, unit_slots: UnitSlots, episodes: EpisodeState
    ) -> ObservationContext:
        """Work out what follows from scenario, options and terrain."""
        compat, limit = options.compat_flags(scenario), scenario.episode_limit
        return cls(
            scenario=scenario,
            options=options,
            layout=layout_of(scenario, options),
            compat=compat,
            unit_slots=unit_slots,
            episodes=episodes,
            terrain_tables=TerrainTables(terrain, options.move_amount, compat.mirrored_heights),
            field_of_view=FieldOfView(options.num_fov_actions, compat.double_field_of_view)
            if options.conic_fov
            else None,
            others=others_index(scenario.n_agents).reshape(-1),
            centre=_pair(terrain.map_x / 2, terrain.map_y / 2),
            extent=_pair(terrain.width, terrain.height),
            map_size=_pair(terrain.map_x, terrain.map_y),
            time_shares=(np.arange(limit + 1) / limit).astype(np.float32),
        )

    def within_sight(
        self,
        dx: FloatArray,
        dy: FloatArray,
        squared: FloatArray,
        rows: IntArray | slice,
    ) -> BoolArray:
        """[r, n, k] what of ``k`` points, at these offsets and squared distances [r, n, k], is near enough to the agents of
        battles ``rows``: nearer than their sight; or, where there is a cone, in it and not farther than their sight."""
        sight = rows_of(self.unit_slots.sight_squared, rows)
        if self.field_of_view is None:
            return squared < sight
        return (squared <= sight) & self.field_of_view.holds(dx, dy, self.episodes.looks[rows])


def _pair(x: float, y: float) -> FloatArray:
    return np.array([x, y], np.float32).reshape(2, 1, 1)


def rows_of(array: npt.NDArray[Number], rows: IntArray | slice) -> npt.NDArray[Number]:
    """Rows of an array of :class:`UnitSlots`, whose first axis may be 1 for all battles."""
    return array if len(array) == 1 else array[rows]
