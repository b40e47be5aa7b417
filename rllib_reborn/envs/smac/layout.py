"""Where each number stands in observations and states, and how many there are. Needs no terrain and starts nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.state_views import StateView
from rllib_reborn.envs.team_env import TeamSpec

#: Actions that every agent has: no-op, stop, north, south, east, west.
ACTION_NOOP, ACTION_STOP, ACTION_NORTH, ACTION_SOUTH, ACTION_EAST, ACTION_WEST = range(6)
N_MOVES = 4
#: Looks (``conic_fov``), if there are any, come next; then the targets.
FIRST_LOOK = 6

#: Points around an agent whose terrain is observed: 8, and its own for the heights.
N_PATHING, N_HEIGHTS = 8, 9


@dataclasses.dataclass(frozen=True)
class Block:
    """``count`` rows of ``size`` numbers that stand one after the other in an observation or state.

    Attributes:
        start: Where the first row begins.
        count, size: Rows, and numbers in each.
        at: Name of a feature -> where it begins within a row.
        widths: Name of a feature -> how many numbers it has.
    """

    start: int
    count: int
    size: int
    at: Mapping[str, int]
    widths: Mapping[str, int]

    @property
    def end(self) -> int:
        """One past the last number of the last row."""
        return self.start + self.count * self.size

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[..., count, size] the block within ``array`` [..., numbers], without a copy."""
        # Splitting the last axis never copies, whatever the strides of the others.
        return array[..., self.start : self.end].reshape(*array.shape[:-1], self.count, self.size)

    def column(self, view: npt.NDArray[Any], feature: str) -> npt.NDArray[Any]:
        """[..., count] a feature of width 1 within a :meth:`view`."""
        return view[..., self.at[feature]]

    def columns(self, view: npt.NDArray[Any], feature: str) -> npt.NDArray[Any]:
        """[..., count, width] a feature within a :meth:`view`."""
        return view[..., self.at[feature] : self.at[feature] + self.widths[feature]]


def _block(start: int, count: int, features: Sequence[tuple[str, int]]) -> Block:
    at, widths, size = {}, {}, 0
    for name, width in features:
        if width:
            at[name], widths[name] = size, width
            size += width
    return Block(start, count, size, at, widths)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of one scenario under its options.

    Attributes:
        n_actions: A.
        n_looks: Actions that turn the cone of sight, at ``FIRST_LOOK``.
        first_target: The action "target 0": attack enemy 0, or heal ally 0.
        n_targets: Actions that name a target: one per enemy, or per ally where those are more and can be healed.
        obs_dim, state_dim: d and s.
        move: Allowed moves and the terrain around; features ``move``, ``pathing``, ``heights``.
        enemies, others: One row per enemy, and per other ally, in an observation; features ``flag``, ``distance``, ``x``,
            ``y``, ``health``, ``shield``, ``attack``, ``level``, ``type``, ``last_action``, as far as they are there.
        own: The agent itself; ``health``, ``shield``, ``attack``, ``level``, ``position``, ``cone``,
            ``type``.
        obs_time: Where the step stands in an observation, or None.
        state_allies, state_enemies: One row per unit in the state; ``health``, ``cooldown``, ``x``, ``y``, ``shield``,
            ``attack``, ``level``, ``cone``, ``type``.
        state_actions: One row per agent, ``n_actions`` wide: its last action; no numbers without ``state_last_action``.
        state_time: Where the step stands in the state, or None.
    """

    n_actions: int
    n_looks: int
    first_target: int
    n_targets: int
    obs_dim: int
    state_dim: int
    move: Block
    enemies: Block
    others: Block
    own: Block
    obs_time: int | None
    state_allies: Block
    state_enemies: Block
    state_actions: Block
    state_time: int | None


@functools.lru_cache(maxsize=256)
def layout_of(scenario: Scenario, options: SmacOptions) -> Layout:
    """The layout of a scenario under its options.

    Raises:
        ValueError: ``options.compat`` does not belong to the scenario.
    """
    compat = options.compat_flags(scenario)
    n, m, bits = scenario.n_agents, scenario.n_enemies, scenario.type_bits
    n_looks = options.num_fov_actions if options.conic_fov else 0
    first_target = FIRST_LOOK + n_looks
    n_targets = max(n, m) if scenario.has_medivacs else m
    n_actions = first_target + n_targets
    attack, level = int(options.attack is not None), int(options.health is not None)
    direction_size = 2 if options.conic_fov else 0

    def body(shields: int, shown: bool) -> list[tuple[str, int]]:
        return [("health", int(shown)), ("shield", int(shown) * shields)]

    place: list[tuple[str, int]] = [("flag", 1), ("distance", 1), ("x", 1), ("y", 1)]
    terrain = [
        ("move", N_MOVES),
        ("pathing", N_PATHING * options.obs_pathing_grid),
        ("heights", N_HEIGHTS * options.obs_terrain_height),
    ]
    enemy = [*place, *body(scenario.enemy_shields, options.obs_all_health), ("type", bits)]
    other = [
        *place,
        *body(scenario.ally_shields, options.obs_all_health),
        ("attack", attack),
        ("level", level),
        ("type", bits),
        ("last_action", n_actions * options.obs_last_action),
    ]
    own = [
        *body(scenario.ally_shields, options.obs_own_health or options.obs_all_health),
        ("attack", attack),
        ("level", level),
        ("position", 2 * options.obs_own_pos),
        ("cone", direction_size),
        ("type", bits),
    ]
    shown = options.obs_starcraft
    move_block = _block(0, 1, terrain if shown else [])
    enemy_block = _block(move_block.end, m, enemy if shown else [])
    other_block = _block(enemy_block.end, n - 1, other if shown else [])
    own_block = _block(other_block.end, 1, own if shown else [])
    obs_dim, obs_time = own_block.end, None
    if options.obs_timestep_number:
        obs_time = obs_dim + (1 if compat.spare_number_before_time and shown else 0)
        obs_dim = obs_time + 1

    state_ally = [
        ("health", 1),
        ("cooldown", 1),
        ("x", 1),
        ("y", 1),
        ("shield", scenario.ally_shields),
        ("attack", attack),
        ("level", level),
        ("cone", direction_size),
        ("type", bits),
    ]
    state_enemy = [("health", 1), ("x", 1), ("y", 1), ("shield", scenario.enemy_shields), ("type", bits)]
    ally_block = _block(0, n, state_ally)
    foe_block = _block(ally_block.end, m, state_enemy)
    action_block = _block(foe_block.end, n, [("last_action", n_actions * options.state_last_action)])
    state_dim, state_time = action_block.end, None
    if options.state_timestep_number:
        state_time, state_dim = state_dim, state_dim + 1
    return Layout(
        n_actions=n_actions,
        n_looks=n_looks,
        first_target=first_target,
        n_targets=n_targets,
        obs_dim=obs_dim,
        state_dim=n * obs_dim if options.obs_instead_of_state else state_dim,
        move=move_block,
        enemies=enemy_block,
        others=other_block,
        own=own_block,
        obs_time=obs_time,
        state_allies=ally_block,
        state_enemies=foe_block,
        state_actions=action_block,
        state_time=state_time,
    )


def team_spec(scenario: Scenario, options: SmacOptions) -> TeamSpec:
    """The spec of a scenario under its options; starts nothing.

    Where an agent's unit is the same in every episode (SMAC's maps) its name is the agent's group.

    Raises:
        ValueError: ``options.compat`` does not belong to the scenario.
    """
    layout = layout_of(scenario, options)
    return TeamSpec(
        n_agents=scenario.n_agents,
        n_actions=layout.n_actions,
        obs_dim=layout.obs_dim,
        state_dim=layout.state_dim,
        episode_limit=scenario.episode_limit,
        agent_groups=scenario.allies,
        has_win=True,
        state_views=() if options.obs_instead_of_state else (_compact_state(layout),),
    )


def _compact_state(layout: Layout) -> StateView:
    def team(units: Block) -> tuple[int | None, ...]:
        features = (units.at.get(name) for name in ("health", "x", "y", "shield"))
        return (units.start, units.count, units.size, *features)

    teams = (team(layout.state_allies), team(layout.state_enemies))
    size = sum(4 + (shield is not None) for *_, shield in teams)
    function = "rllib_reborn.envs.smac.small_states:compact"
    return StateView(name="compact", size=size, function=function, arguments=teams)


def obs_feature_names(scenario: Scenario, options: SmacOptions) -> tuple[str, ...]:
    """[d] a name for each number of an observation, e.g. ``"enemy_0_distance"``, ``"own_health"``. ``other_i`` is the
    i-th ally without the agent itself."""
    layout = layout_of(scenario, options)
    names = _names_of(layout.move, "") + _names_of(layout.enemies, "enemy_{}_") + _names_of(layout.others, "other_{}_")
    names += _names_of(layout.own, "own_")
    if layout.obs_time is not None:
        names += ["spare"] * (layout.obs_time - len(names)) + ["time"]
    return tuple(names)


def state_feature_names(scenario: Scenario, options: SmacOptions) -> tuple[str, ...]:
    """[s] a name for each number of the state, e.g. ``"ally_0_cooldown"``."""
    layout = layout_of(scenario, options)
    if options.obs_instead_of_state:
        own = obs_feature_names(scenario, options)
        return tuple(f"agent_{i}_{name}" for i in range(scenario.n_agents) for name in own)
    names = _names_of(layout.state_allies, "ally_{}_") + _names_of(layout.state_enemies, "enemy_{}_")
    names += _names_of(layout.state_actions, "ally_{}_")
    return tuple(names + ["time"] * (layout.state_time is not None))


def _names_of(block: Block, prefix: str) -> list[str]:
    return [
        prefix.format(row) + (name if width == 1 else f"{name}_{i}")
        for row in range(block.count)
        for name, width in block.widths.items()
        for i in range(width)
    ]
