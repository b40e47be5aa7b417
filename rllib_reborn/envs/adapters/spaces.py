"""Observation spaces as one vector and action spaces as 0..A-1: how a team whose agents differ fits into one array."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rllib_reborn.envs.adapters.foreign_calls import shown
from rllib_reborn.envs.mask_entries import agents_mask
from rllib_reborn.obs_parts import MOST_PARTS, ObsPart

#: Key of a Dict observation under which an environment gives the available actions.
MASK_KEY = "action_mask"
#: Keys under which environments give the observation beside it; a dict with one of them alone is that observation, too.
ALONE_KEYS = ("observation", "observations", "obs")


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """A leaf that is copied number by number."""

    path: tuple[Any, ...]
    shape: tuple[int, ...]
    whole: bool  #: whether the space holds whole numbers in 0..255 only
    scale: float = 1.0  #: what its numbers are multiplied by for networks
    bytes_of_picture: bool = False  #: whether its bounds are 0 and 255

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def part(self) -> ObsPart:
        """What it is for an encoder."""
        if len(self.shape) == 3:
            return ObsPart(name=_name(self.path), kind="picture", shape=self.shape)
        if len(self.shape) == 2 and self.bytes_of_picture:
            return ObsPart(name=_name(self.path), kind="picture", shape=(*self.shape, 1))
        return ObsPart(name=_name(self.path), kind="vector", shape=self.shape or (1,))

    def write(self, value: Any, out: npt.NDArray[Any]) -> None:
        flat = _as_array(value, self.path, "numbers").reshape(-1)
        if flat.size != self.size:
            raise ValueError(f"it has {flat.size} numbers{_at(self.path)}; its space has {self.size}.")
        # Written into bytes, a number beyond the bounds of its space would come out as another one.
        narrowed = out.dtype == np.uint8 and flat.dtype not in (np.uint8, np.bool_)
        if narrowed and flat.size and not (flat.min() >= 0 and flat.max() <= 255):
            raise ValueError(f"it has numbers from {flat.min()} to {flat.max()}{_at(self.path)}, outside its space.")
        if narrowed and flat.dtype.kind not in "iu":
            _check_whole(flat, self.path, "declare a float Box")
        out[:] = flat
        if self.scale != 1 and out.dtype != np.uint8:
            out *= self.scale


@dataclasses.dataclass(frozen=True)
class _OneHot:
    """A leaf of choices, each written as one-hot."""

    path: tuple[Any, ...]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    whole: bool = True
    scale: float = 1.0

    @property
    def size(self) -> int:
        return sum(self.counts)

    @property
    def part(self) -> ObsPart:
        """What it is for an encoder."""
        return ObsPart(name=_name(self.path), kind="one_hot", shape=(self.size,))

    def write(self, value: Any, out: npt.NDArray[Any]) -> None:
        out[:] = 0
        chosen = _as_array(value, self.path, "choices").reshape(-1)
        if chosen.size != len(self.counts):
            raise ValueError(f"it has {chosen.size} choices{_at(self.path)}; its space has {len(self.counts)}.")
        if chosen.dtype.kind not in "iub":
            _check_whole(chosen, self.path, "give the number of the choice")
        base = 0
        for number, start, count in zip(chosen, self.starts, self.counts):
            index = int(number) - start
            if not 0 <= index < count:
                raise ValueError(
                    f"it has the choice {number}{_at(self.path)}; its space has {start}..{start + count - 1}."
                )
            out[base + index] = 1
            base += count


@dataclasses.dataclass(frozen=True)
class FlatSpace:
    """How values of one space become a vector.

    Attributes:
        size: Numbers in the vector.
        whole: Whether ``uint8`` holds them: they are whole numbers in 0..255, and networks multiply all by the same.
        mask_key: Whether values are Dicts that carry their own action mask (which is not part of the vector).
        kind: Of the space, such as ``MultiDiscrete``.
    """

    leaves: tuple[_Numbers | _OneHot, ...]
    size: int
    whole: bool
    mask_key: bool = False
    kind: str = "Box"

    @property
    def dtype(self) -> str:
        return "uint8" if self.whole else "float32"

    @property
    def scale(self) -> float:
        """What the vector is multiplied by for networks; where it is float32, what was written is multiplied already."""
        return self.leaves[0].scale if self.whole else 1.0

    @property
    def parts(self) -> tuple[ObsPart, ...]:
        """What the numbers of the vector are."""
        return tuple(leaf.part for leaf in self.leaves if leaf.size)

    def write(self, value: Any, out: npt.NDArray[Any]) -> None:
        """Write ``value`` into ``out`` [size]. Where the space is no Dict, a dict with one thing beside the action mask
        stands for that thing.

        Raises:
            ValueError: ``value`` is not of the space.
        """
        if isinstance(value, dict) and self.kind != "Dict":
            value = self._beside_mask(value)
        base = 0
        for leaf in self.leaves:
            part = value
            for key in leaf.path:
                try:
                    part = part[key]
                except (KeyError, IndexError, TypeError):
                    raise ValueError(
                        f"it is {shown(value)} and has no part{_at(leaf.path)}, which its space has."
                    ) from None
            leaf.write(part, out[base : base + leaf.size])
            base += leaf.size

    def _beside_mask(self, value: dict[Any, Any]) -> Any:
        rest = [key for key in value if key != MASK_KEY]
        if len(rest) == 1 and (MASK_KEY in value or rest[0] in ALONE_KEYS):
            return value[rest[0]]
        raise ValueError(
            f"it is {shown(value)}, and its space is a {self.kind}; declare a Dict space with these keys, or give what the "
            f"space says, alone or under one key beside {MASK_KEY!r}."
        )


def _as_array(value: Any, path: tuple[Any, ...], what: str) -> npt.NDArray[Any]:
    """``value`` as an array of numbers.

    Raises:
        ValueError: It is none.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array
        if array.dtype.kind == "O" and all(isinstance(one, float | int | np.number | np.bool_) for one in array.flat):
            return array.astype(np.float64)  # numbers that came as objects; None would become NaN
    except Exception:  # whatever the conversion of a foreign object raises, it is no array
        pass
    raise ValueError(f"it is {shown(value)}{_at(path)}; its space expects {what}.")


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path)) or "obs"


def _at(path: tuple[Any, ...]) -> str:
    return f" at {'/'.join(map(str, path))!r}" if path else ""


def _check_whole(numbers: npt.NDArray[Any], path: tuple[Any, ...], remedy: str) -> None:
    """``numbers`` [k], finite, are about to be written as whole ones, which would cut their fractions off."""
    broken = numbers != np.floor(numbers)
    if broken.any():
        raise ValueError(f"it has {numbers[broken][0]}{_at(path)}, and its space holds whole numbers; {remedy}.")


def flat_space(space: Any, what: str, *, scaled: bool = True) -> FlatSpace:
    """How values of ``space`` become a vector.

    Args:
        space: A Box of any shape, Discrete or MultiDiscrete (one-hot), MultiBinary, or a Dict or Tuple of such. The
            key ``action_mask`` of a Dict at the top is left out: it says what can be done, not what is seen.
        what: Whose space this is, for messages.
        scaled: Whether numbers whose bounds are 0 and 255, as those of pictures, are divided by 255 for networks.

    Raises:
        ValueError: The space is none of these.
    """
    carries_mask = isinstance(space, spaces.Dict) and MASK_KEY in space.spaces
    leaves = tuple(_leaves(space, (), what, leave_out=MASK_KEY if carries_mask else None))
    if not scaled:
        leaves = tuple(dataclasses.replace(leaf, scale=1.0) for leaf in leaves)
    size = sum(leaf.size for leaf in leaves)
    if not size:
        raise ValueError(f"the {what} is {space}, which holds no number; expected one at least.")
    whole = all(leaf.whole for leaf in leaves) and len({leaf.scale for leaf in leaves}) == 1
    return FlatSpace(leaves, size, whole, carries_mask, type(space).__name__)


def _leaves(space: Any, path: tuple[Any, ...], what: str, leave_out: str | None = None) -> list[_Numbers | _OneHot]:
    if isinstance(space, spaces.Dict):
        parts = [(key, part) for key, part in space.spaces.items() if key != leave_out]
        return [leaf for key, part in parts for leaf in _leaves(part, (*path, key), what)]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, part in enumerate(space.spaces) for leaf in _leaves(part, (*path, i), what)]
    if isinstance(space, spaces.Box):
        whole = space.dtype is not None and np.dtype(space.dtype).kind in "iub"
        whole = whole and bool((space.low >= 0).all() and (space.high <= 255).all())
        bytes_of_pictures = bool((space.low == 0).all() and (space.high == 255).all())
        scale = 1 / 255 if bytes_of_pictures else 1.0
        return [_Numbers(path, tuple(map(int, space.shape)), whole, scale, bytes_of_pictures)]
    if isinstance(space, spaces.MultiBinary):
        return [_Numbers(path, tuple(map(int, space.shape)), True)]
    if isinstance(space, spaces.Discrete):
        return [_OneHot(path, (int(space.start),), (int(space.n),))]
    if isinstance(space, spaces.MultiDiscrete):
        counts = tuple(int(n) for n in np.asarray(space.nvec).reshape(-1))
        starts = tuple(int(n) for n in np.asarray(space.start).reshape(-1))
        return [_OneHot(path, starts, counts)]
    raise ValueError(
        f"the {what}{_at(path)} is {space}; expected a Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple."
    )


@dataclasses.dataclass(frozen=True)
class ActionRange:
    """The actions of one agent: action ``a`` of the team, 0..count-1, is ``start + a`` of the environment."""

    start: int
    count: int

    def of_env(self, action: int) -> Any:
        """What the environment is given for action ``action`` of the team."""
        return self.start + action

    def mask(self, given: Any, whose: str) -> npt.NDArray[np.bool_]:
        """The mask [count] that an environment gave as ``given``; ``whose`` it is, for messages.

        Raises:
            ValueError: It is none, or has another number of entries.
        """
        mask = agents_mask(given, whose)
        if mask.shape != (self.count,):
            raise ValueError(
                f"the action mask of {whose} has shape {mask.shape}; expected ({self.count},), an entry per action."
            )
        return mask


@dataclasses.dataclass(frozen=True)
class JointChoices(ActionRange):
    """The actions of an agent that makes several choices at once: each combination is one action, the last choice varying
    first.

    Attributes:
        counts: Of each choice.
        starts: The first value of each.
        shape: Of what the environment is given.
        dtype: Of that.
    """

    counts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "int64"

    def of_env(self, action: int) -> Any:
        chosen = np.array(np.unravel_index(action, self.counts)) + self.starts
        return chosen.astype(self.dtype).reshape(self.shape)

    def mask(self, given: Any, whose: str) -> npt.NDArray[np.bool_]:
        """As :meth:`ActionRange.mask`; ``given`` may also be one mask for each choice, in a list or in a row."""
        if isinstance(given, list | tuple) and len(given) == len(self.counts) and np.ndim(given[0]) == 1:
            parts = [agents_mask(part, whose) for part in given]
        else:
            row = agents_mask(given, whose)
            if row.shape != (sum(self.counts),) or row.shape == (self.count,):
                return super().mask(row, whose)
            parts = np.split(row, np.cumsum(self.counts)[:-1])
        for number, (part, count) in enumerate(zip(parts, self.counts)):
            if part.shape != (count,):
                raise ValueError(
                    f"the action mask of {whose} has shape {part.shape} for choice {number}; expected ({count},)."
                )
        return functools.reduce(np.logical_and.outer, parts).reshape(-1)


#: Joint choices beyond this are no longer learnt by a network with one output for each.
_MOST_COMBINATIONS = 4_096


def action_range(space: Any, agent: Any, *, flatten: bool = False) -> ActionRange:
    """The actions of ``agent``.

    Args:
        space: Its action space.
        agent: Its name, for messages.
        flatten: Whether each combination of a MultiDiscrete or MultiBinary is one action.

    Raises:
        ValueError: ``space`` is not Discrete, and is not to be or cannot be flattened.
    """
    if isinstance(space, spaces.Discrete):
        return ActionRange(int(space.start), int(space.n))
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _joint_choices(space, agent, flatten=flatten)
    shown = f"the action space of agent {agent!r} is {space}"
    if isinstance(space, spaces.Box):
        raise ValueError(
            f"{shown}: continuous actions are out of scope. Build the environment with discrete actions (many take "
            "continuous_actions=False), or wrap it so that its action space is Discrete."
        )
    raise ValueError(
        f"{shown}; expected Discrete. Wrap the environment so that each combination of what it holds is one action of a "
        "Discrete space."
    )


def _joint_choices(space: Any, agent: Any, *, flatten: bool) -> JointChoices:
    binary = isinstance(space, spaces.MultiBinary)
    counts = (2,) * math.prod(space.shape) if binary else tuple(int(n) for n in np.asarray(space.nvec).reshape(-1))
    starts = (0,) * len(counts) if binary else tuple(int(n) for n in np.asarray(space.start).reshape(-1))
    combinations = math.prod(counts)
    shown = f"the action space of agent {agent!r} is {space}, {combinations:,} combinations of {len(counts)} choices"
    if combinations > _MOST_COMBINATIONS:
        raise ValueError(
            f"{shown}; expected at most {_MOST_COMBINATIONS:,}. Wrap the environment so that those that matter are the "
            "actions of a Discrete space."
        )
    if not flatten:
        raise ValueError(
            f"{shown}; expected Discrete. Say team={{'flatten_actions': True}}, and each combination is one action."
        )
    return JointChoices(0, combinations, counts, starts, tuple(space.shape), np.dtype(space.dtype).name)


@dataclasses.dataclass(frozen=True)
class TeamLayout:
    """How the observations and actions of a team fit into arrays [n, d] and [n, A].

    Row i is the agent's vector, then zeros up to the largest of the team, then, where spaces differ, the one-hot
    number of the agent: the same numbers mean different things to unlike agents.

    Attributes:
        observations: One per agent.
        actions: One per agent.
        with_ids: Whether the number of the agent is appended.
    """

    observations: tuple[FlatSpace, ...]
    actions: tuple[ActionRange, ...]
    with_ids: bool

    @property
    def n_agents(self) -> int:
        return len(self.observations)

    @property
    def vector_dim(self) -> int:
        """Numbers of the largest observation, without the agent's number."""
        return max(flat.size for flat in self.observations)

    @property
    def obs_dim(self) -> int:
        return self.vector_dim + (self.n_agents if self.with_ids else 0)

    @property
    def n_actions(self) -> int:
        return max(actions.count for actions in self.actions)

    @property
    def obs_dtype(self) -> str:
        """``uint8`` where that holds all observations and networks multiply all of their numbers by the same."""
        scales = {flat.scale for flat in self.observations} | ({1.0} if self.with_ids else set())
        return "uint8" if all(flat.whole for flat in self.observations) and len(scales) == 1 else "float32"

    @property
    def obs_scale(self) -> float:
        """What the arrays are multiplied by for networks."""
        return self.observations[0].scale if self.obs_dtype == "uint8" else 1.0

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        """What the numbers of an agent's row are; empty where agents see unlike things, or parts have one name."""
        parts = self.observations[0].parts
        if any(flat.parts != parts for flat in self.observations):
            return ()
        if self.with_ids:
            parts = (*parts, ObsPart(name="agent", kind="one_hot", shape=(self.n_agents,)))
        return parts if len({part.name for part in parts}) == len(parts) <= MOST_PARTS else ()

    def write(self, index: int, value: Any, row: npt.NDArray[Any]) -> None:
        """Write what agent ``index`` sees into ``row`` [d], which is zero.

        Raises:
            ValueError: ``value`` is not of the agent's space.
        """
        flat = self.observations[index]
        flat.write(value, row[: flat.size])
        if self.with_ids:
            row[self.vector_dim + index] = 1


def team_layout(
    agents: Sequence[Any],
    observation_spaces: Sequence[Any],
    action_spaces: Sequence[Any],
    *,
    scaled: bool = True,
    flatten_actions: bool = False,
) -> TeamLayout:
    """The layout of a team; ``scaled``: see :func:`flat_space`; ``flatten_actions``: see :func:`action_range`.

    Raises:
        ValueError: A space cannot be used; the message names the agent.
    """
    observations = tuple(
        flat_space(s, f"observation space of agent {a!r}", scaled=scaled) for a, s in zip(agents, observation_spaces)
    )
    actions = tuple(action_range(s, a, flatten=flatten_actions) for a, s in zip(agents, action_spaces))
    differ = any(s != observation_spaces[0] for s in observation_spaces) or len(set(actions)) > 1
    return TeamLayout(observations, actions, with_ids=differ)
