"""Fills observations, states and masks of some battles from what stands on the field.

How it is fast. All that concerns single units is worked out on [R, U] arrays; then one pass over [R, n, V], where V are
the enemies and the other allies as an observation lists them, gives differences, distances and who is in sight and in
reach, which mask, enemy block and ally block share. Dead units are moved far away first, so that no one sees or reaches
them and no further masking is needed. Results are multiplied by "is in sight" on their way into the observation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.layout import ACTION_NOOP, ACTION_NORTH, ACTION_STOP, FIRST_LOOK, N_MOVES
from rllib_reborn.envs.smac.observation_context import (
    BoolArray,
    FloatArray,
    IntArray,
    ObservationBuffers,
    ObservationContext,
    rows_of,
)
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.units import Units

#: Where dead units are taken to be, as observed (+) and as observers (-): further from each other than from anybody.
_FAR = np.float32(1e6)

Rows = IntArray | slice
#: [R, n, 2] where agents look, or None without a cone.
Looks = npt.NDArray[np.float64] | None


class Scratch:
    """Arrays that a batch of R battles needs while it looks; batches of one size share them."""

    def __init__(self, scenario: Scenario, R: int) -> None:
        n, m = scenario.n_agents, scenario.n_enemies
        U, V = n + m, m + n - 1
        self.alive: BoolArray = np.zeros((R, U), np.bool_)
        self.alive_f: FloatArray = np.zeros((R, U), np.float32)
        self.place: FloatArray = np.zeros((2, R, U), np.float32)  # x, y in the middle
        self.share: FloatArray = np.zeros((2, R, U), np.float32)  # of health, of shield
        self.seen_x: FloatArray = np.zeros((R, U), np.float32)
        self.from_x: FloatArray = np.zeros((R, n), np.float32)
        self.other_place: FloatArray = np.zeros((2, R, n * (n - 1)), np.float32)
        self.other_share: FloatArray = np.zeros((2, R, n * (n - 1)), np.float32)
        # Distance, dx, dy to the enemies and other allies.
        self.offsets: FloatArray = np.zeros((3, R, n, V), np.float32)
        self.squares: FloatArray = np.zeros((2, R, n, V), np.float32)
        self.sees: BoolArray = np.zeros((R, n, V), np.bool_)
        self.sees_f: FloatArray = np.zeros((R, n, V), np.float32)
        self.weight: FloatArray = np.zeros((R, n, V), np.float32)
        self.flag: BoolArray = np.zeros((R, n, m), np.bool_)


class ObservationBatch:
    """R battles that are looked at together, and the arrays that they are written to."""

    def __init__(self, context: ObservationContext, outputs: ObservationBuffers, scratch: Scratch) -> None:
        self.context, self.outputs, self.scratch = context, outputs, scratch
        self.size = len(outputs.obs)
        layout = context.layout
        obs, state = outputs.obs, outputs.state
        self.move, self.own = layout.move.view(obs)[..., 0, :], layout.own.view(obs)[..., 0, :]
        self.enemies, self.others = layout.enemies.view(obs), layout.others.view(obs)
        if not context.options.obs_instead_of_state:
            self.allies_s, self.enemies_s = layout.state_allies.view(state), layout.state_enemies.view(state)
            self.actions_s = layout.state_actions.view(state)

    def look(self, units: Units, rows: Rows, shown: BoolArray | None) -> None:
        """Fill the outputs.

        Args:
            units: Those of all battles.
            rows: Which of them to look at, R.
            shown: [R, n, m] which enemies agents are shown, or None: all.
        """
        context, s = self.context, self.scratch
        layout, options = context.layout, context.options
        n = context.scenario.n_agents
        units = _cut(units, rows)
        looks = context.episodes.looks[rows] if context.field_of_view is not None else None
        np.greater(units.health, 0, out=s.alive)
        np.copyto(s.alive_f, s.alive)
        np.divide(units.health, units.health_max, out=s.share[0])
        if context.scenario.ally_shields or context.scenario.enemy_shields:
            np.divide(units.shield, rows_of(context.unit_slots.shield_max, rows), out=s.share[1])
        self._look_around(units, rows, shown)
        self._mask(units, rows, looks)
        if options.obs_starcraft:
            self._observe_enemies(rows)
            self._observe_allies(rows)
            self._observe_self(units, rows)
        if layout.obs_time is not None:
            time = context.time_shares[context.episodes.steps[rows]][:, None]
            if not context.compat.dead_see_time:
                time = time * s.alive_f[:, :n]
            self.outputs.obs[:, :, layout.obs_time] = time
        if options.obs_instead_of_state:
            self.outputs.state[:] = self.outputs.obs.reshape(self.size, -1)
        else:
            self._state(units, rows)

    def _look_around(self, units: Units, rows: Rows, shown: BoolArray | None) -> None:
        """Offsets, distances, who is in sight."""
        context, s = self.context, self.scratch
        n, m = context.scenario.n_agents, context.scenario.n_enemies
        s.seen_x.fill(_FAR)
        np.copyto(s.seen_x, units.x, where=s.alive)
        s.from_x.fill(-_FAR)
        np.copyto(s.from_x, units.x[:, :n], where=s.alive[:, :n])
        distance, dx, dy = s.offsets
        from_x, from_y = s.from_x[:, :, None], units.y[:, :n, None]
        np.subtract(s.seen_x[:, None, n:], from_x, out=dx[:, :, :m])
        np.subtract(units.y[:, None, n:], from_y, out=dy[:, :, :m])
        other_x, other_y = s.other_place
        pairs = (self.size, n, n - 1)
        np.take(s.seen_x, context.others, axis=1, out=other_x, mode="clip")
        np.take(units.y, context.others, axis=1, out=other_y, mode="clip")
        np.subtract(other_x.reshape(pairs), from_x, out=dx[:, :, m:])
        np.subtract(other_y.reshape(pairs), from_y, out=dy[:, :, m:])
        squared = s.squares[0]
        np.multiply(s.offsets[1:], s.offsets[1:], out=s.squares)
        squared += s.squares[1]
        np.sqrt(squared, out=distance)
        if context.options.fully_observable:
            # Living pairs are nearer to each other than the dead are to anybody.
            np.less(squared, _FAR, out=s.sees)
        else:
            s.sees[...] = context.within_sight(dx, dy, squared, rows)
        if shown is not None and (not context.options.fully_observable or context.compat.unspotted_wipe):
            s.sees[:, :, :m] &= shown
        np.copyto(s.sees_f, s.sees)

    def _mask(self, units: Units, rows: Rows, looks: Looks) -> None:
        """Who may do what, who reaches whom."""
        context, s = self.context, self.scratch
        layout, n, m = context.layout, context.scenario.n_agents, context.scenario.n_enemies
        mask, shoot = self.outputs.action_mask, self.outputs.shoot
        alive = s.alive[:, :n]
        np.logical_not(alive, out=mask[:, :, ACTION_NOOP])
        mask[:, :, ACTION_STOP] = alive
        x, y = units.x[:, :n], units.y[:, :n]
        cells = context.terrain_tables.cells(x, y)
        moves = mask[:, :, ACTION_NORTH : ACTION_NORTH + N_MOVES]
        np.logical_and(context.terrain_tables.may_move(x, y, cells), alive[:, :, None], out=moves)
        if layout.n_looks:
            mask[:, :, FIRST_LOOK : FIRST_LOOK + layout.n_looks] = alive[:, :, None]
        reach = rows_of(context.unit_slots.reach_squared, rows)
        at_enemies = shoot[:, :, :m]
        np.less_equal(s.squares[0, :, :, :m], reach, out=at_enemies)
        if looks is not None:
            assert context.field_of_view is not None
            at_enemies &= context.field_of_view.holds(s.offsets[1, :, :, :m], s.offsets[2, :, :, :m], looks)
        if layout.n_targets > m:
            shoot[:, :, m:] = False
        healers = self._healers(units, rows, looks)
        targets = mask[:, :, layout.first_target :]
        if context.options.action_mask:
            targets[...] = shoot
        else:
            targets[..., m:] = False
            np.logical_and(alive[:, :, None], s.alive[:, None, n:], out=targets[..., :m])
            if healers is not None:
                battle, agent, healed = healers
                targets[battle, agent] = False
                targets[battle, agent, :n] = healed
        if context.options.obs_starcraft:
            self._observe_ground(cells, moves)

    def _healers(self, units: Units, rows: Rows, looks: Looks) -> tuple[IntArray, IntArray, BoolArray] | None:
        """Give living Medivacs their own targets in ``shoot``, and set the flags of the enemies, which depend on them.

        Returns:
            Battles [k], agents [k] and the allies [k, n] that may be healed at any distance; None without Medivacs.
        """
        context, s, shoot = self.context, self.scratch, self.outputs.shoot
        n, m = context.scenario.n_agents, context.scenario.n_enemies
        at_enemies = shoot[:, :, :m]
        if not context.scenario.has_medivacs:
            np.logical_and(at_enemies, s.sees[:, :, :m], out=s.flag)
            return None
        medivac = np.broadcast_to(rows_of(context.unit_slots.medivac, rows), (self.size, n))
        battle, agent = np.nonzero(medivac & s.alive[:, :n])
        shoot[battle, agent] = False
        if not context.compat.heal_mask_as_enemy_flag:
            np.logical_and(at_enemies, s.sees[:, :, :m], out=s.flag)
        patients = s.alive[battle, :n] & ~medivac[battle]
        dx = s.seen_x[battle, :n] - s.from_x[battle, agent][:, None]
        dy = units.y[battle, :n] - units.y[battle, agent][:, None]
        reach = np.broadcast_to(rows_of(context.unit_slots.reach_squared, rows), (self.size, n, 1))[battle, agent]
        heals = (dx * dx + dy * dy <= reach) & patients
        if looks is not None:
            assert context.field_of_view is not None
            heals &= context.field_of_view.holds(dx, dy, looks[battle, agent])
        shoot[battle, agent, :n] = heals
        if context.compat.heal_mask_as_enemy_flag:
            np.logical_and(at_enemies, s.sees[:, :, :m], out=s.flag)
        return battle, agent, patients

    def _observe_ground(self, cells: IntArray, moves: BoolArray) -> None:
        context, block = self.context, self.context.layout.move
        block.columns(self.move, "move")[...] = moves
        alive = self.scratch.alive_f[:, : context.scenario.n_agents, None]
        for name, table in (("pathing", context.terrain_tables.around), ("heights", context.terrain_tables.heights)):
            if name in block.at:
                np.multiply(table.take(cells, axis=0, mode="clip"), alive, out=block.columns(self.move, name))

    def _observe_enemies(self, rows: Rows) -> None:
        context, s, block = self.context, self.scratch, self.context.layout.enemies
        n, m, view = context.scenario.n_agents, context.scenario.n_enemies, self.enemies
        np.multiply(s.sees_f, rows_of(context.unit_slots.per_sight, rows), out=s.weight)
        weight = s.weight[:, :, :m]
        np.copyto(view[..., 0], s.flag)
        for column in range(3):
            np.multiply(s.offsets[column, :, :, :m], weight, out=view[..., 1 + column])
        sees = s.sees_f[:, :, :m]
        if context.unit_slots.features_visible is not None:
            sees = sees * context.unit_slots.features_visible[rows]
        for column, name in enumerate(("health", "shield")):
            if name in block.at:
                np.multiply(s.share[column, :, None, n:], sees, out=block.column(view, name))
        if "type" in block.at:
            one_hot, types = rows_of(context.unit_slots.enemy_type, rows), block.columns(view, "type")
            for bit in range(block.widths["type"]):  # (numpy is slow where the last axis is short)
                np.multiply(sees, one_hot[:, None, :, bit], out=types[..., bit])

    def _observe_allies(self, rows: Rows) -> None:
        context, s, block = self.context, self.scratch, self.context.layout.others
        n, m, view = context.scenario.n_agents, context.scenario.n_enemies, self.others
        unit_slots, others = context.unit_slots, context.others
        weight, sees = s.weight[:, :, m:], s.sees_f[:, :, m:]
        np.copyto(view[..., 0], sees)
        for column in range(3):
            np.multiply(s.offsets[column, :, :, m:], weight, out=view[..., 1 + column])
        for column, name in enumerate(("health", "shield")):
            if name in block.at and self._is_shared(name):
                share = self._ally_health(rows) if name == "health" else s.share[column]
                gathered = np.take(share, others, axis=1, out=s.other_share[column], mode="clip")
                np.multiply(gathered.reshape(self.size, n, n - 1), sees, out=block.column(view, name))
        for name, skills in (("attack", unit_slots.attack), ("level", unit_slots.level)):
            if name in block.at and self._is_shared(name):
                assert skills is not None
                gathered = skills[rows].take(others, axis=1).reshape(self.size, n, n - 1)
                np.multiply(gathered, sees, out=block.column(view, name))
        if "type" in block.at:
            one_hot, types = rows_of(unit_slots.other_type, rows), block.columns(view, "type")
            for bit in range(block.widths["type"]):
                np.multiply(sees, one_hot[..., bit], out=types[..., bit])
        if "last_action" in block.at:
            actions = self._last_actions(rows).take(others, axis=1)
            actions = actions.reshape(self.size, n, n - 1, context.layout.n_actions)
            np.multiply(sees[..., None], actions, out=block.columns(view, "last_action"))

    def _is_shared(self, name: str) -> bool:
        """Whether team mates observe each other's skills (zeros if not)."""
        options = self.context.options
        if name == "attack":
            return options.attack is not None and options.attack.observe
        if name in ("health", "level") and options.health is not None:
            return options.health.observe
        return True

    def _ally_health(self, rows: Rows) -> FloatArray:
        """[R, >= n] the shares of health that are observed: above the level at which the unit dies, where there is one."""
        s, level = self.scratch, self.context.unit_slots.level
        if level is None:
            return s.share[0]
        n, low = self.context.scenario.n_agents, level[rows]
        return (s.share[0, :, :n] - low) / (1 - low) * s.alive_f[:, :n]

    def _last_actions(self, rows: Rows) -> FloatArray:
        """[R, n, A] one-hot of the last actions; zeros before the first."""
        last = self.context.episodes.last_action[rows]
        return (last[..., None] == np.arange(self.context.layout.n_actions)).astype(np.float32)

    def _observe_self(self, units: Units, rows: Rows) -> None:
        context, s, block = self.context, self.scratch, self.context.layout.own
        n, view, unit_slots = context.scenario.n_agents, self.own, context.unit_slots
        alive = s.alive_f[:, :n]
        if "health" in block.at:
            block.column(view, "health")[...] = self._ally_health(rows)[:, :n]
        if "shield" in block.at:
            np.multiply(s.share[1, :, :n], alive, out=block.column(view, "shield"))
        if unit_slots.attack is not None:
            np.multiply(unit_slots.attack[rows], alive, out=block.column(view, "attack"))
        if unit_slots.level is not None:
            np.multiply(unit_slots.level[rows], alive, out=block.column(view, "level"))
        if "position" in block.at:
            position = block.columns(view, "position")
            np.multiply(units.x[:, :n] / context.map_size[0], alive, out=position[..., 0])
            np.multiply(units.y[:, :n] / context.map_size[1], alive, out=position[..., 1])
        if "cone" in block.at:
            block.columns(view, "cone")[...] = context.episodes.looks[rows] * alive[..., None]
        if "type" in block.at:
            np.multiply(rows_of(unit_slots.ally_type, rows), alive[..., None], out=block.columns(view, "type"))

    def _state(self, units: Units, rows: Rows) -> None:
        context, s, layout = self.context, self.scratch, self.context.layout
        n, unit_slots, scenario = context.scenario.n_agents, context.unit_slots, context.scenario
        alive = s.alive_f[:, :n]
        ours, theirs = layout.state_allies, layout.state_enemies
        allies, enemies = self.allies_s, self.enemies_s
        np.copyto(s.place[0], units.x)
        np.copyto(s.place[1], units.y)
        s.place -= context.centre
        s.place /= context.extent
        s.place *= s.alive_f
        allies[..., 0] = self._ally_health(rows)[:, :n]
        enemies[..., 0] = s.share[0, :, n:]
        np.copyto(allies[..., 2], s.place[0, :, :n])
        np.copyto(allies[..., 3], s.place[1, :, :n])
        np.copyto(enemies[..., 1], s.place[0, :, n:])
        np.copyto(enemies[..., 2], s.place[1, :, n:])
        ready = units.cooldown[:, :n]
        if scenario.has_medivacs:
            ready = np.where(rows_of(unit_slots.medivac, rows), units.energy[:, :n], ready)
        ready = ready / rows_of(unit_slots.cooldown_max, rows)
        np.multiply(ready, alive, out=allies[..., 1])
        if scenario.ally_shields:
            np.multiply(s.share[1, :, :n], alive, out=ours.column(allies, "shield"))
        if scenario.enemy_shields:
            np.multiply(s.share[1, :, n:], s.alive_f[:, n:], out=theirs.column(enemies, "shield"))
        if unit_slots.attack is not None:
            np.multiply(unit_slots.attack[rows], alive, out=ours.column(allies, "attack"))
        if unit_slots.level is not None:
            np.multiply(unit_slots.level[rows], alive, out=ours.column(allies, "level"))
        if layout.n_looks:
            ours.columns(allies, "cone")[...] = context.episodes.looks[rows] * alive[..., None]
        if scenario.type_bits:
            np.multiply(rows_of(unit_slots.ally_type, rows), alive[..., None], out=ours.columns(allies, "type"))
            foes = rows_of(unit_slots.enemy_type, rows)
            np.multiply(foes, s.alive_f[:, n:, None], out=theirs.columns(enemies, "type"))
        if layout.state_actions.size:
            self.actions_s[...] = self._last_actions(rows)
        if layout.state_time is not None:
            self.outputs.state[:, layout.state_time] = context.time_shares[context.episodes.steps[rows]]


def _cut(units: Units, rows: Rows) -> Units:
    """Some battles' units as far as they are looked at; views for a slice."""
    return Units(
        kind=units.kind,
        x=units.x[rows],
        y=units.y[rows],
        health=units.health[rows],
        shield=units.shield[rows],
        energy=units.energy[rows],
        cooldown=units.cooldown[rows],
        health_max=units.health_max[rows],
        shield_max=units.shield_max,
    )
