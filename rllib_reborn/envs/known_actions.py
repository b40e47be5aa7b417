"""Actions of which an environment's rules tell, from what an agent sees, whether they pay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

#: What :attr:`KnownAction.judge` gives where the action is not available.
UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class KnownAction:
    """An action that pays in some of the situations in which it is available, and which these are.

    Attributes:
        action: Its number.
        pays: What it is where it pays, in words.
        fails: What it is where it does not.
        judge: ``judge(obs [rows, n, d], action_mask [rows, n, A]) -> [rows, n] int8``: 1 where it pays, 0 where it is
            available and does not, -1 where it is not available.
    """

    action: int
    pays: str
    fails: str
    judge: Callable[[npt.NDArray[Any], npt.NDArray[np.bool_]], npt.NDArray[np.int8]]
