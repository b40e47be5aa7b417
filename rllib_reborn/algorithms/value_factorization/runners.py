"""What the algorithm asks of its env runners: collect episodes, take weights, play greedily."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_reborn.algorithms.value_factorization.seeds import remote_seed
from rllib_reborn.algorithms.value_factorization.team_env_runner import (
    Collected,
    EpisodeOutcome,
    Played,
    TeamEnvRunner,
)
from rllib_reborn.envs.failure_budget import EnvContractError

if TYPE_CHECKING:
    from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization

logger = logging.getLogger(__name__)

#: How long the loop waits for episodes when it has nothing else to do, before it looks after its runners again.
_IDLE_WAIT_S = 1.0
_LOOK_EVERY_S = 0.005
#: Evaluation shares of runners that died are played by the others, at most this often.
_EVALUATION_ROUNDS = 3
#: Keeps evaluation games of the local runner apart from its training games under one seed (RLlib's own offset).
EVALUATION_SEED_OFFSET = 1_000_000


class Weights(NamedTuple):
    """Agent weights of the learners and their number (which rises with every update)."""

    rl_module: dict[str, Any]
    seq_no: int


def collect(algorithm: ValueFactorization) -> list[Collected]:
    """Newly finished episodes, ordered by runner; empty if none came in time."""
    config, group = algorithm.config, algorithm.env_runner_group
    remote = group.num_remote_env_runners()
    total = config.episodes_per_sample or config.num_envs_per_env_runner * max(1, remote)
    # The clock goes with the request, so that exploration follows it whatever messages a runner has missed.
    request = {"num_episodes": -(-total // max(1, remote)), "env_steps": algorithm.progress.env_steps}
    if remote == 0:
        return [algorithm.env_runner.collect(**request)]
    if config.sampling == "async":
        answers = _first_ready(group, request)
    else:
        answers = group.foreach_env_runner(
            "collect", kwargs=request, local_env_runner=False, timeout_seconds=config.sample_timeout_s
        )
        missing = group.num_healthy_remote_env_runners() - len(answers)
        if missing > 0:
            logger.warning(
                "%d env runner(s) took longer than sample_timeout_s=%g seconds; their episodes are lost. Raise it in "
                "env_runners(sample_timeout_s=...).",
                missing,
                config.sample_timeout_s,
            )
        elif not answers:
            time.sleep(_IDLE_WAIT_S)  # all runners are being restarted
    return sorted(answers, key=lambda answer: answer.worker_index)


def _first_ready(group: Any, request: dict[str, Any]) -> list[Collected]:
    """Overlapped sampling: what runners have ready, as soon as one has; each is sent its next request at once.

    RLlib's own timeout waits for all runners, so that the slowest would set the pace; hence short looks.
    """
    deadline = time.monotonic() + _IDLE_WAIT_S
    while True:
        answers: list[Collected] = group.foreach_env_runner_async_fetch_ready(
            func="collect", kwargs=request, tag="collect", timeout_seconds=0.0
        )
        if answers or time.monotonic() > deadline:
            return answers
        time.sleep(_LOOK_EVERY_S)


def drain(algorithm: ValueFactorization) -> list[Collected]:
    """Wait for overlapped requests that are under way, so that none is between two states; empty in sync sampling."""
    group = algorithm.env_runner_group
    if group is None or algorithm.config.sampling != "async" or group.num_in_flight_async_reqs(tag="collect") == 0:
        return []
    answers = group.fetch_ready_async_reqs(
        tags="collect", timeout_seconds=algorithm.config.sample_timeout_s, return_obj_refs=False
    )
    return sorted((answer for _, answer in answers), key=lambda answer: answer.worker_index)


def raise_error(answer: Collected | Played) -> None:
    """Raise what went wrong in a runner; it travels as data, since RLlib would restart the runner for ever.

    Raises:
        EnvContractError: The environment is broken.
        RuntimeError: Anything else.
    """
    if answer.error is not None:
        raise EnvContractError(answer.error) if answer.env_is_broken else RuntimeError(answer.error)


def learner_weights(algorithm: ValueFactorization) -> Weights:
    """The agents' weights from the learners; mixer and targets stay there."""
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
    )[COMPONENT_LEARNER]
    return Weights(state[COMPONENT_RL_MODULE], state.get(WEIGHTS_SEQ_NO, 0))


def send_weights(algorithm: ValueFactorization) -> None:
    """Weights to the sampling runners; see :meth:`ValueFactorization.send_weights`."""
    weights = learner_weights(algorithm)
    state = {COMPONENT_RL_MODULE: weights.rl_module, WEIGHTS_SEQ_NO: weights.seq_no}
    group = algorithm.env_runner_group
    if group.num_remote_env_runners() == 0:
        algorithm.env_runner.set_state(state)
        return
    request = {"state": ray.put(state)}
    if algorithm.config.sampling == "async":
        group.foreach_env_runner_async_fetch_ready(
            func="set_state", kwargs=request, tag="set_state", timeout_seconds=0.0
        )
    else:
        # Waited for, so that what is sampled next depends on the seed alone and not on when a message arrives.
        group.foreach_env_runner("set_state", kwargs=request, local_env_runner=False)


def push_weights(algorithm: ValueFactorization) -> None:
    """Weights to all runners, whatever they have; returns when every healthy one has them."""
    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        if group is not None:
            push_weights_to(algorithm, group, None)


def push_weights_to(algorithm: ValueFactorization, group: Any, workers: list[int] | None) -> None:
    """The same to the remote runners ``workers`` of a group; None: to all of it, the local one included."""
    weights = learner_weights(algorithm)
    reference = ray.put(weights.rl_module)
    env_steps = algorithm.progress.env_steps

    def force(env_runner: TeamEnvRunner) -> None:
        env_runner.force_weights(ray.get(reference), weights.seq_no, env_steps)

    group.foreach_env_runner(force, local_env_runner=workers is None, remote_worker_ids=workers)


class Greedy(NamedTuple):
    """Answer of :func:`play_greedy`: the episodes played to their end, and how often games failed on the way."""

    outcomes: list[EpisodeOutcome]
    env_failures: int


def play_greedy(algorithm: ValueFactorization, weights: Weights) -> Greedy:
    """``evaluation_duration`` greedy episodes on the evaluation runners; always from the same seeds."""
    wanted = int(algorithm.config.evaluation_duration)
    seed = algorithm.config.seed or 0
    group = algorithm.eval_env_runner_group
    if group is None or group.num_remote_env_runners() == 0:
        runner = algorithm.local_evaluation_runner()
        runner.force_weights(weights.rl_module, weights.seq_no, algorithm.progress.env_steps)
        return Greedy(runner.play(wanted, seed + EVALUATION_SEED_OFFSET), runner.take_env_failures())
    algorithm.restore_env_runners(group)
    reference = ray.put(weights.rl_module)
    outcomes: list[EpisodeOutcome] = []
    env_failures = 0
    for round_number in range(_EVALUATION_ROUNDS):
        healthy = sorted(group.healthy_env_runner_ids())
        missing = wanted - len(outcomes)
        if missing == 0 or not healthy:
            break
        shares = {worker: missing // len(healthy) + (i < missing % len(healthy)) for i, worker in enumerate(healthy)}

        def play(env_runner: TeamEnvRunner, shares: Any = shares, round_number: int = round_number) -> Any:
            share = shares[env_runner.worker_index]
            env_runner.force_weights(ray.get(reference), weights.seq_no, 0)
            return env_runner.play_for_driver(
                share, remote_seed(seed, "evaluation", env_runner.worker_index, 1 + round_number)
            )

        answers = group.foreach_env_runner(
            play,
            local_env_runner=False,
            remote_worker_ids=[worker for worker in healthy if shares[worker]],
            timeout_seconds=algorithm.config.evaluation_sample_timeout_s,
        )
        for answer in sorted(answers, key=lambda answer: answer.worker_index):
            raise_error(answer)
            outcomes += answer.outcomes
            env_failures += answer.env_failures
    if len(outcomes) < wanted:
        logger.warning(
            "Evaluation played %d of %d episodes: the other runners died or took longer than "
            "evaluation_sample_timeout_s=%g seconds.",
            len(outcomes),
            wanted,
            algorithm.config.evaluation_sample_timeout_s,
        )
    return Greedy(outcomes, env_failures)


def summary(played: Greedy) -> dict[str, Any]:
    """Evaluation results as data; NaN-free: a mean of nothing is None."""
    outcomes = played.outcomes
    returns = [outcome.episode_return for outcome in outcomes]
    wins = [float(outcome.won) for outcome in outcomes if outcome.won is not None]
    return {
        "episode_returns": returns,
        "episode_return_mean": float(np.mean(returns)) if returns else None,
        "episode_return_std": float(np.std(returns)) if returns else None,
        "episode_len_mean": float(np.mean([o.length for o in outcomes])) if outcomes else None,
        "win_rate": float(np.mean(wins)) if wins else None,
        "num_episodes": len(outcomes),
        "num_env_failures": played.env_failures,
    }
