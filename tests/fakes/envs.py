"""Small team envs that do what a test needs: count, crash, return nonsense."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions


class MaskedWalk(VectorTeamEnv):
    """Two agents, four actions, a random mask that always allows one action at least; episodes of random length.

    Observations are random numbers of the game's own stream, rewards the sum of the actions.

    Args:
        limit: Episode limit.
        fault: None, or what goes wrong at env step ``at`` of every game batch: ``nan_obs``, ``nan_reward``,
            ``wrong_shape``, ``endless``, ``raise`` (once per object), ``raise_always``, ``raise_every_second``,
            ``reset_always``, ``game_failed``, ``games_always_fail``, ``first_always_fails``, ``int_mask``,
            ``float_ends``, ``no_action``.
    """

    def __init__(self, num_envs: int = 1, limit: int = 6, fault: str | None = None, at: int = 5, state_dim: int = 3):
        self.spec = TeamSpec(n_agents=2, n_actions=4, obs_dim=3, state_dim=state_dim, episode_limit=limit, has_win=True)
        self.num_envs = num_envs
        self._fault, self._at, self._steps = fault, at, 0
        self._streams = RandomStreams(num_envs)
        self._time = np.zeros(num_envs, np.int64)
        self._obs = np.zeros((num_envs, 2, 3), np.float32)
        self._state = np.zeros((num_envs, state_dim), np.float32)
        self._mask = np.ones((num_envs, 2, 4), bool)

    def _draw(self, chosen: np.ndarray) -> None:
        u = self._streams.uniform_at(chosen, 18).astype(np.float32)
        self._obs[chosen] = u[:, :6].reshape(-1, 2, 3)
        self._state[chosen] = u[:, 6 : 6 + 1]
        mask = u[:, 7:15].reshape(-1, 2, 4) < 0.5
        sure = (u[:, 15:17] * 4).astype(int)
        np.put_along_axis(mask, sure[..., None], True, axis=2)
        self._mask[chosen] = mask

    def _team_obs(self) -> TeamObs:
        return TeamObs(self._obs.copy(), self._state.copy(), self._mask.copy())

    def reset(self, *, seed: Any = None, mask: np.ndarray | None = None) -> TeamObs:
        if self._fault == "reset_always":
            raise RuntimeError("no new game")
        chosen = np.ones(self.num_envs, bool) if mask is None else mask
        if seed is not None:
            self._streams.seed(seed, chosen)
        self._time[chosen] = 0
        self._draw(chosen)
        return self._team_obs()

    def step(self, actions: np.ndarray) -> TeamStep:
        check_actions(actions, self._mask, self.num_envs)
        self._steps += 1
        now = self._steps == self._at
        if self._fault == "raise_always" or (self._fault == "raise" and now):
            raise RuntimeError("the game process died")
        if self._fault == "raise_every_second" and self._steps % 2 == 0:
            raise RuntimeError("the game process died again")
        self._time += 1
        everyone = np.ones(self.num_envs, bool)
        u = self._streams.uniform(1)[:, 0]
        self._draw(everyone)
        reward = actions.sum(1).astype(np.float32)
        truncated = self._time >= self.spec.episode_limit
        terminated = (u < 0.15) & ~truncated
        info = {"won": terminated.copy()}
        obs = self._team_obs()
        if self._fault == "raise_every_second":
            terminated[:] = False
        if self._fault == "endless":
            terminated[:] = truncated[:] = False
        if now:
            if self._fault == "nan_obs":
                obs.obs[0, 0, 0] = np.nan
            if self._fault == "nan_reward":
                reward[0] = np.nan
            if self._fault == "wrong_shape":
                obs = TeamObs(obs.obs[:, :1], obs.state, obs.action_mask)
            if self._fault == "int_mask":
                obs = TeamObs(obs.obs, obs.state, obs.action_mask.astype(np.int8))
            if self._fault == "float_ends":
                terminated = terminated.astype(np.float64)
            if self._fault == "no_action":
                obs.action_mask[0, 1] = False
        if self._fault == "games_always_fail" or (self._fault == "game_failed" and now):
            info["failed"] = everyone.copy()
        if self._fault == "first_always_fails":
            info["failed"] = np.arange(self.num_envs) == 0
        return TeamStep(obs, reward, terminated, truncated, info)

    def get_state(self) -> dict[str, Any]:
        return {
            "streams": self._streams.get_state(),
            "arrays": [a.copy() for a in (self._time, self._obs, self._state, self._mask)],
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        self._streams.set_state(state["streams"])
        for target, array in zip((self._time, self._obs, self._state, self._mask), state["arrays"]):
            target[:] = array
        return self._team_obs()


class Unsaveable(MaskedWalk):
    """A game that cannot give its state (as StarCraft cannot)."""

    def get_state(self) -> None:  # type: ignore[override]
        return None
