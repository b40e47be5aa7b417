"""SMACv2's ``capability_config`` as options: ``team_gen`` and ``start_positions`` make a scenario draw other teams and
places. Its other blocks, ``attack``, ``health`` and ``enemy_mask``, are options of :class:`SmacOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_reborn.envs.smac.generators import positions_from_config, teams_from_config
from rllib_reborn.envs.smac.options import ELSEWHERE
from rllib_reborn.envs.smac.scenarios import Scenario, smacv2_scenario

_FIXED = "SMAC's maps have fixed teams and places; take a scenario of SMACv2, such as terran_5_vs_5"


def draw_options(scenario: Scenario) -> tuple[str, ...]:
    """Names of the options that say what ``scenario`` draws; none where nothing is drawn."""
    return () if scenario.generated is None else ("team_gen", "start_positions")


def remedies(scenario: Scenario) -> Mapping[str, str]:
    """Options that users of oxwhirl's packages look for -> what to do instead."""
    return ELSEWHERE if scenario.generated is not None else {**ELSEWHERE, "team_gen": _FIXED, "start_positions": _FIXED}


def with_draws(scenario: Scenario, options: Mapping[str, Any]) -> tuple[Scenario, dict[str, Any]]:
    """``scenario`` with what ``team_gen`` and ``start_positions`` say, and the other options.

    Args:
        scenario: The one that the name stands for.
        options: ``team_gen`` and ``start_positions`` are mappings as in SMACv2's ``capability_config``; what is not given
            stays as in SMACv2's own configs.

    Raises:
        ValueError: They hold what SMACv2's blocks do not, or what does not fit the scenario.
    """
    rest = {name: value for name, value in options.items() if name not in ("team_gen", "start_positions")}
    team_gen, start_positions = options.get("team_gen"), options.get("start_positions")
    if team_gen is None and start_positions is None:
        return scenario, rest
    if scenario.generated is None:
        raise ValueError(f"{scenario.name} draws nothing: {_FIXED}.")
    teams, positions, observe = scenario.generated.teams, scenario.generated.positions, True
    if team_gen is not None:
        _check_block("team_gen", team_gen, scenario)
        observe = team_gen.get("observe", True)
        if not isinstance(observe, bool):
            raise ValueError(f"team_gen.observe is {observe!r}; expected true or false.")
        teams = teams_from_config(team_gen)
    if start_positions is not None:
        _check_block("start_positions", start_positions, scenario)
        positions = positions_from_config(start_positions)
    race, n, m = scenario.name.partition("_")[0], scenario.n_agents, scenario.n_enemies
    return smacv2_scenario(race, n, m, teams=teams, positions=positions, observe_types=observe), rest


def _check_block(name: str, block: Any, scenario: Scenario) -> None:
    if not isinstance(block, Mapping):
        raise ValueError(f"{name} is {block!r}; expected a mapping as in SMACv2's capability_config, with a dist_type.")
    for key, count in (("n_units", scenario.n_agents), ("n_enemies", scenario.n_enemies)):
        if block.get(key, count) != count:
            raise ValueError(
                f"{name}.{key} is {block[key]!r}, but {scenario.name} has {count}; leave it out, or take the scenario of "
                "that size."
            )
