"""A sequence of tasks as an environment: its name, its team, and that its games are those of the task that is played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.envs.registry import (
    is_stepped_as_arrays,
    known_action,
    launches_external_process,
    make_same_team_env,
    make_team_env,
    team_spec,
)
from rllib_reborn.envs.same_team import OtherTeamError
from rllib_reborn.envs.state_views import StateView
from rllib_reborn.envs.task_sequence import Tasks, TaskSequenceEnv, is_sequence, sequence_name, task_names
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv
from tests.fakes.envs import MaskedWalk

WALK = "tests.fakes.envs:MaskedWalk"
#: Two walks that differ in how long their episodes may be.
WALKS = f"{WALK} -> {WALK}"
LIMITS = {"tasks": [{"limit": 3}, {"limit": 5}]}


def sequence(num_envs: int = 2, **options: Any) -> TaskSequenceEnv:
    env = make_team_env(WALKS, num_envs, **{**LIMITS, **options})
    assert isinstance(env, TaskSequenceEnv)
    return env


def played(env: VectorTeamEnv, steps: int, seed: int | None = 7) -> list[Any]:
    """Every array of some steps with the first allowed action, ended games beginning again."""
    obs = env.reset(seed=seed)
    found: list[Any] = [*obs]
    for _ in range(steps):
        step = env.step(obs.action_mask.argmax(2))
        found += [step.reward.copy(), step.terminated.copy(), step.truncated.copy(), *step.obs]
        done = step.terminated | step.truncated
        obs = env.reset(mask=done) if done.any() else step.obs
    return found


def assert_equal(left: Sequence[Any], right: Sequence[Any]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------------------------------------------------- names


@given(st.lists(st.text("ab/:._-3>", min_size=1, max_size=12), min_size=2, max_size=5))
def test_a_name_is_taken_apart_into_what_it_was_made_of(names):
    name = sequence_name(names)
    assert is_sequence(name)
    assert task_names(name) == tuple(names)


@pytest.mark.parametrize("names", [["a"], [], ["a", ""], ["a", "b -> c"], ["a", 3]])
def test_what_is_no_list_of_two_or_more_names_is_refused(names):
    with pytest.raises(ValueError, match="expected"):
        sequence_name(names)


def test_other_names_are_no_sequences():
    assert not is_sequence("predator_prey/small")
    assert not is_sequence(None)
    assert task_names("predator_prey/small") == ("predator_prey/small",)


def test_options_are_shared_and_those_of_a_task_are_laid_over_them():
    tasks = Tasks.of("a -> b -> c", {"size": 3, "tasks": [{}, {"size": 4, "hares": 1}, {"hares": 2}], "task": 2})
    assert tasks == Tasks(("a", "b", "c"), ({"size": 3}, {"size": 4, "hares": 1}, {"size": 3, "hares": 2}), 2)
    assert Tasks.of("a -> b", {}) == Tasks(("a", "b"), ({}, {}), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": [{}]}, "list of 2 mappings"),
        ({"tasks": {"limit": 3}}, "list of 2 mappings"),
        ({"tasks": [{}, 3]}, "list of 2 mappings"),
        ({"task": 2}, r"number of a task, 0\.\.1"),
        ({"task": -1}, "number of a task"),
        ({"task": True}, "number of a task"),
        ({"nothing": 3}, "nothing"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        team_spec(WALKS, **options)
    with pytest.raises(ValueError, match=message):
        make_team_env(WALKS, 1, **options)


def test_names_alone_say_what_is_known_of_all_tasks():
    assert is_stepped_as_arrays("matrix/penalty -> predator_prey/small")
    assert not is_stepped_as_arrays(f"matrix/penalty -> {WALK}")
    assert not is_stepped_as_arrays("matrix/penalty -> smac/3m")
    assert launches_external_process("matrix/penalty -> smac/3m")
    assert not launches_external_process("matrix/penalty -> predator_prey/small")
    hunts = "matrix/penalty -> predator_prey/small"
    assert known_action(hunts, {}) is None
    assert known_action(hunts, {"task": 1}).action == known_action("predator_prey/small", {}).action


# ----------------------------------------------------------------------------------------------------------------- team


def test_the_longest_episode_and_the_states_that_all_tasks_have_are_the_teams():
    assert team_spec(WALKS, **LIMITS) == team_spec(WALK, limit=5)
    small, other = team_spec("predator_prey/small"), team_spec("predator_prey/gradps_small")
    assert team_spec("predator_prey/small -> predator_prey/gradps_small") == small
    # Their smaller states have other arguments, since there are other preys.
    assert small.state_views
    assert other.state_views
    assert team_spec("predator_prey/small -> predator_prey/gradps_small").state_views == ()
    assert team_spec("predator_prey/small -> predator_prey/small").state_views == small.state_views


BASE = {"n_agents": 2, "n_actions": 3, "obs_dim": 4, "state_dim": 5, "episode_limit": 6}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_agents", 3),
        ("n_actions", 4),
        ("obs_dim", 5),
        ("state_dim", 6),
        ("agent_ids", ("x", "y")),
        ("agent_groups", ("x", "y")),
        ("obs_dtype", "uint8"),
        ("state_dtype", "int8"),
        ("has_win", True),
        ("obs_scale", 0.5),
        ("state_scale", 0.5),
    ],
)
def test_environments_of_two_teams_are_refused_by_name_and_difference(field, value):
    specs = {
        "one": TeamSpec(**BASE),
        "two": TeamSpec(**{**BASE, "episode_limit": 9}),
        "three": TeamSpec(**BASE | {field: value}),
    }
    tasks = Tasks(("one", "two", "three"), ({}, {}, {}), 0)
    with pytest.raises(ValueError, match=rf"'one' and 'three' cannot be tasks of one sequence: {field} is") as refused:
        tasks.joint_spec(lambda order, name, options: specs[name])
    assert str(value[0] if isinstance(value, tuple) else value) in str(refused.value)
    assert Tasks(("one", "two"), ({}, {}), 0).joint_spec(lambda order, name, options: specs[name]).episode_limit == 9


def test_smaller_states_of_one_task_alone_are_left_out():
    views = [StateView.of_columns("first", [0]), StateView.of_columns("second", [1, 2])]
    specs = {"one": TeamSpec(**BASE, state_views=tuple(views)), "two": TeamSpec(**BASE, state_views=(views[1],))}
    joint = Tasks(("one", "two"), ({}, {}), 0).joint_spec(lambda order, name, options: specs[name])
    assert joint.state_views == (views[1],)


def test_later_tasks_are_asked_in_the_first_ones_order_of_agents():
    asked = []

    def spec_of(order: Sequence[str], name: str, options: Any) -> TeamSpec:
        asked.append(tuple(order))
        return TeamSpec(**BASE, agent_ids=("b", "a"))

    Tasks(("one", "two"), ({}, {}), 0).joint_spec(spec_of)
    assert asked == [(), ("b", "a")]


def test_environments_that_do_not_fit_are_refused_when_they_are_made():
    with pytest.raises(ValueError, match=r"'matrix/two_step' and 'matrix/penalty'.*n_actions is 2 in the one and 3"):
        make_team_env("matrix/two_step -> matrix/penalty")


def test_a_task_that_is_another_team_when_it_is_built_is_refused():
    spec = team_spec(WALKS, **LIMITS)
    closed = []

    def make(task: int) -> VectorTeamEnv:
        walk = MaskedWalk(2, state_dim=4 if task else 3)
        walk.close = lambda: closed.append(task)  # type: ignore[method-assign]
        return walk

    env = TaskSequenceEnv(Tasks.of(WALKS, LIMITS), spec, 2, make)
    env.switch(1)
    with pytest.raises(OtherTeamError, match="state_dim is 3 in the one and 4"):
        env.reset()
    assert closed == [0, 1]


def test_the_expected_team_is_that_of_all_tasks():
    env = make_same_team_env(team_spec(WALKS, **LIMITS), WALKS, 2, LIMITS)
    assert env.spec.episode_limit == 5
    with pytest.raises(OtherTeamError, match="episode_limit"):
        make_same_team_env(team_spec(WALK, limit=3), WALKS, 2, LIMITS)


# ---------------------------------------------------------------------------------------------------------------- games


def test_its_games_are_those_of_the_task_that_is_played():
    alone = [played(make_team_env(WALK, 2, limit=limit), 12) for limit in (3, 5)]
    env = sequence()
    assert_equal(played(env, 12), alone[0])
    env.switch(1)
    assert_equal(played(env, 12), alone[1])
    env.switch(0)
    assert_equal(played(env, 12), alone[0])
    assert_equal(played(sequence(task=1), 12), alone[1])
    with pytest.raises(ValueError, match=r"task is 2; expected 0\.\.1"):
        env.switch(2)


def test_a_state_goes_on_whichever_task_was_played_before():
    env = sequence()
    env.switch(1)
    played(env, 4)
    state = env.get_state()
    rest = played(env, 9, seed=None)
    other = sequence()  # at the first task
    played(other, 3)
    obs = other.set_state(state)
    assert other.task == 1
    assert obs.obs.shape == (2, 2, 3)
    assert_equal(played(other, 9, seed=None), rest)


def test_one_tasks_games_exist_at_a_time():
    made, closed = [], []

    class Counted(MaskedWalk):
        def __init__(self, task: int) -> None:
            super().__init__(2, limit=3)
            self.task, self.failed_resets = task, 0
            made.append(task)

        def reset(self, **kwargs: Any) -> Any:
            self.failed_resets += 1
            return super().reset(**kwargs)

        def close(self) -> None:
            closed.append(self.task)

    env = TaskSequenceEnv(Tasks.of(WALKS, LIMITS), team_spec(WALKS, **LIMITS), 2, Counted)
    env.reset()
    env.switch(0)  # as before
    env.reset()
    assert (made, closed, env.failed_resets) == ([0], [], 2)
    env.switch(1)
    assert (made, closed) == ([0], [0])
    assert env.get_state() is None
    assert env.provenance() == {}
    env.reset()
    assert (made, env.failed_resets) == ([0, 1], 3)
    env.close()
    env.close()
    assert closed == [0, 1]


def test_an_environment_that_cannot_give_its_state_says_so():
    env = make_team_env("tests.fakes.envs:Unsaveable -> tests.fakes.envs:Unsaveable", 1)
    env.reset(seed=0)
    assert env.get_state() is None


def test_games_that_cannot_be_closed_do_not_keep_the_next_task_from_being_played(caplog: pytest.LogCaptureFixture):
    def make(task: int) -> VectorTeamEnv:
        walk = MaskedWalk(2, limit=5 if task else 3)

        def close() -> None:
            raise RuntimeError("the game hangs")

        walk.close = close  # type: ignore[method-assign]
        return walk

    env = TaskSequenceEnv(Tasks.of(WALKS, LIMITS), team_spec(WALKS, **LIMITS), 2, make)
    played(env, 4)
    env.switch(1)
    assert "the game hangs" in caplog.text
    assert_equal(played(env, 12), played(make_team_env(WALK, 2, limit=5), 12))
