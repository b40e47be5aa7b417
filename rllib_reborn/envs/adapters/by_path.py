"""Functions that settings name as ``module:function``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named
from rllib_reborn.suggestions import did_you_mean


def load_callable(path: str, what: str) -> Callable[..., Any]:
    """The callable that ``path``, ``module:function``, names.

    Args:
        path: As written in the settings.
        what: The setting, for messages.

    Raises:
        ValueError: There is no such callable.
    """
    module_path, colon, attribute = path.partition(":")
    if not (module_path and colon and attribute):
        raise ValueError(f"{what} is {path!r}; expected 'module:function'.")
    try:
        module = import_named(module_path)
    except NoSuchModuleError as error:
        raise ValueError(f"{what} is {path!r}: there is no module {error.missing!r}.") from error
    except BrokenModuleError as error:
        raise ValueError(f"{what} is {path!r}: {error}.") from error
    found = vars(module).get(attribute)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ValueError(f"{what} is {path!r}: {module_path!r} has no such function.{did_you_mean(attribute, known)}")
    result: Callable[..., Any] = found
    return result
