"""The run's own counters, and the flat metrics row (one per ``train()``) with names that never change."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS

from rllib_reborn.algorithms.value_factorization import value_factorization_learner as learner
from rllib_reborn.algorithms.value_factorization.probing import PLASTICITY_EVENTS
from rllib_reborn.algorithms.value_factorization.settings import EpsilonSettings, parse
from rllib_reborn.algorithms.value_factorization.team_env_runner import Collected, EpisodeOutcome

if TYPE_CHECKING:
    from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization

#: Key of the row in the result of ``train()``.
TEAM_METRICS = "team"
#: Key of what environments say of their program (:meth:`VectorTeamEnv.provenance`).
GAME_VERSION = "game_version"


@dataclasses.dataclass
class Progress:
    """Counters of a run, kept here because RLlib's own are wrong with remote learners (reference, section 4.2)."""

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    env_steps_trained: int = 0
    episodes_dropped: int = 0
    env_failures: int = 0
    last_evaluation_env_steps: int = 0
    #: Updates that collected episodes have paid for and that are not done yet.
    update_budget: float = 0.0
    #: ``train()`` calls that are complete.
    iterations: int = 0
    #: Applications of interventions, dry runs included.
    interventions: int = 0
    #: Episodes in the replay since it was last empty.
    episodes_since_empty: int = 0
    #: Seconds of training before the last restore.
    seconds_before: float = 0.0
    #: Versions of the games' program, of all that were played; empty where the games are our own.
    game_versions: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._outcomes: list[EpisodeOutcome] = []
        self._new_episodes = 0
        self._row_time = self._started
        self._row_steps = self._row_updates = 0

    def add(self, collected: Collected) -> None:
        """Count one runner's answer."""
        episodes = sum(len(block) for block in collected.blocks)
        self.env_steps += collected.env_steps
        self.episodes += episodes
        self._new_episodes += episodes
        self.episodes_since_empty += episodes
        self.episodes_dropped += collected.dropped_episodes
        self.env_failures += collected.env_failures
        self._outcomes += collected.outcomes
        versions = collected.provenance.get(GAME_VERSION, "")
        self.game_versions = sorted({*self.game_versions, *filter(None, versions.split(", "))})

    def updates_due(self, updates_per_episode: float, learning_starts: int) -> int:
        """Updates that the episodes received since the last call have paid for. Warm-up episodes pay for none."""
        new, self._new_episodes = self._new_episodes, 0
        if self.episodes_since_empty < learning_starts:
            return 0
        warm_up = max(0, learning_starts - (self.episodes_since_empty - new))
        # The episode that completes the warm-up pays, as in PyMARL: the first update follows it at once.
        self.update_budget += updates_per_episode * min(new, new - warm_up + (warm_up > 0))
        # A budget of 0.9999999 from summing fractions is one update.
        whole = math.floor(self.update_budget + 1e-9)
        self.update_budget -= whole
        return whole

    def clock(self, updates_before: int) -> dict[str, int]:
        """Clocks of the run at the update after ``updates_before`` others (done or under way), by the names of schedules.
        ``iterations`` counts those that are complete; RLlib's own counter does not survive a restore."""
        return {
            "env_steps": self.env_steps,
            "updates": updates_before + 1,
            "episodes": self.episodes,
            "iterations": self.iterations,
        }

    def replay_lost(self) -> None:
        """The replay is empty (a checkpoint without it was restored): warm up again."""
        self.episodes_since_empty = 0
        self.update_budget = 0.0

    def seconds(self) -> float:
        """Seconds of training, those before a restore included."""
        return self.seconds_before + time.monotonic() - self._started

    def get_state(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"seconds_before": self.seconds()}

    def set_state(self, state: dict[str, Any]) -> None:
        for field in dataclasses.fields(self):
            # A checkpoint of an earlier version lacks what that version did not count.
            if field.name in state:
                setattr(self, field.name, state[field.name])
        self.__post_init__()
        self._row_steps, self._row_updates = self.env_steps, self.updates

    def take_outcomes(self) -> list[EpisodeOutcome]:
        """Outcomes of the training episodes since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def rates(self) -> tuple[int, float, float]:
        """Updates since the last call, and env steps and updates per second since then."""
        now = time.monotonic()
        seconds = max(now - self._row_time, 1e-9)
        steps, updates = self.env_steps - self._row_steps, self.updates - self._row_updates
        self._row_time, self._row_steps, self._row_updates = now, self.env_steps, self.updates
        return updates, steps / seconds, updates / seconds


def metrics_row(algorithm: ValueFactorization, results: dict[str, Any]) -> dict[str, Any]:
    """One row of ``metrics.jsonl``; every name is present in every row, None where nothing is known.

    ``train/return_mean`` and the like are over the episodes finished in this iteration, ``train/loss`` and the like are
    those of its last update. What differs between equal runs stands under ``time/`` or ``memory/``.
    """
    progress = algorithm.progress
    outcomes = progress.take_outcomes()
    updates, steps_per_s, updates_per_s = progress.rates()
    of_learner = results.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {}) if updates else {}
    evaluation = results.get(EVALUATION_RESULTS, {}).get(ENV_RUNNER_RESULTS, {})
    fault_tolerance = results.get("fault_tolerance", {})
    wins = [float(outcome.won) for outcome in outcomes if outcome.won is not None]
    return {
        "env_steps": progress.env_steps,
        "episodes": progress.episodes,
        "updates": progress.updates,
        "train/return_mean": _mean([outcome.episode_return for outcome in outcomes]),
        "train/win_rate": _mean(wins),
        "train/episode_len_mean": _mean([float(outcome.length) for outcome in outcomes]),
        "train/loss": _number(of_learner.get("total_loss")),
        "train/td_error_abs": _number(of_learner.get(learner.TD_ERROR_ABS)),
        "train/grad_norm": _number(of_learner.get(learner.GRAD_NORM)),
        "train/q_tot_mean": _number(of_learner.get(learner.Q_TOT_MEAN)),
        "train/epsilon": parse(EpsilonSettings, algorithm.config.epsilon, "epsilon").at(progress.env_steps),
        "train/target_updates": _whole(of_learner.get(learner.NUM_TARGET_UPDATES)),
        "train/nonfinite_steps": _whole(of_learner.get(learner.NONFINITE_STEPS)),
        **{f"train/{key}": _number(of_learner.get(key)) for key in algorithm.config.learner_class.own_metrics},
        "eval/return_mean": evaluation.get("episode_return_mean"),
        "eval/return_std": evaluation.get("episode_return_std"),
        "eval/win_rate": evaluation.get("win_rate"),
        "eval/episode_len_mean": evaluation.get("episode_len_mean"),
        "eval/episodes": evaluation.get("num_episodes"),
        "eval/returns": evaluation.get("episode_returns"),
        "eval/env_failures": evaluation.get("num_env_failures"),
        **plasticity_columns(algorithm, results[PLASTICITY_EVENTS]),
        "env/game_version": ", ".join(progress.game_versions) or None,
        "faults/episodes_dropped": progress.episodes_dropped,
        "faults/env_failures": progress.env_failures,
        "faults/runner_restarts": int(fault_tolerance.get("num_remote_worker_restarts", 0)),
        "faults/runners_healthy": int(fault_tolerance.get("num_healthy_workers", 0)),
        "time/env_steps_per_s": steps_per_s,
        "time/updates_per_s": updates_per_s,
        "time/total_s": progress.seconds(),
        "memory/replay_bytes": algorithm.replay.nbytes if algorithm.replay is not None else None,
        "memory/rss_bytes": psutil.Process().memory_info().rss,
    }


#: What the row always says of the two networks, whatever their layers are.
_OF_EVERY_NET = ("dormant_fraction", "overactive_fraction", "overactive_sum", "overlap")


def plasticity_columns(algorithm: ValueFactorization, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Dormancy and interventions of this iteration: the last check's values and the last application's, None without one;
    ``intervention/count`` over the whole run."""
    row: dict[str, Any] = {f"dormancy/{net}/{name}": None for net in ("mixer", "agent") for name in _OF_EVERY_NET}
    row |= dict.fromkeys(algorithm.dormancy_metric_names)
    checks = [event for event in events if event["event"] == "dormancy"]
    if checks:
        row |= checks[-1]["metrics"]
    applied = [event for event in events if event["event"] == "intervention"]
    algorithm.progress.interventions += len(applied)
    last = applied[-1] if applied else {}
    return row | {
        "intervention/count": algorithm.progress.interventions,
        "intervention/units": last.get("units"),
        "intervention/function_drift": last.get("function_drift"),
        "intervention/greedy_actions_changed": last.get("greedy_actions_changed"),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _number(value: Any) -> float | None:
    """A metric as a JSON number; None where it is missing or not finite (JSON has no NaN)."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
