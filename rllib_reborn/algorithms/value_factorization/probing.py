"""What is due at an update, and the batches for it: decided here, in the algorithm's process, for all learners alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_reborn.callbacks.dormancy import metric_names
from rllib_reborn.callbacks.probe import Batch, Probe, probe_rng
from rllib_reborn.plasticity.dormancy_check import DormancyCheck
from rllib_reborn.plasticity.interventions import MARR, Intervention
from rllib_reborn.replay import EpisodeReplay

if TYPE_CHECKING:
    from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization

#: Key of the events of an iteration in the result of ``train()``: dormancy checks and interventions, as plain JSON data.
PLASTICITY_EVENTS = "plasticity"

#: Episodes on which function drift is measured.
_HELD_EPISODES = 16


class Prober:
    """Looks at the clocks at every update.

    Args:
        interventions: Those of the config.
        dormancy: The check, or None.
        seed: Seed of what probes draw.
    """

    def __init__(self, interventions: Sequence[Intervention], dormancy: DormancyCheck | None, seed: int) -> None:
        self.interventions = tuple(interventions)
        self.dormancy = dormancy
        self.seed = seed
        self._asked_at = {"env_steps": 0, "updates": 0, "episodes": 0, "iterations": 0}

    def probe(self, clock: dict[str, int], replay: EpisodeReplay) -> Probe | None:
        """What is due at the update that ``clock`` counts, or None. Draws from the replay by itself: a run that measures
        trains exactly as one that does not."""
        previous, self._asked_at = self._asked_at, dict(clock)
        due = tuple(
            i for i, one in enumerate(self.interventions) if one.is_scheduled and one.schedule.due(previous, clock)
        )
        check = self.dormancy if self.dormancy is not None and self.dormancy.schedule.due(previous, clock) else None
        if not due and check is None:
            return None
        # Also for those that choose nothing by scores: every report has the scores before and after.
        wanted: set[tuple[str, int]] = {
            (self.interventions[i].scoring_source, self.interventions[i].scoring_episodes) for i in due
        }
        if check is not None:
            wanted.add((check.source, check.episodes))
        scoring: dict[tuple[str, int], Batch] = {}
        for source, episodes in sorted(wanted):
            rng = probe_rng(self.seed, clock, f"scoring {source} {episodes}")
            sample = replay.latest(episodes) if source == "latest" else replay.sample(episodes, rng=rng)
            scoring[(source, episodes)] = sample.batch
        held = replay.sample(_HELD_EPISODES, rng=probe_rng(self.seed, clock, "held")).batch if due else None
        return Probe(
            clock=dict(clock),
            seed=self.seed,
            interventions=due,
            dormancy=check is not None,
            scoring=scoring,
            held=held,
        )

    def get_state(self) -> dict[str, Any]:
        return {"asked_at": dict(self._asked_at), "seed": self.seed}

    def set_state(self, state: dict[str, Any]) -> None:
        self._asked_at = dict(state["asked_at"])
        self.seed = state["seed"]


def amplitudes(interventions: Sequence[Intervention], episodes: int, seed: int, clock: dict[str, int]) -> Any:
    """[E] float32 factors of observations and states for one update (MARR's random amplitude scaling), or None."""
    ranges = [one.amplitude for one in interventions if isinstance(one, MARR) and one.amplitude is not None]
    if not ranges:
        return None
    drawn = [probe_rng(seed, clock, f"amplitude {i}").uniform(*bounds, episodes) for i, bounds in enumerate(ranges)]
    return np.prod(drawn, axis=0).astype(np.float32)


def take_events(group: LearnerGroup) -> list[dict[str, Any]]:
    """What learner callbacks have to tell. All ranks have the same to tell; all are asked, so that none keeps it."""
    answers = group.foreach_learner(lambda learner: learner.take_events())
    events: list[dict[str, Any]] = next(iter(answers)).get()
    return events


def dormancy_metric_names(algorithm: ValueFactorization) -> list[str]:
    """Every name that a dormancy check of this run can give, so that rows can hold them from the first one on."""
    check = algorithm.prober.dormancy
    if check is None:
        return []
    choice = check.layers

    def names(learner: Any) -> list[str]:
        return metric_names(learner.module[DEFAULT_MODULE_ID].unwrapped().unit_layers(choice))

    found: list[str] = next(iter(algorithm.learner_group.foreach_learner(names))).get()
    return found
