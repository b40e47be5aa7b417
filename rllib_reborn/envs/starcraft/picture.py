"""Pictures of battles in the real game, as the simulator would draw them; the game's own are in its replays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.battle import Battle


def draw_row(
    battle: Battle, scenario: Scenario, units: Units, targets: npt.NDArray[np.integer], row: int
) -> npt.NDArray[np.uint8]:
    """One battle, [508, 480, 3].

    Args:
        battle: Which one.
        scenario: What is played.
        units: Those of all battles.
        targets: [B, n] whom each agent was last told to attack or heal, or -1.
        row: Of ``units`` and ``targets``.

    Raises:
        ValueError: There was no battle yet.
    """
    if battle.arena is None:
        raise ValueError("there is nothing to draw before the first reset.")
    from rllib_reborn.envs.battle.drawing import draw_battle

    of_all = np.concatenate([targets[row], np.full(scenario.n_enemies, -1)])
    caption = f"StarCraft II {battle.version}: {scenario.name}"
    return draw_battle(battle.arena, units.rows([row]), of_all, scenario.n_agents, caption)
