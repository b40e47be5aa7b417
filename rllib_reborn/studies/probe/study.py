"""One checkpoint: every arm learns the same new targets from the same batches, several times."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.algorithms.value_factorization.learner_setup import NonFiniteTrainingError
from rllib_reborn.envs.known_actions import KnownAction
from rllib_reborn.envs.registry import known_action
from rllib_reborn.envs.task_sequence import is_sequence
from rllib_reborn.evaluation.statistics import Interval
from rllib_reborn.plasticity.interventions import SurgeryRefused
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import Episode
from rllib_reborn.studies.probe.arms import ARMS, ArmRefused, begin
from rllib_reborn.studies.probe.comparison import compare_arms, explained_share, verdict
from rllib_reborn.studies.probe.episodes import study_episodes
from rllib_reborn.studies.probe.fitting import Curve, FitPlan, draw_batches, fit, points, split_episodes
from rllib_reborn.studies.probe.measures import NetMeasures, Separability, measure_net, separability
from rllib_reborn.studies.probe.offline_learner import NetState, OfflineLearner, saved_learner
from rllib_reborn.studies.probe.targets import RandomReward, discounted_returns
from rllib_reborn.studies.trained_policy import TrainedPolicy, load_team

#: Episodes by which interventions choose neurons and by which dormant ones are counted, at most.
_SCORING_EPISODES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """What is done.

    Attributes:
        arms: Names of :data:`~rllib_reborn.studies.probe.arms.ARMS`.
        seeds: Repetitions, >= 1: new targets, split, batches and draws, the same for every arm.
        updates: Of each repetition, >= 1.
        batch: Episodes in an update, >= 1.
        episodes: Episodes in all, >= 2; a quarter of them is held out.
        scale: Deviation of the new rewards, > 0, in the scale of Q_tot; only without ``task``.
        task: Name of another environment of the same shapes, whose discounted returns are learnt; None: a new random reward.
        seed: First seed, >= 0; the episodes are drawn with it.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    seeds: int = 3
    updates: int = 300
    batch: int = 8
    episodes: int = 128
    scale: float = 1.0
    task: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise ValueError(f"arms are {', '.join(self.arms) or 'none'}; expected some of {', '.join(ARMS)}.")
        for name, least in (("seeds", 1), ("updates", 1), ("batch", 1), ("episodes", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}.")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale is {self.scale}; expected a number above 0.")
        if self.task is not None and self.scale != 1:
            raise ValueError("scale is of the random reward; a task has rewards of its own. Leave one of them out.")


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """What one arm did.

    Attributes:
        arm: Its name.
        area, minus_fresh, minus_as_is: See :class:`~rllib_reborn.studies.probe.comparison.ArmAreas`.
        curves: Repetition's seed -> curve.
        neurons: Repetition's seed -> neurons that an intervention gave new weights; empty: no intervention.
        before, after: Measures of the net before its first update and after its last, of the first repetition.
        separability: Before the first update, of the first repetition; None: not known for this environment.
        refused: Why there is nothing of all this; None: there is.
    """

    arm: str
    area: Interval | None = None
    minus_fresh: Interval | None = None
    minus_as_is: Interval | None = None
    curves: dict[int, Curve] = dataclasses.field(default_factory=dict)
    neurons: dict[int, int] = dataclasses.field(default_factory=dict)
    before: NetMeasures | None = None
    after: NetMeasures | None = None
    separability: Separability | None = None
    refused: str | None = None


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What the arms of one checkpoint did.

    Attributes:
        algorithm, env: The team's.
        checkpoint: Its folder.
        data: In words, what was learnt from.
        optimizer_was_saved: Whether the checkpoint holds an optimizer's state.
        settings: What was done.
        arms: In the order of the settings.
        shares: Arm with frozen agents -> share of what the whole net learns that it learns alone.
        verdict: One sentence.
    """

    algorithm: str
    env: str
    checkpoint: str
    data: str
    optimizer_was_saved: bool
    settings: ProbeSettings
    arms: tuple[ArmResult, ...]
    shares: dict[str, Interval]
    verdict: str

    def areas(self) -> dict[str, dict[int, float]]:
        """Arm -> repetition's seed -> area."""
        return {a.arm: {seed: curve.area for seed, curve in a.curves.items()} for a in self.arms if a.curves}


class ProbeStudy:
    """A net and the episodes that its arms learn from.

    Args:
        team: The team, for the name of its environment.
        learner: Its learner; the arms begin with its present weights and optimizer's state.
        episodes: What is learnt from, ``settings.episodes`` of them.
        settings: What is done.
        data: In words, where the episodes come from.
        checkpoint: Folder that the net was saved in; empty: none.

    Attributes:
        saved: What every arm begins with.
    """

    def __init__(
        self,
        team: TrainedPolicy,
        learner: OfflineLearner,
        episodes: Sequence[Episode],
        settings: ProbeSettings,
        *,
        data: str = "",
        checkpoint: str = "",
    ) -> None:
        self.team, self.learner, self.settings = team, learner, settings
        self.data, self.checkpoint = data, checkpoint
        learner.use_given_targets(True)
        self.saved: NetState = learner.state()
        self._episodes = tuple(episodes)

    @staticmethod
    def of_checkpoint(checkpoint: Path, settings: ProbeSettings) -> ProbeStudy:
        """The study of a checkpoint folder, on its replay or on episodes that its team plays.

        Raises:
            CheckpointError, FileNotFoundError: The checkpoint cannot be read.
            OtherTeamError, UnknownEnvError, EnvContractError, ValueError: Episodes cannot be played.
        """
        team = load_team(checkpoint)
        learner = saved_learner(checkpoint, team.module)
        episodes, data = study_episodes(team, checkpoint, settings.episodes, settings.seed, task=settings.task)
        return ProbeStudy(team, learner, episodes, settings, data=data, checkpoint=str(checkpoint))

    @property
    def known_action(self) -> KnownAction | None:
        """Of the environment that the episodes are of."""
        if self.settings.task is not None:
            return known_action(self.settings.task, {})
        if is_sequence(self.team.env_name):
            return None  # the replay may hold episodes of several tasks
        return known_action(self.team.env_name, self.team.env_config)

    def plan(self, seed: int) -> FitPlan:
        """Of the repetition ``seed``."""
        settings = self.settings
        training_at, holdout_at = split_episodes(len(self._episodes), seed)
        training: tuple[Episode, ...] = tuple(self._episodes[i] for i in training_at.tolist())
        block = EpisodeBlock.of(list(training))
        holdout = EpisodeBlock.of([self._episodes[i] for i in holdout_at.tolist()])
        if settings.task is None:
            reward = RandomReward(block, seed)
            targets = [settings.scale * reward(of_part) for of_part in (block, holdout)]
        else:
            factor, gamma = self.learner.reward_factor, self.learner.gamma
            targets = [factor * discounted_returns(of_part, gamma) for of_part in (block, holdout)]
        return FitPlan(
            training=training,
            holdout=holdout,
            training_targets=targets[0],
            holdout_targets=targets[1],
            relative=settings.task is None,
            batches=draw_batches(len(training), settings.batch, settings.updates, seed),
            at=points(settings.updates),
            seed=seed,
        )

    def estimate_seconds(self) -> float:
        """CPU seconds that :meth:`run` will take, from two updates and one look at the holdout episodes."""
        plan = self.plan(self.settings.seed)
        first = EpisodeBlock.of([plan.training[i] for i in plan.batches[0].tolist()])
        self.learner.put(self.saved)
        self.learner.learn(first)
        started = time.process_time()
        self.learner.learn(first)
        of_update = time.process_time() - started
        started = time.process_time()
        self.learner.values(plan.holdout)
        of_look = time.process_time() - started
        looks = len(plan.at) + len(plan.training) / max(1, len(plan.holdout)) + 3
        one = self.settings.updates * of_update + looks * of_look
        return one * len(self.settings.arms) * self.settings.seeds

    def run(self, on_curve: Callable[[str, int, Curve], None] = lambda arm, seed, curve: None) -> ProbeResult:
        """Every arm, every repetition.

        Args:
            on_curve: Called with each arm, seed and curve as it is finished.
        """
        settings = self.settings
        found = {arm: ArmResult(arm) for arm in settings.arms}
        for seed in range(settings.seed, settings.seed + settings.seeds):
            plan = self.plan(seed)
            for arm in settings.arms:
                if found[arm].refused is None:
                    found[arm] = self._run_arm(found[arm], plan, on_curve)
        areas = {a.arm: {s: c.area for s, c in a.curves.items()} for a in found.values() if a.refused is None}
        compared = compare_arms(areas)
        arms = tuple(
            dataclasses.replace(
                found[arm], area=of_arm.mean, minus_fresh=of_arm.minus_fresh, minus_as_is=of_arm.minus_as_is
            )
            if (of_arm := compared.get(arm)) is not None
            else found[arm]
            for arm in settings.arms
        )
        parts = [arm for arm in settings.arms if ARMS[arm].frozen != "no"]
        shares = {arm: share for arm in parts if (share := explained_share(areas, arm)) is not None}
        return ProbeResult(
            algorithm=self.team.module.algorithm,
            env=self.team.env_name,
            checkpoint=self.checkpoint,
            data=self.data,
            optimizer_was_saved=bool(self.saved.optimizer),
            settings=settings,
            arms=arms,
            shares=shares,
            verdict=verdict(areas),
        )

    def _run_arm(self, so_far: ArmResult, plan: FitPlan, on_curve: Callable[[str, int, Curve], None]) -> ArmResult:
        scoring_block = EpisodeBlock.of(list(plan.training[:_SCORING_EPISODES]))
        try:
            begun = begin(self.learner, ARMS[so_far.arm], self.saved, scoring_block, plan.seed)
            first = not so_far.curves
            before = measure_net(self.learner, scoring_block) if first else so_far.before
        except (ArmRefused, SurgeryRefused) as error:
            return dataclasses.replace(so_far, refused=str(error))
        auc = separability(self.learner, plan.holdout, self.known_action) if first else so_far.separability
        curve = _curve(self.learner, plan)
        after = _measured(self.learner, scoring_block) if first else so_far.after
        on_curve(so_far.arm, plan.seed, curve)
        neurons = so_far.neurons if begun.neurons is None else {**so_far.neurons, plan.seed: begun.neurons}
        return dataclasses.replace(
            so_far,
            curves={**so_far.curves, plan.seed: curve},
            neurons=neurons,
            before=before,
            after=after,
            separability=auc,
        )


def probe(checkpoint: str | Path, **settings: Any) -> ProbeResult:
    """How fast the net of a checkpoint, treated ones and a fresh one fit new targets; ``docs/probe.md``.

    Args:
        checkpoint: Folder of a checkpoint of an algorithm; only give those you trust: RLlib pickles.
        **settings: Fields of :class:`ProbeSettings`.

    Raises:
        ValueError: A setting is out of range, or as :class:`ProbeStudy`.
    """
    return ProbeStudy.of_checkpoint(Path(checkpoint), ProbeSettings(**settings)).run()


def _curve(learner: OfflineLearner, plan: FitPlan) -> Curve:
    """As :func:`fit`; gradients that stay infinite mean that nothing more is learnt."""
    try:
        return fit(learner, plan)
    except NonFiniteTrainingError:
        return Curve(plan.at, (1.0, *[float("inf")] * (len(plan.at) - 1)))


def _measured(learner: OfflineLearner, block: EpisodeBlock) -> NetMeasures | None:
    try:
        return measure_net(learner, block)
    except ValueError:  # not finite any more
        return None


def mean_curve(curves: Sequence[Curve]) -> list[float]:
    """Errors at each point, a mean over repetitions."""
    return [float(value) for value in np.mean([curve.errors for curve in curves], axis=0)]
