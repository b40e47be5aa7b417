"""The one loop that plays games: act, step, count, begin ended games again, until enough has been played."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.failure_budget import FailureBudget
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep

Actions = npt.NDArray[np.integer[Any]]


class EnvCallError(Exception):
    """A call of the environment raised; the cause is chained."""


class RolloutEnv(Protocol):
    """What a rollout asks of an environment; a :class:`VectorTeamEnv` is one."""

    spec: TeamSpec
    num_envs: int

    def reset(self, *, seed: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs: ...

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep: ...


class Actor(Protocol):
    """Who acts in all games at once."""

    def begin(self, mask: npt.NDArray[np.bool_] | None, seed: int | None) -> None:
        """An episode begins in the games of ``mask`` [B]; None: in all, with random streams from ``seed`` if given."""

    def act(self, obs: TeamObs) -> Actions:
        """Joint actions [B, n], each one that its mask allows."""


@dataclasses.dataclass(frozen=True)
class EpisodeOutcome:
    """What is reported of a finished episode. ``won`` is None where the environment has no notion of winning."""

    episode_return: float
    length: int
    won: bool | None


class Transition(NamedTuple):
    """One step of all B games.

    Attributes:
        actions: [B, n].
        step: What the environment returned.
        done: [B] the episode is over, failed games included.
        any_done: Whether any episode is over; in most steps none is, and then nobody need look further.
        failed: [B] the game failed: its episode is dropped.
        counted: [B] the episode is finished and wanted (within the game's quota, where there are quotas).
        lengths: [B] env steps of the running episode, this one included.
        returns: [B] float64, undiscounted return of the running episode.
        won: [B] bool; None where the environment has no notion of winning, or no episode is over.
    """

    actions: Actions
    step: TeamStep
    done: npt.NDArray[np.bool_]
    any_done: bool
    failed: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]
    returns: npt.NDArray[np.float64]
    won: npt.NDArray[np.bool_] | None

    def outcome(self, game: int) -> EpisodeOutcome:
        """Of a game whose episode is finished."""
        won = None if self.won is None else bool(self.won[game])
        return EpisodeOutcome(float(self.returns[game]), int(self.lengths[game]), won)


class Rollout:
    """Plays the games of one environment; running episodes go on from one call of :meth:`run` to the next.

    Args:
        env: The environment.
        actor: Who acts.
        name: The environment's name, for messages.
        on_begin: Called with the observations of all games whenever episodes begin.
        on_step: Called with every transition, before ended games begin again.
        recover: Called where a call of the environment raised :class:`EnvCallError`; afterwards :meth:`begin` must have
            worked. None: the error is raised.

    Attributes:
        obs: Present observations; None before the first :meth:`begin`.
        env_steps: Taken so far, all games and all calls together.
        lengths, returns: [B] of the running episodes.
    """

    def __init__(
        self,
        env: RolloutEnv,
        actor: Actor,
        name: str,
        *,
        on_begin: Callable[[TeamObs], None] | None = None,
        on_step: Callable[[Transition], None] | None = None,
        recover: Callable[[EnvCallError], None] | None = None,
    ) -> None:
        self.env = env
        self.actor = actor
        self.name = name
        self.obs: TeamObs | None = None
        self.env_steps = 0
        self.lengths = np.zeros(env.num_envs, np.int64)
        self.returns = np.zeros(env.num_envs, np.float64)
        self._on_begin = on_begin
        self._on_step = on_step
        self._recover = recover
        self._budget = FailureBudget(name, env.num_envs)

    def begin(self, seed: int | None = None, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Begin an episode in the games of ``mask`` [B] (None: in all), with random streams from ``seed`` if given."""
        obs = self.env.reset(seed=seed) if mask is None else self.env.reset(mask=mask)
        chosen = slice(None) if mask is None else mask
        self.lengths[chosen] = 0
        self.returns[chosen] = 0
        self.actor.begin(mask, seed)
        self.obs = obs
        if self._on_begin is not None:
            self._on_begin(obs)

    def run(
        self,
        *,
        quotas: npt.NDArray[np.int64] | None = None,
        episodes: int | None = None,
        steps: int | None = None,
    ) -> int:
        """Play until enough is finished; give one of the three.

        Args:
            quotas: [B] episodes that each game must finish. Taking the first to finish would favour short episodes.
            episodes: Episodes to finish in all games together.
            steps: Env steps to take, all games together.

        Returns:
            Env steps taken.

        Raises:
            EnvContractError: Games fail again and again without a finished episode in between, or one does not end at its
                limit.
        """
        num_envs, limit, has_win = self.env.num_envs, self.env.spec.episode_limit, self.env.spec.has_win
        no_game = np.zeros(num_envs, np.bool_)
        played = np.zeros(num_envs, np.int64)
        finished, before = 0, self.env_steps
        while (
            bool((played < quotas).any())
            if quotas is not None
            else finished < episodes
            if episodes is not None
            else self.env_steps - before < (steps or 0)
        ):
            assert self.obs is not None, "begin() comes before run()"
            try:
                actions = self.actor.act(self.obs)
                step = self.env.step(actions)
            except EnvCallError as error:
                self._recover_or_raise(error)
                continue
            self.env_steps += num_envs
            self.obs = step.obs
            self.lengths += 1
            self.returns += step.reward
            failed = step.info.get("failed", no_game)
            done = step.terminated | step.truncated | failed
            any_done = bool(done.any())
            if ((self.lengths >= limit) & ~done).any():
                self._refuse_endless(done)
            counted = no_game
            if any_done:
                counted = done & ~failed
                finished += int(counted.sum())
                if quotas is not None:
                    counted &= played < quotas
                    played += counted
            if self._on_step is not None:
                won = step.info.get("won") if has_win else None
                self._on_step(
                    Transition(actions, step, done, any_done, failed, counted, self.lengths, self.returns, won)
                )
            if not any_done:
                continue
            self._budget.note(done, failed, self.env_steps, self.env, each_must_finish=quotas is not None)
            try:
                self.begin(mask=done)
            except EnvCallError as error:
                self._recover_or_raise(error)
        return self.env_steps - before

    def _recover_or_raise(self, error: EnvCallError) -> None:
        if self._recover is None:
            raise error
        self._budget.all_failed(error.__cause__, self.env_steps)
        self._recover(error)

    def _refuse_endless(self, done: npt.NDArray[np.bool_]) -> None:
        limit = self.env.spec.episode_limit
        game = int(np.flatnonzero((self.lengths >= limit) & ~done)[0])
        raise EnvContractError(
            f"game {game} of {self.name!r} runs on after its {limit} steps; it must set truncated (or terminated) at "
            "TeamSpec.episode_limit."
        )


def equal_quotas(episodes: int, num_envs: int) -> npt.NDArray[np.int64]:
    """[num_envs] shares of ``episodes``: every game the same number, one more in the first ones where it does not divide."""
    quotas = np.full(num_envs, episodes // num_envs)
    quotas[: episodes % num_envs] += 1
    return quotas
