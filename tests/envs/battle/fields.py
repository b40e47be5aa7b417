"""Small battles made for a test: any units, anywhere."""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.battle.battlefield import Battlefield
from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE, ORDER_STOP, Orders

FOREVER = np.float32(1e5)


def scenario(allies: dict, enemies: dict, *, enemy_order: str = "hold", enemy_target=None) -> Scenario:
    """``{("marine", 0): (x, y), ...}``: unit name and any distinguishing number to its place, in the agents' order."""
    ally_names, enemy_names = (tuple(name for name, _ in side) for side in (allies, enemies))
    types = tuple(sorted({*ally_names, *enemy_names}))
    return Scenario(
        name="made_up",
        family="smac",
        map_file="made_up",
        n_agents=len(allies),
        n_enemies=len(enemies),
        episode_limit=100,
        ally_race="T",
        enemy_race="T",
        type_bits=len(types),
        map_type="made_up",
        ally_types=types,
        enemy_types=types,
        ally_ids=tuple(dict.fromkeys(ally_names)),
        allies=ally_names,
        enemies=enemy_names,
        ally_spawn=tuple(allies.values()),
        enemy_spawn=tuple(enemies.values()),
        enemy_order=enemy_order,
        enemy_target=enemy_target,
    )


def battle(allies: dict, enemies: dict, *, num_battles: int = 1, seed: int = 0, **options) -> Battlefield:
    """A field with these units in all battles; ``options`` of the scenario and of the field."""
    own = {name: options.pop(name) for name in ("backend", "terrain", "collisions") if name in options}
    field = Battlefield(scenario(allies, enemies, **options), num_battles, **{"backend": "numpy", **own})
    field.spawn(np.arange(num_battles), [seed + b for b in range(num_battles)])
    # Exactly there, also where a spawn would make room between them.
    for unit, (x, y) in enumerate([*allies.values(), *enemies.values()]):
        give(field, unit, x=x, y=y)
    return field


def tell(field: Battlefield, orders: dict) -> None:
    """``{agent: ("attack", unit) | ("heal", unit) | ("move", x, y) | ("stop",)}`` in all battles; the others get no
    order."""
    B, n = field.num_battles, field.scenario.n_agents
    kind, target = np.full((B, n), ORDER_NONE, np.int8), np.full((B, n), -1, np.int64)
    x, y = np.zeros((B, n), np.float32), np.zeros((B, n), np.float32)
    for agent, (what, *about) in orders.items():
        kind[:, agent] = {"attack": ORDER_ATTACK, "heal": ORDER_HEAL, "move": ORDER_MOVE, "stop": ORDER_STOP}[what]
        if what == "move":
            x[:, agent], y[:, agent] = about
        elif what != "stop":
            target[:, agent] = about[0]
    field.order(Orders(kind, target, x, y))


def give(field: Battlefield, unit: int, **values: float) -> None:
    """Set numbers of a unit in all battles: health, shield, energy, cooldown, health_max, x, y."""
    for name, value in values.items():
        getattr(field._state, name)[unit] = value
    field._show(np.arange(field.num_battles))


def random_orders(field: Battlefield, rng: np.random.Generator) -> None:
    """Orders of all kinds, some of which cannot be carried out."""
    units, n, m, B = field.units, field.scenario.n_agents, field.scenario.n_enemies, field.num_battles
    kind = rng.choice([ORDER_NONE, ORDER_STOP, ORDER_MOVE, ORDER_ATTACK, ORDER_ATTACK, ORDER_HEAL], (B, n))
    target = np.where(kind == ORDER_ATTACK, n + rng.integers(0, m, (B, n)), rng.integers(0, n, (B, n)))
    target = np.where(kind >= ORDER_ATTACK, target, -1)
    x = units.x[:, :n] + rng.choice([-2, 0, 2], (B, n))
    y = units.y[:, :n] + rng.choice([-2, 0, 2], (B, n))
    field.order(Orders(kind.astype(np.int8), target, x.astype(np.float32), y.astype(np.float32)))


def attack_nearest(field: Battlefield) -> None:
    """Everybody attacks the enemy nearest to it."""
    units, n, B = field.units, field.scenario.n_agents, field.num_battles
    distance = np.hypot(units.x[:, :n, None] - units.x[:, None, n:], units.y[:, :n, None] - units.y[:, None, n:])
    distance[np.broadcast_to(units.health[:, None, n:] <= 0, distance.shape)] = 1e9
    kind, zeros = np.full((B, n), ORDER_ATTACK, np.int8), np.zeros((B, n), np.float32)
    field.order(Orders(kind, n + distance.argmin(axis=2), zeros, zeros))


def overlaps(field: Battlefield) -> np.ndarray:
    """[B, U, U] by how much living units of one plane overlap; negative where they do not."""
    s = field._state
    kind, x, y = s.kind.T, s.x.T, s.y.T
    radius, plane = TABLES.separation_radius[kind], TABLES.plane[kind]
    distance = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    overlap = radius[:, :, None] + radius[:, None] - distance
    meet = s.alive.T[:, :, None] & s.alive.T[:, None] & (plane[:, :, None] == plane[:, None])
    meet &= ~np.eye(kind.shape[1], dtype=bool)
    return np.where(meet, overlap, -1.0)
