"""The names ``smac/<map>`` and ``smacv2/<race>_<n>_vs_<m>``: from a name and plain options to environments."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.smac.capability_config import draw_options, remedies, with_draws
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS, Scenario
from rllib_reborn.envs.starcraft.settings import GAME_SETTINGS, GameSettings
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from rllib_reborn.envs.team_game import TeamGame

#: Options of the environment that concern neither the rules nor one game: how games are stepped side by side.
_STEPPING = ("workers", "num_workers")
_RULES = tuple(field.name for field in dataclasses.fields(SmacOptions))
OPTIONS = (*_RULES, *GAME_SETTINGS, *_STEPPING)

#: How often a game that could not be started is tried, and the seconds before the second attempt, doubled before each
#: further one. What can never succeed is not tried again at all.
_RESET_ATTEMPTS, _RETRY_DELAY_S = 5, 0.5


def entries() -> list[EnvEntry]:
    """One entry for every scenario, in the order of listings."""
    return [_entry(scenario) for scenario in SCENARIOS.values()]


def _entry(scenario: Scenario) -> EnvEntry:
    game = "SMAC" if scenario.family == "smac" else "SMACv2"
    return EnvEntry(
        name=f"{scenario.family}/{scenario.name}",
        summary=f"StarCraft II ({game}): {scenario.n_agents} against {scenario.n_enemies} units; needs the game.",
        options=(*OPTIONS, *draw_options(scenario)),
        make=functools.partial(_make, scenario),
        spec=functools.partial(_spec, scenario),
        check=functools.partial(_check, scenario),
        remedies=remedies(scenario),
    )


def _make(scenario: Scenario, num_envs: int, **options: Any) -> VectorTeamEnv:
    scenario, rules, settings = _split(scenario, options)
    workers = options.get("workers", "processes" if settings.backend == "oxwhirl" else "threads")
    retries: dict[str, Any] = {"reset_attempts": _RESET_ATTEMPTS, "retry_delay_s": _RETRY_DELAY_S}
    if settings.backend == "own" and workers == "threads":
        from rllib_reborn.envs.smac.smac_rules import team_spec
        from rllib_reborn.envs.starcraft.executor import StarCraftExecutor
        from rllib_reborn.envs.vectorize import ExecutorTeamEnv, check_arguments

        threads = options.get("num_workers")
        check_arguments(num_envs, workers, threads, None)
        make_executor = functools.partial(StarCraftExecutor, scenario, rules, settings, threads=threads or num_envs)
        return ExecutorTeamEnv(team_spec(scenario, rules), num_envs, make_executor, repeatable=False, **retries)
    from rllib_reborn.envs.vectorize import VectorizedTeamEnv

    maker: Callable[..., TeamGame]
    if settings.backend == "oxwhirl":
        # In processes: they end with a group of their own, which is more than the packages see to themselves.
        from rllib_reborn.envs.starcraft.bridge import OxwhirlGame

        maker = OxwhirlGame
    else:
        from rllib_reborn.envs.starcraft.game import StarCraftGame

        maker = StarCraftGame
    make_game = functools.partial(maker, scenario, rules, settings)
    return VectorizedTeamEnv(make_game, num_envs, workers=workers, num_workers=options.get("num_workers"), **retries)


def _spec(scenario: Scenario, **options: Any) -> TeamSpec:
    from rllib_reborn.envs.smac.smac_rules import team_spec

    scenario, rules, _ = _split(scenario, options)
    return team_spec(scenario, rules)


def _check(scenario: Scenario, **options: Any) -> None:
    """Raise what can be known before a game is started.

    Raises:
        InstallationError: The game cannot be played on this machine.
    """
    _, _, settings = _split(scenario, options)
    from rllib_reborn.envs.starcraft.launch import check_ready

    check_ready(settings, scenario.map_file)


def _split(scenario: Scenario, options: Mapping[str, Any]) -> tuple[Scenario, SmacOptions, GameSettings]:
    settings = GameSettings(**{name: value for name, value in options.items() if name in GAME_SETTINGS})
    rules = {name: value for name, value in options.items() if name not in (*GAME_SETTINGS, *_STEPPING)}
    played, rules = with_draws(scenario, rules)
    return played, SmacOptions.for_scenario(played, **rules), settings
