"""What do scripted teams win on the battle simulator's scenarios? Not a benchmark of speed: the table of docs/battle.md.

One row per scenario: for each script the share of episodes won and the mean return, over 64 episodes a repeat. These are
facts of the simulator, never results on SMAC.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.common import main

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv
from rllib_reborn.envs.battle.scripted import POLICIES, play
from rllib_reborn.envs.smac.scenarios import SCENARIOS

BATTLES = 64


def calibration(name: str, repeats: int) -> dict[str, Any]:
    env = BattleTeamEnv(name, BATTLES)
    row: dict[str, Any] = {"episodes": BATTLES * repeats}
    for policy in POLICIES:
        outcomes = [play(env, policy, seed) for seed in range(repeats)]
        row[f"{policy}_won"] = round(float(np.mean([outcome.won.mean() for outcome in outcomes])), 3)
        row[f"{policy}_return"] = round(float(np.mean([outcome.returns.mean() for outcome in outcomes])), 2)
    return row


ROWS = {name: partial(calibration, name) for name in SCENARIOS}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=4)
