"""After training: the greedy policy and a random one on the same number of fresh episodes, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.metrics_log import plain
from rllib_reborn.limits import EVALUATION_S

if TYPE_CHECKING:
    from rllib_reborn.studies.trained_policy import EpisodeOutcomes, TrainedPolicy

# Keeps the episodes of the final evaluation apart from those of training and of evaluation in between.
_FINAL_STREAM = 0xF17A1


def final_evaluation_seed(seed: int) -> int:
    """Seed of the final evaluation of a run with ``seed``."""
    return int(np.random.SeedSequence([seed, _FINAL_STREAM]).generate_state(1)[0] >> 1)


def evaluate_final(
    team: TrainedPolicy,
    *,
    env: str,
    env_steps: int,
    episodes: int,
    seed: int,
    num_envs: int | None = None,
    resource_request: Mapping[str, Any] | None = None,
    timeout_s: float = EVALUATION_S,
) -> dict[str, Any]:
    """The content of ``final_evaluation.json``.

    Args:
        team: Who plays.
        env, env_steps: What is noted of the run.
        episodes: Of the policy, and as many of a random one.
        seed: The run's.
        num_envs: Games side by side; None: see :meth:`TrainedPolicy.evaluate`.
        resource_request: Options of a Ray task (``num_cpus``, ``resources``) in which they are played, for games that
            need what only some nodes have; None: in this process.
        timeout_s: Seconds for the episodes of either in such a task.

    Raises:
        EnvContractError: They took longer there.
    """
    own_seed = final_evaluation_seed(seed)
    evaluate = team.evaluate
    if resource_request is not None:

        def evaluate(*args: Any, **kwargs: Any) -> EpisodeOutcomes:
            task = ray.remote(**resource_request)(_evaluate).remote(team, args, kwargs)
            try:
                outcomes: EpisodeOutcomes = ray.get(task, timeout=timeout_s)
            except GetTimeoutError:
                ray.cancel(task, force=True)
                raise EnvContractError(
                    f"{episodes} episodes of {env!r} took longer than {timeout_s:g} s; give resources.evaluation_timeout_s "
                    "more, or evaluation.final_episodes less."
                ) from None
            return outcomes

    return {
        "policy": _outcomes(evaluate(episodes, own_seed, epsilon=0.0, num_envs=num_envs)),
        "random": _outcomes(evaluate(episodes, own_seed, epsilon=1.0, num_envs=num_envs)),
        "env": env,
        "env_steps": env_steps,
        "episodes": episodes,
        "seed": own_seed,
    }


def write_final_evaluation(content: dict[str, Any], path: Path) -> None:
    """Write it in one atomic step: a report never sees half of it."""
    write_text_atomically(path, json.dumps(content, allow_nan=False) + "\n")


def _evaluate(team: TrainedPolicy, args: tuple[Any, ...], kwargs: dict[str, Any]) -> EpisodeOutcomes:
    return team.evaluate(*args, **kwargs)


def _outcomes(outcomes: EpisodeOutcomes) -> dict[str, Any]:
    return {"returns": plain(outcomes.returns), "won": plain(outcomes.won)}
