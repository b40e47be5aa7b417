"""Functions compiled by numba, kept on disk where that is possible. Importing this module needs numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba  # type: ignore[import-untyped]


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like ``numba.njit(cache=True, **options)``.

    numba keeps what it has compiled beside the source file, or in the user's cache folder (``NUMBA_CACHE_DIR`` names
    another). Where none can be written, as in a container whose user has no home, it would refuse; here every process
    compiles anew.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(**options)(function)

    return decorate
