"""The rules of the multi-robot warehouse as parameters, by the names of rware 2.

Source: Papoudakis et al., "Benchmarking multi-agent deep reinforcement learning algorithms in cooperative tasks", NeurIPS
2021 (datasets and benchmarks), and the package rware 2.0.0, whose arguments these are.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from rllib_reborn.envs.rware.floor_plan import MOST_CELLS, FloorPlan, plan_of_sizes, plan_of_text
from rllib_reborn.envs.team_env import TeamSpec

#: What an agent's action numbers mean.
ACTION_NAMES = ("noop", "forward", "left", "right", "toggle_load")
NOOP, FORWARD, LEFT, RIGHT, TOGGLE = range(5)
#: What the numbers of directions mean.
DIRECTION_NAMES = ("up", "down", "left", "right")
#: (down, right) of a step in each direction.
STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))

REWARD_TYPES = ("global", "individual", "two_stage")
OBSERVATION_TYPES = ("flattened", "dict", "image", "image_dict")
#: The layers that images may have.
IMAGE_LAYERS = ("shelves", "requests", "agents", "agent_direction", "agent_load", "goals", "accessible")
STATES = ("observations", "image")

#: Numbers that an agent observes of itself: x, y, loaded, direction (4), on a highway.
SELF_NUMBERS = 8
#: Numbers for a cell of its window, beside messages: an agent there, its direction (4), a shelf, whether it is requested.
CELL_NUMBERS = 7
#: Features beside an image: direction (4), on a highway, loaded.
FEATURE_NUMBERS = 6

#: Joint choices of action and message beyond this are no longer learnt by a network with one output for each.
_MOST_MSG_BITS = 8
#: Robots and window, at most: what a board costs grows with them.
_MOST_AGENTS = 1_000
_MOST_SENSOR_RANGE = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarehouseRules:
    """Everything that decides how a warehouse is played.

    One step: robots turn, go one cell forward, or take up or put down a shelf. Of those that want one cell, the one with
    the longest queue behind it goes; rings of three and more turn; two never change places, and a loaded robot does not go
    where a shelf stands. A requested shelf that stands on a goal afterwards is delivered, and another one is requested.

    Attributes:
        shelf_columns: Blocks of shelves beside each other, odd, >= 1.
        column_height: Rows of a block, >= 1.
        shelf_rows: Blocks above each other, >= 1.
        n_agents: Robots, >= 1.
        request_queue_size: Shelves that are requested at a time, >= 0 and fewer than there are shelves.
        msg_bits: Bits that a robot sends with each action, 0..8, which others observe; with m of them there are
            ``5 * 2**m`` actions, the last bit varying first. Not with images, which do not show them.
        sensor_range: Cells that a robot observes to each side, 0..50.
        max_inactivity_steps: Steps without a delivery after which an episode terminates, >= 1; None: never.
        max_steps: Steps after which an episode is truncated, >= 1.
        reward_type: ``individual``: 1 for the robot that delivers; ``global``: 1 for every robot; ``two_stage``: a half for
            the delivery and a half for putting the shelf back. The team's reward is the sum over robots.
        layout: A drawing in place of the three sizes (:func:`~rllib_reborn.envs.rware.floor_plan.plan_of_text`).
        observation_type: ``flattened``; ``dict``, which flattened holds the same numbers; ``image``; ``image_dict``:
            direction (one-hot), highway and load, and then the image.
        image_observation_layers: Of :data:`IMAGE_LAYERS`, those that images have, in this order.
        image_observation_directional: Whether images are turned so that the robot looks up.
        normalised_coordinates: Whether a robot's own place is given in 0..1; observations are then float32.
        state: ``observations``: those of all robots in a row, as in EPyMARL; ``image``: the whole warehouse.
        state_layers: Of :data:`IMAGE_LAYERS`, those that the state has with ``image``.
        compat: Whether what rware 2.0.0 probably should not do is kept: an episode's limit is called terminated; layers
            ``agent_direction`` and ``agent_load`` have rows and columns changed over (which is possible on square
            warehouses only; on others rware raises IndexError); ``dict`` rounds normalised coordinates down to whole
            numbers.

    Raises:
        ValueError: A value is outside its range, or the values do not fit together; the message names value and remedy.
    """

    shelf_columns: int = 3
    column_height: int = 8
    shelf_rows: int = 1
    n_agents: int = 2
    request_queue_size: int = 2
    msg_bits: int = 0
    sensor_range: int = 1
    max_inactivity_steps: int | None = None
    max_steps: int = 500
    reward_type: str = "individual"
    layout: str | None = None
    observation_type: str = "flattened"
    image_observation_layers: tuple[str, ...] = ("shelves", "requests", "agents", "goals", "accessible")
    image_observation_directional: bool = True
    normalised_coordinates: bool = False
    state: str = "observations"
    state_layers: tuple[str, ...] = ("shelves", "requests", "agent_direction", "agent_load", "goals")
    compat: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("shelf_columns", 1, MOST_CELLS // 3),
            ("column_height", 1, MOST_CELLS),
            ("shelf_rows", 1, MOST_CELLS),
            ("n_agents", 1, _MOST_AGENTS),
            ("request_queue_size", 0, None),
            ("msg_bits", 0, _MOST_MSG_BITS),
            ("sensor_range", 0, _MOST_SENSOR_RANGE),
            ("max_steps", 1, None),
        ):
            _whole(getattr(self, name), name, low, high)
        if self.max_inactivity_steps is not None:
            _whole(self.max_inactivity_steps, "max_inactivity_steps", 1, None, " or None")
        _one_of(self.reward_type, "reward_type", REWARD_TYPES)
        _one_of(self.observation_type, "observation_type", OBSERVATION_TYPES)
        _one_of(self.state, "state", STATES)
        for name in ("image_observation_directional", "normalised_coordinates", "compat"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give True or False.")
        for name in ("image_observation_layers", "state_layers"):
            object.__setattr__(self, name, _layers(getattr(self, name), name))
        if self.shelf_columns % 2 == 0:
            raise ValueError(
                f"shelf_columns is {self.shelf_columns}; give an odd number, so that there is a middle for the goals."
            )
        if self.msg_bits and self.has_images:
            raise ValueError(
                f"msg_bits is {self.msg_bits} with observation_type {self.observation_type!r}, which shows no messages; "
                "leave out msg_bits, or observe 'flattened'."
            )
        if self.layout is not None and not isinstance(self.layout, str):
            raise ValueError(f"layout is {self.layout!r}; give a text with a line for each row, or None.")
        self._check_plan()

    def _check_plan(self) -> None:
        plan = self.plan
        height, width, n_shelves = plan.height, plan.width, len(plan.shelves)
        if max(height, width) > MOST_CELLS:
            raise ValueError(
                f"the warehouse has {height} x {width} cells; at most {MOST_CELLS} to a side are possible."
            )
        if self.n_agents > height * width:
            raise ValueError(
                f"n_agents is {self.n_agents} in a warehouse of {height} x {width} = {height * width} cells, of which each "
                "holds one; lower n_agents or enlarge the warehouse."
            )
        if self.request_queue_size >= n_shelves:
            raise ValueError(
                f"request_queue_size is {self.request_queue_size} and there are {n_shelves} shelves; at least one must be "
                "left to be requested when one is delivered: lower request_queue_size, or enlarge the warehouse."
            )
        if self.normalised_coordinates and (self.has_images or min(height, width) < 2):
            why = "images hold no coordinates" if self.has_images else "a warehouse of one row or column has no scale"
            raise ValueError(f"normalised_coordinates is True, but {why}; leave it out.")
        transposed = {"agent_direction", "agent_load"} & {*self.shown_layers}
        if self.compat and transposed and height != width:
            raise ValueError(
                f"compat is True with the layer {min(transposed)!r} in a warehouse of {height} x {width} cells, where rware "
                "itself raises IndexError: it takes rows for columns there. Leave out compat or the layer."
            )

    @functools.cached_property
    def plan(self) -> FloorPlan:
        """The warehouse without robots."""
        if self.layout is not None:
            return plan_of_text(self.layout)
        return plan_of_sizes(self.shelf_columns, self.shelf_rows, self.column_height)

    @property
    def has_images(self) -> bool:
        """Whether observations are images."""
        return self.observation_type in ("image", "image_dict")

    @property
    def shown_layers(self) -> tuple[str, ...]:
        """The layers of observations and of the state."""
        of_obs = self.image_observation_layers if self.has_images else ()
        return (*of_obs, *(self.state_layers if self.state == "image" else ()))

    @property
    def window(self) -> int:
        """Cells that a robot observes."""
        return (2 * self.sensor_range + 1) ** 2

    @property
    def obs_dim(self) -> int:
        """Numbers in one robot's observation."""
        if self.has_images:
            features = FEATURE_NUMBERS if self.observation_type == "image_dict" else 0
            return features + len(self.image_observation_layers) * self.window
        return SELF_NUMBERS + self.window * (CELL_NUMBERS + self.msg_bits)

    @property
    def obs_dtype(self) -> str:
        """uint8 where all numbers are whole and below 256: everywhere but for coordinates, normalised or large."""
        whole = self.has_images or (not self.normalised_coordinates and max(self.plan.height, self.plan.width) <= 256)
        return "uint8" if whole else "float32"

    def spec(self) -> TeamSpec:
        """The team that these rules make."""
        of_image = self.state == "image"
        cells = self.plan.height * self.plan.width
        return TeamSpec(
            n_agents=self.n_agents,
            n_actions=len(ACTION_NAMES) << self.msg_bits,
            obs_dim=self.obs_dim,
            state_dim=len(self.state_layers) * cells if of_image else self.n_agents * self.obs_dim,
            episode_limit=self.max_steps,
            obs_dtype=self.obs_dtype,
            state_dtype="uint8" if of_image else self.obs_dtype,
        )


def _whole(value: Any, name: str, low: int, high: int | None, other: str = "") -> None:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool) and low <= value
    if not good or value > (math.inf if high is None else high):
        expected = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} is {value!r}; give a whole number {expected}{other}.")


def _one_of(value: Any, name: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}.")


def _layers(value: Any, name: str) -> tuple[str, ...]:
    layers = tuple(value) if isinstance(value, list | tuple) else ()
    if not layers or len(set(layers)) != len(layers) or not set(layers) <= set(IMAGE_LAYERS):
        raise ValueError(f"{name} is {value!r}; give a list of different ones of {', '.join(IMAGE_LAYERS)}.")
    return layers
