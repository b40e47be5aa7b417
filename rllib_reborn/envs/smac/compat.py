"""Where the original environments do what they probably should not, and which of it is kept."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompatFlags:
    """Each True keeps a deviation of an original, each False fixes it. Chosen by ``SmacOptions.compat``.

    Attributes:
        reversed_enemy_types: SMAC. On maps of stalkers and zealots the one-hot of an enemy's type is the other way round
            than an ally's: a zealot is (1, 0) as an enemy and (0, 1) as an ally. Fixed: the ally's order.
        regeneration_pays: SMAC. With ``reward_only_positive`` the reward is the absolute value of what was taken from the
            enemies, so their shields' regeneration (and a Medivac's healing) is paid like damage, and the return can
            exceed ``reward_scale_rate``. Fixed, and in SMACv2: nothing below 0.
        heal_mask_as_enemy_flag: SMAC, SMACv2. The first number that a Medivac's agent sees of enemy j is whether it may
            use action "target j", which for a Medivac is *healing ally j*. Fixed: 0, as it cannot attack.
        lone_medivac_win: SMAC. Where there are Medivacs, the battle is won when exactly one enemy, a Medivac, is left; lost
            when no ally but Medivacs is left, even if all enemies are dead too. Fixed: a side that has nobody but
            Medivacs left has lost; if that is so of both, it is a draw.
        medivacs_cannot_win: SMACv2. The battle is lost when no ally but Medivacs is left, even if the same is true of the
            enemies. Fixed: a draw then, as above.
        scaled_sparse_reward: SMAC, SMACv2. ``reward_scale`` divides the sparse reward too. Fixed: it is 1 or -1.
        dead_see_time: SMAC, SMACv2. With ``obs_timestep_number`` the observation of a dead agent is zeros and the step.
            Fixed: zeros.
        spare_number_before_time: SMAC. With ``obs_timestep_number`` there is a zero before the step, so that observations
            are one longer than SMAC says. Fixed: none.
        mirrored_heights: SMAC, SMACv2. The grid of terrain heights is flipped from north to south, the pathing grid is not,
            so ``obs_terrain_height`` tells of another place. Fixed: as pathing.
        unspotted_wipe: SMACv2. While an agent's enemies are gone through, each one that it has not spotted wipes all that
            was written for those before it, even with ``prob_obs_enemy=1``; who has spotted what depends on the random
            order in which agents look. Fixed: an unspotted enemy hides itself only, and looking has no order.
        double_field_of_view: SMACv2. With ``conic_fov`` angles come from an arcus tangent that cannot tell left from
            right, so that an agent that looks east also sees what is west, and near the vertical likewise. Fixed: one cone.
        mask_probability_shows: SMACv2. ``mask_probability`` is the probability that an enemy's features are *shown*.
            Fixed: that they are hidden.
    """

    reversed_enemy_types: bool = False
    regeneration_pays: bool = False
    heal_mask_as_enemy_flag: bool = False
    lone_medivac_win: bool = False
    medivacs_cannot_win: bool = False
    scaled_sparse_reward: bool = False
    dead_see_time: bool = False
    spare_number_before_time: bool = False
    mirrored_heights: bool = False
    unspotted_wipe: bool = False
    double_field_of_view: bool = False
    mask_probability_shows: bool = False


#: None is kept.
FIXED = CompatFlags()

#: Those of oxwhirl/smac.
SMAC = CompatFlags(
    reversed_enemy_types=True,
    regeneration_pays=True,
    heal_mask_as_enemy_flag=True,
    lone_medivac_win=True,
    scaled_sparse_reward=True,
    dead_see_time=True,
    spare_number_before_time=True,
    mirrored_heights=True,
)

#: Those of oxwhirl/smacv2.
SMACV2 = CompatFlags(
    heal_mask_as_enemy_flag=True,
    medivacs_cannot_win=True,
    scaled_sparse_reward=True,
    dead_see_time=True,
    mirrored_heights=True,
    unspotted_wipe=True,
    double_field_of_view=True,
    mask_probability_shows=True,
)
