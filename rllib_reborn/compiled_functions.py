"""Functions compiled by numba, which is optional: whether it is there, and how what it has compiled is kept."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any


@functools.cache
def has_numba() -> bool:
    """Whether numba is installed; it is not loaded."""
    return importlib.util.find_spec("numba") is not None


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like ``numba.njit(cache=True, **options)``.

    numba keeps what it has compiled beside the source file, or in the user's cache folder (``NUMBA_CACHE_DIR`` names
    another). Where none can be written, as in a container whose user has no home, it would refuse; here every process
    compiles anew.

    Raises:
        ImportError: numba is not installed.
    """
    import numba  # type: ignore[import-untyped]

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(**options)(function)

    return decorate
