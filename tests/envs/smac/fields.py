"""Battles for tests: units put where a test wants them, and random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rllib_reborn.envs.smac import KIND, Capabilities, Scenario, SmacOptions, SmacRules, Terrain, Units, draw, scenario
from rllib_reborn.envs.smac.capabilities import agent_order
from rllib_reborn.envs.smac.unit_types import table_of
from rllib_reborn.envs.smac.units import FIELDS

HEALTH = {
    "marine": 45,
    "marauder": 125,
    "medivac": 150,
    "stalker": 80,
    "zealot": 100,
    "colossus": 200,
    "zergling": 35,
    "hydralisk": 80,
    "baneling": 30,
    "spine_crawler": 300,
}
HEALTH_BY_KIND = np.array([HEALTH[name] for name in KIND], np.float32)


def whole(kinds: np.ndarray) -> Units:
    """Units of ``kinds`` [B, U], whole, all at (16, 16)."""
    units = Units.zeros(*kinds.shape)
    units.kind[:] = kinds
    units.x[:] = units.y[:] = 16
    units.health_max[:] = HEALTH_BY_KIND[kinds]
    units.health[:] = units.health_max
    units.shield_max[:] = table_of("max_shield")[kinds]
    units.shield[:] = units.shield_max
    units.energy[:] = np.where(kinds == KIND["medivac"], 50, 0)
    return units


def at(names: Sequence[str], places: Sequence[tuple[float, float]]) -> Units:
    """One battle of whole units at given places, allies first."""
    units = whole(np.array([[KIND[name] for name in names]]))
    units.x[0], units.y[0] = np.array(places).T
    return units


def line_up(name: str, places: Mapping[int, tuple[float, float]], **changes: Mapping[int, float]) -> Units:
    """One battle of a SMAC map, whole. Units that ``places`` does not name stand out of everybody's sight; ``changes``
    (health=, shield=, ...) are by unit as well."""
    made = scenario(name)
    far = [(1000.0 + 20 * i, 1000.0) for i in range(made.n_units)]
    units = at((*made.allies, *made.enemies), [places.get(i, far[i]) for i in range(made.n_units)])
    for field, values in changes.items():
        for unit, value in values.items():
            getattr(units, field)[0, unit] = value
    return units


def kill(units: Units, *who: int, battle: int = 0) -> None:
    units.health[battle, list(who)] = 0
    units.shield[battle, list(who)] = 0


def rules(made: Scenario | str, battles: int = 1, terrain: Terrain | None = None, **options: Any) -> SmacRules:
    made = scenario(made) if isinstance(made, str) else made
    return SmacRules(made, SmacOptions.for_scenario(made, **options), battles, terrain or Terrain.flat())


def begun(
    made: Scenario | str, units: Units, terrain: Terrain | None = None, seed: int = 0, **options: Any
) -> SmacRules:
    """A rules whose battles have begun with ``units``."""
    judge = rules(made, units.shape[0], terrain, **options)
    begin_all(judge, units, seed)
    return judge


def begin_all(judge: SmacRules, units: Units, seed: int = 0) -> list[Capabilities]:
    draws = [draw(judge.scenario, judge.options, seed + b) for b in range(judge.num_battles)]
    judge.begin(np.arange(judge.num_battles), units, draws, [seed + b for b in range(judge.num_battles)])
    return draws


def scattered(made: Scenario, options: SmacOptions, battles: int, seed: int, spread: float = 9) -> Units:
    """Fresh teams around the middle, agents in their order. Battle b depends on (seed, b) alone."""
    kinds, places = [], []
    for b in range(battles):
        drawn, rng = draw(made, options, 1000 * seed + b), np.random.default_rng((seed, b))
        kinds.append(np.concatenate([drawn.ally_kinds, drawn.enemy_kinds]))
        places.append(rng.uniform(16 - spread, 16 + spread, (2, made.n_units)))
    units = whole(np.array(kinds))
    units.x[:], units.y[:] = np.array(places, np.float32).transpose(1, 0, 2)
    n = made.n_agents
    for b in range(battles):
        order = agent_order(made, units.kind[b, :n], units.x[b, :n], units.y[b, :n])
        for field in FIELDS:
            array = getattr(units, field)
            array[b, :n] = array[b, :n][order]
    return units


def go_on(units: Units, seed: int, step: int, deadly: float = 0.15) -> None:
    """A step of a made-up war, in place: units stray, are hit, fix and die. Battle b depends on (seed, step, b) alone."""
    for b in range(units.shape[0]):
        rng = np.random.default_rng((seed, step, b))
        U = units.shape[1]
        alive = units.health[b] > 0
        units.x[b] = np.clip(units.x[b] + alive * rng.normal(0, 1, U), 0.5, 31.4)
        units.y[b] = np.clip(units.y[b] + alive * rng.normal(0, 1, U), 0.5, 31.4)
        damage = rng.uniform(0, 60, U) * (rng.random(U) < deadly)
        through = np.maximum(damage - units.shield[b], 0)
        health = np.clip(units.health[b] - through + rng.choice([0, 0, 0, 9], U), 0, units.health_max[b]) * alive
        shield = np.clip(units.shield[b] - damage + rng.uniform(0, 2, U), 0, units.shield_max[b])
        units.health[b] = health
        units.shield[b] = shield * (units.health[b] > 0)
        units.cooldown[b] = rng.uniform(0, 30, U)
        units.energy[b] = np.minimum(units.energy[b] + (units.kind[b] == KIND["medivac"]), 200)


def any_actions(mask: np.ndarray, seed: int, step: int) -> np.ndarray:
    """[B, n] random allowed actions; those of battle b depend on (seed, step, b) alone."""
    chosen = np.zeros(mask.shape[:2], np.int64)
    for b in range(len(mask)):
        rng = np.random.default_rng((seed, step, b, 1))
        for i in range(mask.shape[1]):
            chosen[b, i] = rng.choice(np.flatnonzero(mask[b, i]))
    return chosen
