"""The team in a running game: who is alive, what each sees, what each may do, and how the episode ends for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.foreign_calls import one_flag
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentStep
from rllib_reborn.envs.adapters.spaces import MASK_KEY, TeamLayout


def given_mask(observation: Any, info: Any) -> Any | None:
    """The action mask that an environment gave an agent, in its observation or its info; None if it gave none."""
    if isinstance(observation, dict) and observation.get(MASK_KEY) is not None:
        return observation[MASK_KEY]
    return info.get(MASK_KEY) if isinstance(info, dict) else None


class EndedAgents:
    """The agents of a running episode that were flagged, and whether they are in the game again.

    Libraries differ in what they still say of an agent that has ended: some leave it out, some flag it at every step.
    After either, one that is in the game with an observation and without a flag has begun anew (it respawned) and acts
    again. One that has both in the very next step may be dead or not, and only the environment can say which.
    """

    def __init__(self) -> None:
        #: Agent -> whether it was left out, or flagged once more, since it ended.
        self._since: dict[Any, bool] = {}

    def clear(self) -> None:
        """A new episode."""
        self._since.clear()

    def in_game(self, agent: Any, outcome: MultiAgentStep, step: int) -> tuple[bool, bool, bool]:
        """Whether ``agent`` is alive after ``step``, and its flags, terminated and truncated.

        Raises:
            ValueError: A flag is none; or it ended in the step before, and nothing says whether it is dead or has begun
                anew.
        """
        terminated, truncated = outcome.terminated.get(agent, False), outcome.truncated.get(agent, False)
        if terminated is not False or truncated is not False:
            terminated = one_flag(terminated, f"the flag terminated of agent {agent!r}")
            truncated = one_flag(truncated, f"the flag truncated of agent {agent!r}")
        if terminated or truncated:
            self._since[agent] = agent in self._since or agent not in outcome.present
            return False, terminated, truncated
        there = agent in outcome.present
        since = self._since.get(agent)
        if since is None:
            return there, False, False
        if not there or outcome.observations.get(agent) is None:
            self._since[agent] = True
            return False, False, False
        if not since:
            raise ValueError(
                f"agent {agent!r} ended in step {step - 1}, and in step {step} it has an observation and no flag; an "
                "environment must flag a dead agent at every step or leave it out, and must not flag one that begins anew "
                "at once."
            )
        del self._since[agent]
        return True, False, False


class AgentLayout:
    """The agents of a team in one game.

    An agent is alive until it is flagged or leaves the game. It may join late, and come back: see :class:`EndedAgents`.
    Who does not act (dead, not there, or waiting) has zeros as its observation and action 0 alone available, and is not
    sent to the environment.

    The episode is over when no agent of the team is alive. It was cut (truncated) if an agent that was alive before the
    last step was truncated and not terminated in it: such agents show their final observation and mask, from which the
    learner bootstraps. Otherwise the episode ended (terminated).

    Args:
        agents: Names, in the order of the arrays.
        layout: How observations and actions fit into the arrays.
        may_wait: Whether a living agent without an observation waits; else that is a fault of the environment.
    """

    def __init__(self, agents: Sequence[Any], layout: TeamLayout, *, may_wait: bool) -> None:
        self._agents = tuple(agents)
        self._layout = layout
        self._may_wait = may_wait
        n = len(self._agents)
        self.alive = np.zeros(n, np.bool_)  #: [n]
        self._ended = EndedAgents()
        self._step = 0
        self._acting = np.zeros(n, np.bool_)
        self._ever_masked = np.zeros(n, np.bool_)
        self.obs = np.zeros((n, layout.obs_dim), layout.obs_dtype)  #: [n, d]
        self.mask = np.zeros((n, layout.n_actions), np.bool_)  #: [n, A]
        counts = [actions.count for actions in layout.actions]
        self._every_action = np.arange(layout.n_actions) < np.array(counts)[:, np.newaxis]  # [n, A] without a mask

    def begin(self, outcome: MultiAgentStep) -> None:
        """A new episode.

        Raises:
            ValueError: No agent is there, or one that is has no usable observation or mask.
        """
        self._ended.clear()
        self._step = 0
        self._ever_masked[:] = False
        self.alive[:] = [agent in outcome.present for agent in self._agents]
        if not self.alive.any():
            raise ValueError(f"after the reset none of the agents {list(self._agents)} is in the game.")
        self._look(outcome, self.alive, acted=np.zeros_like(self.alive))

    def chosen(self, actions: npt.NDArray[np.integer[Any]]) -> dict[Any, Any]:
        """The actions [n] of those who act, by name and in the values of their action spaces."""
        ranges = self._layout.actions
        return {self._agents[i]: ranges[i].of_env(int(actions[i])) for i in np.flatnonzero(self._acting)}

    def advance(self, outcome: MultiAgentStep) -> tuple[bool, bool]:
        """Take in the outcome of a step.

        Returns:
            Whether the episode of the team terminated, and whether it was truncated.

        Raises:
            ValueError: An observation or a mask is missing or unusable, or whether an agent has ended is not clear; the
                message names the agent.
        """
        self._step += 1
        acted = self._acting.copy()
        cut = np.zeros_like(self.alive)
        for i, agent in enumerate(self._agents):
            there, terminated, truncated = self._ended.in_game(agent, outcome, self._step)
            if self.alive[i] and not there:
                cut[i] = truncated and not terminated
            self.alive[i] = there
        over = not self.alive.any()
        truncated = over and bool(cut.any())
        self._look(outcome, cut if truncated else self.alive, acted)
        return over and not truncated, truncated

    def _look(self, outcome: MultiAgentStep, shown: npt.NDArray[np.bool_], acted: npt.NDArray[np.bool_]) -> None:
        """Fill the arrays: what the agents of ``shown`` see and may do, and what the others are left with."""
        # New arrays: what was handed out stays as it was.
        self.obs = np.zeros_like(self.obs)
        self.mask = np.zeros_like(self.mask)
        self.mask[:, 0] = True
        self._acting = np.zeros_like(self._acting)
        for i in np.flatnonzero(shown):
            agent = self._agents[i]
            observation = outcome.observations.get(agent)
            if observation is None:
                # Who waited when the episode was cut has nothing to show; who acted has.
                if self._may_wait and (self.alive[i] or not acted[i]):
                    continue
                state = "alive" if self.alive[i] else "truncated"
                raise ValueError(
                    f"agent {agent!r} is {state} and has no observation; the environment must return one for every "
                    "agent that is alive, and the last one of those that are truncated."
                )
            self._acting[i] = self.alive[i]
            self.mask[i] = self._mask(int(i), observation, outcome.infos.get(agent))
            # A Dict that carries the mask is flattened without it; the layout knows.
            try:
                self._layout.write(int(i), observation, self.obs[i])
            except ValueError as error:
                raise ValueError(f"the observation of agent {agent!r} does not fit: {error}") from error

    def _mask(self, index: int, observation: Any, info: Any) -> npt.NDArray[np.bool_]:
        agent, given = self._agents[index], given_mask(observation, info)
        if given is None:
            if self._ever_masked[index]:
                raise ValueError(f"agent {agent!r} had an action mask before and has none now; give one at every step.")
            every_action: npt.NDArray[np.bool_] = self._every_action[index]
            return every_action
        self._ever_masked[index] = True
        row, actions = np.zeros(self._layout.n_actions, np.bool_), self._layout.actions[index]
        row[: actions.count] = actions.mask(given, f"agent {agent!r}")
        if not row.any():
            if self.alive[index]:
                raise ValueError(
                    f"agent {agent!r} is alive and its action mask allows nothing; allow one action at least."
                )
            row[0] = True  # it was truncated, and many environments leave no action to who is done
        return row
