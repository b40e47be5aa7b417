"""Import of modules that a user names."""

from __future__ import annotations

import importlib
from types import ModuleType


class NoSuchModuleError(Exception):
    """There is no module of the name, or a package on the way to it is missing; ``missing`` is which."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing


def import_named(path: str) -> ModuleType:
    """The module ``path``, e.g. ``package.module``.

    Raises:
        NoSuchModuleError: It is not there. What a module that is there fails to import is another mistake, whose own error
            and traceback matter, and is raised as it is.
    """
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise NoSuchModuleError(error.name) from error
