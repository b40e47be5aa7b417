"""Counter-based random numbers: one independent stream per game, drawn for all games in one vectorised call.

A stream is a pair (key, counter) and its k-th number is a hash of both (SplitMix64: Steele, Lea, Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014). So a game's numbers depend on its key alone, not on
how many games are drawn beside it, and the whole state of B streams is two arrays of B numbers, which makes
exact resume trivial.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = (np.uint64(k) for k in (30, 27, 31, 11))
_TO_UNIT = np.float64(2.0**-53)


def mix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser, element-wise; ``x`` is overwritten and returned."""
    x ^= x >> _S30
    x *= _MIX_1
    x ^= x >> _S27
    x *= _MIX_2
    x ^= x >> _S31
    return x


@functools.lru_cache(maxsize=256)
def _strides(k: int) -> npt.NDArray[np.uint64]:
    """``j * _GOLDEN`` for j = 1..k: (counter + j) * _GOLDEN is then one addition. Shared, so never written
    to."""
    strides = np.arange(1, k + 1, dtype=np.uint64) * _GOLDEN
    strides.flags.writeable = False
    return strides


def stream_keys(seed: int | Sequence[int], count: int, *, salt: int = 0) -> npt.NDArray[np.uint64]:
    """Keys of ``count`` streams.

    Args:
        seed: One number (stream ``i`` gets the key of ``(seed, i)``) or one number per stream (then ``i``
            plays no part, so that equal seeds give equal streams).
        count: Number of streams.
        salt: Separates uses of one seed (game, exploration, ...).

    Raises:
        ValueError: A sequence of another length than ``count`` was given, or a number is negative.
    """
    if isinstance(seed, int | np.integer):
        seeds, index = [int(seed)] * count, np.arange(1, count + 1, dtype=np.uint64)
    else:
        seeds, index = [int(x) for x in seed], np.zeros(count, np.uint64)
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds were given for {count} games; give one number or one per game.")
    if min(seeds, default=0) < 0:
        raise ValueError(f"seed {min(seeds)} is negative; expected a whole number >= 0.")
    base = np.array([x % 2**64 for x in seeds], np.uint64)
    key = mix64(base + _GOLDEN)
    key = mix64(key ^ (index * _GOLDEN))
    return mix64(key ^ mix64(np.full(count, salt % 2**64, np.uint64) + _GOLDEN))


class RandomStreams:
    """``count`` independent streams of uniform numbers.

    >>> a, b = RandomStreams(1, seed=7), RandomStreams(64, seed=7)
    >>> bool(a.uniform(3)[0, 0] == b.uniform(3)[0, 0])
    True
    """

    def __init__(self, count: int, seed: int | Sequence[int] | None = None, *, salt: int = 0) -> None:
        self._salt = salt
        self.keys = np.zeros(count, np.uint64)
        self.counters = np.zeros(count, np.uint64)
        if seed is None:
            seed = [int(x) for x in np.random.SeedSequence().generate_state(count, np.uint64)]
        self.seed(seed)

    def seed(self, seed: int | Sequence[int], mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Restart the streams, all or those of ``mask`` [count]."""
        keys = stream_keys(seed, len(self.keys), salt=self._salt)
        chosen = slice(None) if mask is None else mask
        self.keys[chosen] = keys[chosen]
        self.counters[chosen] = 0

    def bits(self, k: int) -> npt.NDArray[np.uint64]:
        """[count, k] whole numbers of 64 random bits; every stream moves on by ``k``."""
        start = self.counters * _GOLDEN
        start += self.keys
        self.counters += np.uint64(k)
        return mix64(start[:, None] + _strides(k))

    def bits_at(self, mask: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.uint64]:
        """[mask.sum(), k] whole numbers of 64 random bits; only the streams of ``mask`` move on."""
        start = self.counters[mask] * _GOLDEN
        start += self.keys[mask]
        self.counters[mask] += np.uint64(k)
        return mix64(start[:, None] + _strides(k))

    def uniform(self, k: int) -> npt.NDArray[np.float64]:
        """[count, k] numbers in [0, 1); every stream moves on by ``k``."""
        return (self.bits(k) >> _S11) * _TO_UNIT

    def uniform_at(self, mask: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.float64]:
        """[mask.sum(), k] numbers in [0, 1); only the streams of ``mask`` move on."""
        return (self.bits_at(mask, k) >> _S11) * _TO_UNIT

    def get_state(self) -> dict[str, Any]:
        return {"keys": self.keys.copy(), "counters": self.counters.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        if len(state["keys"]) != len(self.keys):
            raise ValueError(f"state holds {len(state['keys'])} random streams; this object has {len(self.keys)}.")
        self.keys[:] = state["keys"]
        self.counters[:] = state["counters"]
