"""The one table of algorithms. It imports nothing, so that names can be listed without Ray and torch."""

from __future__ import annotations

#: By name, as users write it. The config class of ``ResQ`` is ``ResQConfig`` in ``algorithms/resq.py``, and so of all.
ALGORITHM_NAMES: tuple[str, ...] = (
    "DMIX",
    "IQL",
    "QMIX",
    "QPLEX",
    "RMIX",
    "ResQ",
    "VDN",
    "WQMIX",
)
