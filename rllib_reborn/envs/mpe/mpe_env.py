"""Particle worlds, batch-native: B games stepped together as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.options import TwoSidedOptions
from rllib_reborn.envs.mpe.physics import Physics
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.world_arrays import Floats, WorldArrays
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamStep, VectorTeamEnv, check_actions, checked_reset_mask


class MpeTeamEnv(VectorTeamEnv):
    """``num_envs`` games of a particle world, one step of which is 0.1 s.

    * Actions: none, left, right, down, up; of agents that move and speak ``move + 5 * word``; of those that only speak
      ``word``. All are always available, apart from the numbers beyond those of agents that have fewer.
    * Observation, float32: as mpe2's; see the scenario. Where agents of the team differ, zeros fill up the shorter ones, and
      the agent's one-hot number follows.
    * State, float32: the observations of all agents, opponents too, in a row, as mpe2's ``state()``.
    * Reward: the sum (or mean) of those of the team's agents.
    * ``truncated``: the step limit is reached. ``terminated``: with ``terminate_on_success`` before it (never both);
      ``info["won"]`` is there then alone, and says whether success was reached, in the last step too.

    Random numbers: a reset draws one of the game's stream for each goal, then one for each coordinate of agents and
    landmarks; a step one for each opponent that plays at random, and else none.

    Args:
        scenario: The game, e.g. ``Spread(SpreadOptions(N=5))``.
        num_envs: Games stepped side by side, >= 1.
        seed: Seed of the random streams, as in :meth:`reset`; None starts from fresh entropy.

    Raises:
        ValueError: ``num_envs`` is not a whole number >= 1.
    """

    def __init__(
        self, scenario: ParticleScenario, num_envs: int = 1, *, seed: int | Sequence[int] | None = None
    ) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.scenario = scenario
        self.spec = scenario.spec()
        self.num_envs = num_envs
        self._streams = RandomStreams(num_envs, seed)
        self._ready = False
        world, B = scenario.world, num_envs
        self._arrays = WorldArrays(world, scenario.rows, B)
        self._physics = Physics(world, B)
        self._steps = np.zeros(B, np.int64)
        self._actions = np.zeros((world.n_agents, B), np.intp)
        n_bodies = world.n_agents + world.n_landmarks
        self._bodies = slice(0, n_bodies)
        starts = [1.0] * world.n_agents + [landmark.start for landmark in world.landmarks]
        self._starts = np.array(starts)[:, None]

        options = scenario.options
        n_opponents = scenario.opponents.stop - scenario.opponents.start
        kind = options.opponents if isinstance(options, TwoSidedOptions) else "noop"
        self._scripted, self._drawn = kind == "scripted", n_opponents if kind == "random" else 0
        self._choices = np.array([agent.n_actions for agent in world.agents[scenario.opponents]])

        spec = self.spec
        self._gather = [_Gather(scenario.state_rows, B)]
        obs_rows = [row for rows in scenario.team_rows for row in rows]
        state = self._gather[0].out
        if obs_rows == scenario.state_rows:
            obs = state.reshape(B, spec.n_agents, spec.obs_dim)
        else:
            self._gather.append(_Gather(obs_rows, B))
            obs = self._gather[1].out.reshape(B, spec.n_agents, spec.obs_dim)
        mask = np.zeros((B, spec.n_agents, spec.n_actions), np.bool_)
        for number, agent in enumerate(world.agents[scenario.team]):
            mask[:, number, : agent.n_actions] = True
        self._obs = TeamObs(obs, state, mask)
        self._never = np.zeros(B, np.bool_)
        self._never.flags.writeable = False

    # ---------------------------------------------------------------------------------------- the contract

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`.

        Raises:
            ValueError: The mask has a wrong shape, or leaves out a game that was never started.
        """
        mask = checked_reset_mask(mask, self.num_envs, started=self._ready)
        if seed is not None:
            self._streams.seed(seed, mask)
        world, arrays = self.scenario.world, self._arrays
        bodies, goals = self._bodies.stop, world.n_goals
        count = goals + 2 * bodies
        numbers = (self._streams.uniform(count) if mask is None else self._streams.uniform_at(mask, count)).T
        games: Any = slice(None) if mask is None else np.flatnonzero(mask)
        arrays.goals[:, games] = numbers[:goals] * world.n_landmarks
        places = numbers[goals:].reshape(bodies, 2, -1).transpose(1, 0, 2)
        arrays.positions[:, self._bodies, games] = places * (2 * self._starts) - self._starts
        arrays.velocities[:, :, games] = 0
        arrays.messages[:, games] = 0
        self._steps[games] = 0
        self._ready = True
        return self._begin()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`. A game that is over and not reset plays on."""
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self._obs.action_mask, self.num_envs)
        scenario, arrays, chosen = self.scenario, self._arrays, self._actions
        chosen[scenario.team] = actions.T
        if self._scripted:
            chosen[scenario.opponents] = scenario.scripted(arrays)
        elif self._drawn:
            chosen[scenario.opponents] = (self._streams.uniform(self._drawn) * self._choices).T
        self._physics.advance(arrays, chosen)
        obs = self._look()

        rewards = np.add.reduce(scenario.rewards(arrays), axis=0)
        if scenario.options.reward == "mean":
            rewards /= self.spec.n_agents
        self._steps += 1
        truncated = self._steps >= self.spec.episode_limit
        terminated = np.zeros(self.num_envs, np.bool_)
        info = {"failed": self._never}
        success = scenario.success(arrays)
        if success is not None:
            np.greater(success, truncated, out=terminated)
            info["won"] = success
        return TeamStep(obs, rewards.astype(np.float32), terminated, truncated, info)

    def get_state(self) -> dict[str, Any]:
        """All that decides the future.

        Returns:
            ``positions`` [B, E, 2] float64 of agents, then landmarks; ``velocities`` [B, n, 2] float64; ``messages`` [B, W]
            int8, the last words of those who speak, one-hot, one agent after the other; ``goals`` [B, G] int64, numbers of
            the landmarks that are goals; ``steps`` [B] int64; ``streams``, the random streams; ``ready``, whether the games
            were started.
        """
        arrays = self._arrays
        return {
            "positions": arrays.positions[:, self._bodies].transpose(2, 1, 0).copy(),
            "velocities": arrays.velocities.transpose(2, 1, 0).copy(),
            "messages": arrays.messages.T.astype(np.int8),
            "goals": arrays.goals.T.astype(np.int64),
            "steps": self._steps.copy(),
            "streams": self._streams.get_state(),
            "ready": self._ready,
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is of another world or another number of games, or holds what cannot be.
        """
        arrays = self._arrays
        current = self.get_state()
        for name in ("positions", "velocities", "messages", "goals", "steps"):
            given = np.asarray(state[name])
            if given.shape != current[name].shape:
                raise ValueError(f"state has {name} of shape {given.shape}; expected {current[name].shape}.")
            if not np.isfinite(given).all():
                raise ValueError(f"state has {name} that are not finite.")
        goals = np.asarray(state["goals"])
        if goals.size and not (goals.min() >= 0 and goals.max() < self.scenario.world.n_landmarks):
            raise ValueError(f"state has goals outside 0..{self.scenario.world.n_landmarks - 1}.")
        self._streams.set_state(state["streams"])
        arrays.positions[:, self._bodies] = np.asarray(state["positions"]).transpose(2, 1, 0)
        arrays.velocities[:] = np.asarray(state["velocities"]).transpose(2, 1, 0)
        arrays.messages[:] = np.asarray(state["messages"]).T
        arrays.goals[:] = goals.T
        self._steps[:] = state["steps"]
        self._ready = bool(state["ready"])
        return self._begin()

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index``, [height, width, 3] uint8, about 480 pixels a side. Needs Pillow."""
        from rllib_reborn.envs.mpe.drawing import draw_world

        caption = f"step {self._steps[index]} / {self.spec.episode_limit}"
        return draw_world(self.scenario, self._arrays, index, caption)

    # ---------------------------------------------------------------------------------------- what is seen

    def _begin(self) -> TeamObs:
        """What lasts an episode, worked out from goals and places, and the observations."""
        self._arrays.mark_goals()
        self.scenario.begin(self._arrays)
        return self._look()

    def _look(self) -> TeamObs:
        arrays = self._arrays
        arrays.measure()
        self.scenario.look(arrays)
        for gather in self._gather:
            gather.write(arrays.rows)
        return self._obs


class _Gather:
    """Rows [F, B] of numbers as columns of one array [B, k] float32."""

    def __init__(self, chosen: Sequence[int], num_envs: int) -> None:
        self._chosen = np.array(chosen, np.intp)
        self._taken: Floats = np.zeros((len(chosen), num_envs))
        self.out: npt.NDArray[np.float32] = np.zeros((num_envs, len(chosen)), np.float32)

    def write(self, rows: Floats) -> None:
        rows.take(self._chosen, 0, self._taken, "clip")
        np.copyto(self.out, self._taken.T, casting="same_kind")
