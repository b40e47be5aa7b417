"""The options that shape what agents see, may do and are paid for. Names are those of oxwhirl's ``StarCraft2Env``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from rllib_reborn.envs.smac.compat import FIXED, SMAC, SMACV2, CompatFlags
from rllib_reborn.envs.smac.generators import AttackProbability, EnemyMask, HealthLevel, skill_from_config
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.suggestions import did_you_mean

Compat = Literal["smac", "smacv2", "fixed"]
_COMPATS = ("smac", "smacv2", "fixed")

#: What SMACv2's own configs set beyond the defaults of its class.
_SMACV2_STANDARD: Mapping[str, Any] = {"obs_own_pos": True, "use_unit_ranges": True}
_SKILLS: Mapping[str, Any] = {"attack": AttackProbability, "health": HealthLevel, "enemy_mask": EnemyMask}

#: Keywords of ``StarCraft2Env`` that are not options here, and what to do instead.
ELSEWHERE: Mapping[str, str] = {
    "continuing_episode": "an episode limit is always reported as a truncation",
    "map_name": "the scenario has its own name",
    "capability_config": "give its blocks one by one: attack, health, enemy_mask, and team_gen and start_positions with a "
    "scenario of SMACv2; n_units and n_enemies are in its name",
    "team_gen": "it belongs to the scenario (smacv2_scenario); make_team_env and env_config take it",
    "start_positions": "it belongs to the scenario (smacv2_scenario); make_team_env and env_config take it",
    "seed": "seeds are given at reset",
    "difficulty": "it is an option of smac/ and smacv2/ on the game itself",
    "game_version": "it is an option of smac/ and smacv2/ on the game itself",
    "replay_dir": "it is an option of smac/ and smacv2/ on the game itself",
    "replay_prefix": "replays have the scenario's name in front",
    "window_size_x": "pictures have one size",
    "window_size_y": "pictures have one size",
    "debug": "there are no debug messages",
    "heuristic_ai": "scripted teams are policies, not options of the rules",
    "heuristic_rest": "scripted teams are policies, not options of the rules",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmacOptions:
    """Options of SMAC and SMACv2. The defaults are SMAC's; :meth:`for_scenario` gives each family its standard ones.

    Attributes:
        move_amount: How far a unit is sent by one move, in cells, > 0. Whether it may go is looked up half as far.
        step_mul: Game loops per step (22.4 pass in a second), >= 1.
        kill_unit_step_mul: With ``health``: game loops between the death of the doomed and the end of a step,
            0..step_mul.
        obs_all_health: Health (and shields) of all units in sight are seen.
        obs_own_health: One's own health is seen; implied by ``obs_all_health``.
        obs_last_action: Last actions of the allies in sight are seen.
        obs_pathing_grid: 8 numbers: whether the ground around can be walked on (1 off the map).
        obs_terrain_height: 9 numbers: the heights of the same points and of one's own (1 off the map).
        obs_instead_of_state: The state is all agents' observations, one after the other.
        obs_timestep_number: The step, as a share of the limit, is the last number of an observation.
        obs_own_pos: One's own position, as shares of the map's size, is seen (SMACv2).
        obs_starcraft: False: nothing of the battle is seen, only ``obs_timestep_number``, which must be set (SMACv2).
        fully_observable: All living units are seen, at any distance. For debugging (SMACv2).
        state_last_action: Last actions of all agents are in the state.
        state_timestep_number: The step, as a share of the limit, is the last number of the state.
        reward_sparse: 1 for a win, -1 for a defeat and nothing else. In SMAC and SMACv2 it is scaled as other rewards
            are, although their documentation says that all other settings are ignored; under ``compat="fixed"`` it is 1.
        reward_only_positive: Only what happens to enemies counts.
        reward_death_value: For each unit killed.
        reward_win, reward_defeat: Added at the end.
        reward_negative_scale: Weight of what happens to allies, without ``reward_only_positive``.
        reward_scale: True: rewards are divided by ``max_reward / reward_scale_rate``, where ``max_reward`` is what
            killing this episode's enemies and winning is worth. ``"smacv2"``: by the ``max_reward`` of the battle's
            first episode in all later ones. That is SMACv2's behaviour; as its teams are drawn, its scale differs between
            processes by up to 29 % and between episodes does not fit. False: not divided.
        reward_scale_rate: See there, > 0.
        use_unit_ranges: Reach and sight depend on the unit's type (SMACv2); else 6 and 9 for all.
        min_attack_range: Least reach under ``use_unit_ranges``.
        conic_fov: Agents see and hit only within a cone that they turn by ``num_fov_actions`` more actions (SMACv2).
        num_fov_actions: Directions of the cone, >= 1; it is ``360 / num_fov_actions`` degrees wide.
        prob_obs_enemy: Extended partial observability (SMACv2): an enemy that nobody has in view is spotted by one
            agent; each other agent can see it only with this probability, drawn then, until it or that agent dies.
        action_mask: False: every living enemy may be attacked (and ally healed) as far as the mask is concerned, but
            only those in reach are hit (SMACv2).
        attack: Success probabilities of attacks, or None.
        health: Levels of health below which agents' units die, or None.
        enemy_mask: Which agents make out which enemies' features, or None.
        compat: Which deviations of the originals are kept, see
            :class:`~rllib_reborn.envs.smac.compat.CompatFlags`. ``"smac"`` (SMAC's maps only) and ``"smacv2"`` (its
            scenarios only): all of that original; ``"fixed"``: none. None: ``"smac"`` on SMAC's maps, so that results can
            be compared; ``"fixed"`` on SMACv2's scenarios, two of whose deviations make observations depend on chance.

    Raises:
        ValueError: A value is out of range, or two do not go together; the message names value, expectation and remedy.
    """

    move_amount: float = 2
    step_mul: int = 8
    kill_unit_step_mul: int = 2
    obs_all_health: bool = True
    obs_own_health: bool = True
    obs_last_action: bool = False
    obs_pathing_grid: bool = False
    obs_terrain_height: bool = False
    obs_instead_of_state: bool = False
    obs_timestep_number: bool = False
    obs_own_pos: bool = False
    obs_starcraft: bool = True
    fully_observable: bool = False
    state_last_action: bool = True
    state_timestep_number: bool = False
    reward_sparse: bool = False
    reward_only_positive: bool = True
    reward_death_value: float = 10
    reward_win: float = 200
    reward_defeat: float = 0
    reward_negative_scale: float = 0.5
    reward_scale: bool | Literal["smacv2"] = True
    reward_scale_rate: float = 20
    use_unit_ranges: bool = False
    min_attack_range: float = 2
    conic_fov: bool = False
    num_fov_actions: int = 12
    prob_obs_enemy: float = 1.0
    action_mask: bool = True
    attack: AttackProbability | None = None
    health: HealthLevel | None = None
    enemy_mask: EnemyMask | None = None
    compat: Compat | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "bool" and not isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}; expected true or false.")
            number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
            if field.type == "float" and not number:
                raise ValueError(f"{field.name} is {value!r}; expected a number.")
            if field.type == "int" and not (number and isinstance(value, int)):
                raise ValueError(f"{field.name} is {value!r}; expected a whole number.")
            kind = _SKILLS.get(field.name)
            if kind is not None and value is not None and not isinstance(value, kind):
                raise ValueError(f"{field.name} is {value!r}; expected a {kind.__name__}, or None.")
        for name in ("move_amount", "reward_scale_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a number > 0.")
        if self.min_attack_range < 0:
            raise ValueError(f"min_attack_range is {self.min_attack_range!r}; expected a number >= 0.")
        for name in ("step_mul", "num_fov_actions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a whole number >= 1.")
        if not 0 <= self.kill_unit_step_mul <= self.step_mul:
            raise ValueError(
                f"kill_unit_step_mul is {self.kill_unit_step_mul}; expected 0..step_mul, which is {self.step_mul}."
            )
        if not 0 <= self.prob_obs_enemy <= 1:
            raise ValueError(f"prob_obs_enemy is {self.prob_obs_enemy!r}; expected a number in 0..1.")
        if self.reward_scale not in (True, False, "smacv2"):
            raise ValueError(f"reward_scale is {self.reward_scale!r}; expected true, false or 'smacv2'.")
        if self.compat is not None and self.compat not in _COMPATS:
            raise ValueError(f"compat is {self.compat!r}; expected one of {_COMPATS}, or None.")
        if not self.obs_starcraft and not self.obs_timestep_number:
            raise ValueError("without obs_starcraft nothing is observed; set obs_timestep_number, or leave it on.")
        if self.health is not None and not self.reward_only_positive:
            raise ValueError(
                "health levels go with positive rewards only, as in SMACv2: units that die at their level would be paid "
                "for by health that nobody took. Set reward_only_positive, or leave out health."
            )

    @classmethod
    def for_scenario(cls, scenario: Scenario, **overrides: Any) -> SmacOptions:
        """The standard options of the scenario's family, and ``overrides``.

        SMAC: the defaults of this class. SMACv2: besides, ``obs_own_pos`` and ``use_unit_ranges``, as in its configs.
        ``attack``, ``health`` and ``enemy_mask`` may be mappings, as in SMACv2's ``capability_config``.

        Raises:
            ValueError: There is no such option (the message names the nearest, or where the thing is), or a value is
                wrong.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in overrides:
            if name in ELSEWHERE:
                raise ValueError(f"{name!r} is not an option here: {ELSEWHERE[name]}.")
            if name not in names:
                raise ValueError(f"there is no option {name!r}.{did_you_mean(name, names, most=len(names))}")
        settings = dict(_SMACV2_STANDARD) if scenario.family == "smacv2" else {}
        settings.update(overrides)
        for name, kind in _SKILLS.items():
            if isinstance(settings.get(name), Mapping):
                settings[name] = skill_from_config(name, kind, settings[name])
        options = cls(**settings)
        options.compat_flags(scenario)
        return options

    def compat_flags(self, scenario: Scenario) -> CompatFlags:
        """The deviations that are in force on a scenario.

        Raises:
            ValueError: ``compat`` names the original of the other family.
        """
        compat = self.compat or ("smac" if scenario.family == "smac" else "fixed")
        if compat != "fixed" and compat != scenario.family:
            raise ValueError(
                f"compat is {compat!r}, but {scenario.name} is a scenario of {scenario.family}; expected "
                f"{scenario.family!r}, 'fixed' or None."
            )
        return {"smac": SMAC, "smacv2": SMACV2, "fixed": FIXED}[compat]
