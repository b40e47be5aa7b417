"""Pictures of battles in the real game, as the simulator would draw them; the game's own are in its replays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.battle import Battle
from rllib_reborn.envs.starcraft.mock_server import GAME_VERSION as MOCK_SERVER


def draw_row(
    battle: Battle, scenario: Scenario, units: Units, targets: npt.NDArray[np.integer], row: int
) -> npt.NDArray[np.uint8]:
    """One battle, [508, 480, 3].

    Args:
        battle: Which one.
        scenario: What is played.
        units: Those of all battles.
        targets: [B, n] whom each agent was last ordered to attack or heal, or -1.
        row: Of ``units`` and ``targets``.

    Raises:
        ValueError: There was no battle yet.
    """
    if battle.terrain is None:
        raise ValueError("there is nothing to draw before the first reset.")
    from rllib_reborn.envs.battle.drawing import draw_battle

    of_all = np.concatenate([targets[row], np.full(scenario.n_enemies, -1)])
    return draw_battle(battle.terrain, units.rows([row]), of_all, scenario.n_agents, _caption(battle.version, scenario))


def _caption(version: str | None, scenario: Scenario) -> str:
    """What was played on: never the game's name where it is not the game."""
    if version == MOCK_SERVER:
        return f"mock server, not StarCraft II: {scenario.name}"
    return f"StarCraft II {version}: {scenario.name}"
