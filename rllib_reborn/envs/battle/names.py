"""The names ``battle/<scenario>``: from a name and plain options to battles."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.smac.capability_config import draw_options, remedies, with_draws
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS, Scenario
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv

#: Options of the simulator, beside those of the rules.
_OWN = ("backend", "collisions")
OPTIONS = (*(field.name for field in dataclasses.fields(SmacOptions)), *_OWN)


def entries() -> list[EnvEntry]:
    """One entry for every scenario, in the order of listings."""
    return [_entry(scenario) for scenario in SCENARIOS.values()]


def _entry(scenario: Scenario) -> EnvEntry:
    game = "SMAC's" if scenario.family == "smac" else "SMACv2's"
    return EnvEntry(
        name=f"battle/{scenario.name}",
        summary=f"{game} rules on our simulator: {scenario.n_agents} against {scenario.n_enemies} units.",
        options=(*OPTIONS, *draw_options(scenario)),
        make=functools.partial(_make, scenario),
        spec=functools.partial(_spec, scenario),
        remedies=remedies(scenario),
    )


def _make(scenario: Scenario, num_envs: int, **options: Any) -> VectorTeamEnv:
    from rllib_reborn.envs.battle.battle_env import BattleTeamEnv

    own = {name: options.pop(name) for name in _OWN if name in options}
    played, rules = with_draws(scenario, options)
    return BattleTeamEnv(played, num_envs, options=SmacOptions.for_scenario(played, **rules), **own)


def _spec(scenario: Scenario, **options: Any) -> TeamSpec:
    from rllib_reborn.envs.smac.smac_rules import team_spec

    played, rules = with_draws(scenario, {name: value for name, value in options.items() if name not in _OWN})
    return team_spec(played, SmacOptions.for_scenario(played, **rules))
