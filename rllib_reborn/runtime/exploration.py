"""Epsilon-greedy acting: the schedule of epsilon, and who acts for all games and agents in one forward pass."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from rllib_reborn.envs.random_policy import epsilon_greedy
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs
from rllib_reborn.settings import Settings


class EpsilonSettings(Settings):
    """Epsilon-greedy exploration: from ``start`` to ``end``, linear over the first ``anneal_env_steps`` env steps
    (PyMARL: 1 to 0.05 over 50,000; docs/method.md)."""

    start: Annotated[float, Field(ge=0, le=1)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.05
    anneal_env_steps: Annotated[int, Field(ge=1)] = 50_000

    def at(self, env_steps: float) -> float:
        """Epsilon after ``env_steps`` env steps of the whole run."""
        progress = min(max(env_steps / self.anneal_env_steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * progress


class ActingModule(Protocol):
    """The part of a :class:`TeamRLModule` that acts."""

    def initial_hidden(self, num_envs: int) -> Tensor: ...

    def act(
        self,
        obs: npt.NDArray[Any],
        action_mask: npt.NDArray[np.bool_],
        last_actions: npt.NDArray[np.int64],
        hidden: Tensor,
    ) -> tuple[npt.NDArray[np.int64], Tensor]: ...


class EpsilonGreedyActor:
    """Acts in B games side by side, with one random stream for each game: so its actions depend on its seed and not on the
    games beside it.

    Args:
        module: The networks.
        num_envs: ``B``.
        n_agents: ``n``.
        seed: Seed of the random streams; None draws one from the system.
        salt: Separates these streams from others of the same seed.
        epsilon: Share of uniformly random legal actions, 0..1.

    Attributes:
        epsilon: As above; may be set between steps.
        hidden: [B, n, h] hidden states.
        last_actions: [B, n]; -1 where an episode has just begun.
    """

    def __init__(
        self, module: ActingModule, num_envs: int, n_agents: int, *, seed: int | None, salt: int, epsilon: float = 0.0
    ) -> None:
        self.module = module
        self.epsilon = epsilon
        self.streams = RandomStreams(num_envs, seed, salt=salt)
        self.last_actions = np.full((num_envs, n_agents), -1, np.int64)
        self.hidden = module.initial_hidden(num_envs)

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        if mask is None:
            if seed is not None:
                self.streams.seed(seed)
            self.hidden = self.module.initial_hidden(len(self.last_actions))
            self.last_actions = np.full_like(self.last_actions, -1)
            return
        self.last_actions[mask] = -1
        self.hidden[torch.from_numpy(mask).to(self.hidden.device)] = 0

    def act(self, obs: TeamObs) -> npt.NDArray[np.int64]:
        greedy, self.hidden = self.module.act(obs.obs, obs.action_mask, self.last_actions, self.hidden)
        # Drawn whatever epsilon is, so that streams keep step.
        uniforms = self.streams.uniform(greedy.shape[1])
        self.last_actions = epsilon_greedy(greedy, obs.action_mask, uniforms, self.epsilon)
        return self.last_actions

    def get_state(self) -> dict[str, Any]:
        """Random streams, last actions and hidden states, as arrays."""
        return {
            "streams": self.streams.get_state(),
            "last_actions": self.last_actions.copy(),
            "hidden": self.hidden.cpu().numpy().copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.streams.set_state(state["streams"])
        self.last_actions = state["last_actions"].copy()
        self.hidden = torch.from_numpy(state["hidden"].copy()).to(self.hidden.device)
