"""Functions compiled by numba, which is optional: whether it is there, and how what it has compiled is kept."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def has_numba() -> bool:
    """Whether numba is installed; it is not loaded."""
    return importlib.util.find_spec("numba") is not None


def compiled(*, sources: Sequence[ModuleType] = (), **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like ``numba.njit(cache=True, **options)``.

    numba keeps what it has compiled beside the source file, or in the user's cache folder (``NUMBA_CACHE_DIR`` names
    another). Where none can be written, as in a container whose user has no home, it would refuse; here every process
    compiles anew.

    Args:
        sources: Modules whose compiled functions the decorated one calls. What was compiled before one of their files was
            written is not used; numba looks at the function's own file alone.
        options: Of ``numba.njit``.

    Raises:
        ImportError: numba is not installed.
    """
    import numba  # type: ignore[import-untyped]

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            kept = numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(**options)(function)
        return kept if _without_older(kept, sources) else numba.njit(**options)(function)

    return decorate


def _without_older(function: Any, sources: Sequence[ModuleType]) -> bool:
    """Remove what was kept of a compiled function before a file of ``sources`` was written; False: it cannot be removed."""
    written = max((os.stat(str(module.__file__)).st_mtime for module in sources), default=0.0)
    own_file = Path(function.py_func.__code__.co_filename).stem
    for index in Path(function.stats.cache_path).glob(f"{own_file}.{function.py_func.__qualname__}-*.nbi"):
        try:
            if index.stat().st_mtime <= written:
                index.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was faster
            continue
        except OSError:
            return False
    return True
