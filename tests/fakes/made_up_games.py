"""Games made up from a few numbers, which keep a ledger of what really happened in them, in this process."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame
from rllib_reborn.envs.vectorize import VectorizedTeamEnv

#: How an episode may end: by itself in one of these ways, or not at all before the limit.
ENDS = ("terminated", "truncated", "both", "limit")


@dataclasses.dataclass
class Played:
    """One episode as its game saw it: lists grow by one entry per observation or step. ``end`` is one of :data:`ENDS`, or
    ``crash``."""

    end: str
    observations: list[GameObs] = dataclasses.field(default_factory=list)
    actions: list[np.ndarray] = dataclasses.field(default_factory=list)
    rewards: list[float] = dataclasses.field(default_factory=list)

    @property
    def is_terminated(self) -> bool:
        """Both flags count as terminated."""
        return self.end in ("terminated", "both")


@dataclasses.dataclass
class Ledger:
    """``finished`` in the order of their last steps; ``illegal``: sentences on what should not have reached a game."""

    finished: list[Played] = dataclasses.field(default_factory=list)
    crashes: int = 0
    illegal: list[str] = dataclasses.field(default_factory=list)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]


LEDGER = Ledger()


class MadeUpGame(TeamGame):
    """Sizes as in the spec; all else follows from the episode's seed.

    Args:
        ends: Ways in which episodes end, each equally likely; from :data:`ENDS`.
        open_actions: How likely an action is available, 0..1.
        deaths: How likely an agent dies within an episode, 0..1.
        crashes: How likely an episode crashes instead, 0..1.
    """

    def __init__(
        self,
        *,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        episode_limit: int,
        obs_dtype: str = "float32",
        ends: tuple[str, ...] = ENDS,
        open_actions: float = 0.5,
        deaths: float = 0.5,
        crashes: float = 0.0,
    ) -> None:
        self.spec = TeamSpec(
            n_agents=n_agents,
            n_actions=n_actions,
            obs_dim=obs_dim,
            state_dim=state_dim,
            episode_limit=episode_limit,
            obs_dtype=obs_dtype,
        )
        self._ends, self._open_actions = ends, open_actions
        self._chance_of_death, self._chance_of_crash = deaths, crashes
        self._episode: Played | None = None

    def reset(self, seed: int) -> GameObs:
        spec = self.spec
        self._random = np.random.default_rng(seed)
        dies = self._random.random(spec.n_agents) < self._chance_of_death
        self._death = np.where(dies, self._random.integers(0, spec.episode_limit + 1, spec.n_agents), np.inf)
        self._length = int(self._random.integers(1, spec.episode_limit + 1))
        crashes = self._random.random() < self._chance_of_crash
        self._episode = Played("crash" if crashes else str(self._random.choice(self._ends)))
        return self._look()

    def step(self, actions: Any) -> GameStep:
        episode = self._episode
        if episode is None:
            LEDGER.illegal.append("a game was stepped that has no running episode")
            raise AssertionError
        allowed = episode.observations[-1].action_mask[np.arange(self.spec.n_agents), actions]
        if not allowed.all():
            LEDGER.illegal.append(f"{actions} are not all allowed by {episode.observations[-1].action_mask}")
            raise AssertionError
        time = len(episode.rewards) + 1
        if episode.end == "crash" and time == self._length:
            LEDGER.crashes += 1
            self._episode = None
            raise RuntimeError("this game was made up to crash")
        # Quarters: their sums are exact in float32.
        reward = float(self._random.integers(-8, 9) + actions.sum()) / 4
        episode.actions.append(np.array(actions))
        episode.rewards.append(reward)
        over = time == self._length and episode.end != "limit"
        step = GameStep(
            self._look(),
            reward,
            over and episode.end in ("terminated", "both"),
            over and episode.end in ("truncated", "both"),
        )
        if over or time == self.spec.episode_limit:
            LEDGER.finished.append(episode)
            self._episode = None
        return step

    def _look(self) -> GameObs:
        assert self._episode is not None
        spec, random = self.spec, self._random
        alive = len(self._episode.rewards) < self._death
        mask = random.random((spec.n_agents, spec.n_actions)) < self._open_actions
        mask[np.arange(spec.n_agents), random.integers(0, spec.n_actions, spec.n_agents)] = True
        mask[~alive] = np.arange(spec.n_actions) == 0
        obs = random.integers(0, 256, (spec.n_agents, spec.obs_dim)) * alive[:, None]
        state = random.random(spec.state_dim, np.float32)
        game_obs = GameObs(obs.astype(spec.obs_dtype), state, mask)
        self._episode.observations.append(GameObs(*(part.copy() for part in game_obs)))
        return game_obs


def make_env(num_envs: int = 1, **recipe: Any) -> VectorizedTeamEnv:
    """Made-up games for a config: ``tests.fakes.made_up_games:make_env``."""
    return VectorizedTeamEnv(lambda: MadeUpGame(**recipe), num_envs)
