"""Training on a sequence of tasks: which is trained and evaluated when, and that a run in parts is one run, to the bit."""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Any

import numpy as np
import pytest

from rllib_reborn import QMIXConfig, VDNConfig
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.runtime.task_runner import TaskEnvRunner
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows

RISING, FALLING = "tests.fakes.task_games:rising", "tests.fakes.task_games:falling"
SHIFTED = "tests.fakes.task_games:shifted"
#: A return below 50 is one of the first task, above it one of the second.
TASKS = {"tasks": [{"by": 0.0}, {"by": 100.0}]}
#: An iteration of the shifted games is 40 env steps, of the walks 40 to 56.
EVERY = 100


def shifted(*, tasks: int = 2, **settings: Any) -> Any:
    options = {"tasks": [{"by": 100.0 * number} for number in range(tasks)]}
    config = quick(env=[SHIFTED] * tasks).environment(env_config=options)
    return config.environment(task_sequence={"every_env_steps": EVERY, **settings})


def rising_and_falling(**training: Any) -> Any:
    config = quick(VDNConfig, env=[RISING, FALLING], **training)
    return config.environment(task_sequence={"every_env_steps": EVERY})


def walks(**settings: Any) -> Any:
    """Episodes of many steps, some of which run where a task ends."""
    config = quick(env=[WALK, WALK], epsilon={"anneal_env_steps": 60}).environment(
        env_config={"tasks": [{"limit": 3}, {"limit": 5}]}, task_sequence={"every_env_steps": EVERY, **settings}
    )
    return config.evaluation(interval_env_steps=EVERY, evaluation_duration=3)


def task_of(value: float) -> int:
    return int(value // 50) // 2


@pytest.fixture
def build():
    """Builds algorithms and stops them afterwards."""
    built = []

    def make(config: Any) -> Any:
        built.append(config.copy(copy_frozen=False).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def held(algorithm: Any) -> list[int]:
    """The task of each episode of a replay of shifted games."""
    return [task_of(float(episode["reward"][0])) for episode in algorithm.replay.get_state()["episodes"]]


# --------------------------------------------------------------------------------------------------------------- config


def test_a_list_is_a_name_and_its_runners_know_tasks():
    config = shifted()
    assert config.env == f"{SHIFTED} -> {SHIFTED}"
    config.validate()
    assert config.env_runner_cls is TaskEnvRunner
    assert config.get_evaluation_config_object().env_runner_cls is TaskEnvRunner
    config = rising_and_falling()
    config.validate()
    config.environment(RISING, task_sequence=None).validate()
    assert config.env_runner_cls is TeamEnvRunner


def test_tune_may_give_it_as_data():
    given = {"env": [SHIFTED, SHIFTED], "env_config": TASKS, "task_sequence": {"every_env_steps": EVERY}}
    config = quick().update_from_dict(given)
    config.validate()
    assert (config.env, config.env_runner_cls) == (f"{SHIFTED} -> {SHIFTED}", TaskEnvRunner)
    again = QMIXConfig().update_from_dict(config.to_dict())
    again.validate()
    assert (again.env, again.task_sequence) == (config.env, {"every_env_steps": EVERY})


class Own(TeamEnvRunner):
    pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.environment(task_sequence=None), "task_sequence is not set; give task_sequence.every_env_steps"),
        (lambda c: c.environment(SHIFTED), "one environment, so that it would have no effect"),
        (lambda c: c.environment(task_sequence={}), "'task_sequence.every_env_steps' is missing"),
        (lambda c: c.environment(task_sequence={"every_env_steps": 0}), "every_env_steps is 0"),
        (lambda c: c.environment(task_sequence={"every_env_steps": 99, "replays": "keep"}), "unknown key"),
        (lambda c: c.environment(task_sequence={"every_env_steps": 99, "replay": "drop"}), "replay is 'drop'"),
        # 39 env steps, and a rollout of 4 games of one step.
        (lambda c: c.environment(task_sequence={"every_env_steps": 42}), "one iteration may take 43 env steps"),
        # Behind each switch so much, and one episode of one step to warm up.
        (
            lambda c: c.environment(task_sequence={"every_env_steps": 45, "replay": "clear"}).training(
                learning_starts_episodes=3
            ),
            r"3 episodes \(learning_starts_episodes\) of up to 1 may pass before the next update; expected at least 46",
        ),
        (lambda c: c.training(episodes_per_sample="x"), "episodes_per_sample is 'x'"),
        (lambda c: c.environment(env_config=TASKS | {"task": 1}), "env_config.task is 1, but task_sequence decides"),
        (lambda c: c.env_runners(env_runner_cls=Own), "env_runner_cls is Own with a sequence of tasks"),
        (
            lambda c: rising_and_falling().environment([RISING, "matrix/two_step"]),
            rf"'{RISING}' and 'matrix/two_step' cannot be tasks of one sequence: n_actions is 3 in the one and 2",
        ),
    ],
)
def test_what_has_no_effect_or_does_not_fit_is_refused_before_training(change, message):
    with pytest.raises(ValueError, match=message):
        change(shifted()).validate()


def test_the_shortest_task_that_is_accepted_is_one_iteration():
    shifted().environment(task_sequence={"every_env_steps": 43}).validate()
    remote = shifted().env_runners(num_env_runners=3, num_envs_per_env_runner=2).training(episodes_per_sample=10)
    # 10 episodes of 3 runners are 4 of each, which its 2 games play in 2 steps: 12 env steps.
    with pytest.raises(ValueError, match="one iteration may take 51 env steps"):
        remote.environment(task_sequence={"every_env_steps": 50}).validate()
    remote.environment(task_sequence={"every_env_steps": 51}).validate()


def test_evaluations_do_not_choose_a_task_of_their_own():
    for env_config in ({"task": 1}, TASKS | {"task": 0}):
        config = shifted().evaluation(evaluation_config={"env_config": env_config})
        with pytest.raises(ValueError, match=r"env_config.task is .*evaluation plays that one"):
            config.get_evaluation_config_object().validate()
    config = rising_and_falling().evaluation(evaluation_config={"env": f"{FALLING} -> {RISING}"})
    with pytest.raises(ValueError, match=r"evaluation is to play the tasks .* and training those of"):
        config.get_evaluation_config_object()
    # Many games side by side make no iteration of training longer.
    shifted().evaluation(evaluation_duration=900).get_evaluation_config_object().validate()


def test_what_lies_in_the_main_script_is_refused():
    with pytest.raises(ValueError, match=r"'__main__:make' lies in the main script.*put it into a module"):
        quick(env=["__main__:make", SHIFTED])


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("repeat", [True, False])
def test_rows_and_evaluations_are_of_one_task_each(build, repeat):
    config = shifted(tasks=3, repeat=repeat).evaluation(interval_env_steps=40, evaluation_duration=2)
    algorithm = build(config)
    found = [algorithm.train() for _ in range(12)]
    expected = [(i * 40) // EVERY if repeat else min((i * 40) // EVERY, 2) for i in range(12)]
    # Iteration 5 begins at 200 env steps, which is where the third task begins, and not after it.
    assert expected[:6] == [0, 0, 0, 1, 1, 2]
    for period, row in zip(expected, (result["team"] for result in found), strict=True):
        assert (row["task/index"], row["task/switches"]) == (period % 3, period)
        assert task_of(row["train/return_mean"]) == period % 3
        assert (row["eval/task"], task_of(row["eval/return_mean"])) == (period % 3, period % 3)
        assert row["faults/episodes_dropped"] == 0


@pytest.mark.usefixtures("ray_session")
def test_other_runs_have_no_columns_of_tasks(build):
    (row,) = rows(build(quick()), 1)
    assert not [name for name in row if "task" in name]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("replay", ["keep", "clear"])
def test_the_replay_is_kept_or_cleared_and_filled_again_before_the_next_update(build, replay):
    algorithm = build(shifted(replay=replay).training(learning_starts_episodes=44))
    found = rows(algorithm, 3)
    updates = found[-1]["updates"]
    assert set(held(algorithm)) == {0}
    (row,) = rows(algorithm, 1)
    if replay == "keep":
        assert held(algorithm) == [0] * 24 + [1] * 40
        assert row["updates"] == updates + 20
    else:
        assert held(algorithm) == [1] * 40
        assert row["updates"] == updates, "fewer than learning_starts_episodes are there"
        assert rows(algorithm, 1)[0]["updates"] > updates


@pytest.mark.usefixtures("ray_session")
def test_running_episodes_that_are_cut_off_are_counted(build):
    found = rows(build(walks()), 8)
    cut_off = [row["task/episodes_cut_off"] for row in found]
    switches = [row["task/switches"] for row in found]
    assert cut_off[-1] > 0
    assert cut_off == sorted(cut_off)
    for (before, after), (one, other) in zip(itertools.pairwise(switches), itertools.pairwise(cut_off), strict=True):
        assert 0 <= other - one <= 4 * (after > before)


@pytest.mark.usefixtures("ray_session")
def test_epsilon_goes_on_or_begins_anew_with_each_task(build):
    for settings, restarts in (({}, False), ({"epsilon": "restart"}, True)):
        config = shifted(**settings).training(epsilon={"start": 1.0, "end": 0.0, "anneal_env_steps": 200})
        found = [row["train/epsilon"] for row in rows(build(config), 8)]
        # Periods begin at 120, 200 and 320 env steps.
        began = [0, 0, 0, 120, 120, 200, 200, 200] if restarts else [0] * 8
        assert found == pytest.approx([max(0.0, 1 - (40 * (i + 1) - at) / 200) for i, at in enumerate(began)])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_is_right_in_one_task_and_wrong_in_the_other_is_learnt_again_and_again(build):
    config = rising_and_falling(lr=5e-3, epsilon={"start": 1.0, "end": 1.0, "anneal_env_steps": 1})
    config.environment(task_sequence={"every_env_steps": 400, "replay": "clear"})
    config.reporting(min_sample_timesteps_per_iteration=200).evaluation(evaluation_duration=1)
    algorithm = build(config)
    for expected_task in (0, 1, 0):
        assert [row["task/index"] for row in rows(algorithm, 2)] == [expected_task] * 2
        evaluated = algorithm.evaluate()["env_runners"]
        assert (evaluated["task"], evaluated["episode_return_mean"]) == (expected_task, 6.0)
        # The other task is played as badly as can be: all is learnt anew.
        other = algorithm.runners._evaluating.local()
        other.switch_task(1 - expected_task)
        assert other.evaluate(1, 0)[0].episode_return == 0.0


# --------------------------------------------------------------------------------------------------------- one run


def state_of(algorithm: Any) -> dict[str, Any]:
    state = algorithm.get_state()
    counters = {k: v for k, v in state["value_factorization"]["counters"].items() if k not in ("seconds_before", "row")}
    return {"replay": state["replay"]["episodes"], "counters": counters}


def assert_same(one: Any, other: Any) -> None:
    assert equal(learner_weights(one), learner_weights(other))
    mine, theirs = state_of(one), state_of(other)
    assert mine["counters"] == theirs["counters"]
    for left, right in zip(mine["replay"], theirs["replay"], strict=True):
        for name, array in left.items():
            np.testing.assert_array_equal(array, right[name])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("settings", [{}, {"replay": "clear", "epsilon": "restart"}], ids=["keep", "clear and restart"])
def test_a_run_in_two_parts_is_one_run_wherever_the_switch_is(build, tmp_path, settings):
    """Saved after each iteration: in the middle of a task, where the next one begins, and after it has begun."""
    whole = build(walks(**settings))
    expected = []
    for number in range(6):
        expected += rows(whole, 1)
        whole.save_to_path(tmp_path / f"after_{number}")
    switched = [row["task/switches"] for row in expected]
    assert len(set(switched)) >= 3
    for number in range(5):
        again = build(walks(**settings))
        again.restore_from_path(tmp_path / f"after_{number}")
        assert rows(again, 5 - number) == expected[number + 1 :], f"saved after iteration {number} of {switched}"
        assert_same(again, whole)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_broken_off_anywhere_in_an_iteration_it_goes_on_as_if_nothing_had_happened(build, tmp_path):
    config = walks(replay="clear").training(updates_per_episode=1.0)
    whole = build(config)
    expected = rows(whole, 5)
    for look in (17, 42, 65):
        cut, found, looks = build(config), [], itertools.count()
        cut.interrupt_when(lambda looks=looks, look=look: next(looks) == look)
        with pytest.raises(InterruptedIterationError):  # noqa: PT012 - in which iteration is not known
            while len(found) < 5:
                found += rows(cut, 1)
        cut.save_to_path(tmp_path / str(look))
        again = build(config)
        again.restore_from_path(tmp_path / str(look))
        assert [*found, *rows(again, 5 - len(found))] == expected
        assert_same(again, whole)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_broken_off_in_an_iteration_in_which_the_next_task_has_become_due_it_still_ends_with_the_task_before(
    build, tmp_path
):
    config = shifted(replay="clear")
    expected = rows(build(config), 4)
    # The third iteration begins at 80 env steps; its rollouts are of 4.
    assert [row["task/index"] for row in expected] == [0, 0, 0, 1]
    cut = build(config)
    rows(cut, 2)
    cut.interrupt_when(lambda: cut.counters.env_steps >= 104)
    with pytest.raises(InterruptedIterationError):
        cut.train()
    assert cut.counters.env_steps == 104
    cut.save_to_path(tmp_path)
    again = build(config)
    again.restore_from_path(tmp_path)
    assert rows(again, 2) == expected[2:]


@pytest.mark.long  # its sample: the next but one, and a run in two parts with a runner of the driver's, above
@pytest.mark.usefixtures("ray_session")
def test_remote_runners_go_through_the_tasks_together_and_a_restored_run_is_the_same(build, tmp_path):
    config = walks(replay="clear").env_runners(num_env_runners=2, num_envs_per_env_runner=2)
    config.evaluation(evaluation_num_env_runners=1)
    whole = build(config)
    expected = rows(whole, 3)
    whole.save_to_path(tmp_path)
    expected += rows(whole, 3)
    assert expected[2]["task/switches"] < expected[-1]["task/switches"]
    assert [row["eval/task"] for row in expected if row["eval/task"] is not None]
    again = build(config)
    assert rows(again, 3) == expected[:3]
    again.restore_from_path(tmp_path)
    assert rows(again, 3) == expected[3:]
    assert_same(again, whole)


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_a_runner_that_is_started_again_plays_the_present_task(build):
    config = (
        shifted()
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2, sample_timeout_s=60)
        .fault_tolerance(delay_between_env_runner_restarts_s=1)
    )
    algorithm = build(config)
    rows(algorithm, 4)
    assert algorithm.counters.period == 1
    pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    os.kill(pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 120
    while algorithm.counters.runner_restarts < 1:
        assert time.monotonic() < deadline
        (row,) = rows(algorithm, 1)
    for row in rows(algorithm, 4):
        assert task_of(row["train/return_mean"]) == row["task/index"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_overlapped_sampling_switches_with_all_runners(build):
    config = (
        shifted(replay="clear").training(sampling="async").env_runners(num_env_runners=2, num_envs_per_env_runner=2)
    )
    algorithm = build(config)
    periods = set()
    for _ in range(12):
        (row,) = rows(algorithm, 1)
        periods.add(row["task/switches"])
        assert set(held(algorithm)) == {row["task/index"]}
    assert len(periods) >= 4


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_an_evaluation_beside_training_is_of_the_task_that_had_become_due(build):
    """It is played with the weights from before the iteration of its row, on the task that these were trained on."""
    config = shifted().evaluation(
        interval_env_steps=40, evaluation_duration=2, evaluation_num_env_runners=1, evaluation_parallel_to_training=True
    )
    found = rows(build(config), 7)
    assert found[0]["eval/task"] is None
    for before, row in itertools.pairwise(found):
        assert row["eval/task"] == before["task/index"]
        assert task_of(row["eval/return_mean"]) == before["task/index"]


@pytest.mark.usefixtures("ray_session")
def test_an_evaluation_in_another_environment_is_of_no_task(build):
    config = rising_and_falling().evaluation(
        interval_env_steps=40,
        evaluation_duration=2,
        evaluation_config={"env": SHIFTED, "env_config": {"by": 500.0}, "explore": False},
    )
    for row in rows(build(config), 4):
        assert row["task/index"] in (0, 1)
        assert row["eval/task"] is None
        assert row["eval/return_mean"] >= 500
