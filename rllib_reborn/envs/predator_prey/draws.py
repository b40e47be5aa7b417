"""What the random bits of a game decide: start cells, the order in which entities act, the prey's choices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.predator_prey.board import N_CHOICES, IntArray

Bits = npt.NDArray[np.uint64]

# Layout of an entity's 64 random bits once they have become a sort key: bit 63 says "prey" (predators come
# first), bits 32..62 are random and decide the order, bits 28..31 hold the prey's choice of a neighbour, bits
# 0..27 who it is. The choice is drawn from the low 32 bits, so it does not depend on the order.
_LOW_32 = np.uint64(2**32 - 1)
_ORDER_BITS = np.uint64((2**31 - 1) << 32)
_CHOICE_BITS = np.uint64(15 << 28)
_CHOICE_SHIFT = np.uint64(28)
_WHO_BITS = np.uint64(2**28 - 1)
_PREY_BIT = 1 << 63
_FOUR = np.uint64(4)
_TWELVE = np.uint64(N_CHOICES)


def start_cells(bits: Bits, count: int) -> IntArray:
    """Distinct cells, uniformly at random.

    Args:
        bits: [k, height * width] random bits, one number per cell of each game; overwritten.
        count: Cells to choose, E.

    Returns:
        [E, k] cell numbers ``y * width + x``.
    """
    # The cells with the E smallest of these random numbers, smallest first.
    cells = bits.shape[1]
    bits &= ~_LOW_32
    bits |= np.arange(cells, dtype=np.uint64)
    if count < cells:
        bits = np.partition(bits, count - 1, axis=1)[:, :count]
    bits.sort(axis=1)
    return (bits & _LOW_32).astype(np.intp).T


def order_tags(n: int, m: int, num_envs: int) -> Bits:
    """[B, n + m] constant part of the sort keys of ``n`` predators and ``m`` prey, for :func:`draw_order`."""
    tags = (np.arange(n + m)[None, :] * num_envs + np.arange(num_envs)[:, None]).astype(np.uint64)
    tags[:, n:] |= np.uint64(_PREY_BIT)
    return tags


def draw_order(bits: Bits, tags: Bits, n: int) -> tuple[IntArray, Bits]:
    """Who acts when, and where each prey would go.

    Args:
        bits: [B, E] random bits; overwritten.
        tags: [B, E] from :func:`order_tags`.
        n: Predators.

    Returns:
        [E, B] indices into the flat [E, B] arrays, the n places of predators first, then those of prey; and [m, B] the
        placed choices of the prey, 0..11.
    """
    keys = bits & _LOW_32
    keys *= _TWELVE
    keys >>= _FOUR  # floor(12 u) stands at bit 32; it is wanted at bit 28
    keys &= _CHOICE_BITS
    bits &= _ORDER_BITS
    keys |= bits
    keys |= tags
    keys.sort(axis=1)
    placed = np.ascontiguousarray(keys.T)
    choice = placed[n:] >> _CHOICE_SHIFT
    choice &= np.uint64(15)
    placed &= _WHO_BITS
    return placed.view(np.intp), choice
