"""A team of a game of named agents, whichever library the game is from."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.agent_layout import AgentLayout
from rllib_reborn.envs.adapters.episode_limit import find_episode_limit
from rllib_reborn.envs.adapters.foreign_calls import raised, shown
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep
from rllib_reborn.envs.adapters.opponents import Opponents
from rllib_reborn.envs.adapters.spaces import team_layout
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.adapters.team_reward import team_reward
from rllib_reborn.envs.adapters.team_selection import by_name, group_names, in_order_of, select_team
from rllib_reborn.envs.adapters.team_state import TeamState
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import FaultyGameError, GameObs, GameStep, TeamGame
from rllib_reborn.suggestions import did_you_mean

logger = logging.getLogger(__name__)


class AdaptedGame(TeamGame):
    """The team of a game of named agents.

    An episode that reaches ``episode_limit`` is cut there (truncated), whatever the game says of going on. What the game
    does wrong in a reset or a step is a :class:`FaultyGameError` that names it; what ``close()`` raises is a warning.

    Args:
        game: The game.
        env: The foreign environment that it is made of, which may say how long its episodes are.
        options: How it becomes a team.
        env_options: What ``env`` was built with, which may say it too.
        agent_ids: The order of the team in the arrays, where these are the names of its agents; else that of ``game``, which
            may be another one in another process.

    Raises:
        ValueError: It cannot; the message says what to change.
    """

    def __init__(
        self,
        game: MultiAgentGame,
        env: Any,
        options: TeamOptions | None = None,
        env_options: Mapping[str, Any] | None = None,
        agent_ids: Sequence[str] = (),
    ) -> None:
        options = options or TeamOptions()
        episode_limit = options.episode_limit or find_episode_limit(env, env_options or {}, game.title)
        self._game = game
        team, others = select_team(game.title, game.agents, options.agents)
        team = in_order_of(agent_ids, team)
        observation_spaces = [game.observation_space(agent) for agent in team]
        action_spaces = [game.action_space(agent) for agent in team]
        scaled = options.observation_scale == "auto"
        layout = team_layout(
            team, observation_spaces, action_spaces, scaled=scaled, flatten_actions=options.flatten_actions
        )
        self._team = team
        self._known = frozenset(game.agents)
        self._agent_layout = AgentLayout(team, layout, may_wait=game.may_wait)
        self._opponents = Opponents(game, by_name(others), options.opponents)
        self._reward = team_reward(options.reward, len(team))
        self._state = TeamState(options.state, game, layout, scaled=scaled)
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
            obs_scale=layout.obs_scale,
            state_scale=self._state.scale,
            obs_parts=layout.obs_parts,
        )

    def reset(self, seed: int) -> GameObs:
        try:
            outcome = self._game.reset(seed)
            _refuse_strangers(outcome, self._known, self._game.title)
            self._agent_layout.begin(outcome)
            self._opponents.begin(outcome, seed)
            self._steps = 0
            return self._game_obs()
        except FaultyGameError:
            raise
        except ValueError as error:
            raise FaultyGameError(f"{self._game.title}: {error}") from error

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        try:
            ours = self._agent_layout.chosen(actions)
            outcome = self._game.step(ours | self._opponents.chosen())
            self._steps += 1
            _refuse_strangers(outcome, self._known, self._game.title)
            terminated, truncated = self._agent_layout.advance(outcome)
            self._opponents.advance(outcome)
            if not terminated and self._steps >= self.spec.episode_limit:
                truncated = True
            if self._game.rewards_all:
                self._refuse_unpaid(ours, outcome.rewards)
            reward = self._reward(_of_team(outcome.rewards, self._team))
            return GameStep(self._game_obs(terminated), reward, terminated, truncated)
        except FaultyGameError:
            raise
        except ValueError as error:
            raise FaultyGameError(f"{self._game.title}: {error}") from error

    def _refuse_unpaid(self, acted: Mapping[Any, int], rewards: Mapping[Any, Any]) -> None:
        for agent, alive in zip(self._team, self._agent_layout.alive):
            if alive and agent in acted and agent not in rewards:
                raise ValueError(
                    f"agent {agent!r} acted, is alive and got no reward (rewards came for {sorted(map(str, rewards))}); "
                    "give 0.0 to an agent for which the step was worth nothing."
                )

    def _game_obs(self, terminated: bool = False) -> GameObs:
        state = self._state.read(self._agent_layout.obs, terminated=terminated)
        return GameObs(self._agent_layout.obs, state, self._agent_layout.mask)

    def render(self) -> npt.NDArray[np.uint8]:
        return self._game.render()

    def close(self) -> None:
        try:
            self._game.close()
        except Exception as error:
            # Many close what only a reset or a render opens; a game that is built for its spec has had neither.
            _warn_of_close(self._game.title, raised(error))


@functools.lru_cache(maxsize=256)
def _warn_of_close(title: str, what: str) -> None:
    """Once per environment and process: a runner has many games."""
    logger.warning("%s: close() raised %s; it must work whether the environment was reset or not.", title, what)


def _refuse_strangers(outcome: MultiAgentStep, known: frozenset[Any], title: str) -> None:
    """Observations, rewards and flags under another name than an agent's would be lost without a word.

    Raises:
        FaultyGameError: There are some.
    """
    for what, names in (
        ("observations", outcome.observations),
        ("rewards", outcome.rewards),
        ("terminated", outcome.terminated),
        ("truncated", outcome.truncated),
        ("agents", outcome.present),
    ):
        if not known.issuperset(names):
            _refuse_names(what, names, known, title)


def _refuse_names(what: str, names: Iterable[Any], known: frozenset[Any], title: str) -> None:
    for name in names:
        if name not in known:
            raise FaultyGameError(
                f"{title} gave {what} under the name {name!r}, which none of its agents has; use the names of "
                f"possible_agents.{did_you_mean(str(name), sorted(map(str, known)))}"
            )


def _of_team(rewards: Mapping[Any, Any], team: tuple[Any, ...]) -> dict[Any, float]:
    """Rewards of the team's agents in their order, dead ones too; agents without one are left out."""
    return {agent: _number(agent, rewards[agent]) for agent in team if agent in rewards}


def _number(agent: Any, reward: Any) -> float:
    if type(reward) is float or type(reward) is int:
        return float(reward)
    try:
        value = np.asarray(reward)
        if value.size == 1 and value.dtype.kind in "biufO" and not isinstance(value.reshape(-1)[0], str | bytes):
            return float(value.reshape(-1)[0])
    except Exception:  # whatever the conversion of a foreign object raises, it is no number
        pass
    raise ValueError(f"the reward of {agent!r} is {shown(reward)}; expected one number.")
