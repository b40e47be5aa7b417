"""Many games of StarCraft II as one environment: all compute at the same time, and the rules are reckoned once for all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.capabilities import Capabilities
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import SmacRules
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.battle import Battle
from rllib_reborn.envs.starcraft.picture import draw_row
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.envs.vectorize import Failure, Failures, GameExecutor, ResultBuffers

logger = logging.getLogger(__name__)

#: What SMAC reports beside ``won``.
_COUNTS = ("dead_allies", "dead_enemies")


class StarCraftExecutor(GameExecutor):
    """B battles in B processes of the game.

    Games are started, and battles begun, on threads, since both take long. For a step one thread is enough: it sends all
    orders before it waits for the first answer, so that no game waits for another one, and no thread for Python's lock.

    Args:
        scenario: Who fights whom.
        options: What agents see and are paid for.
        settings: How the games are started and looked after.
        out: Where what is seen goes.
        threads: Most games that are started at the same time.
    """

    def __init__(
        self, scenario: Scenario, options: SmacOptions, settings: GameSettings, out: ResultBuffers, threads: int
    ) -> None:
        self._scenario, self._options, self._settings, self._out = scenario, options, settings, out
        count = len(out.reward)
        out.info |= {name: np.zeros(count, np.int64) for name in _COUNTS}
        self._units = Units.zeros(count, scenario.n_units)
        self._battles: list[Battle | None] = [None] * count
        self._rules: SmacRules | None = None
        self._targets = np.full((count, scenario.n_agents), -1)
        # Starts no thread before there is something to do.
        self._pool = ThreadPoolExecutor(min(threads, count), thread_name_prefix="starcraft")

    def reset(self, seeds: Mapping[int, int]) -> Failures:
        drawn: dict[int, Capabilities] = {}

        def begin(row: int) -> None:
            battle = self._battles[row]
            if battle is None:
                battle = self._battles[row] = Battle(self._scenario, self._options, self._settings, self._units, row)
            drawn[row] = battle.begin(seeds[row])

        failures = self._each(begin, seeds, self._pool.map)
        begun = [row for row in seeds if row not in failures]
        if not begun:
            return failures
        if self._rules is None:
            terrain = self._battle(begun[0]).terrain
            assert terrain is not None
            self._rules = SmacRules(self._scenario, self._options, len(self._battles), terrain)
        self._targets[begun] = -1
        rows = np.array(begun, np.int64)
        obs = self._rules.begin(rows, self._units, [drawn[row] for row in begun], [seeds[row] for row in begun])
        for target, part in zip(self._out.team_obs, obs):
            target[begun] = part[begun]
        return failures

    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        rules = self._rules
        assert rules is not None, "reset comes first"
        orders, doomed = rules.orders(actions), rules.doomed
        self._targets[:] = orders.target
        failures = self._each(lambda row: self._battle(row).begin_turn(orders, doomed), rows)
        failures |= self._each(lambda row: self._battle(row).end_turn(), [row for row in rows if row not in failures])
        good = [row for row in rows if row not in failures]
        if not good:
            return failures
        # Of battles that are not among them nothing is taken; they start again before anybody looks at them.
        step, out = rules.score(self._units), self._out
        chosen: Any = slice(None) if len(good) == len(self._battles) else good
        for target, part in zip(out.team_obs, step.obs):
            target[chosen] = part[chosen]
        out.reward[chosen], out.won[chosen] = step.reward[chosen], step.info["won"][chosen]
        out.terminated[chosen], out.truncated[chosen] = step.terminated[chosen], step.truncated[chosen]
        for name in _COUNTS:
            out.info[name][chosen] = step.info[name][chosen]
        for row in np.flatnonzero(step.terminated | step.truncated).tolist():
            if row in good:
                self._battle(row).episode_over()
        return failures

    def get_states(self) -> tuple[list[Any], Failures]:
        return [None] * len(self._battles), {}

    def set_states(self, states: Sequence[Any]) -> Failures:
        refusal = Failure.of(ValueError("StarCraft II cannot restore a running battle; reset it instead."), gone=False)
        return dict.fromkeys(range(len(self._battles)), refusal)

    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        versions = [battle.version for battle in self._battles if battle is not None]
        return [{"game_version": version} for version in versions if version is not None], {}

    def render(self, row: int) -> tuple[Any, Failures]:
        try:
            return draw_row(self._battle(row), self._scenario, self._units, self._targets, row), {}
        except Exception as error:
            return None, {row: Failure.of(error, gone=False)}

    def close(self) -> None:
        # All at once: each of them is given a while to end by itself.
        battles, self._battles[:] = [battle for battle in self._battles if battle], [None] * len(self._battles)
        list(self._pool.map(_close, battles))
        self._pool.shutdown()

    def _battle(self, row: int) -> Battle:
        battle = self._battles[row]
        assert battle is not None
        return battle

    def _each(
        self,
        play: Callable[[int], None],
        rows: Iterable[int],
        call_all: Callable[..., Iterable[Failure | None]] = map,
    ) -> Failures:
        """Call ``play`` for every row; whatever it raises costs that game."""
        rows = list(rows)
        outcomes = call_all(lambda row: self._try(play, row), rows)
        return {row: failure for row, failure in zip(rows, outcomes) if failure is not None}

    def _try(self, play: Callable[[int], None], row: int) -> Failure | None:
        try:
            play(row)
        except Exception as error:
            battle, self._battles[row] = self._battles[row], None
            if battle is not None:
                _close(battle)
            return Failure.of(error)
        return None


def _close(battle: Battle) -> None:
    try:
        battle.close()
    except Exception:
        logger.warning("Closing a game of StarCraft II failed.", exc_info=True)
