"""One game of StarCraft II as a :class:`TeamGame`: the rules of SMAC and SMACv2 over what the real game reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import SmacRules, team_spec
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.battle import Battle
from rllib_reborn.envs.starcraft.picture import draw_row
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.envs.team_env import TeamObs
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame


class StarCraftGame(TeamGame):
    """One battle after another in one process of the game, which is started at the first :meth:`reset`.

    The seed of ``reset`` decides what SMACv2 draws (teams, places, skills) and which attacks fail, but not what the game
    itself leaves to chance.

    Args:
        scenario: Who fights whom.
        options: What agents see and are paid for.
        settings: How the game is started and looked after.

    Raises (``reset`` and ``step``; the game's process is gone then):
        InstallationError: The game cannot be played on this machine.
        StarCraftError: It crashed, hangs or refused something.
    """

    repeatable = False

    def __init__(self, scenario: Scenario, options: SmacOptions, settings: GameSettings) -> None:
        self.spec = team_spec(scenario, options)
        self._scenario, self._options = scenario, options
        self._units = Units.zeros(1, scenario.n_units)
        self._battle = Battle(scenario, options, settings, self._units)
        self._rules: SmacRules | None = None
        self._targets = np.full((1, scenario.n_agents), -1)

    def reset(self, seed: int) -> GameObs:
        drawn = self._battle.begin(seed)
        if self._rules is None:
            assert self._battle.terrain is not None
            self._rules = SmacRules(self._scenario, self._options, 1, self._battle.terrain)
        self._targets.fill(-1)
        return _first(self._rules.begin(np.zeros(1, np.int64), self._units, [drawn], [seed]))

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        assert self._rules is not None, "reset comes first"
        orders = self._rules.orders(np.asarray(actions)[None])
        self._targets[:] = orders.target
        self._battle.begin_turn(orders, self._rules.doomed)
        self._battle.end_turn()
        outcome = self._rules.score(self._units)
        step = GameStep(
            _first(outcome.obs),
            float(outcome.reward[0]),
            bool(outcome.terminated[0]),
            bool(outcome.truncated[0]),
            bool(outcome.info["won"][0]),
        )
        if step.terminated or step.truncated:
            self._battle.episode_over()
        return step

    def render(self) -> npt.NDArray[np.uint8]:
        """See :func:`draw_row`.

        Raises:
            ValueError: There was no reset yet.
        """
        return draw_row(self._battle, self._scenario, self._units, self._targets, 0)

    def provenance(self) -> Mapping[str, str]:
        return {} if self._battle.version is None else {"game_version": self._battle.version}

    def close(self) -> None:
        self._battle.close()


def _first(team_obs: TeamObs) -> GameObs:
    return GameObs(team_obs.obs[0], team_obs.state[0], team_obs.action_mask[0])
