"""Record what oxwhirl's SMAC and SMACv2 make of a battle, so that our rules can be compared with them.

The original Python code plays on the mock server through pysc2, exactly as it would play on the game. Each file holds,
for a few dozen steps of two episodes of one map: the units as they came over the wire, in the original's order of agents
and enemies; the actions; and the original's observations, state, available actions, reward and end. The tests feed the
same units to our rules, so what is compared does not depend on the simulator's physics, and the files stay valid when
those change.

The originals are not on PyPI and none of their code is in this repository. To record again, in the environment of the
project (with ``pip install pys2clientprotocol==1.0.2 websocket-client absl-py portpicker`` and
``pip install --no-deps pysc2==4.0.0``)::

    git clone https://github.com/oxwhirl/smac /tmp/smac && git -C /tmp/smac checkout d6aab33f76ab
    git clone https://github.com/oxwhirl/smacv2 /tmp/smacv2 && git -C /tmp/smacv2 checkout 577ab5a2cff2
    PYTHONPATH=/tmp/smac python tests/envs/starcraft/golden/record.py smac tests/envs/starcraft/golden
    PYTHONPATH=/tmp/smacv2 python tests/envs/starcraft/golden/record.py smacv2 tests/envs/starcraft/golden

One family per process: both register maps of the same names with pysc2. SMACv2 draws its teams unseeded, so every recording
of it is another one.

What SMACv2 shows of enemies depends on a shuffled order of agents and on chance, even where nothing is to be hidden (it
wipes what was written for earlier enemies when it comes to one that this agent has not spotted). Here every enemy is
marked as spotted by every agent before the original looks, which is what ``prob_obs_enemy=1`` says, so the result is
determined: all deviations of the original but that one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from s2clientprotocol import debug_pb2

from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.smac.unit_types import KIND, KIND_OF_TYPE_ID, UNIT_TYPES
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install

SEED = 20_240_218
#: Share of the first episode's steps after which, with some help, no enemy is left.
WON_AFTER = 0.8

_EVERYTHING_SEEN = {
    "obs_last_action": True,
    "obs_pathing_grid": True,
    "obs_terrain_height": True,
    "obs_timestep_number": True,
    "state_timestep_number": True,
    "reward_only_positive": False,
    "reward_defeat": -50,
}
_LITTLE_SEEN = {"obs_all_health": False, "obs_own_health": True, "state_last_action": False, "reward_sparse": True}


@dataclasses.dataclass(frozen=True)
class Plan:
    """One file.

    Attributes:
        name: Of the scenario.
        steps: Of each of the two episodes, at most.
        every: Of so many steps one is kept with all that was seen, and the last one; units, actions and rewards of all.
        variant: What distinguishes it from others of the scenario.
        options: Of the original, and of ours.
        skills: Of SMACv2's ``capability_config``.
    """

    name: str
    steps: int = 60
    every: int = 3
    variant: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    skills: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.name}.{self.variant}.npz" if self.variant else f"{self.name}.npz"


SMAC = (
    Plan("3m", every=2),
    Plan("2s3z", 90),
    Plan("MMM", 60, 4),
    Plan("MMM2", 60, 4),
    Plan("3s_vs_5z", 90),
    Plan("3s5z_vs_3s6z", 80, 5),
    Plan("1c3s5z", 70, 5),
    Plan("8m", 50),
    Plan("10m_vs_11m", 40, 4),
    Plan("27m_vs_30m", 32, 6),
    Plan("bane_vs_bane", 24, 5),
    Plan("2s_vs_1sc", 60),
    Plan("2c_vs_64zg", 30, 4),
    Plan("6h_vs_8z", 40, 4),
    Plan("corridor", 30, 6),
    Plan("2s3z", 60, 4, "everything_seen", _EVERYTHING_SEEN),
    Plan("MMM", 40, 5, "little_seen", _LITTLE_SEEN),
    Plan("3m", 60, 4, "obs_as_state", {"obs_instead_of_state": True, "reward_scale": False}),
)
_UNIFORM = {"dist_type": "per_agent_uniform", "observe": True}
SMACV2 = (
    Plan("terran_5_vs_5", 50),
    Plan("protoss_5_vs_5", 70),
    Plan("zerg_10_vs_11", 40, 5),
    Plan("terran_5_vs_5", 50, 4, "health", skills={"health": {"lower_bound": [0.1], "upper_bound": [0.5], **_UNIFORM}}),
    Plan(
        "protoss_5_vs_5", 50, 4, "attack", skills={"attack": {"lower_bound": [0.3], "upper_bound": [1.0], **_UNIFORM}}
    ),
    Plan("zerg_5_vs_5", 40, 4, "mask", skills={"enemy_mask": {"dist_type": "mask", "mask_probability": 0.5}}),
    Plan("protoss_5_vs_5", 50, 4, "cone", {"conic_fov": True, "num_fov_actions": 12}),
    Plan("zerg_5_vs_5", 40, 4, "no_mask", {"action_mask": False, "reward_only_positive": False}),
)
_TEAMS = {
    "terran": (["marine", "marauder", "medivac"], ["medivac"]),
    "protoss": (["stalker", "zealot", "colossus"], []),
    "zerg": (["zergling", "hydralisk", "baneling"], ["baneling"]),
}


class Recording:
    """The arrays of one file, row by row."""

    def __init__(self, plan: Plan, ally_kinds: Mapping[int, int]) -> None:
        self._plan = plan
        self._ally_kinds = ally_kinds
        self._rows: dict[str, list[Any]] = {}

    def keep(self, **values: Any) -> None:
        """One more row of each of these arrays."""
        for name, value in values.items():
            self._rows.setdefault(name, []).append(value)

    def keep_units(self, game: Any, *, is_first: bool) -> None:
        """One more row of the units' arrays, from the original's records."""
        allies = [game.agents[i] for i in range(game.n_agents)]
        enemies = [game.enemies[i] for i in range(game.n_enemies)]
        units = [*allies, *enemies]
        kinds = [
            *(self._ally_kinds[unit.unit_type] for unit in allies),
            *(KIND_OF_TYPE_ID[e.unit_type] for e in enemies),
        ]
        self.keep(
            is_first=is_first,
            kind=np.array(kinds, np.int8),
            x=_column(unit.pos.x for unit in units),
            y=_column(unit.pos.y for unit in units),
            health=_column(unit.health for unit in units),
            # The original marks the dead by their health alone.
            shield=_column(unit.shield if unit.health > 0 else 0 for unit in units),
            energy=_column(unit.energy for unit in units),
            cooldown=_column(unit.weapon_cooldown for unit in units),
            health_max=_column(unit.health_max for unit in units),
            shield_max=_column(unit.shield_max for unit in units),
        )

    def keep_seen(self, env: Any) -> None:
        """What the original sees of the row of units kept last."""
        self.keep(
            seen_at=len(self._rows["kind"]) - 1,
            obs=np.array(env.get_obs(), np.float32),
            state=np.array(env.get_state(), np.float32),
            mask=np.packbits(np.array(env.get_avail_actions(), bool), axis=-1),
        )

    def write(self, folder: Path) -> Path:
        """Write the file."""
        arrays = {name: np.array(rows) for name, rows in self._rows.items()}
        about = {"scenario": self._plan.name, "options": dict(self._plan.options), "skills": dict(self._plan.skills)}
        path = folder / self._plan.file
        np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)
        return path


def _column(values: Any) -> Any:
    return np.array(list(values), np.float32)


def record(plan: Plan, env: Any, game: Any, ally_kinds: Callable[[Any], Mapping[int, int]]) -> Recording:
    """Play two episodes: in the first one agents shoot at the weakest enemy that they reach and are helped to win, in the
    second at any.

    Args:
        plan: What is recorded.
        env: The original as one uses it.
        game: The ``StarCraft2Env`` in it, which is ``env`` itself in SMAC.
        ally_kinds: Called after the first reset: number of an ally's type -> kind.
    """
    rng = np.random.default_rng(SEED)
    recording = None
    for choose in (_weakest, _any):
        _reset(env)
        if recording is None:
            recording = Recording(plan, ally_kinds(game))
            recording.keep(heights=_hills(game, rng), pathing=np.packbits(game.pathing_grid))
            recording.keep(size=np.array([game.map_x, game.map_y, game.max_distance_x, game.max_distance_y]))
        _keep_skills(recording, game)
        _spot_all(game)
        recording.keep_units(game, is_first=True)
        recording.keep_seen(env)
        terminated = False
        for step in range(1, plan.steps + 1):
            if choose is _weakest:
                _help(game, step / (WON_AFTER * plan.steps))
            actions = [choose(game, agent, mask, rng) for agent, mask in enumerate(env.get_avail_actions())]
            reward, terminated, info = env.step(actions)
            _spot_all(game)
            recording.keep_units(game, is_first=False)
            recording.keep(
                actions=np.array(actions, np.int8),
                reward=np.float64(reward),
                terminated=terminated,
                won=info["battle_won"],
                at_limit=bool(info.get("episode_limit", False)),
            )
            if terminated or step % plan.every == 0 or step == plan.steps:
                recording.keep_seen(env)
            if terminated:
                break
        if not terminated:
            # The original would start a second game, and add this episode's enemies to its largest reward again.
            game._episode_count += 1
    assert recording is not None
    return recording


def _hills(game: Any, rng: np.random.Generator) -> Any:
    """[map_x, map_y] bytes: hilly ground for the original, whose picture of a map's heights is mirrored. The server's maps
    are flat where teams fight, and would not tell how heights are looked up."""
    heights = rng.integers(0, 256, (game.map_x, game.map_y), np.uint8)
    game.terrain_height = np.flip(heights, axis=1) / 255
    return heights


def _reset(env: Any) -> None:
    """As the original does, whose skills are arrays [n, 1] that numpy 2 does not take as numbers."""
    if not hasattr(env, "env_key_to_distribution_map"):
        env.reset()
        return
    config: dict[str, Any] = {}
    for distribution in env.env_key_to_distribution_map.values():
        config |= distribution.generate()
    for skill in config.keys() & {"attack", "health"}:
        config[skill]["item"] = config[skill]["item"][:, 0]
    env.env.reset(config)


def _spot_all(game: Any) -> None:
    if hasattr(game, "obs_enemies"):
        game.obs_enemies[:] = 1
        game.enemy_tags = [0] * game.n_enemies


def _help(game: Any, share: float) -> None:
    """Kill enemies until ``share`` of them are dead, Medivacs last: that only they are left ends a battle, too."""
    alive = [enemy for enemy in game.enemies.values() if enemy.health > 0]
    due = int(share * game.n_enemies) - (game.n_enemies - len(alive))
    alive.sort(key=lambda enemy: (UNIT_TYPES[KIND_OF_TYPE_ID[enemy.unit_type]].name == "medivac", enemy.health))
    tags = [enemy.tag for enemy in alive[: max(0, due)]]
    if tags:
        game._controller.debug(debug_pb2.DebugCommand(kill_unit=debug_pb2.DebugKillUnit(tag=tags)))


def _keep_skills(recording: Recording, game: Any) -> None:
    for name, attribute in (
        ("attack_probability", "agent_attack_probabilities"),
        ("health_level", "agent_health_levels"),
        ("enemy_mask", "enemy_mask"),
    ):
        value = getattr(game, attribute, None)
        if value is not None:
            recording.keep(**{name: np.array(value, np.float64)})


def _weakest(game: Any, agent: int, mask: list[int], rng: np.random.Generator) -> int:
    """Wait for the enemy, and shoot at the one with the least life; Medivacs heal whoever has the smallest share of it."""
    available = np.flatnonzero(mask)
    first = game.n_actions_no_attack
    targets = [action - first for action in available if action >= first]
    if targets and rng.random() < 0.97:
        if game.agents[agent].unit_type == game.medivac_id:
            return first + min(targets, key=lambda i: game.agents[i].health / game.agents[i].health_max)
        return first + min(targets, key=lambda i: (game.enemies[i].health + game.enemies[i].shield, i))
    if mask[1] and rng.random() < 0.8:
        return 1
    return int(rng.choice(available))


def _any(game: Any, agent: int, mask: list[int], rng: np.random.Generator) -> int:
    """Mostly shoot at anybody, else do anything."""
    available = np.flatnonzero(mask)
    targets = available[available >= game.n_actions_no_attack]
    return int(rng.choice(targets if len(targets) and rng.random() < 0.7 else available))


def _smac_kinds(name: str) -> Callable[[Any], Mapping[int, int]]:
    def kinds(game: Any) -> Mapping[int, int]:
        lowest = min(unit.unit_type for unit in game.agents.values())
        return {lowest + i: KIND[ally] for i, ally in enumerate(scenario(name).ally_ids)}

    return kinds


def _smacv2_kinds(game: Any) -> Mapping[int, int]:
    return {number: KIND[name] for name, number in game.ally_unit_map.items()}


def _record_smac(plan: Plan) -> Recording:
    from smac.env import StarCraft2Env

    env = StarCraft2Env(map_name=plan.name, seed=SEED, continuing_episode=True, **plan.options)
    try:
        return record(plan, env, env, _smac_kinds(plan.name))
    finally:
        env.close()


def _record_smacv2(plan: Plan) -> Recording:
    from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper

    played, race = scenario(plan.name), plan.name.partition("_")[0]
    types, exceptions = _TEAMS[race]
    team = {"unit_types": types, "weights": [0.45, 0.45, 0.1], "exception_unit_types": exceptions, "observe": True}
    config = {
        "n_units": played.n_agents,
        "n_enemies": played.n_enemies,
        "team_gen": {"dist_type": "weighted_teams", **team},
        "start_positions": {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32},
        **{name: dict(skill) for name, skill in plan.skills.items()},
    }
    standard = {"conic_fov": False, "obs_own_pos": True, "use_unit_ranges": True, "min_attack_range": 2}
    env = StarCraftCapabilityEnvWrapper(
        capability_config=config,
        map_name=f"10gen_{race}",
        seed=SEED,
        continuing_episode=True,
        **{**standard, **plan.options},
    )
    try:
        return record(plan, env, env.env, _smacv2_kinds)
    finally:
        env.close()


def main() -> None:
    """Record one family."""
    parser = argparse.ArgumentParser(description="Record golden arrays with oxwhirl's code.")
    parser.add_argument("family", choices=("smac", "smacv2"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*", help="only these, e.g. 3m.npz")
    arguments = parser.parse_args()
    plans, play = (SMAC, _record_smac) if arguments.family == "smac" else (SMACV2, _record_smacv2)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SC2PATH"] = str(make_mock_install(folder))
        for plan in plans:
            if arguments.files and plan.file not in arguments.files:
                continue
            path = play(plan).write(arguments.folder)
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
