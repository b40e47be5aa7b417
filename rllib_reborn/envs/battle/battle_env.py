"""SMAC and SMACv2 on the simulator: B battles as one team environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.battlefield import Backend, Battlefield
from rllib_reborn.envs.battle.drawing import draw_battle
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.smac.capabilities import Capabilities, draw
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario, scenario
from rllib_reborn.envs.smac.smac_rules import SmacRules
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv, check_actions

_U1 = np.uint64(1)


def episode_seed(seed: int, episode: int) -> int:
    """Seed of one episode of a battle that was reset with ``seed=[seed]``: ``episode`` counts from 0, the episode of that
    reset. Who plays the same episode elsewhere (the mock server) gets it from here."""
    return int(RandomStreams(1, [seed]).bits(episode + 1)[0, episode] >> _U1)


class BattleTeamEnv(VectorTeamEnv):
    """``num_envs`` battles of one scenario: SMAC's observations, states, masks and rewards over the simulator's physics.

    Its results are not SMAC's: the rules are, the physics and the enemy are not.

    Args:
        played: A scenario, or the name of one (``"3m"``, ``"terran_5_vs_5"``).
        num_envs: B, battles side by side, >= 1.
        options: SMAC's options; None: the standard ones of the scenario's family.
        backend: ``"numpy"``, ``"numba"`` or ``"auto"`` (numba where it is installed); both give the same battles.
        collisions: Whether units get in each other's way.
        seed: Seed of the random streams, as in :meth:`reset`; None starts from fresh entropy.

    Raises:
        ValueError: There is no such scenario, ``num_envs`` is not a whole number >= 1, or the options do not fit.
        ImportError: ``backend="numba"`` without numba.
    """

    def __init__(
        self,
        played: Scenario | str,
        num_envs: int = 1,
        *,
        options: SmacOptions | None = None,
        backend: Backend = "auto",
        collisions: bool = True,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.scenario = scenario(played) if isinstance(played, str) else played
        self.options = SmacOptions.for_scenario(self.scenario) if options is None else options
        self.num_envs = num_envs
        self.field = Battlefield(self.scenario, num_envs, backend=backend, collisions=collisions)
        self.rules = SmacRules(self.scenario, self.options, num_envs, self.field.terrain)
        self.spec = self.rules.spec
        self._streams = RandomStreams(num_envs, seed)
        self._ready = False
        skills = (self.options.attack, self.options.health, self.options.enemy_mask)
        #: [B] steps of the running episodes.
        self.steps = np.zeros(num_envs, np.int64)
        self._draws = self.scenario.generated is not None or any(skill is not None for skill in skills)

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`. An episode begins one game loop after its units were placed, as in SMAC.

        Raises:
            ValueError: The mask has a wrong shape, or leaves out a battle that was never started.
        """
        if mask is None:
            mask = np.ones(self.num_envs, np.bool_)
        mask = np.asarray(mask, np.bool_)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"reset mask has shape {mask.shape}; expected ({self.num_envs},).")
        if not self._ready and not mask.all():
            raise ValueError("the first reset must start all games; give no mask.")
        if seed is not None:
            self._streams.seed(seed, mask)
        rows = np.flatnonzero(mask)
        seeds: list[int] = (self._streams.bits_at(mask, 1)[:, 0] >> _U1).tolist()
        drawn: list[Capabilities] | None = None
        if self._draws:
            drawn = [draw(self.scenario, self.options, each) for each in seeds]
        self.field.spawn(rows, seeds, drawn, first_loop=True)
        self.steps[rows] = 0
        self._ready = True
        return self.rules.begin(rows, self.field.units, drawn, seeds)

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`. ``info`` has ``won``, ``failed``, ``dead_allies`` and ``dead_enemies``. A battle
        that is over and not reset plays on, and nothing of it counts."""
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self.rules.team_obs.action_mask, self.num_envs)
        doomed = self.rules.doomed
        self.field.order(self.rules.orders(actions))
        if doomed is None:
            self.field.advance(self.options.step_mul)
        else:
            self.field.advance(self.options.step_mul - self.options.kill_unit_step_mul)
            for row in np.flatnonzero(doomed.any(axis=1)):
                self.field.kill(int(row), np.flatnonzero(doomed[row]))
            self.field.advance(self.options.kill_unit_step_mul)
        self.steps += 1
        return self.rules.score(self.field.units)

    def get_state(self) -> dict[str, Any]:
        """See :meth:`VectorTeamEnv.get_state`."""
        return {
            "ready": self._ready,
            "steps": self.steps.copy(),
            "streams": self._streams.get_state(),
            "field": self.field.get_state(),
            "rules": self.rules.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is of another number of battles or units.
        """
        self._streams.set_state(state["streams"])
        self.field.set_state(state["field"])
        self._ready = state["ready"]
        self.steps[:] = state["steps"]
        return self.rules.set_state(state["rules"])

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """See :meth:`VectorTeamEnv.render`; see :func:`~rllib_reborn.envs.battle.drawing.draw_battle` for what is what.

        Raises:
            ValueError: The battle was never started.
            ImportError: Pillow is not installed.
        """
        if not self._ready:
            raise ValueError("render was called before reset; call reset first.")
        n, units = self.scenario.n_agents, self.field.units.rows([index])
        allies, enemies = np.split((units.health[0] > 0).astype(int), [n])
        caption = f"{self.scenario.name}: {allies.sum()} of {n} allies, {enemies.sum()} of {enemies.size} enemies"
        return draw_battle(self.field.terrain, units, self.field.targets(index), n, caption)
