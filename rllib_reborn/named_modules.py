"""Import of modules that a user names."""

from __future__ import annotations

import importlib
import traceback
from types import ModuleType


class NoSuchModuleError(Exception):
    """There is no module of the name, or a package on the way to it is missing; ``missing`` is which."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing


class BrokenModuleError(Exception):
    """A module is there and cannot be imported; the message is a sentence with the reason and the line, without full stop at
    its end. The reason itself is the cause."""

    def __init__(self, path: str, reason: BaseException) -> None:
        # The innermost line of a file: those of the import system say nothing.
        lines = [frame for frame in traceback.extract_tb(reason.__traceback__) if not frame.filename.startswith("<")]
        place = f" ({lines[-1].filename}, line {lines[-1].lineno})" if lines else ""
        if isinstance(reason, SyntaxError) and reason.filename:
            place = f" ({reason.filename}, line {reason.lineno})"
        what = " ".join(f"{type(reason).__name__}: {reason.msg if isinstance(reason, SyntaxError) else reason}".split())
        super().__init__(
            f"importing {path!r} fails with {what.rstrip('.: ')}{place}; python -c 'import {path}' shows the traceback"
        )


def import_named(path: str) -> ModuleType:
    """The module ``path``, e.g. ``package.module``.

    Raises:
        NoSuchModuleError: It is not there.
        BrokenModuleError: It is there, and fails.
    """
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise BrokenModuleError(path, error) from error
        raise NoSuchModuleError(error.name) from error
    except (Exception, SystemExit) as error:  # a script that ends itself when it is imported is no module either
        raise BrokenModuleError(path, error) from error
