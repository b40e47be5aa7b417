"""Calls of foreign environments: what they raise and what they return, as one sentence for their author.

What is checked at every step is types and counts; everything else is looked at only once something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from rllib_reborn.envs.team_game import FaultyGameError, GameUnavailableError

_SHOWN_CHARACTERS = 200
_FIX = "fix the environment, or wrap it"


def shown(value: Any) -> str:
    """``value`` in a few words: what it is, and of small ones also how it looks."""
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {', '.join(map(repr, value))}" if value else "an empty dict"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic | np.ndarray | type):
        return _one_line(repr(value))
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def raised(error: BaseException) -> str:
    """``error`` in one line."""
    return _one_line(f"{type(error).__name__}: {error}".rstrip(": ."))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


def ask(title: str, call: str, function: Callable[..., Any], *args: Any, remedy: str = _FIX) -> Any:
    """``function(*args)``, which is code of the environment.

    Args:
        title: Name of the environment.
        call: The call, for the message, such as ``observation_space('a')``.
        function: What is called.
        args: With what.
        remedy: What to do where it raises.

    Raises:
        FaultyGameError: It raised an exception.
    """
    try:
        return function(*args)
    except (GameUnavailableError, FaultyGameError):
        raise
    except (Exception, SystemExit) as error:
        raise FaultyGameError(f"{title}: {call} raised {raised(error)}; {remedy}.") from error


def reset_env(env: Any, seed: int, title: str, library: str) -> tuple[Any, Any]:
    """What ``env.reset(seed=seed)`` returned: observations and infos.

    Raises:
        FaultyGameError: It takes no seed, raised an exception, or returned something else.
    """
    try:
        returned = env.reset(seed=seed)
    except (GameUnavailableError, FaultyGameError):
        raise
    except TypeError as error:
        if "reset() got an unexpected keyword" in str(error) or "reset() takes" in str(error):
            raise FaultyGameError(
                f"{title}: reset() takes no seed; {library} calls reset(seed=..., options=...): write "
                "def reset(self, seed=None, options=None), and draw all that is random from the seed."
            ) from error
        _fail(title, "reset()", error, library)
    except (Exception, SystemExit) as error:
        _fail(title, "reset()", error, library)
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise FaultyGameError(
            f"{title}: reset() returned {_count(returned)}; {library} expects two values: observations, infos (return "
            "observations, {} where there are no infos)."
        )
    return returned[0], returned[1]


def step_env(
    env: Any, actions: Any, title: str, library: str, agents: tuple[Any, ...]
) -> tuple[Any, Any, Any, Any, Any]:
    """What ``env.step(actions)`` returned: observations, rewards, terminated, truncated, infos.

    Args:
        env: The environment.
        actions: As it takes them.
        title: Its name.
        library: Of which it is.
        agents: All its agents.

    Raises:
        FaultyGameError: It raised an exception, or returned something else.
    """
    try:
        returned = env.step(actions)
    except (GameUnavailableError, FaultyGameError):
        raise
    except (Exception, SystemExit) as error:
        missing = error.args[0] if isinstance(error, KeyError) and error.args else None
        if missing is not None and missing in agents and isinstance(actions, dict) and missing not in actions:
            raise FaultyGameError(
                f"{title}: step() looked for an action of agent {missing!r}, which has ended or is not asked; "
                f"{library} gives actions of those alone that are in the game: ask with "
                "actions.get(agent), or for the agents in actions."
            ) from error
        _fail(title, "step()", error, library)
    if not isinstance(returned, tuple | list) or len(returned) != 5:
        four = isinstance(returned, tuple | list) and len(returned) == 4
        hint = " (what was done is two: ended by the game, and cut off by a limit)" if four else ""
        raise FaultyGameError(
            f"{title}: step() returned {_count(returned)}; {library} expects five: observations, rewards, terminations, "
            f"truncations, infos{hint}."
        )
    return returned[0], returned[1], returned[2], returned[3], returned[4]


def _count(returned: Any) -> str:
    return f"{len(returned)} values" if isinstance(returned, tuple | list) else shown(returned)


def _fail(title: str, call: str, error: BaseException, library: str) -> NoReturn:
    """Raise what ``call`` raised as a sentence."""
    remedy = _FIX
    if "values to unpack" in str(error):
        remedy = (
            f"it, or what it wraps, returned another number of values than was expected there; in {library} reset() returns "
            "observations, infos and step() observations, rewards, terminations, truncations, infos"
        )
    raise FaultyGameError(f"{title}: {call} raised {raised(error)}; {remedy}.") from error


def by_agent(value: Any, what: str, call: str, title: str) -> Mapping[Any, Any]:
    """``value``, a dictionary by the names of agents.

    Args:
        value: What the environment returned.
        what: As what, such as ``rewards``.
        call: From which call.
        title: Name of the environment.

    Raises:
        FaultyGameError: It is none.
    """
    if type(value) is dict or isinstance(value, Mapping):
        mapping: Mapping[Any, Any] = value
        return mapping
    raise FaultyGameError(
        f"{title}: {call} returned {shown(value)} as {what}; expected a dict: return one with an entry for each agent, "
        "under its name."
    )


def infos_by_agent(value: Any, call: str, title: str) -> Mapping[Any, Any]:
    """As :func:`by_agent`; None means that there are none."""
    return {} if value is None else by_agent(value, "infos", call, title)


def one_flag(value: Any, what: str) -> bool:
    """The flag that an environment gave; None is none.

    Args:
        value: True or False, also as a number or an array of one.
        what: Which one, for the message.

    Raises:
        ValueError: It is neither.
    """
    if value is True or value is False or type(value) is np.bool_:
        return bool(value)
    if value is None:
        return False
    try:
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biuf" and (array == array.astype(np.bool_)).all():
            return bool(array.reshape(()))
    except Exception:  # whatever the conversion of a foreign object raises, it is no flag
        pass
    raise ValueError(f"{what} is {shown(value)}; expected True or False.")


def agent_names(given: Any, title: str) -> tuple[Any, ...]:
    """All agents of an environment from its ``possible_agents``, in its order; a set, whose order differs from process to
    process, in that of the names.

    Raises:
        FaultyGameError: They are no names, or some occur twice.
    """
    fault = f"{title}: possible_agents is {shown(given)}"
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise FaultyGameError(f"{fault}; expected the list of the names of all agents.")
    names = tuple(sorted(given, key=str)) if isinstance(given, set | frozenset) else tuple(given)
    try:
        different = len(set(names))
    except TypeError as error:
        raise FaultyGameError(
            f"{fault}, whose entries are no names ({raised(error)}); give strings or numbers."
        ) from error
    if different != len(names):
        raise FaultyGameError(f"{fault}, in which a name occurs twice; give every agent one of its own.")
    return names


def present_agents(env: Any, call: str, title: str) -> tuple[Any, ...]:
    """Who is in the game by ``env.agents`` after ``call``.

    Raises:
        FaultyGameError: It is no list of agents.
    """
    agents = ask(title, "agents", getattr, env, "agents", None)
    if not isinstance(agents, list | tuple | set) and (isinstance(agents, str) or not hasattr(agents, "__iter__")):
        raise FaultyGameError(
            f"{title}: agents is {shown(agents)} after {call}; set it to the list of the agents that are in the game."
        )
    return tuple(agents)
