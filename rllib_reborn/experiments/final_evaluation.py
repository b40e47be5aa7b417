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
    task: int | None = None,
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
        task: Of a sequence of tasks, number of the one that ``policy`` and ``random`` are of; all are played, and stand in
            ``tasks``, each with its name. None: the environment is no sequence.
        resource_request: Options of a Ray task (``num_cpus``, ``resources``) in which they are played, for games that
            need what only some nodes have; None: in this process.
        timeout_s: Seconds for the episodes of either in such a task.

    Raises:
        EnvContractError: They took longer there.
    """
    own_seed = final_evaluation_seed(seed)

    def evaluate(one: TrainedPolicy, epsilon: float) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "episodes": episodes,
            "seed": own_seed,
            "epsilon": epsilon,
            "num_envs": num_envs,
        }
        if resource_request is None:
            return _outcomes(one.evaluate(**arguments))
        running = ray.remote(**resource_request)(_evaluate).remote(one, arguments)
        try:
            return _outcomes(ray.get(running, timeout=timeout_s))
        except GetTimeoutError:
            ray.cancel(running, force=True)
            raise EnvContractError(
                f"{episodes} episodes of {env!r} took longer than {timeout_s:g} s; give resources.evaluation_timeout_s "
                "more, or evaluation.final_episodes less."
            ) from None

    teams = [team] if task is None else team.tasks()
    found = [{"policy": evaluate(one, 0.0), "random": evaluate(one, 1.0)} for one in teams]
    content = found[task or 0] | {"env": env, "env_steps": env_steps, "episodes": episodes, "seed": own_seed}
    if task is not None:
        content["task"] = task
        content["tasks"] = [{"env": one.env_name, **of_one} for one, of_one in zip(teams, found, strict=True)]
    return content


def write_final_evaluation(content: dict[str, Any], path: Path) -> None:
    """Write it in one atomic step: a report never sees half of it."""
    write_text_atomically(path, json.dumps(content, allow_nan=False) + "\n")


def _evaluate(team: TrainedPolicy, arguments: dict[str, Any]) -> EpisodeOutcomes:
    return team.evaluate(**arguments)


def _outcomes(outcomes: EpisodeOutcomes) -> dict[str, Any]:
    return {"returns": plain(outcomes.returns), "won": plain(outcomes.won)}
