"""Whether what was learnt is worth keeping: a checkpoint of a state that is broken would push out one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner

#: A TD error so many times as large as the largest return that was possible so far is of values that run away.
TD_ERRORS_OF_RETURN = 1_000.0
#: The same of a weight.
WEIGHTS_OF_RETURN = 100_000.0


def why_unsound(algorithm: Any, row: Mapping[str, Any] | None) -> str | None:
    """Why no checkpoint should be made of an algorithm's state, in words that follow "because"; None: it is sound.

    It is not where a weight or the optimizer's memory is not finite, where the last update was skipped because its gradient
    was not, or where values run away: the TD error of the last updates, or a weight, is out of all proportion to the
    returns that the rewards in the replay allow.

    Args:
        algorithm: The algorithm.
        row: Metrics of its last iteration; None: it was broken off, and the networks alone are looked at.
    """
    limit = _largest_return(algorithm)
    if row is not None and row["updates"]:
        reason = _of_td_error(row["train/td_error_abs"], TD_ERRORS_OF_RETURN * limit)
        if reason is not None:
            return reason

    def ask(learner: Any) -> str | None:
        return _of_learner(learner, WEIGHTS_OF_RETURN * limit)

    answers = algorithm.learner_group.foreach_learner(ask, timeout_seconds=algorithm.config.sample_timeout_s)
    reasons = [answer.get() for answer in answers if answer.ok]
    return next((reason for reason in reasons if reason is not None), None)


def _of_td_error(value: float | None, limit: float) -> str | None:
    if value is None:  # an iteration without an update
        return None
    if not np.isfinite(value):
        return "the TD error is not finite"
    if abs(value) > limit:
        return f"values run away: the TD error is {abs(value):.3g}, and {limit:.3g} would be far beyond any return"
    return None


def _of_learner(learner: ValueFactorizationLearner, limit: float) -> str | None:
    if learner.nonfinite_in_row:
        return f"the last {learner.nonfinite_in_row} update(s) were skipped, with gradients that are not finite"
    for name, parameter in learner.module[DEFAULT_MODULE_ID].unwrapped().named_parameters():
        if not parameter.numel():
            continue
        largest = float(parameter.detach().abs().max())  # NaN where any is
        if not np.isfinite(largest):
            return f"{name} is not finite"
        if parameter.requires_grad and largest > limit:
            return (
                f"values run away: a weight of {name} is {largest:.3g}, and {limit:.3g} would be far beyond any return"
            )
    for state in learner.get_optimizer(DEFAULT_MODULE_ID).state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and not bool(value.isfinite().all()):
                return f"the optimizer's {name} is not finite"
    return None


def _largest_return(algorithm: Any) -> float:
    """The largest sum of absolute rewards of an episode in the replay, as the learner sees them; at least 1."""
    scaler = algorithm.reward_scaler
    factor = max(1.0, scaler.scale / scaler.deviation)
    episodes = [] if algorithm.replay is None else algorithm.replay.get_state()["episodes"]
    return max([1.0, *(factor * float(np.abs(episode["reward"]).sum(dtype=np.float64)) for episode in episodes)])
