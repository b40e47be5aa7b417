"""What is due at an update, and the batches for it: decided in the algorithm's process, for all learners alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_reborn.callbacks.dormancy_metrics import metric_names
from rllib_reborn.callbacks.drift import drift_names
from rllib_reborn.callbacks.request import Batch, PlasticityRequest, update_rng
from rllib_reborn.plasticity.dormancy_check import DormancyCheck
from rllib_reborn.plasticity.interventions import Intervention
from rllib_reborn.plasticity.schedule import CLOCK_UNITS
from rllib_reborn.replay import EpisodeReplay

#: Key of the events of an iteration in the result of ``train()``: dormancy checks and interventions, as plain JSON data.
PLASTICITY_EVENTS = "plasticity"

#: Episodes on which function drift is measured.
_HOLDOUT_EPISODES = 16

# The purposes that ``update_rng`` is given below ("scoring {source} {episodes}", "held", "amplitude {i}") are bytes of the
# seeds: another wording would draw other batches, and a run would not repeat an earlier one.


class DueTimes:
    """Which interventions are due, and whether the dormancy check is, as the clocks of a run go on."""

    def __init__(self, interventions: Sequence[Intervention], check: DormancyCheck | None) -> None:
        self.interventions = tuple(interventions)
        self.check = check
        #: The clocks when this was last asked.
        self.asked_at = dict.fromkeys(CLOCK_UNITS, 0)

    def due(self, clock: Mapping[str, int]) -> tuple[tuple[int, ...], bool]:
        """Positions of the interventions that are due now, and whether the check is; ``clock`` by ``CLOCK_UNITS``."""
        previous, self.asked_at = self.asked_at, dict(clock)
        positions = tuple(
            position
            for position, one in enumerate(self.interventions)
            if one.is_scheduled and one.schedule.due(previous, clock)
        )
        return positions, self.check is not None and self.check.schedule.due(previous, clock)

    def clock_units(self) -> set[str]:
        """The clocks that are looked at."""
        found: set[str] = {one.unit for one in self.interventions if one.is_scheduled}
        return found if self.check is None else found | {self.check.unit}


class PlasticityScheduler:
    """Looks at the clocks at every update.

    Args:
        interventions: Those of the config.
        dormancy: The check, or None.
        seed: Seed of what requests draw.
    """

    def __init__(self, interventions: Sequence[Intervention], dormancy: DormancyCheck | None, seed: int) -> None:
        self.interventions = tuple(interventions)
        self.dormancy = dormancy
        self.seed = seed
        self._times = DueTimes(interventions, dormancy)
        #: The last update at which a shadow may be followed (``drift_updates``).
        self._followed_until = 0
        #: False: nothing is ever due, and no column is added to a batch.
        self.has_work = bool(self.interventions) or dormancy is not None

    def request(self, clock: dict[str, int], replay: EpisodeReplay) -> PlasticityRequest | None:
        """What is due at the update that ``clock`` counts, or None. Draws from the replay by itself: a run that measures
        trains exactly as one that does not."""
        due, check_due = self._times.due(clock)
        # With every update of a shadow, so that its events are asked for and the clocks are known.
        followed = clock["updates"] <= self._followed_until
        longest = max((max(self._drift_updates(i), default=0) for i in due), default=0)
        self._followed_until = max(self._followed_until, clock["updates"] + longest)
        if not due and not check_due and not followed:
            return None
        # Also for those that choose nothing by scores: every report has the scores before and after.
        wanted: set[tuple[str, int]] = {
            (self.interventions[i].scoring_source, self.interventions[i].scoring_episodes) for i in due
        }
        if self.dormancy is not None and check_due:
            wanted.add((self.dormancy.source, self.dormancy.episodes))
        scoring_batch: dict[tuple[str, int], Batch] = {}
        for source, episodes in sorted(wanted):
            rng = update_rng(self.seed, clock, f"scoring {source} {episodes}")
            sample = replay.latest(episodes) if source == "latest" else replay.sample(episodes, rng=rng)
            scoring_batch[(source, episodes)] = sample.batch
        holdout_batch = (
            replay.sample(_HOLDOUT_EPISODES, rng=update_rng(self.seed, clock, "held")).batch if due else None
        )
        return PlasticityRequest(
            clock=dict(clock),
            seed=self.seed,
            interventions=due,
            dormancy=check_due,
            scoring_batch=scoring_batch,
            holdout_batch=holdout_batch,
        )

    def _drift_updates(self, position: int) -> tuple[int, ...]:
        """After how many updates the drift of an application is measured; a dry run has none."""
        one = self.interventions[position]
        return () if one.dry_run else one.drift_updates

    def batch_columns(self, episodes: int, clock: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
        """The columns that interventions add to the batch of the update that ``clock`` counts; of several that give one, the
        product. ``episodes``: how many are in the batch.

        Raises:
            ValueError: A column has not a row for each episode.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        given = 0
        for one in self.interventions:
            # Counted are those that give something, so that others in the list do not change what is drawn.
            columns = one.batch_columns(episodes, update_rng(self.seed, clock, f"amplitude {given}"))
            given += bool(columns)
            for name, column in columns.items():
                if column.shape[:1] != (episodes,):
                    raise ValueError(
                        f"{one.kind}: batch_columns gave {name!r} with shape {column.shape}; expected a row for each of the "
                        f"{episodes} episodes."
                    )
                found[name] = found[name] * column if name in found else column
        return {
            name: column.astype(np.float32) if column.dtype == np.float64 else column for name, column in found.items()
        }

    def get_state(self) -> dict[str, Any]:
        return {"asked_at": dict(self._times.asked_at), "seed": self.seed, "followed_until": self._followed_until}

    def set_state(self, state: dict[str, Any]) -> None:
        self._times.asked_at = dict(state["asked_at"])
        self.seed = state["seed"]
        self._followed_until = state.get("followed_until", 0)  # written before there were shadows


def take_events(group: LearnerGroup) -> list[dict[str, Any]]:
    """What happened in learner callbacks since this was last asked. All ranks have the same; all are asked, so that none
    keeps it."""
    answers = group.foreach_learner(lambda learner: learner.take_events())
    events: list[dict[str, Any]] = next(iter(answers)).get()
    return events


def plasticity_metric_names(group: LearnerGroup, scheduler: PlasticityScheduler) -> list[str]:
    """Every name that the dormancy check can give for the learners' team, and drift over updates, so that rows can hold them
    from the first one on."""
    check, of_drift = scheduler.dormancy, drift_names(scheduler.interventions)
    if check is None:
        return of_drift
    choice = check.layers

    def names(learner: Any) -> list[str]:
        return metric_names(learner.module[DEFAULT_MODULE_ID].unwrapped().neuron_layers(choice))

    found: list[str] = next(iter(group.foreach_learner(names))).get()
    return [*found, *of_drift]
