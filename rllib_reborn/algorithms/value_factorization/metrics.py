"""The flat metrics row (one per ``train()``) with names that never change. Reads; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS

from rllib_reborn.algorithms.value_factorization import learner
from rllib_reborn.algorithms.value_factorization.counters import MetricsInterval, TrainingCounters
from rllib_reborn.replay import EpisodeReplay

#: Key of the row in the result of ``train()``.
TEAM_METRICS = "team"
#: What the row always has of the two networks, whatever their layers are.
_OF_EVERY_NET = ("dormant_fraction", "overactive_fraction", "overactive_sum", "overlap")


def team_metrics(
    results: Mapping[str, Any],
    counters: TrainingCounters,
    interval: MetricsInterval,
    events: Sequence[Mapping[str, Any]],
    *,
    epsilon: float,
    tasks: Mapping[str, Any],
    learner_metrics: Sequence[str],
    plasticity_metrics: Sequence[str],
    replay: EpisodeReplay,
) -> dict[str, Any]:
    """One row of ``metrics.jsonl``; every name is present in every row, None where nothing is known.

    ``train/return_mean`` and the like are over the episodes finished in this iteration, ``train/loss`` and the like are
    means over its updates, without those where they are not a number. What differs between equal runs stands under
    ``time/`` or ``memory/``.

    Args:
        results: RLlib's, of this iteration.
        counters: The run's, this iteration included.
        interval: Since the last row.
        events: Dormancy checks and interventions of this iteration.
        epsilon: Of exploration, now.
        tasks: What there is to say of a sequence of tasks; empty: the environment is none.
        learner_metrics: Keys that this algorithm's learner logs beyond the usual ones.
        plasticity_metrics: Every name that this run's dormancy check and drift over updates can give.
        replay: The run's.
    """
    of_learner = results.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {}) if interval.updates else {}
    evaluation = results.get(EVALUATION_RESULTS, {}).get(ENV_RUNNER_RESULTS, {})
    fault_tolerance = results.get("fault_tolerance", {})
    outcomes = interval.outcomes
    return {
        "env_steps": counters.env_steps,
        "episodes": counters.episodes,
        "updates": counters.updates,
        "train/return_mean": _mean([outcome.episode_return for outcome in outcomes]),
        "train/win_rate": _mean([float(outcome.won) for outcome in outcomes if outcome.won is not None]),
        "train/episode_len_mean": _mean([float(outcome.length) for outcome in outcomes]),
        "train/loss": _number(of_learner.get("total_loss")),
        "train/td_error_abs": _number(of_learner.get(learner.TD_ERROR_ABS)),
        "train/grad_norm": _number(of_learner.get(learner.GRAD_NORM)),
        "train/q_tot_mean": _number(of_learner.get(learner.Q_TOT_MEAN)),
        "train/epsilon": epsilon,
        "train/target_updates": _whole(of_learner.get(learner.NUM_TARGET_UPDATES)),
        "train/nonfinite_steps": _whole(of_learner.get(learner.NONFINITE_STEPS)),
        **{f"train/{key}": value if interval.updates else None for key, value in replay.batch_metrics.items()},
        **{f"train/{key}": _number(of_learner.get(key)) for key in learner_metrics},
        "eval/return_mean": evaluation.get("episode_return_mean"),
        "eval/return_std": evaluation.get("episode_return_std"),
        "eval/win_rate": evaluation.get("win_rate"),
        "eval/episode_len_mean": evaluation.get("episode_len_mean"),
        "eval/episodes": evaluation.get("num_episodes"),
        "eval/returns": evaluation.get("episode_returns"),
        "eval/env_failures": evaluation.get("num_env_failures"),
        **tasks,
        **_plasticity_columns(events, counters.interventions, plasticity_metrics),
        "env/game_version": ", ".join(counters.game_versions) or None,
        "faults/episodes_dropped": counters.episodes_dropped,
        "faults/env_failures": counters.env_failures,
        "faults/runner_restarts": counters.runner_restarts,
        "faults/runners_lost": counters.processes_lost.get("runners", 0),
        "faults/runners_hung": counters.processes_lost.get("runners_hung", 0),
        "faults/evaluation_runners_lost": counters.processes_lost.get("evaluation", 0),
        "faults/evaluation_runners_hung": counters.processes_lost.get("evaluation_hung", 0),
        "faults/runners_healthy": int(fault_tolerance.get("num_healthy_workers", 0)),
        "time/env_steps_per_s": interval.env_steps_per_s,
        "time/updates_per_s": interval.updates_per_s,
        "time/total_s": counters.seconds(),
        "memory/replay_bytes": replay.nbytes,
        "memory/rss_bytes": psutil.Process().memory_info().rss,
    }


def _plasticity_columns(
    events: Sequence[Mapping[str, Any]], interventions: int, plasticity_metrics: Sequence[str]
) -> dict[str, Any]:
    """Values of the last check, application and drifts, None without one; ``intervention/count`` over the whole run."""
    row: dict[str, Any] = {f"dormancy/{net}/{name}": None for net in ("mixer", "agent") for name in _OF_EVERY_NET}
    row |= dict.fromkeys(plasticity_metrics)
    checks = [event for event in events if event["event"] == "dormancy"]
    if checks:
        row |= checks[-1]["metrics"]
    applied = [event for event in events if event["event"] == "intervention"]
    last = applied[-1] if applied else {}
    for event in events:
        if event["event"] == "drift":
            row |= {f"intervention/{name}/{event['updates']}": event[name] for name in ("q_drift", "q_drift_untreated")}
    return row | {
        "intervention/count": interventions,
        "intervention/neurons": last.get("neurons"),
        "intervention/function_drift": last.get("function_drift"),
        "intervention/q_drift/0": last.get("q_drift"),
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
