"""SMAC's and SMACv2's observations, states and masks by name, one number at a time: slow, and easy to check by eye."""

from __future__ import annotations

import math
from typing import Any

from rllib_reborn.envs.smac import UNIT_TYPES, Capabilities, Scenario, SmacOptions, Terrain, Units

#: In the order in which the one-hots stand.
ONE_HOTS = {
    "stalkers_and_zealots": ["stalker", "zealot"],
    "colossi_stalkers_zealots": ["colossus", "stalker", "zealot"],
    "MMM": ["marauder", "marine", "medivac"],
    "bane": ["baneling", "zergling"],
    "terran_gen": ["marine", "marauder", "medivac"],
    "protoss_gen": ["stalker", "zealot", "colossus"],
    "zerg_gen": ["zergling", "hydralisk", "baneling"],
}
REACH = {"stalker": 6, "colossus": 7, "hydralisk": 5, "marine": 5, "marauder": 6, "medivac": 4}
SIGHT = {"stalker": 10, "colossus": 10, "marauder": 10, "medivac": 11, "zergling": 8, "baneling": 8}
COOLDOWN = {"marine": 15, "marauder": 25, "medivac": 200, "stalker": 35, "zealot": 22, "colossus": 24}
COOLDOWN |= {"hydralisk": 10, "zergling": 11, "baneling": 1}
SHIELD = {"stalker": 80, "zealot": 50, "colossus": 150}
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


class Judge:
    """Looks at battle ``b`` of ``units``; ``fixed`` says that no deviation is kept (otherwise those of SMAC)."""

    def __init__(
        self,
        made: Scenario,
        options: SmacOptions,
        terrain: Terrain,
        units: Units,
        b: int,
        *,
        fixed: bool,
        drawn: Capabilities | None = None,
        actions: Any = None,
        looks: Any = None,
        step: int = 0,
    ) -> None:
        self.made, self.options, self.terrain, self.fixed = made, options, terrain, fixed
        self.drawn, self.actions, self.looks, self.step = drawn, actions, looks, step
        self.n, self.m = made.n_agents, made.n_enemies
        self.units = [
            {name: float(getattr(units, name)[b, i]) for name in ("x", "y", "health", "shield", "energy", "cooldown")}
            | {"health_max": float(units.health_max[b, i]), "name": UNIT_TYPES[units.kind[b, i]].name}
            for i in range(made.n_units)
        ]

    # ------------------------------------------------------------------------------------------------------------------

    def alive(self, i: int) -> bool:
        return self.units[i]["health"] > 0

    def healer(self, i: int) -> bool:
        return self.units[i]["name"] == "medivac"

    def distance(self, i: int, j: int) -> float:
        one, two = self.units[i], self.units[j]
        return math.hypot(one["x"] - two["x"], one["y"] - two["y"])

    def reach(self, i: int) -> float:
        if not self.options.use_unit_ranges:
            return 6
        return max(REACH.get(self.units[i]["name"], 0.1), self.options.min_attack_range)

    def sight(self, i: int) -> float:
        return SIGHT.get(self.units[i]["name"], 9) if self.options.use_unit_ranges else 9

    def in_field_of_view(self, i: int, j: int) -> bool:
        if not self.options.conic_fov:
            return True
        one, two = self.units[i], self.units[j]
        dx, dy = two["x"] - one["x"], two["y"] - one["y"]
        if dx == dy == 0:
            return True
        turn = math.atan2(dy, dx) - math.atan2(self.looks[i][1], self.looks[i][0])
        return abs(math.remainder(turn, 2 * math.pi)) <= math.pi / self.options.num_fov_actions + 1e-9

    def sees(self, i: int, j: int) -> bool:
        if not (self.alive(i) and self.alive(j)):
            return False
        if self.options.fully_observable:
            return True
        if self.options.conic_fov:
            return self.distance(i, j) <= self.sight(i) and self.in_field_of_view(i, j)
        return self.distance(i, j) < self.sight(i)

    def may_target(self, i: int, j: int) -> bool:
        """Whether agent i may attack or heal unit j, at any distance."""
        if not (self.alive(i) and self.alive(j)):
            return False
        if self.healer(i):
            return j < self.n and not self.healer(j)
        return j >= self.n

    def hits(self, i: int, j: int) -> bool:
        return self.may_target(i, j) and self.distance(i, j) <= self.reach(i) and self.in_field_of_view(i, j)

    def target(self, i: int, slot: int) -> int:
        return slot if self.healer(i) else self.n + slot

    def share(self, i: int) -> float:
        unit = self.units[i]
        share = unit["health"] / unit["health_max"]
        if i < self.n and self.options.health is not None:
            level = float(self.drawn.health_level[i])
            share = (share - level) / (1 - level)
        return share

    def one_hot(self, i: int) -> list[float]:
        order = ONE_HOTS[self.made.map_type]
        if i >= self.n and self.made.map_type == "stalkers_and_zealots" and not self.fixed:
            order = order[::-1]
        return [float(self.units[i]["name"] == name) for name in order]

    # ------------------------------------------------------------------------------------------------------------------

    def mask(self, i: int) -> list[bool]:
        options = self.options
        looks = options.num_fov_actions if options.conic_fov else 0
        healing = self.made.map_type in ("MMM", "terran_gen")
        slots = max(self.m, self.n) if healing else self.m
        if not self.alive(i):
            return [True] + [False] * (5 + looks + slots)
        moves = [self.free(self.units[i], dx, dy) for dx, dy in DIRECTIONS]
        targets = []
        for slot in range(slots):
            in_range = slot < (self.n if self.healer(i) else self.m)
            allowed = self.hits if options.action_mask else self.may_target
            targets.append(in_range and allowed(i, self.target(i, slot)))
        return [False, True, *moves, *[True] * looks, *targets]

    def free(self, unit: dict[str, Any], dx: int, dy: int) -> bool:
        half = self.options.move_amount / 2
        x, y = int(unit["x"] + dx * half), int(unit["y"] + dy * half)
        return 0 <= x < self.terrain.map_x and 0 <= y < self.terrain.map_y and bool(self.terrain.pathing[x, y])

    def around(self, grid: Any, unit: dict[str, Any], own: bool) -> list[float]:
        a = int(self.options.move_amount)
        points = [(0, 2 * a), (0, -2 * a), (2 * a, 0), (-2 * a, 0), (a, a), (-a, -a), (a, -a), (-a, a)]
        values = []
        for dx, dy in points + [(0, 0)] * own:
            x, y = int(unit["x"]) + dx, int(unit["y"]) + dy
            inside = 0 <= x < self.terrain.map_x and 0 <= y < self.terrain.map_y
            values.append(float(grid[x, y]) if inside else 1.0)
        return values

    def obs(self, i: int) -> dict[str, float]:
        """Name -> number; what is not named is 0."""
        options, me, features = self.options, self.units[i], {}
        if options.obs_timestep_number and (self.alive(i) or not self.fixed):
            features["time"] = self.step / self.made.episode_limit
        if not self.alive(i) or not options.obs_starcraft:
            return features

        def put(name: str, values: list[float]) -> None:
            features.update({f"{name}_{k}": value for k, value in enumerate(values)})

        put("move", [float(x) for x in self.mask(i)[2:6]])
        if options.obs_pathing_grid:
            put("pathing", self.around(self.terrain.pathing, me, False))
        if options.obs_terrain_height:
            heights = self.terrain.terrain_height
            put("heights", self.around(heights if self.fixed else heights[:, ::-1], me, True))
        for e in range(self.m):
            j, name = self.n + e, f"enemy_{e}"
            if not self.sees(i, j):
                continue
            self._place(features, name, i, j)
            if self.healer(i):
                features[f"{name}_flag"] = float(not self.fixed and e < self.n and self.hits(i, e))
            else:
                features[f"{name}_flag"] = float(self.hits(i, j))
            if self.drawn is not None and self.drawn.enemy_mask is not None and self.drawn.enemy_mask[i, e]:
                continue
            if options.obs_all_health:
                features[f"{name}_health"] = self.share(j)
                if self.made.enemy_race == "P":
                    features[f"{name}_shield"] = self.units[j]["shield"] / SHIELD[self.units[j]["name"]]
            if self.made.type_bits:
                put(f"{name}_type", self.one_hot(j))
        for k, j in enumerate(j for j in range(self.n) if j != i):
            name = f"other_{k}"
            if not self.sees(i, j):
                continue
            features[f"{name}_flag"] = 1
            self._place(features, name, i, j)
            if options.obs_all_health:
                if options.health is None or options.health.observe:
                    features[f"{name}_health"] = self.share(j)
                if self.made.ally_race == "P":
                    features[f"{name}_shield"] = self.units[j]["shield"] / SHIELD[self.units[j]["name"]]
            if options.attack is not None and options.attack.observe:
                features[f"{name}_attack"] = float(self.drawn.attack_probability[j])
            if options.health is not None and options.health.observe:
                features[f"{name}_level"] = float(self.drawn.health_level[j])
            if self.made.type_bits and (self.made.generated is None or self.made.generated.observe_types):
                put(f"{name}_type", self.one_hot(j))
            if options.obs_last_action and self.actions is not None:
                features[f"{name}_last_action_{int(self.actions[j])}"] = 1
        if options.obs_own_health or options.obs_all_health:
            features["own_health"] = self.share(i)
            if self.made.ally_race == "P":
                features["own_shield"] = me["shield"] / SHIELD[me["name"]]
        self._skills(features, "own", i)
        if options.obs_own_pos:
            put("own_position", [me["x"] / self.terrain.map_x, me["y"] / self.terrain.map_y])
        if options.conic_fov:
            put("own_cone", list(self.looks[i]))
        if self.made.type_bits:
            put("own_type", self.one_hot(i))
        return features

    def _place(self, features: dict[str, float], name: str, i: int, j: int) -> None:
        sight = self.sight(i)
        features[f"{name}_distance"] = self.distance(i, j) / sight
        features[f"{name}_x"] = (self.units[j]["x"] - self.units[i]["x"]) / sight
        features[f"{name}_y"] = (self.units[j]["y"] - self.units[i]["y"]) / sight

    def _skills(self, features: dict[str, float], name: str, i: int) -> None:
        if self.options.attack is not None:
            features[f"{name}_attack"] = float(self.drawn.attack_probability[i])
        if self.options.health is not None:
            features[f"{name}_level"] = float(self.drawn.health_level[i])

    def state(self) -> dict[str, float]:
        """Name -> number; what is not named is 0."""
        features, terrain = {}, self.terrain
        for i, unit in enumerate(self.units):
            if not self.alive(i):
                continue
            name = f"ally_{i}" if i < self.n else f"enemy_{i - self.n}"
            features[f"{name}_health"] = self.share(i)
            features[f"{name}_x"] = (unit["x"] - terrain.map_x / 2) / terrain.width
            features[f"{name}_y"] = (unit["y"] - terrain.map_y / 2) / terrain.height
            if i < self.n:
                ready = unit["energy"] if self.healer(i) else unit["cooldown"]
                features[f"{name}_cooldown"] = ready / COOLDOWN[unit["name"]]
                self._skills(features, name, i)
                if self.options.conic_fov:
                    features[f"{name}_cone_0"], features[f"{name}_cone_1"] = self.looks[i]
            if (self.made.ally_race if i < self.n else self.made.enemy_race) == "P":
                features[f"{name}_shield"] = unit["shield"] / SHIELD[unit["name"]]
            if self.made.type_bits:
                features.update({f"{name}_type_{k}": value for k, value in enumerate(self.one_hot(i))})
        if self.options.state_last_action and self.actions is not None:
            features.update({f"ally_{i}_last_action_{int(a)}": 1.0 for i, a in enumerate(self.actions)})
        if self.options.state_timestep_number:
            features["time"] = self.step / self.made.episode_limit
        return features
