"""Names of environments: one table, and the open doors: suites (``pettingzoo:...``, ``gymnasium:...``) and environments
of one's own (``module.path:callable``)."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.envs.adapters.names import GYMNASIUM, PETTINGZOO, make_vectorized, vectorized_spec
from rllib_reborn.envs.battle import names as battle_names
from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.env_table import EnvTable
from rllib_reborn.envs.factories import UnknownEnvError, check_options, close_or_warn, find_factory, unknown_option
from rllib_reborn.envs.known_actions import KnownAction
from rllib_reborn.envs.lbf import names as lbf_names
from rllib_reborn.envs.matrix_games import PAYOFFS, MatrixGame, TwoStepGame, matrix_spec, two_step_spec
from rllib_reborn.envs.mpe import names as mpe_names
from rllib_reborn.envs.predator_prey.captures import known_catch
from rllib_reborn.envs.predator_prey.predator_prey import PredatorPrey
from rllib_reborn.envs.predator_prey.rules import PRESETS, PredatorPreyRules
from rllib_reborn.envs.rware import names as rware_names
from rllib_reborn.envs.same_team import OtherTeamError, require_same_team
from rllib_reborn.envs.starcraft import names as starcraft_names
from rllib_reborn.envs.task_sequence import Tasks, TaskSequenceEnv, is_sequence, task_names
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.secret_settings import hidden, remember_secrets, without_secrets


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
        known_action=lambda **options: known_catch(dataclasses.replace(rules, **options)),
    )


def _two_step_entry() -> EnvEntry:
    return EnvEntry(
        name="matrix/two_step",
        summary="QMIX's two-step game, 2 agents with 2 actions; the best return is 8.",
        options=(),
        make=TwoStepGame,
        spec=two_step_spec,
    )


def _table() -> EnvTable:
    entries = [_two_step_entry()]
    entries += [_matrix_entry(game) for game in PAYOFFS]
    entries += [_predator_prey_entry(preset) for preset in PRESETS]
    entries += mpe_names.entries()
    entries += battle_names.entries()
    entries += starcraft_names.entries()
    return EnvTable(entries, families=(lbf_names.family(), rware_names.family()))


#: Name -> entry, in the order of listings; names of families are known beyond those that are listed.
ENVS = _table()

#: Names that begin so are environments of other libraries.
_SUITES = (PETTINGZOO, GYMNASIUM)


def env_names() -> list[str]:
    """The names of the table that are listed, in that order; a family (``ENVS.families``) has more."""
    return list(ENVS)


def make_team_env(name: str, num_envs: int = 1, **kwargs: Any) -> VectorTeamEnv:
    """Build an environment by name.

    Args:
        name: A name of :func:`env_names`; ``pettingzoo:<module>`` such as ``pettingzoo:mpe2.simple_spread_v3``;
            ``gymnasium:<id>`` or ``gymnasium:<package>:<id>``; or ``module.path:callable``. A callable that takes
            ``num_envs`` is called with it and ``kwargs`` as keywords and returns a :class:`VectorTeamEnv` of that
            many games. Any other is called with ``kwargs`` for each game and returns a ``TeamGame``, a PettingZoo or
            Gymnasium environment or an RLlib ``MultiAgentEnv``. Several names with `` -> `` between them are a sequence of
            tasks (:mod:`~rllib_reborn.envs.task_sequence`), of which option ``task`` says which is played.
        num_envs: Games stepped side by side, >= 1.
        **kwargs: Options of the environment; for predator-prey any field of :class:`PredatorPreyRules`. For
            environments of other libraries ``team={...}`` holds what concerns the team: the fields of
            :class:`~rllib_reborn.envs.adapters.team_options.TeamOptions`.

    Raises:
        UnknownEnvError: There is no such environment.
        ValueError: An option is unknown or out of range, or the callable does not return such an environment.

    >>> make_team_env("predator_prey/small", num_envs=2, obs_radius=1).spec.obs_dim
    27
    """
    return _make(name, num_envs, kwargs)


def make_same_team_env(
    spec: TeamSpec,
    name: str,
    num_envs: int,
    kwargs: Mapping[str, Any],
    *,
    networks_only: bool = False,
    drawable: bool = False,
) -> VectorTeamEnv:
    """An environment as :func:`make_team_env` builds it, whose team must be ``spec``. Games of named agents take its order,
    in whatever order they name them.

    Args:
        spec: The team that is trained.
        name, num_envs, kwargs: As of :func:`make_team_env`.
        networks_only: See :func:`~rllib_reborn.envs.same_team.require_same_team`.
        drawable: Whether its maker is asked for pictures (``render_mode="rgb_array"``), where it can be.

    Raises:
        OtherTeamError: The environment is another team here.
        UnknownEnvError, ValueError: As :func:`make_team_env`.
    """
    env = _make(name, num_envs, kwargs, spec.agent_ids, drawable=drawable)
    try:
        require_same_team(spec, env.spec, name, networks_only=networks_only)
    except OtherTeamError:
        close_or_warn(env, name)
        raise
    return env


def _make(
    name: str, num_envs: int, kwargs: Mapping[str, Any], agent_ids: Sequence[str] = (), *, drawable: bool = False
) -> VectorTeamEnv:
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
    remember_secrets(kwargs)
    if is_sequence(name):
        tasks, spec = Tasks.of(name, kwargs), team_spec_in_order(agent_ids, name, kwargs)
        return TaskSequenceEnv(
            tasks,
            spec,
            num_envs,
            lambda task: _make(tasks.names[task], num_envs, tasks.options[task], spec.agent_ids, drawable=drawable),
        )
    entry = _look_up(name, kwargs)
    if entry is not None:
        return entry.make(num_envs, **kwargs)
    if _is_per_game(name):
        return make_vectorized(name, num_envs, kwargs, agent_ids, drawable=drawable)
    return _call_by_path(name, num_envs, kwargs)


def is_stepped_as_arrays(name: str) -> bool:
    """Whether environments of this name are this package's own and step many games as arrays, so that a game more costs next
    to nothing. What others build may be a simulator that takes a minute to start, or of which a machine bears one."""
    return all(task in ENVS and ENVS[task].check is None for task in task_names(name))


def is_built_per_game(name: str) -> bool:
    """Whether each game of ``name`` is built on its own, which may take a simulator's minute.

    Raises:
        UnknownEnvError: There is no such environment.
    """
    return ":" in name and _is_per_game(name)


def launches_external_process(name: str) -> bool:
    """Whether environments of this name start a program for each game, so that a machine bears few of them and none is
    started only to look. Those of one's own are not known to."""
    return any(task in ENVS and ENVS[task].check is not None for task in task_names(name))


def known_action(name: str, kwargs: Mapping[str, Any]) -> KnownAction | None:
    """The action of which the rules of an environment tell whether it pays; None where they tell of none.

    Args:
        name, kwargs: As of :func:`make_team_env`.
    """
    if is_sequence(name):
        tasks = Tasks.of(name, kwargs)
        return known_action(tasks.names[tasks.first], tasks.options[tasks.first])
    entry = ENVS.get(name)
    return None if entry is None or entry.known_action is None else entry.known_action(**kwargs)


def team_spec(name: str, **kwargs: Any) -> TeamSpec:
    """Spec of an environment by name; starts no game.

    Args:
        name: As in :func:`make_team_env`; what is not in the table is built for one game and closed again.
        **kwargs: Options of the environment.

    Raises:
        UnknownEnvError: There is no such environment.
        ValueError: As :func:`make_team_env`.
    """
    return team_spec_in_order((), name, kwargs)


def team_spec_in_order(agent_ids: Sequence[str], name: str, kwargs: Mapping[str, Any]) -> TeamSpec:
    """As :func:`team_spec`; games of named agents take the order of ``agent_ids`` where they have these names."""
    remember_secrets(kwargs)
    if is_sequence(name):
        return Tasks.of(name, kwargs).joint_spec(
            lambda order, task, options: team_spec_in_order(order or agent_ids, task, options)
        )
    entry = _look_up(name, kwargs)
    if entry is not None:
        return entry.spec(**kwargs)
    if _is_per_game(name):
        return vectorized_spec(name, kwargs, agent_ids)
    env = _call_by_path(name, 1, kwargs)
    try:
        return env.spec
    finally:
        close_or_warn(env, name)


def _look_up(name: str, kwargs: Mapping[str, Any]) -> EnvEntry | None:
    """The entry of ``name``, its options checked; None for what is not in the table but has the form of a name."""
    if not isinstance(name, str):
        raise UnknownEnvError(f"environment name is {name!r}; give a string such as {next(iter(ENVS))!r}.")
    if ":" in name:
        return None
    if name not in ENVS:
        near = ENVS.near(name, 3, 0.5)
        hint = f"did you mean {_any_of(near)}?" if near else f"there are {', '.join(_families())}."
        raise UnknownEnvError(f"unknown environment {name!r}; {hint}")
    entry = ENVS[name]
    for key in kwargs:
        if key not in entry.options:
            if key in entry.remedies:
                raise ValueError(f"{key!r} is not an option of {name!r}: {entry.remedies[key]}.")
            raise ValueError(unknown_option(name, key, entry.options))
    return entry


def _families() -> list[str]:
    """The names, those of a family with many as ``smac/...``."""
    first_parts = [name.partition("/")[0] for name in ENVS]
    many = {part for part in first_parts if first_parts.count(part) > 10}
    many |= {family.prefix.removesuffix("/") for family in ENVS.families}
    return list(dict.fromkeys(f"{part}/..." if part in many else name for part, name in zip(first_parts, ENVS)))


def _is_per_game(name: str) -> bool:
    """Whether ``name``, which is not in the table, builds one game at a time."""
    if name.startswith(_SUITES):
        return True
    factory = find_factory(name)
    # A class of batches may hide num_envs behind **kwargs; most makers of single games hide their own options so.
    if isinstance(factory, type) and issubclass(factory, VectorTeamEnv):
        return False
    try:
        return "num_envs" not in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin that does not say
        return True


def _call_by_path(name: str, num_envs: int, kwargs: Mapping[str, Any]) -> VectorTeamEnv:
    factory = find_factory(name)
    check_options(name, factory, kwargs, given=("num_envs",))
    try:
        env = factory(num_envs=num_envs, **kwargs)
    except (ValueError, GameUnavailableError):
        raise
    except (Exception, SystemExit) as error:  # what ends the process is no environment either
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{name!r} cannot be built with the options {without_secrets(kwargs)}: {hidden(what)}"
        ) from error
    if not isinstance(env, VectorTeamEnv):
        raise ValueError(f"{name!r} returned a {type(env).__name__}; expected a VectorTeamEnv.")
    if env.num_envs != num_envs:
        count = env.num_envs
        close_or_warn(env, name)
        raise ValueError(f"{name!r} was asked for {num_envs} games and returned {count}; it must honour num_envs.")
    return env


def _any_of(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
