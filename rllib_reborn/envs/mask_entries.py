"""What an entry of an action mask may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ALLOWED_OR_NOT = "give 1 for an action that is allowed, 0 for one that is not"


def not_zero_or_one(mask: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Where the first entry of ``mask`` [...] is that is neither 0 nor 1 (an additive mask, a probability, NaN); None
    where all are."""
    if mask.dtype == np.bool_:
        return None
    wrong = (mask != 0) & (mask != 1)
    return tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None


def agents_mask(mask: Any, whose: str) -> npt.NDArray[np.bool_]:
    """The mask [A] that an environment gave one agent, as truth values.

    Args:
        mask: Zeros and ones of any dtype.
        whose: Whose it is, for messages, such as ``agent 'x'``.

    Raises:
        ValueError: It is no array, or an entry is neither 0 nor 1.
    """
    try:
        array = np.asarray(mask)
    except ValueError as error:
        raise ValueError(f"the action mask of {whose} has rows of unequal lengths; {ALLOWED_OR_NOT}.") from error
    where = not_zero_or_one(array)
    if where is not None:
        raise ValueError(f"the action mask of {whose} holds {array[where]}; {ALLOWED_OR_NOT}.")
    return array.astype(np.bool_)
