"""Whether ``catch`` would capture, as far as a predator's window tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.known_actions import UNKNOWN, KnownAction
from rllib_reborn.envs.predator_prey.rules import CATCH, MOVES, N_CHANNELS, PredatorPreyRules


def known_catch(rules: PredatorPreyRules) -> KnownAction | None:
    """``catch`` beside enough predators, and alone; None where a window does not show the cells around a neighbour.

    It pays where one of the four neighbouring cells holds a prey that has at least ``catchers`` predators on its own four
    neighbours, the acting one included: then the capture is made if all of them catch. Predators that step up in the same
    step are not counted, nor is it known what the others will do.
    """
    if rules.obs_radius < 2:
        return None

    def judge(obs: npt.NDArray[Any], action_mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
        side = 2 * rules.obs_radius + 1
        windows = obs.reshape(*obs.shape[:2], side, side, N_CHANNELS) != 0
        pays = np.zeros(obs.shape[:2], np.bool_)
        for down, right in MOVES:
            y, x = rules.obs_radius + down, rules.obs_radius + right
            beside = sum(
                windows[:, :, y + step_down, x + step_right, 0].astype(np.int8) for step_down, step_right in MOVES
            )
            for channel, catchers in ((1, rules.catchers_stag), (2, rules.catchers_hare)):
                pays |= windows[:, :, y, x, channel] & (beside >= catchers)
        return np.where(action_mask[:, :, CATCH], pays.astype(np.int8), np.int8(UNKNOWN))

    return KnownAction(CATCH, "catch beside a partner", "catch alone", judge)
