"""Functions compiled by numba, which is optional: whether it is there, and how what it has compiled is kept."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def has_numba() -> bool:
    """Whether numba is installed and not switched off (``NUMBA_DISABLE_JIT=1``); it is not loaded."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") and importlib.util.find_spec("numba") is not None


def compiled(*, sources: Sequence[ModuleType] = (), **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator like ``numba.njit(cache=True, **options)``.

    numba keeps what it has compiled beside the source file, or in the user's cache folder (``NUMBA_CACHE_DIR`` names
    another). Where none can be written, as in a container whose user has no home, it would refuse; here every process
    compiles anew.

    Args:
        sources: Modules whose compiled functions the decorated one calls: what was compiled with other contents of their
            files is not used. numba looks at the function's own file alone.
        options: Of ``numba.njit``.

    Raises:
        ImportError: numba is not installed.
    """
    import numba  # type: ignore[import-untyped]

    def decorate(function: Callable[..., Any]) -> Any:
        if sources:
            function.__qualname__ += f"_{_digest(sources)}"  # part of the name of the file that numba keeps
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(**options)(function)

    return decorate


def _digest(sources: Sequence[ModuleType]) -> str:
    """Of what the files hold."""
    found = hashlib.sha256()
    for module in sources:
        found.update(Path(str(module.__file__)).read_bytes())
    return found.hexdigest()[:12]
