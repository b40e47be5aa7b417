"""Processes and games that hang (alive, and without an answer), one case each: training goes on, or ends with a sentence, in
bounded time. The whole series is ``long``; a sample of it is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.runtime.remote_processes import LearnersLostError, RunnersLostError
from tests.algorithms.helpers import quick
from tests.fakes.hanging import HangingGame, HangingWalk  # noqa: F401  # named below

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

WALK, GAME = "tests.fakes.hanging:HangingWalk", "tests.fakes.hanging:HangingGame"
LIMIT_S = 3.0
#: Whatever hangs: the limit, Ray's time for ending a process and starting another one, on a busy machine.
PATIENCE_S = 240.0


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes an algorithm with short limits, which is stopped in bounded time, too."""
    made: list[Any] = []

    def make(env: str = WALK, *, runners: int = 2, evaluation: int = 0, learners: int = 0, **env_config: Any) -> Any:
        sampling = env_config.pop("sampling", "sync")
        config = (
            quick(env=env, sampling=sampling)
            .environment(env, env_config={"flag": str(tmp_path / "hung"), **env_config})
            .env_runners(num_env_runners=runners, sample_timeout_s=LIMIT_S)
            .learners(num_learners=learners)
            .evaluation(
                evaluation_num_env_runners=evaluation, evaluation_duration=8, evaluation_sample_timeout_s=LIMIT_S
            )
            .fault_tolerance(delay_between_env_runner_restarts_s=0)
            .time_limits(answer_timeout_s=LIMIT_S, learner_timeout_s=LIMIT_S)
        )
        made.append(config.build_algo())
        return made[-1]

    yield make
    for algorithm in made:
        begun = time.monotonic()
        algorithm.stop()
        assert time.monotonic() - begun < PATIENCE_S


def train_until(algorithm: Any, is_enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Rows until one is enough, in bounded time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        row: dict[str, Any] = algorithm.train()["team"]
        if is_enough(row):
            return row
        assert time.monotonic() < deadline, row


def is_replaced(row: dict[str, Any]) -> bool:
    return row["faults/runners_hung"] == row["faults/runner_restarts"] == 1 and row["faults/runners_healthy"] == 2


def process_ids(group: Any) -> list[int]:
    ids: list[int] = group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    return ids


def learner_ids(algorithm: Any) -> list[int]:
    return [answer.get() for answer in algorithm.learner_group.foreach_learner(lambda _: os.getpid())]


def a_runner_that_samples(build: Any, tmp_path: Path) -> None:
    algorithm = build(at=20)
    row = train_until(algorithm, is_replaced)
    assert row["faults/episodes_dropped"] == 4
    steps = row["env_steps"]
    assert train_until(algorithm, lambda row: row["updates"] > 5)["env_steps"] > steps


def a_runner_that_samples_overlapped(build: Any, tmp_path: Path) -> None:
    algorithm = build(at=20, sampling="async")
    assert train_until(algorithm, is_replaced)["faults/episodes_dropped"] == 4


def a_runner_that_begins(build: Any, tmp_path: Path) -> None:
    train_until(build(where="reset"), is_replaced)


def a_stopped_runner_that_is_sent_weights(build: Any, tmp_path: Path) -> None:
    algorithm = build(flag=None)
    algorithm.train()
    os.kill(process_ids(algorithm.env_runner_group)[0], signal.SIGSTOP)
    algorithm.runners.sync_weights()
    assert algorithm.env_runner_group.num_healthy_remote_env_runners() == 1
    train_until(algorithm, is_replaced)


def a_runner_that_is_saved(build: Any, tmp_path: Path) -> None:
    algorithm = build(where="get_state")
    algorithm.train()
    algorithm.save_to_path(tmp_path / "saved")
    train_until(algorithm, is_replaced)
    again = build(flag=None)
    again.restore_from_path(tmp_path / "saved")
    assert again.counters.episodes_dropped == 4, "its games are counted by who goes on"


def a_runner_that_is_drained(build: Any, tmp_path: Path) -> None:
    """A checkpoint waits for overlapped requests."""
    algorithm = build(at=20, sampling="async")
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "hung").exists() and time.monotonic() < deadline:
        algorithm.train()
    algorithm.save_to_path(tmp_path / "saved")
    train_until(algorithm, is_replaced)


def a_runner_that_is_restored(build: Any, tmp_path: Path) -> None:
    algorithm = build(where="set_state")
    algorithm.train()
    algorithm.save_to_path(tmp_path / "saved")
    algorithm.restore_from_path(tmp_path / "saved")
    train_until(algorithm, is_replaced)


def an_evaluation_runner(build: Any, tmp_path: Path) -> None:
    algorithm = build(runners=0, evaluation=2, flag=None)
    algorithm.train()
    os.kill(process_ids(algorithm.eval_env_runner_group)[0], signal.SIGSTOP)
    found = algorithm.evaluate()["env_runners"]
    assert found["num_episodes"] == 8, "the other one has played them"
    row = train_until(algorithm, lambda _: True)
    assert (row["faults/evaluation_runners_lost"], row["faults/evaluation_runners_hung"]) == (1, 1)
    assert (row["faults/runners_lost"], row["faults/episodes_dropped"]) == (0, 0)
    deadline = time.monotonic() + PATIENCE_S
    while algorithm.eval_env_runner_group.num_healthy_remote_env_runners() < 2:
        assert algorithm.evaluate()["env_runners"]["num_episodes"] == 8
        assert time.monotonic() < deadline


def a_learner_of_two(build: Any, tmp_path: Path) -> None:
    """The other one waits for it in the sum of their gradients."""
    algorithm = build(runners=0, learners=2, flag=None)
    train_until(algorithm, lambda row: row["updates"] > 0)
    os.kill(learner_ids(algorithm)[0], signal.SIGSTOP)
    with pytest.raises(LearnersLostError, match=r"learner .* did not answer within 3 s .*the last checkpoint is lost"):
        train_until(algorithm, lambda row: False)
    assert algorithm.whole_env_steps is None, "nothing is made of it"


def a_learner_that_is_saved(build: Any, tmp_path: Path) -> None:
    algorithm = build(runners=0, learners=1, flag=None)
    train_until(algorithm, lambda row: row["updates"] > 0)
    os.kill(learner_ids(algorithm)[0], signal.SIGSTOP)
    with pytest.raises(LearnersLostError, match="did not answer within 3 s"):
        algorithm.save_to_path(tmp_path / "saved")


def a_game_in_a_process(build: Any, tmp_path: Path) -> None:
    algorithm = build(GAME, runners=0, team={"workers": "processes", "num_workers": 2, "step_timeout_s": 2.0}, at=20)
    row = train_until(algorithm, lambda row: row["faults/env_failures"] > 0)
    assert row["faults/episodes_dropped"] == 2, "of the process, which plays two"
    train_until(algorithm, lambda row: row["updates"] > 5)


def a_game_on_a_thread(build: Any, tmp_path: Path) -> None:
    algorithm = build(GAME, runners=0, team={"workers": "threads", "step_timeout_s": 2.0}, at=20)
    row = train_until(algorithm, lambda row: row["faults/env_failures"] > 0)
    assert row["faults/episodes_dropped"] == 1
    train_until(algorithm, lambda row: row["updates"] > 5)


def a_game_on_a_thread_of_a_runner(build: Any, tmp_path: Path) -> None:
    train_until(build(GAME, team={"workers": "threads"}, at=20), is_replaced)


def a_batch_in_the_driver(build: Any, tmp_path: Path) -> None:
    algorithm = build(runners=0, at=20)
    row = train_until(algorithm, lambda row: row["faults/env_failures"] > 0)
    assert row["faults/env_failures"] == 1
    assert 0 < row["faults/episodes_dropped"] <= 4, "those that had begun"
    train_until(algorithm, lambda row: row["updates"] > 5)


def an_inline_game_in_the_driver(build: Any, tmp_path: Path) -> None:
    algorithm = build(GAME, runners=0, at=20)
    row = train_until(algorithm, lambda row: row["faults/env_failures"] > 0)
    assert (row["faults/env_failures"], row["faults/episodes_dropped"]) == (1, 1)
    train_until(algorithm, lambda row: row["updates"] > 5)


def every_runner_again_and_again(build: Any, tmp_path: Path) -> None:
    algorithm = build(always=True, at=2)
    with pytest.raises(RunnersLostError, match=r"2 env runners were lost \d+ times without an answer in between"):
        train_until(algorithm, lambda row: False)
    assert algorithm.whole_env_steps == 0, "the learner is sound, and is saved"


CASES = (
    a_runner_that_samples,
    a_runner_that_samples_overlapped,
    a_runner_that_begins,
    a_stopped_runner_that_is_sent_weights,
    a_runner_that_is_saved,
    a_runner_that_is_drained,
    a_runner_that_is_restored,
    an_evaluation_runner,
    a_learner_of_two,
    a_learner_that_is_saved,
    a_game_in_a_process,
    a_game_on_a_thread,
    a_game_on_a_thread_of_a_runner,
    a_batch_in_the_driver,
    an_inline_game_in_the_driver,
    every_runner_again_and_again,
)
SAMPLE = (a_learner_that_is_saved,)


@pytest.mark.parametrize(
    "case",
    [case if case in SAMPLE else pytest.param(case, marks=pytest.mark.long) for case in CASES],
    ids=lambda case: case.__name__,
)
def test_it_is_given_up(case: Any, build: Any, tmp_path: Path) -> None:
    case(build, tmp_path)
