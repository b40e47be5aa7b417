"""From the names ``pettingzoo:...``, ``gymnasium:...`` and ``module:callable`` to games, and from games to environments.

Everything that a runner or a worker in a fresh process needs to build a game is a name, plain options and functions at
the top of modules, so that it can be pickled.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

from rllib_reborn.envs.adapters.foreign_calls import raised
from rllib_reborn.envs.adapters.team_options import TeamOptions, team_options
from rllib_reborn.envs.carried_factory import CarriedMaker, carried_factory
from rllib_reborn.envs.factories import UnknownEnvError, check_options, close_or_warn, find_factory
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from rllib_reborn.envs.team_game import FaultyGameError, GameUnavailableError, TeamGame
from rllib_reborn.named_modules import BrokenModuleError, NoSuchModuleError, import_named
from rllib_reborn.suggestions import did_you_mean

PETTINGZOO, GYMNASIUM = "pettingzoo:", "gymnasium:"
#: Keyword beside the environment's own options that holds :class:`TeamOptions`.
TEAM_KEY = "team"

#: Beginning of a Gymnasium id -> the package that registers it.
_SUITES = MappingProxyType({"Foraging": "lbforaging", "rware": "rware"})
#: First part of a PettingZoo name -> what pip installs for it.
_PIP_NAMES = MappingProxyType(
    {
        **{suite: f"'pettingzoo[{suite}]'" for suite in ("sisl", "butterfly", "classic", "atari")},
        "mpe": "mpe2",
        "mpe2": "mpe2",
        "magent2": "magent2",
        "pettingzoo": "pettingzoo",
    }
)
#: What RLlib's documentation and examples call the one argument of an environment's class or creator.
_ONE_DICT = ("config", "env_config", "env_context", "env_ctx", "cfg", "_")
#: Packages whose games share variables of their classes, so that they cannot be played in threads of one process.
_NOT_FOR_THREADS = MappingProxyType({"rware": "its agents are numbered by a counter of the class"})


def make_vectorized(
    name: str, num_envs: int, kwargs: Mapping[str, Any], agent_ids: Sequence[str] = (), *, drawable: bool = False
) -> VectorTeamEnv:
    """``num_envs`` games of ``name``, side by side.

    Args:
        name: ``pettingzoo:<module>``, ``gymnasium:<id>``, ``gymnasium:<package>:<id>``, or ``<module>:<callable>`` whose
            callable builds one game or one foreign environment.
        num_envs: Games.
        kwargs: Options of the environment, and under ``team`` those of :class:`TeamOptions`.
        agent_ids: The order of the agents, where the games have agents of these names; empty: that of the first game.
        drawable: Whether makers that take a ``render_mode`` are asked for pictures.

    Raises:
        UnknownEnvError: There is no such environment, or its package is not installed.
        ValueError: An option is wrong, or the environment cannot become a team.
    """
    from rllib_reborn.envs.vectorize import VectorizedTeamEnv

    make_game, options = _game_maker(name, kwargs, agent_ids, drawable=drawable)
    if options.workers == "threads":
        _refuse_threads(name)
    first_game = make_game()
    if not agent_ids:
        make_game, _ = _game_maker(name, kwargs, first_game.spec.agent_ids, drawable=drawable)
    return VectorizedTeamEnv(
        make_game,
        num_envs,
        first_game=first_game,
        workers=options.workers,
        num_workers=options.num_workers,
        step_timeout_s=options.step_timeout_s,
    )


def vectorized_spec(name: str, kwargs: Mapping[str, Any], agent_ids: Sequence[str] = ()) -> TeamSpec:
    """The spec that :func:`make_vectorized` would give; builds one game and closes it.

    Raises:
        UnknownEnvError, ValueError: As :func:`make_vectorized`.
    """
    make_game, _ = _game_maker(name, kwargs, agent_ids)
    game = make_game()
    try:
        return game.spec
    finally:
        close_or_warn(game, name)


def _game_maker(
    name: str, kwargs: Mapping[str, Any], agent_ids: Sequence[str], *, drawable: bool = False
) -> tuple[Callable[[], TeamGame], TeamOptions]:
    env_options = {key: value for key, value in kwargs.items() if key != TEAM_KEY}
    options = team_options(kwargs.get(TEAM_KEY) or {})
    build = (
        _pettingzoo_env
        if name.startswith(PETTINGZOO)
        else _gymnasium_env
        if name.startswith(GYMNASIUM)
        else _env_by_path
    )
    if drawable:
        build = functools.partial(_build_drawable, build)
    make_game = functools.partial(_make_game, build, name, env_options, options, tuple(agent_ids))
    carried = carried_factory(name, name)
    return (make_game if carried is None else CarriedMaker(make_game, carried)), options


def _build_drawable(build: Callable[[str, dict[str, Any]], Any], name: str, env_options: dict[str, Any]) -> Any:
    """The environment, asked to draw pictures, where its maker takes that and the user has not said how it draws."""
    if "render_mode" not in env_options:
        # Some warn of a mode that they do not declare and draw in it all the same.
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
            return build(name, env_options | {"render_mode": "rgb_array"})
    return build(name, env_options)


def _make_game(
    build: Callable[[str, dict[str, Any]], Any],
    name: str,
    env_options: dict[str, Any],
    options: TeamOptions,
    agent_ids: Sequence[str],
) -> TeamGame:
    env = build(name, env_options)
    try:
        return as_game(env, options, env_options, name, agent_ids)
    except BaseException as error:
        close_or_warn(env, name)
        if isinstance(error, Exception) and not isinstance(error, ValueError | GameUnavailableError):
            raise FaultyGameError(
                f"{name!r} cannot become a team, because it raised {raised(error)}; fix the environment, or wrap it."
            ) from error
        raise


def as_game(
    env: Any, options: TeamOptions, env_options: Mapping[str, Any], name: str, agent_ids: Sequence[str] = ()
) -> TeamGame:
    """A game of ``env``, adapted by its type; a ``TeamGame`` says itself in which order its agents are.

    Raises:
        ValueError: It is of no type that can be adapted, or it cannot become a team.
    """
    if isinstance(env, TeamGame):
        if options != TeamOptions(
            workers=options.workers, num_workers=options.num_workers, step_timeout_s=options.step_timeout_s
        ):
            raise ValueError(
                f"{name!r} builds a {type(env).__name__}, which says itself what its team is; of the team options only "
                "workers, num_workers and step_timeout_s apply."
            )
        return env
    if isinstance(env, VectorTeamEnv):
        raise ValueError(
            f"{name!r} takes no keyword argument num_envs and returned a {type(env).__name__}; a callable that builds "
            "a VectorTeamEnv must take num_envs and honour it."
        )
    if "ray.rllib.env.multi_agent_env" in sys.modules:  # else it cannot be one, and Ray need not be loaded to ask
        from rllib_reborn.envs.adapters.rllib import RLlibGame, is_multi_agent_env

        if is_multi_agent_env(env):
            return RLlibGame(env, options, env_options, agent_ids)
    from rllib_reborn.envs.adapters.gymnasium_tuple import GymnasiumGame, is_gymnasium
    from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame, is_pettingzoo

    if is_pettingzoo(env):
        return PettingZooGame(env, options, env_options, agent_ids)
    if is_gymnasium(env):
        return GymnasiumGame(env, options, env_options, agent_ids)
    raise ValueError(
        f"{name!r} returned a {type(env).__name__}; expected a VectorTeamEnv (from a callable that takes num_envs), a "
        "TeamGame, a PettingZoo or Gymnasium environment or an RLlib MultiAgentEnv."
    )


# ----------------------------------------------------------------------------------------------------------
# building the foreign environment


def _pettingzoo_env(name: str, env_options: dict[str, Any]) -> Any:
    path = name.removeprefix(PETTINGZOO)
    module = _pettingzoo_module(name, path)
    for maker in ("parallel_env", "env"):
        factory = getattr(module, maker, None)
        if factory is not None:
            return _call(name, factory, env_options)
    raise UnknownEnvError(
        f"{name!r}: module {module.__name__!r} has neither parallel_env nor env, so it is no environment."
    )


def _pettingzoo_module(name: str, path: str) -> ModuleType:
    """The module of ``path``, as it is or under ``pettingzoo.``"""
    if not path or not all(part.isidentifier() for part in path.split(".")):
        raise UnknownEnvError(f"{name!r}: expected pettingzoo:<module>, such as 'pettingzoo:mpe2.simple_spread_v3'.")
    for candidate in (path, f"pettingzoo.{path}"):
        try:
            return import_named(candidate)
        except NoSuchModuleError:
            continue
        except BrokenModuleError as error:
            reason = error.__cause__
            if isinstance(reason, ModuleNotFoundError):
                raise UnknownEnvError(
                    _missing(name, path, f"it needs {reason.name!r}, which is not installed")
                ) from error
            if isinstance(reason, ImportError):
                raise UnknownEnvError(_missing(name, path, str(reason))) from error
            raise UnknownEnvError(f"{name!r}: {error}.") from error
    head, _, rest = path.partition(".")
    for package in (head, f"pettingzoo.{head}"):
        try:
            modules = [info.name for info in pkgutil.iter_modules(importlib.import_module(package).__path__)]
        except (ImportError, AttributeError):
            continue
        versions = [module for module in modules if module.rpartition("_v")[2].isdigit()]
        raise UnknownEnvError(
            f"{name!r}: package {package!r} has no module {rest!r}.{did_you_mean(rest, versions or modules)}"
        )
    raise UnknownEnvError(_missing(name, path, f"there is no package {head!r}"))


def _missing(name: str, path: str, why: str) -> str:
    """The sentence of what is missing. It names a package to install only where that is known to be the right one: a
    mistyped name may be somebody else's package."""
    parts = path.split(".")
    head = parts[1] if parts[0] == "pettingzoo" and len(parts) > 1 else parts[0]
    known = _PIP_NAMES.get(head)
    hint = (
        f"Try: pip install {known}"
        if known
        else "The form is pettingzoo:<package>.<game>, as in mpe2.simple_spread_v3."
    )
    return f"{name!r}: {why.rstrip('.')}. {hint}"


def _gymnasium_env(name: str, env_options: dict[str, Any]) -> Any:
    package, _, env_id = name.removeprefix(GYMNASIUM).rpartition(":")
    package = package or next((known for start, known in _SUITES.items() if env_id.startswith(start)), "")
    if not env_id:
        raise UnknownEnvError(f"{name!r}: expected gymnasium:<id> or gymnasium:<package>:<id>.")
    import gymnasium

    if package:
        try:
            import_named(package)
        except NoSuchModuleError as error:
            known = f" Try: pip install {package}" if package in _SUITES.values() else ""
            raise UnknownEnvError(f"{name!r}: there is no package {error.missing!r}.{known}") from error
        except BrokenModuleError as error:
            raise UnknownEnvError(f"{name!r}: {error}.") from error
    if env_id not in gymnasium.registry:
        hint = "" if package else " If another package registers it, say gymnasium:<package>:<id>."
        raise UnknownEnvError(
            f"{name!r}: Gymnasium knows no environment {env_id!r}.{did_you_mean(env_id, gymnasium.registry)}{hint}"
        )
    # Gymnasium's own checker knows neither lists of rewards nor Tuples of actions, and warns of them at every step.
    return _call(name, functools.partial(gymnasium.make, env_id, disable_env_checker=True), env_options)


def _env_by_path(name: str, env_options: dict[str, Any]) -> Any:
    factory = find_factory(name)
    if takes_one_dict(factory, env_options):
        from rllib_reborn.envs.adapters.rllib import env_context

        return _call(name, functools.partial(factory, env_context(env_options)), {}, shown=env_options)
    return _call(name, factory, env_options)


def takes_one_dict(factory: Callable[..., Any], env_options: Mapping[str, Any]) -> bool:
    """Whether ``factory`` follows RLlib's convention: all options come as one dict, its first argument.

    It does where that is called as RLlib's documentation calls it and no other one is required; unless it is given by its
    own name, or all options are names of further arguments.
    """
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):  # a builtin that does not say
        return False
    if not parameters or parameters[0].name not in _ONE_DICT or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        return False
    first, *others = parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if first.kind in variable or first.name in env_options:
        return False
    if any(other.default is inspect.Parameter.empty and other.kind not in variable for other in others):
        return False
    if first.default is inspect.Parameter.empty or not env_options:
        return True
    return not {*env_options} <= {other.name for other in others}


def _call(
    name: str, factory: Callable[..., Any], env_options: dict[str, Any], shown: Mapping[str, Any] | None = None
) -> Any:
    check_options(name, factory, env_options)
    try:
        return factory(**env_options)
    except (Exception, SystemExit) as error:  # what ends the process is no environment either
        # Makers of the suites pass **kwargs on, so that a wrong option shows here only; so does what a suite lacks.
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(f"{name!r} cannot be built with the options {shown or env_options}: {what}") from error


def _refuse_threads(name: str) -> None:
    for package, why in _NOT_FOR_THREADS.items():
        if name.startswith((f"{GYMNASIUM}{package}", f"{package}:")):
            raise ValueError(
                f"team.workers is 'threads', and games of {package} cannot be played side by side in threads: {why}. "
                "Take 'inline' or 'processes'."
            )
