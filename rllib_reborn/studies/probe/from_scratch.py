"""Fresh nets on fixed episodes of a random policy: whether they tell where an action pays, and how many neurons are dormant,
along updates of the algorithm's own learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.envs.known_actions import KnownAction
from rllib_reborn.envs.random_policy import IntArray, RandomActor
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.registry import known_action, make_same_team_env
from rllib_reborn.envs.rollout import Rollout, Transition, equal_quotas
from rllib_reborn.envs.team_env import TeamObs
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import Episode
from rllib_reborn.runtime.running_games import EpisodeRecorder
from rllib_reborn.studies.probe.fitting import draw_batches
from rllib_reborn.studies.probe.measures import NetMeasures, Separability, measure_net, separability
from rllib_reborn.studies.probe.offline_learner import NetState, OfflineLearner, offline_learner, reward_scaler

#: How often the random policy takes the action of which it is known whether it pays, where it may.
FAVOUR = 0.5
_SALT, _FAVOUR_SALT = 0xF3, 0xF4
_MOST_GAMES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScratchSettings:
    """What is done.

    Attributes:
        at: Updates after which a net is looked at, each >= 0.
        seeds: Nets, >= 1: first weights and order of batches; the episodes are the same for all.
        batch: Episodes in an update, >= 1.
        episodes: Episodes to learn from, >= 1.
        holdout: Further episodes, >= 1, for the separability.
        target_every: Updates between two copies of the target networks; 0: never copied; None: as the experiment has it, an
            update counting as ``1 / updates_per_episode`` episodes.
        seed: First seed, >= 0; the episodes are played with it.
    """

    at: tuple[int, ...] = (60, 120, 200)
    seeds: int = 3
    batch: int = 8
    episodes: int = 160
    holdout: int = 64
    target_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 0:
            raise ValueError(f"at is {self.at}; expected numbers of updates, each at least 0.")
        for name in ("seeds", "batch", "episodes", "holdout"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")


@dataclasses.dataclass(frozen=True)
class ScratchRow:
    """One net after some updates."""

    seed: int
    updates: int
    separability: Separability | None
    measures: NetMeasures


def random_episodes(config: ValueFactorizationConfig, count: int, seed: int) -> list[Episode]:
    """Whole episodes of a random policy in the config's environment.

    Where it is known of an action whether it pays (:class:`KnownAction`), an agent that may take it does so with probability
    :data:`FAVOUR`, so that both outcomes occur; everything else is uniform over what is allowed.

    Args:
        config: Names the environment.
        count: >= 1; each game plays a fixed share of them.
        seed: Of games and actions.
    """
    spec, games = config.team_spec, min(count, _MOST_GAMES)
    env = make_same_team_env(spec, config.env, games, config.env_config, networks_only=True)
    finished: list[tuple[int, Episode]] = []

    def on_step(transition: Transition) -> None:
        recorder.record_step(transition)
        for game in np.flatnonzero(transition.counted).tolist():
            finished.append((game, recorder.episode(game)))

    actor = _FavouringActor(games, spec.n_agents, seed, known_action(config.env, config.env_config))
    try:
        rollout = Rollout(env, actor, config.env, on_begin=lambda obs: recorder.record_obs(obs), on_step=on_step)
        recorder = EpisodeRecorder(spec, games, rollout.lengths)
        rollout.begin(seed)
        rollout.run(quotas=equal_quotas(count, games))
    finally:
        env.close()
    finished.sort(key=lambda item: item[0])
    return [episode for _, episode in finished]


class _FavouringActor(RandomActor):
    """At random, but with :data:`FAVOUR` the known action where it is available."""

    def __init__(self, num_envs: int, n_agents: int, seed: int, known: KnownAction | None) -> None:
        super().__init__(num_envs, n_agents, seed, salt=_SALT)
        self._known, self._agents = known, n_agents
        self._favours = RandomStreams(num_envs, seed, salt=_FAVOUR_SALT)

    def begin(self, mask: Any, seed: int | None) -> None:
        super().begin(mask, seed)
        if seed is not None:
            self._favours.seed(seed, mask)

    def act(self, obs: TeamObs) -> IntArray:
        actions = super().act(obs)
        if self._known is not None:
            favoured = (self._favours.uniform(self._agents) < FAVOUR) & obs.action_mask[..., self._known.action]
            actions = np.where(favoured, self._known.action, actions)
        return actions


def learn_from_scratch(config: ValueFactorizationConfig, settings: ScratchSettings) -> Iterator[ScratchRow]:
    """Fresh nets learn fixed episodes by the config's own loss, optimizer and targets; a row for each seed and number of
    updates.

    Interventions of the config are not carried out.

    Args:
        config: Of an algorithm and its environment.
        settings: What is done.

    Raises:
        EnvContractError, ValueError: The games, or the networks, cannot be built or played.
    """
    config = _with_targets(config, settings.target_every)
    played = random_episodes(config, settings.episodes + settings.holdout, settings.seed)
    order = np.random.default_rng([settings.seed, _SALT]).permutation(len(played)).tolist()
    training = _scaled(config, [played[i] for i in order[: settings.episodes]])
    holdout = EpisodeBlock.of([played[i] for i in order[settings.episodes :]])
    known = known_action(config.env, config.env_config)
    learner = offline_learner(config)
    for seed in range(settings.seed, settings.seed + settings.seeds):
        learner.put(NetState(learner.fresh_weights(seed), {}), seed=seed)
        yield from _along(learner, training, holdout, known, settings, seed)


def _along(
    learner: OfflineLearner,
    training: list[Episode],
    holdout: EpisodeBlock,
    known: KnownAction | None,
    settings: ScratchSettings,
    seed: int,
) -> Iterator[ScratchRow]:
    points, scoring_block = sorted(set(settings.at)), EpisodeBlock.of(training[:32])
    batches = draw_batches(len(training), settings.batch, max(1, points[-1]), seed)
    for update in range(points[-1] + 1):
        if update in points:
            yield ScratchRow(seed, update, separability(learner, holdout, known), measure_net(learner, scoring_block))
        if update < points[-1]:
            learner.learn(EpisodeBlock.of([training[i] for i in batches[update].tolist()]))


def _scaled(config: ValueFactorizationConfig, episodes: list[Episode]) -> list[Episode]:
    """With rewards as the run would learn from them, their deviation that of all these episodes."""
    scaler = reward_scaler(config)
    scaler.observe(np.concatenate([episode["reward"] for episode in episodes]))
    return [{**episode, "reward": scaler(episode["reward"])} for episode in episodes]


def _with_targets(config: ValueFactorizationConfig, every: int | None) -> ValueFactorizationConfig:
    if every is None:
        return config
    # Never is later than any update here.
    updates = every if every > 0 else 2**31 - 1
    return config.copy(copy_frozen=False).training(target_update={"every": updates, "unit": "updates"})
