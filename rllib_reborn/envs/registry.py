"""Names of environments: one table, and the open door for environments of one's own,
``module.path:callable``."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rllib_reborn.envs.matrix_games import PAYOFFS, MatrixGame, TwoStepGame, matrix_spec, two_step_spec
from rllib_reborn.envs.predator_prey.predator_prey import PredatorPrey
from rllib_reborn.envs.predator_prey.rules import PRESETS, PredatorPreyRules
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv


class UnknownEnvError(ValueError):
    """There is no environment of this name; the message suggests near ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvEntry:
    """One line of the table of environments.

    Attributes:
        name: The name, e.g. ``predator_prey/small``.
        summary: One sentence for listings.
        options: Keyword arguments that :func:`make_team_env` takes for it.
        make: ``make(num_envs, **options)`` builds it.
        spec: ``spec(**options)`` gives its spec and starts nothing.
    """

    name: str
    summary: str
    options: tuple[str, ...]
    make: Callable[..., VectorTeamEnv]
    spec: Callable[..., TeamSpec]


def _matrix_entry(game: str) -> EnvEntry:
    def make(num_envs: int, **options: Any) -> VectorTeamEnv:
        return MatrixGame(PAYOFFS[game], num_envs, **options)

    def spec(**options: Any) -> TeamSpec:
        return matrix_spec(PAYOFFS[game], **options)

    summary = f"One-step matrix game '{game}', 2 agents with 3 actions."
    return EnvEntry(name=f"matrix/{game}", summary=summary, options=("observation",), make=make, spec=spec)


def _predator_prey_entry(preset: str) -> EnvEntry:
    rules = PRESETS[preset]

    def make(num_envs: int, **options: Any) -> VectorTeamEnv:
        return PredatorPrey(dataclasses.replace(rules, **options), num_envs)

    def spec(**options: Any) -> TeamSpec:
        return dataclasses.replace(rules, **options).spec()

    hares = f" and {rules.n_hares} hares" if rules.n_hares else ""
    return EnvEntry(
        name=f"predator_prey/{preset}",
        summary=(
            f"{rules.n_predators} predators hunt {rules.n_stags} stags{hares} on {rules.height} x {rules.width} cells."
        ),
        options=tuple(field.name for field in dataclasses.fields(PredatorPreyRules)),
        make=make,
        spec=spec,
    )


def _two_step_entry() -> EnvEntry:
    return EnvEntry(
        name="matrix/two_step",
        summary="QMIX's two-step game, 2 agents with 2 actions; the best return is 8.",
        options=(),
        make=TwoStepGame,
        spec=two_step_spec,
    )


def _table() -> Mapping[str, EnvEntry]:
    entries = [_two_step_entry()]
    entries += [_matrix_entry(game) for game in PAYOFFS]
    entries += [_predator_prey_entry(preset) for preset in PRESETS]
    return MappingProxyType({entry.name: entry for entry in entries})


#: Name -> entry, in the order of listings.
ENVS = _table()

#: Beginning of a name -> what it stands for; recognised, so that the refusal can be plain.
_NOT_YET = MappingProxyType(
    {
        "pettingzoo:": "PettingZoo environments",
        "gymnasium:": "Gymnasium environments",
        "smac/": "StarCraft II (SMAC)",
        "smacv2/": "StarCraft II (SMACv2)",
        "battle/": "the battle simulator",
    }
)


def env_names() -> list[str]:
    """All names of the table, in the order of listings."""
    return list(ENVS)


def make_team_env(name: str, num_envs: int = 1, **kwargs: Any) -> VectorTeamEnv:
    """Build an environment by name.

    Args:
        name: A name of :func:`env_names`, or ``module.path:callable``: the callable is called with
            ``num_envs`` and ``kwargs`` as keywords and returns a :class:`VectorTeamEnv` of that many games.
        num_envs: Games stepped side by side, >= 1.
        **kwargs: Options of the environment; for predator-prey any field of :class:`PredatorPreyRules`.

    Raises:
        UnknownEnvError: There is no such environment.
        ValueError: An option is unknown or out of range, or the callable does not return such an environment.

    >>> make_team_env("predator_prey/small", num_envs=2, obs_radius=1).spec.obs_dim
    27
    """
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
    entry = _look_up(name, kwargs)
    return _call_by_path(name, num_envs, kwargs) if entry is None else entry.make(num_envs, **kwargs)


def team_spec(name: str, **kwargs: Any) -> TeamSpec:
    """Spec of an environment by name; starts no game.

    Args:
        name: As in :func:`make_team_env`; a ``module.path:callable`` is called with ``num_envs=1`` and closed
            again.
        **kwargs: Options of the environment.

    Raises:
        UnknownEnvError: There is no such environment.
        ValueError: As :func:`make_team_env`.
    """
    entry = _look_up(name, kwargs)
    if entry is not None:
        return entry.spec(**kwargs)
    env = _call_by_path(name, 1, kwargs)
    try:
        return env.spec
    finally:
        env.close()


def _look_up(name: str, kwargs: Mapping[str, Any]) -> EnvEntry | None:
    """The entry of ``name``, its options checked; None for a ``module.path:callable``."""
    if not isinstance(name, str):
        raise UnknownEnvError(f"environment name is {name!r}; give a string such as {next(iter(ENVS))!r}.")
    for prefix, what in _NOT_YET.items():
        if name.startswith(prefix):
            raise UnknownEnvError(f"{name!r}: {what} are not part of this version of rllib_reborn.")
    if ":" in name:
        return None
    if name not in ENVS:
        near = difflib.get_close_matches(name, ENVS, n=3, cutoff=0.5)
        hint = f"did you mean {_any_of(near)}?" if near else f"there are {', '.join(ENVS)}."
        raise UnknownEnvError(f"unknown environment {name!r}; {hint}")
    entry = ENVS[name]
    for key in kwargs:
        if key not in entry.options:
            raise ValueError(_unknown_option(name, key, entry.options))
    return entry


def _call_by_path(name: str, num_envs: int, kwargs: Mapping[str, Any]) -> VectorTeamEnv:
    module_path, _, attribute = name.partition(":")
    if not module_path or not attribute:
        raise UnknownEnvError(f"unknown environment {name!r}; the form is 'module.path:callable'.")
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        # Only the named module itself: a module that it fails to import is another mistake, and its traceback
        # matters.
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise UnknownEnvError(f"environment {name!r}: there is no module {error.name!r}.") from error
    factory = vars(module).get(attribute)
    if factory is None:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UnknownEnvError(f"environment {name!r}: module {module_path!r} has no {attribute!r}{hint}")
    if not callable(factory):
        raise UnknownEnvError(f"environment {name!r} is a {type(factory).__name__}; expected a callable.")
    _check_signature(name, factory, kwargs)
    env = factory(num_envs=num_envs, **kwargs)
    if not isinstance(env, VectorTeamEnv):
        raise ValueError(f"{name!r} returned a {type(env).__name__}; expected a VectorTeamEnv.")
    if env.num_envs != num_envs:
        count = env.num_envs
        env.close()
        raise ValueError(f"{name!r} was asked for {num_envs} games and returned {count}; it must honour num_envs.")
    return env


def _check_signature(name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if "num_envs" not in names:
        raise ValueError(f"{name!r} takes no keyword argument num_envs; it must, to be built as an environment.")
    for key in kwargs:
        if key not in names:
            raise ValueError(_unknown_option(name, key, [option for option in names if option != "num_envs"]))
    missing = [
        p.name for p in parameters if p.name in names and p.default is p.empty and p.name not in (*kwargs, "num_envs")
    ]
    if missing:
        raise ValueError(f"{name!r} needs the option {missing[0]!r}; give it.")


def _unknown_option(name: str, key: str, options: list[str] | tuple[str, ...]) -> str:
    if not options:
        return f"unknown option {key!r} of {name!r}; it takes none."
    near = difflib.get_close_matches(key, options, n=1, cutoff=0.0)
    return f"unknown option {key!r} of {name!r}; did you mean {near[0]!r}?"


def _any_of(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
