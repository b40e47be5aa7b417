"""How the flat numbers of an observation are made up: its parts by name, kind and shape. Plain data, without numpy and
torch.

Whoever lays observations out in a row says so here (``TeamSpec.obs_parts``), and an encoder of observations
(:mod:`rllib_reborn.nets.encoders`) reads it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

Kind = Literal["picture", "vector", "one_hot"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: More parts than anybody declares.
MOST_PARTS = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObsPart:
    """One part: so many numbers in a row.

    Attributes:
        name: What an environment calls it: the key of a Dict, the keys of nested ones with ``/`` between them, the place in
            a Tuple; ``obs`` where there is only one.
        kind: ``picture``: numbers in a grid; ``vector``: numbers; ``one_hot``: one or several choices, each one-hot.
        shape: [height, width, channels] of a picture, row by row, the channels of a point beside each other; of a vector
            whatever it was before it was put in a row; [k] of choices.

    Raises:
        ValueError: One of them is not as above; the message names it.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"ObsPart.name is {self.name!r}; expected a text that is not empty.")
        if self.kind not in KINDS:
            raise ValueError(f"ObsPart.kind of {self.name!r} is {self.kind!r}; expected one of {', '.join(KINDS)}.")
        sizes = self.shape if isinstance(self.shape, list | tuple) else ()
        if not sizes or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise ValueError(f"ObsPart.shape of {self.name!r} is {self.shape!r}; expected whole numbers >= 1.")
        if self.kind == "picture" and len(sizes) != 3:
            raise ValueError(
                f"ObsPart.shape of {self.name!r} is {self.shape!r}; expected (height, width, channels) of a picture."
            )
        object.__setattr__(self, "shape", tuple(sizes))  # of JSON it is a list

    @property
    def size(self) -> int:
        """How many numbers it is."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind.replace('_', '-')} of {' x '.join(map(str, self.shape))})"


def obs_parts(given: Iterable[ObsPart | Mapping[str, Any]], obs_dim: int) -> tuple[ObsPart, ...]:
    """Parts that were given as such or as plain data, checked: they are the whole observation, in its order.

    Args:
        given: None at all: nothing is known of the observation.
        obs_dim: Numbers in the observation.

    Raises:
        ValueError: A part is not as :class:`ObsPart` says; or they have names in common, or another number of numbers.
    """
    try:
        parts = tuple(part if isinstance(part, ObsPart) else ObsPart(**part) for part in given)
    except TypeError as error:
        raise ValueError(f"obs_parts: {error}; expected parts with a name, kind and shape each.") from None
    names = [part.name for part in parts]
    if len(parts) > MOST_PARTS:
        raise ValueError(f"obs_parts are {len(parts):,}; expected at most {MOST_PARTS:,}.")
    if len(set(names)) != len(names):
        raise ValueError(f"obs_parts are called {', '.join(names)}; expected different names.")
    if parts and sum(part.size for part in parts) != obs_dim:
        raise ValueError(
            f"obs_parts {', '.join(map(str, parts))} are {sum(part.size for part in parts)} numbers; expected obs_dim = "
            f"{obs_dim}."
        )
    return parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObsLayout:
    """What an encoder is made for.

    Attributes:
        dim: ``d``, numbers in one observation.
        scale: What they are multiplied by before a network computes with them, > 0 (``TeamSpec.obs_scale``).
        parts: What they are, in their order; empty where the environment does not say, or its agents see unlike things.
    """

    dim: int
    scale: float = 1.0
    parts: tuple[ObsPart, ...] = ()

    def numbers(self, obs: Any) -> Any:
        """Observations or a part of them as a network computes with them.

        Args:
            obs: A tensor [...] in the dtype that they are stored in.

        Returns:
            [...] float32, multiplied by :attr:`scale`.
        """
        return obs.float() if self.scale == 1 else obs.float() * self.scale

    def columns(self) -> list[slice]:
        """Where each of :attr:`parts` is among the ``d`` numbers."""
        found, start = [], 0
        for part in self.parts:
            found.append(slice(start, start + part.size))
            start += part.size
        return found
