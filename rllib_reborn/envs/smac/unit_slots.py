"""Kinds and skills of the units of the running episodes, and what the rules derive from them once per episode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.capabilities import Capabilities
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES, kinds_of, table_of

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

#: Reach and sight of all units in SMAC, and in SMACv2 without ``use_unit_ranges``.
SMAC_REACH, SMAC_SIGHT = 6.0, 9.0


def others_index(n: int) -> IntArray:
    """[n, n-1] the other agents of each agent, in order."""
    return np.array([[j for j in range(n) if j != i] for i in range(n)], np.int64).reshape(n, n - 1)


class UnitSlots:
    """Facts about the units of B battles that hold for an episode.

    Where they are the same in every episode, arrays have one row that stands for all battles; so their first axis is 1
    or B (called R below). The game lists enemies in an order of its own: from the first battle on whose enemies are not in
    the scenario's order, every battle has a row.

    Attributes:
        kinds: [B, U] int64.
        ally_type: [R, n, bits] float32, the one-hot of each agent's type. other_type: [R, n, n-1, bits], of the allies that
            each agent sees as others (zeros where types are not observed). enemy_type: [R, m, bits].
        shield_max: [R, U] float32, what shields are divided by (1 where there are none).
        cooldown_max: [R, n] float32, what cooldowns are divided by, and a Medivac's energy.
        reach_squared, sight_squared, per_sight: [R, n, 1] float32; the last is 1 / sight.
        medivac: [R, n] bool. fighter: [R, U] float32, 0 for Medivacs, 1 for all others.
        attack, level: [B, n] float32, or None: success probability, level of health below which a unit dies.
        features_visible: [B, n, m] float32, 1 where an agent can make out an enemy's features, or None: it always can.
    """

    def __init__(self, scenario: Scenario, options: SmacOptions, num_battles: int) -> None:
        self._scenario, self._options = scenario, options
        B, n, m = num_battles, scenario.n_agents, scenario.n_enemies
        self._others = others_index(n)
        enemy_types = scenario.enemy_types
        if not options.compat_flags(scenario).reversed_enemy_types and set(enemy_types) == set(scenario.ally_types):
            enemy_types = scenario.ally_types
        self._ally_one_hot = self._one_hot(scenario.ally_types)
        self._enemy_one_hot = self._one_hot(enemy_types)
        reach, sight = np.full(len(KIND), SMAC_REACH, np.float32), np.full(len(KIND), SMAC_SIGHT, np.float32)
        if options.use_unit_ranges:
            reach = np.maximum(table_of("smacv2_range"), np.float32(options.min_attack_range))
            sight = table_of("smacv2_sight")
        self._reach, self._sight = reach, sight
        shields = table_of("max_shield")
        self._shields = np.where(shields > 0, shields, np.float32(1))
        self._cooldowns = table_of("max_cooldown")

        self._listed: IntArray | None = None
        self.kinds: IntArray = np.zeros((B, n + m), np.int64)
        if scenario.generated is None:
            self._listed = kinds_of((*scenario.allies, *scenario.enemies))
            self.kinds[:] = self._listed
        self.attack: FloatArray | None = None if options.attack is None else np.ones((B, n), np.float32)
        self.level: FloatArray | None = None if options.health is None else np.zeros((B, n), np.float32)
        self.features_visible: FloatArray | None = (
            None if options.enemy_mask is None else np.ones((B, n, m), np.float32)
        )
        self._make_rows(B if self._listed is None else 1)
        if self._listed is not None:
            self._derive(np.zeros(1, np.int64), self._listed[None])

    def _make_rows(self, R: int) -> None:
        """Arrays of what follows from kinds, with ``R`` rows that are still to be filled."""
        n, m, bits = self._scenario.n_agents, self._scenario.n_enemies, self._scenario.type_bits
        self._one_row_for_all = R == 1 and self._listed is not None
        self.ally_type: FloatArray = np.zeros((R, n, bits), np.float32)
        self.other_type: FloatArray = np.zeros((R, n, n - 1, bits), np.float32)
        self.enemy_type: FloatArray = np.zeros((R, m, bits), np.float32)
        self.shield_max: FloatArray = np.ones((R, n + m), np.float32)
        self.cooldown_max: FloatArray = np.ones((R, n), np.float32)
        self.reach_squared: FloatArray = np.zeros((R, n, 1), np.float32)
        self.sight_squared: FloatArray = np.zeros((R, n, 1), np.float32)
        self.per_sight: FloatArray = np.zeros((R, n, 1), np.float32)
        self.medivac: BoolArray = np.zeros((R, n), np.bool_)
        self.fighter: FloatArray = np.ones((R, n + m), np.float32)

    def _one_hot(self, types: tuple[str, ...]) -> FloatArray:
        """[number of kinds, bits] by kind."""
        table = np.zeros((len(KIND), self._scenario.type_bits), np.float32)
        for place, name in enumerate(types[: self._scenario.type_bits]):
            table[KIND[name], place] = 1
        return table

    def begin(self, rows: IntArray, kinds: IntArray, capabilities: Sequence[Capabilities] | None) -> None:
        """Take note of new episodes.

        Args:
            rows: [r] battles. kinds: [r, U] their units.
            capabilities: Their draws, one per row; needed where skills are drawn.

        Raises:
            ValueError: A unit is not one that the scenario has there, or a draw is missing.
        """
        self._check_kinds(rows, kinds)
        skilled = self.attack is not None or self.level is not None or self.features_visible is not None
        if skilled and (capabilities is None or len(capabilities) != len(rows)):
            given = "none" if capabilities is None else str(len(capabilities))
            raise ValueError(f"{given} of the draws of {len(rows)} battles were given; skills are drawn per episode.")
        self.kinds[rows] = kinds
        self._follow_kinds(rows)
        for row, draw in zip(rows, (capabilities or ()) if skilled else ()):
            if self.attack is not None:
                self.attack[row] = _needed(draw.attack_probability, "attack_probability")
            if self.level is not None:
                self.level[row] = _needed(draw.health_level, "health_level")
            if self.features_visible is not None:
                self.features_visible[row] = ~_needed(draw.enemy_mask, "enemy_mask")

    def _follow_kinds(self, rows: IntArray) -> None:
        """Derive what follows from the kinds of ``rows``; for all of them where battles begin to differ."""
        if self._one_row_for_all:
            if (self.kinds[rows] == self._listed).all():
                return
            rows = np.arange(len(self.kinds))
            self._make_rows(len(rows))
            self._one_row_for_all = False
        self._derive(rows, self.kinds[rows])

    def _check_kinds(self, rows: IntArray, kinds: IntArray) -> None:
        n = self._scenario.n_agents
        if self._listed is not None:
            wrong = kinds != self._listed
            # The same enemies in another order are right: the rules do not say which of them the game creates first.
            same = (np.sort(kinds[:, n:], axis=1) == np.sort(self._listed[n:])).all(axis=1)
            wrong[same, n:] = False
        else:
            allowed = np.zeros(len(KIND) + 1, np.bool_)
            allowed[[KIND[name] for name in self._scenario.ally_types]] = True
            wrong = ~allowed[np.clip(kinds, -1, len(KIND))]
        if not wrong.any():
            return
        row, unit = (int(i) for i in np.argwhere(wrong)[0])
        kind = int(kinds[row, unit])
        found = UNIT_TYPES[kind].name if 0 <= kind < len(UNIT_TYPES) else f"of no known kind ({kind})"
        if self._listed is None:
            expected = "one of " + ", ".join(self._scenario.ally_types)
        elif unit < n:
            expected = UNIT_TYPES[self._listed[unit]].name
        else:
            counts = Counter(self._scenario.enemies)
            expected = ", ".join(f"{count} {name}" for name, count in counts.items()) + " in any order"
        who = f"agent {unit}" if unit < n else f"enemy {unit - n}"
        raise ValueError(
            f"{self._scenario.name}, battle {int(rows[row])}: {who} is {found}; expected {expected}. Agents are sorted by "
            "agent_order, enemies stand as they are given."
        )

    def _derive(self, at: IntArray, kinds: IntArray) -> None:
        """Fill rows ``at`` for units of ``kinds`` [len(at), U]."""
        n = self._scenario.n_agents
        allies, enemies = kinds[:, :n], kinds[:, n:]
        generated = self._scenario.generated
        self.ally_type[at] = self._ally_one_hot[allies]
        if generated is None or generated.observe_types:
            self.other_type[at] = self._ally_one_hot[allies[:, self._others]]
        self.enemy_type[at] = self._enemy_one_hot[enemies]
        self.shield_max[at] = self._shields[kinds]
        self.cooldown_max[at] = self._cooldowns[allies]
        reach, sight = self._reach[allies][..., None], self._sight[allies][..., None]
        self.reach_squared[at] = reach * reach
        self.sight_squared[at] = sight * sight
        self.per_sight[at] = 1 / sight
        self.medivac[at] = allies == KIND["medivac"]
        self.fighter[at] = kinds != KIND["medivac"]

    def get_state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        state: dict[str, Any] = {"kinds": self.kinds.copy()}
        for name in ("attack", "level", "features_visible"):
            array = getattr(self, name)
            state[name] = None if array is None else array.copy()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self.kinds[:] = state["kinds"]
        self._follow_kinds(np.arange(len(self.kinds)))
        for name in ("attack", "level", "features_visible"):
            array = getattr(self, name)
            if array is not None:
                array[:] = state[name]


def _needed(array: Any, name: str) -> Any:
    if array is None:
        raise ValueError(f"a draw has no {name}, but the options ask for it; draw with the same options.")
    return array
