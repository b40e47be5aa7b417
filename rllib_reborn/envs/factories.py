"""Callables that users name as ``module.path:callable``: finding them, and checking the options that they are given."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named

logger = logging.getLogger(__name__)

#: By name, factories that lie in the main script or the notebook of another process; see :func:`provide`.
_PROVIDED: dict[str, Callable[..., Any]] = {}


class UnknownEnvError(ValueError):
    """There is no environment of this name; the message suggests near ones."""


def provide(name: str, factory: Callable[..., Any]) -> None:
    """Make :func:`find_factory` find ``factory`` under ``name`` in this process, where its own modules have none."""
    _PROVIDED[name] = factory


def find_factory(name: str) -> Callable[..., Any]:
    """The callable that ``module.path:callable`` names.

    Raises:
        UnknownEnvError: There is none.
    """
    module_path, _, attribute = name.partition(":")
    if not module_path or not attribute:
        raise UnknownEnvError(f"unknown environment {name!r}; the form is 'module.path:callable'.")
    try:
        module = import_named(module_path)
    except NoSuchModuleError as error:
        raise UnknownEnvError(
            f"environment {name!r}: there is no module {error.missing!r}; it must lie beside your script or in the folder "
            "of the command line, be installed, or be in a folder that PYTHONPATH names."
        ) from error
    except BrokenModuleError as error:
        raise UnknownEnvError(f"environment {name!r}: {error}.") from error
    factory = vars(module).get(attribute) or _PROVIDED.get(name)
    if factory is None:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UnknownEnvError(f"environment {name!r}: module {module_path!r} has no {attribute!r}{hint}")
    if not callable(factory):
        raise UnknownEnvError(f"environment {name!r} is a {type(factory).__name__}; expected a callable.")
    found: Callable[..., Any] = factory
    return found


def close_or_warn(env: Any, name: str) -> None:
    """Close ``env``, which was built by ``name`` and is no longer needed. What its ``close()`` raises is a warning: it is no
    reason to do without what was learnt of it, nor may it hide why it is given up."""
    close = getattr(env, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        logger.warning("%s: close() raised %s; it must work whether the environment was reset or not.", name, what)


def _parameter_names(factory: Callable[..., Any]) -> list[str] | None:
    """Names that ``factory`` takes as keywords; None if it takes any, or does not say."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def check_options(
    name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any], given: tuple[str, ...] = ()
) -> None:
    """Raise ValueError if ``factory`` does not take one of ``kwargs`` or lacks one; ``given`` are those that are not the
    user's."""
    names = _parameter_names(factory)
    if names is None:
        return
    for key in kwargs:
        if key not in names:
            raise ValueError(unknown_option(name, key, [option for option in names if option not in given]))
    parameters = inspect.signature(factory).parameters
    missing = [n for n in names if parameters[n].default is inspect.Parameter.empty and n not in (*kwargs, *given)]
    if missing:
        raise ValueError(f"{name!r} needs the option {missing[0]!r}; give it.")


def unknown_option(name: str, key: str, options: Sequence[str]) -> str:
    """The message for an option ``key`` that the environment ``name`` does not take; ``options`` are those that it takes."""
    if not options:
        return f"unknown option {key!r} of {name!r}; it takes none."
    near = difflib.get_close_matches(key, options, n=1, cutoff=0.0)
    return f"unknown option {key!r} of {name!r}; did you mean {near[0]!r}?"
