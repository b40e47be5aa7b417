"""A team of a game of named agents, whichever library the game is from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.agent_layout import AgentLayout
from rllib_reborn.envs.adapters.episode_limit import find_episode_limit
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep
from rllib_reborn.envs.adapters.opponents import Opponents
from rllib_reborn.envs.adapters.spaces import team_layout
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.adapters.team_reward import team_reward
from rllib_reborn.envs.adapters.team_selection import group_names, select_team
from rllib_reborn.envs.adapters.team_state import TeamState
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame
from rllib_reborn.suggestions import did_you_mean


class AdaptedGame(TeamGame):
    """The team of a game of named agents.

    An episode that reaches ``episode_limit`` is cut there (truncated), whatever the game says of going on.

    Args:
        game: The game.
        env: The foreign environment that it is made of, which may say how long its episodes are.
        options: How it becomes a team.
        env_options: What ``env`` was built with, which may say it too.

    Raises:
        ValueError: It cannot; the message says what to change.
    """

    def __init__(
        self,
        game: MultiAgentGame,
        env: Any,
        options: TeamOptions | None = None,
        env_options: Mapping[str, Any] | None = None,
    ) -> None:
        options = options or TeamOptions()
        episode_limit = options.episode_limit or find_episode_limit(env, env_options or {}, game.title)
        self._game = game
        team, others = select_team(game.title, game.agents, options.agents)
        observation_spaces = [game.observation_space(agent) for agent in team]
        action_spaces = [game.action_space(agent) for agent in team]
        layout = team_layout(team, observation_spaces, action_spaces)
        self._team = team
        self._known = frozenset(game.agents)
        self._agent_layout = AgentLayout(team, layout, may_wait=game.may_wait)
        self._opponents = Opponents(game, others, options.opponents)
        self._reward = team_reward(options.reward, len(team))
        self._state = TeamState(options.state, game, layout)
        self._steps = 0
        self.spec = TeamSpec(
            n_agents=len(team),
            n_actions=layout.n_actions,
            obs_dim=layout.obs_dim,
            state_dim=self._state.dim,
            episode_limit=episode_limit,
            agent_ids=tuple(str(agent) for agent in team),
            agent_groups=group_names(team, list(zip(observation_spaces, action_spaces))),
            obs_dtype=layout.obs_dtype,
            state_dtype=self._state.dtype,
        )

    def reset(self, seed: int) -> GameObs:
        outcome = self._game.reset(seed)
        self._agent_layout.begin(outcome)
        self._opponents.begin(outcome, seed)
        self._steps = 0
        return self._game_obs()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        outcome = self._game.step(self._agent_layout.chosen(actions) | self._opponents.chosen())
        self._steps += 1
        _refuse_strangers(outcome, self._known, self._game.title)
        terminated, truncated = self._agent_layout.advance(outcome)
        self._opponents.advance(outcome)
        if not terminated and self._steps >= self.spec.episode_limit:
            truncated = True
        reward = self._reward(_of_team(outcome.rewards, self._team))
        return GameStep(self._game_obs(terminated), reward, terminated, truncated)

    def _game_obs(self, terminated: bool = False) -> GameObs:
        state = self._state.read(self._agent_layout.obs, terminated=terminated)
        return GameObs(self._agent_layout.obs, state, self._agent_layout.mask)

    def render(self) -> npt.NDArray[np.uint8]:
        return self._game.render()

    def close(self) -> None:
        self._game.close()


def _refuse_strangers(outcome: MultiAgentStep, known: Collection[Any], title: str) -> None:
    """Rewards and flags under another name than an agent's would be lost without a word.

    Raises:
        ValueError: There are some.
    """
    given = {"rewards": outcome.rewards, "terminated": outcome.terminated, "truncated": outcome.truncated}
    for what, by_name in given.items():
        for name in by_name:
            if name not in known:
                raise ValueError(
                    f"{title} gave {what} under the name {name!r}, which none of its agents has; use the names of "
                    f"possible_agents.{did_you_mean(str(name), sorted(map(str, known)))}"
                )


def _of_team(rewards: Mapping[Any, float], team: tuple[Any, ...]) -> dict[Any, float]:
    """Rewards of the team's agents in their order, dead ones too; agents without one are left out."""
    return {agent: _number(agent, rewards[agent]) for agent in team if rewards.get(agent) is not None}


def _number(agent: Any, reward: Any) -> float:
    value = np.asarray(reward, np.float64)
    if value.size != 1:
        raise ValueError(f"the reward of {agent!r} is {reward!r}; expected one number.")
    return float(value.reshape(()))
