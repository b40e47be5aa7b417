"""Games as a batch: the same trajectories however they are played, and a game that goes wrong costs its own episode."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.envs.vectorize import (
    GameContractError,
    GameFailedError,
    RemoteGameError,
    ResultBuffers,
    VectorizedTeamEnv,
)
from rllib_reborn.envs.vectorize.process_executor import _Worker
from tests.fakes.scripted_games import (
    LIMIT,
    BrokenStateGame,
    CountingGame,
    FaultyGame,
    StatelessGame,
    StrangeStateGame,
    UndrawnGame,
    VersionedGame,
)

pytestmark = pytest.mark.timeout(120)

WAYS = ("inline", "threads", "processes")
Faulty = functools.partial(functools.partial, FaultyGame)


@pytest.fixture
def vectorize():
    """Makes envs that are closed after the test, and looks that they leave no process."""
    made = []

    def make(*args, **kwargs):
        made.append(VectorizedTeamEnv(*args, **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()
        env.close()
    assert multiprocessing.active_children() == []


def episode_seeds(seed, num_envs, count):
    """[B, count] what the contract says of episode seeds, reckoned by itself."""
    return (RandomStreams(num_envs, seed).bits(count) >> np.uint64(33)).astype(int)


def play(env, steps, seed=5, obs=None, policy_seed=9):
    """Copies of all that is seen in ``steps`` steps at random; every ended game is reset."""
    policy = RandomStreams(env.num_envs, policy_seed)
    record = []
    if obs is None:
        obs = env.reset(seed=seed)
        record.append([np.array(part) for part in obs])
    for _ in range(steps):
        step = env.step(random_legal_actions(obs.action_mask, policy.uniform(env.spec.n_agents)))
        record.append([np.array(part) for part in (*step.obs, *step[1:4], *step.info.values())])
        over = step.terminated | step.truncated | step.info["failed"]
        obs = env.reset(mask=over) if over.any() else step.obs
        record.append([np.array(part) for part in obs])
    return record


def assert_equal_records(one, two):
    assert len(one) == len(two)
    for moment, (mine, theirs) in enumerate(zip(one, two)):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=f"moment {moment}")


def actions_for(env, obs):
    return random_legal_actions(obs.action_mask, np.full(obs.action_mask.shape[:2], 0.5))


# ---------------------------------------------------------------------------------------------------------- playing


@pytest.mark.parametrize("workers", ["inline", "threads"])
def test_the_contract_of_a_team_env_is_kept(vectorize, workers):
    results = check_team_env(
        vectorize(CountingGame, 3, workers=workers), make=lambda count: vectorize(CountingGame, count, workers=workers)
    )
    assert [result for result in results if result.ok is not True] == []


def test_the_contract_of_a_team_env_is_kept_by_processes(vectorize):
    def make(count):
        return vectorize(CountingGame, count, workers="processes", num_workers=2)

    assert [result for result in check_team_env(make(3), make=make) if result.ok is not True] == []


def test_a_trajectory_does_not_depend_on_where_games_are_played(vectorize):
    inline, *others = (
        play(vectorize(CountingGame, 5, workers=way, num_workers=None if way == "inline" else 2), 40) for way in WAYS
    )
    assert any(moment[4].any() for moment in inline if len(moment) > 3), "no game terminated"
    assert any(moment[5].any() for moment in inline if len(moment) > 3), "no game was truncated"
    for other in others:
        assert_equal_records(inline, other)


def test_failures_do_not_depend_on_where_games_are_played(vectorize):
    seeds = tuple(episode_seeds(5, 4, 3)[[0, 2, 2], [0, 0, 2]].tolist())
    make = Faulty("raise", 2, seeds)
    inline, *others = (
        play(vectorize(make, 4, workers=way, num_workers=None if way == "inline" else 2), 40) for way in WAYS
    )
    assert sum(moment[6].sum() for moment in inline if len(moment) > 3) == 3
    for other in others:
        assert_equal_records(inline, other)


def test_episodes_get_the_numbers_of_their_games_stream_as_seeds(vectorize):
    wanted = episode_seeds(11, 2, 2)
    env = vectorize(CountingGame, 2)
    for episode in range(2):
        obs = env.reset(**({"seed": 11} if episode == 0 else {}))
        for game in range(2):
            alone = CountingGame().reset(int(wanted[game, episode]))
            np.testing.assert_array_equal(obs.obs[game], alone.obs)
            np.testing.assert_array_equal(obs.action_mask[game], alone.action_mask)


def test_a_masked_reset_leaves_other_games_and_their_streams(vectorize):
    one, two = vectorize(CountingGame, 2), vectorize(CountingGame, 2)
    one.reset(seed=3)
    two.reset(seed=3)
    two.reset(seed=[99, 4], mask=np.array([False, True]))
    np.testing.assert_array_equal(one.reset().obs[0], two.reset().obs[0])


def test_the_limit_truncates_what_runs_on(vectorize):
    env = vectorize(functools.partial(CountingGame, endless=True), 2)
    obs = env.reset(seed=0)
    for step in range(1, LIMIT + 1):
        out = env.step(actions_for(env, obs))
        obs = out.obs
        assert out.truncated.tolist() == [step == LIMIT] * 2
        assert not out.terminated.any()
        # A game that was cut off has not ended, so that it has not been won either.
        assert not out.info["won"].any()
    with pytest.raises(ValueError, match="game 0 has ended and was not reset"):
        env.step(actions_for(env, obs))
    env.reset(mask=np.array([True, False]))
    with pytest.raises(ValueError, match="game 1 has ended and was not reset"):
        env.step(actions_for(env, obs))


def test_a_win_is_told_at_the_end_only(vectorize):
    wins = 0
    for moment in play(vectorize(CountingGame, 4), 60):
        if len(moment) > 3:
            _, _, _, _, terminated, _, _, won = moment
            assert not (won & ~terminated).any()
            wins += int(won.sum())
    assert wins > 0


def test_nothing_is_stepped_where_an_action_is_not_available(vectorize):
    env = vectorize(CountingGame, 2)
    obs = env.reset(seed=1)
    before = np.array(obs.state)
    actions = actions_for(env, obs)
    actions[1, 2] = np.flatnonzero(~obs.action_mask[1, 2])[0]
    with pytest.raises(ValueError, match="of agent 2 in game 1 is not allowed"):
        env.step(actions)
    np.testing.assert_array_equal(env.reset(mask=np.zeros(2, bool)).state, before)


def test_construction_starts_no_episode_and_the_first_reset_is_of_all(vectorize):
    env = vectorize(Faulty("raise"), 2)  # its reset would raise
    with pytest.raises(ValueError, match="game 0 was never reset"):
        env.step(np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="first reset must start all games"):
        env.reset(mask=np.array([True, False]))
    with pytest.raises(ValueError, match=r"reset mask has shape \(3,\); expected \(2,\)"):
        env.reset(mask=np.ones(3, bool))
    assert env.get_state() is None


# ---------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("workers", WAYS)
@pytest.mark.parametrize("fault", ["raise", "close"])
def test_an_exception_costs_the_episode_of_its_game_only(vectorize, workers, fault, caplog):
    first = episode_seeds(9, 3, 1)[:, 0]
    env, good = vectorize(Faulty(fault, 2, (int(first[1]),)), 3, workers=workers), vectorize(CountingGame, 3)
    actions = actions_for(env, env.reset(seed=9))
    good.reset(seed=9)
    out = env.step(actions)
    good.step(actions)
    assert out.reward[1] > 0
    last = np.array(out.obs.obs[1])
    actions = actions_for(env, out.obs)
    with caplog.at_level(logging.WARNING):
        out, wanted = env.step(actions), good.step(actions)
    assert out.info["failed"].tolist() == [False, True, False]
    assert (out.reward[1], out.terminated[1], out.truncated[1]) == (0, False, False)
    np.testing.assert_array_equal(out.obs.obs[1], last)
    np.testing.assert_array_equal(out.obs.obs[[0, 2]], wanted.obs.obs[[0, 2]])
    np.testing.assert_array_equal(out.reward[[0, 2]], wanted.reward[[0, 2]])
    assert "Game 1 failed in step 2" in caplog.text
    assert "Traceback" in caplog.text
    assert "RuntimeError: the script says so at 2" in caplog.text
    assert ("closing is broken as well" in caplog.text) == (fault == "close")
    over = out.info["failed"] | out.terminated | out.truncated
    assert over.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="game 1 has ended"):
        env.step(actions)
    # The next episode is the one that it would have been anyway.
    np.testing.assert_array_equal(env.reset(mask=over).obs, good.reset(mask=over).obs)


def test_the_traceback_is_logged_once(vectorize, caplog):
    env = vectorize(Faulty("raise", 1), 2)
    for _ in range(3):
        env.step(actions_for(env, env.reset(seed=1)))
    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("failed in step 1") == 6


def test_a_failed_game_is_closed_and_built_anew(vectorize):
    env = vectorize(Faulty("raise", 1), 1)
    before = CountingGame.closed, FaultyGame.closed
    env.step(actions_for(env, env.reset(seed=1)))
    env.reset()
    env.close()
    assert (CountingGame.closed, FaultyGame.closed) == (before[0], before[1] + 2)


def test_a_reset_that_fails_is_tried_with_the_next_seeds(vectorize):
    seeds = episode_seeds(7, 2, 3)
    bad = (int(seeds[1, 0]), int(seeds[1, 1]))
    for workers in WAYS:
        obs = vectorize(Faulty("raise", 0, bad), 2, workers=workers).reset(seed=7)
        np.testing.assert_array_equal(obs.obs[0], CountingGame().reset(int(seeds[0, 0])).obs)
        np.testing.assert_array_equal(obs.obs[1], CountingGame().reset(int(seeds[1, 2])).obs)


@pytest.mark.parametrize("workers", WAYS)
def test_a_game_that_cannot_be_reset_is_given_up(vectorize, workers):
    bad = tuple(episode_seeds(7, 2, 3)[1].tolist())
    env = vectorize(Faulty("raise", 0, bad), 2, workers=workers)
    with pytest.raises(
        GameFailedError, match=r"game 1 could not be reset 3 times .* RuntimeError: the script says so at 0"
    ) as caught:
        env.reset(seed=7)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteGameError if workers == "processes" else RuntimeError)
    assert "the script says so at 0" in str(cause)
    env.reset()  # the streams have gone on to seeds that are good


@pytest.mark.parametrize("workers", WAYS)
def test_a_game_that_says_it_can_never_be_played_is_believed(vectorize, workers):
    before = FaultyGame.closed
    env = vectorize(Faulty("unavailable"), 2, workers=workers, retry_delay_s=1e6)
    with pytest.raises(GameUnavailableError, match=r"^no such program; install it$"):
        env.reset(seed=7)
    assert env.failed_resets == 2
    if workers != "processes":
        assert FaultyGame.closed == before + 2


def test_resets_that_failed_are_counted_and_waited_after(vectorize, monkeypatch):
    seeds = episode_seeds(7, 2, 3)
    naps = []
    monkeypatch.setattr("time.sleep", naps.append)
    bad = (*seeds[1, :2].tolist(), int(seeds[0, 0]))
    env = vectorize(Faulty("raise", 0, bad), 2, retry_delay_s=0.5)
    env.reset(seed=7)
    assert env.failed_resets == 3
    assert naps == [0.5, 1.0]
    with pytest.raises(GameFailedError):
        vectorize(Faulty("raise", 0), 1, retry_delay_s=0.5).reset()
    assert naps[2:] == [0.5, 1.0]


@pytest.mark.parametrize("workers", WAYS)
def test_what_games_run_on(vectorize, workers):
    env = vectorize(VersionedGame, 3, workers=workers)
    assert env.provenance() == {}
    seeds = episode_seeds(1, 3, 1)[:, 0] % 2
    env.reset(seed=1)
    assert set(seeds) == {0, 1}  # both are there
    assert env.provenance() == {"game_version": "1.0, 1.1", "engine": "script"}
    env = vectorize(CountingGame, 1)
    env.reset()
    assert env.provenance() == {}


BROKEN_PROMISES = [
    ("obs", r"it returned obs of shape \(2, 3\) and dtype float32; expected \(3, 3\) and float32"),
    ("state", r"it returned state of shape \(1, 2\) and dtype float32; expected \(2,\) and float32"),
    ("mask", r"it returned action_mask of shape \(3, 3\) and dtype bool; expected \(3, 4\) and bool"),
    (
        "additive_mask",
        "action_mask of agent 0 holds -1000000000.0; give 1 for an action that is allowed, 0 for one that is not",
    ),
    ("floats_as_bytes", r"it returned obs of shape \(3, 3\) and dtype complex128; expected \(3, 3\) and float32"),
    ("list", r"it returned obs as list \(.*\); expected a numpy array of shape \(3, 3\) and dtype float32"),
    ("no_action", "action_mask allows agent 1 no action"),
    ("reward", "reward is array.* expected a single number"),
    ("step", "step returned a tuple; expected a GameStep"),
]


@pytest.mark.parametrize(
    ("workers", "fault", "sentence"),
    [("inline", *promise) for promise in BROKEN_PROMISES]
    # Elsewhere it is the same code: enough to see that the sentence travels.
    + [(workers, *BROKEN_PROMISES[0]) for workers in ("threads", "processes")],
)
def test_a_broken_contract_is_the_authors_mistake(vectorize, workers, fault, sentence):
    env = vectorize(Faulty(fault, 1, (int(episode_seeds(7, 2, 1)[1, 0]),)), 2, workers=workers)
    obs = env.reset(seed=7)
    with pytest.raises(GameContractError, match=f"game 1, in step: {sentence}"):
        env.step(actions_for(env, obs))
    if fault not in ("reward", "step"):
        with pytest.raises(GameContractError, match=f"game 0, in reset: {sentence}"):
            vectorize(Faulty(fault), 2, workers=workers).reset(seed=7)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32])
def test_masks_of_zeros_and_ones_are_taken_whatever_their_dtype(dtype):
    game = CountingGame()
    obs = game.reset(0)
    out = ResultBuffers(game.spec, 1)
    out.put_obs(0, obs._replace(action_mask=obs.action_mask.astype(dtype)))
    np.testing.assert_array_equal(out.action_mask[0], obs.action_mask)


class AnotherSpecEachTime:
    """Builds games of growing teams."""

    built = 0

    def __call__(self):
        game = CountingGame()
        self.built += 1
        game.spec = type(game.spec)(**(game.spec.to_dict() | {"episode_limit": self.built}))
        return game


def test_all_games_must_be_of_one_kind(vectorize):
    with pytest.raises(GameContractError, match=r"built a game with TeamSpec.*episode_limit=2.*the first one had"):
        vectorize(AnotherSpecEachTime(), 2).reset()


# ---------------------------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("fault", ["exit", "kill"])
def test_a_dead_process_costs_the_episodes_of_its_games(vectorize, fault, caplog):
    first = episode_seeds(7, 4, 1)[:, 0]
    make = Faulty(fault, 1, (int(first[3]),))
    env, good = vectorize(make, 4, workers="processes", num_workers=2), vectorize(CountingGame, 4)
    obs = env.reset(seed=7)
    good.reset(seed=7)
    actions = actions_for(env, obs)
    last = np.array(obs.obs[2:])
    out, wanted = env.step(actions), good.step(actions)
    assert out.info["failed"].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(out.obs.obs[:2], wanted.obs.obs[:2])
    np.testing.assert_array_equal(out.obs.obs[2:], last)
    assert f"of games 2 to 3 died with exit code {7 if fault == 'exit' else -9}" in caplog.text
    over = np.array([False, False, True, True])
    np.testing.assert_array_equal(env.reset(mask=over).obs, good.reset(mask=over).obs)
    play(env, 3, obs=env.reset(mask=over))


def test_games_that_die_in_a_neighbours_reset_fail_at_the_next_step(vectorize):
    seeds = episode_seeds(7, 3, 2)
    make = Faulty("exit", 0, (int(seeds[0, 1]),))
    env, good = vectorize(make, 3, workers="processes", num_workers=1), vectorize(CountingGame, 3)
    env.reset(seed=7)
    before = np.array(good.reset(seed=7).obs[1:])
    # Game 0 kills the process, and starts again in a new one, without the other two.
    obs = env.reset(mask=np.array([True, False, False]))
    np.testing.assert_array_equal(obs.obs[1:], before)
    assert env.get_state() is None
    out = env.step(actions_for(env, obs))
    assert out.info["failed"].tolist() == [False, True, True]
    obs = env.reset(mask=out.info["failed"])
    np.testing.assert_array_equal(obs.obs[1], CountingGame().reset(int(seeds[1, 1])).obs)
    assert not env.step(actions_for(env, obs)).info["failed"].any()


def test_a_hanging_process_is_ended(vectorize, caplog):
    first = episode_seeds(7, 2, 1)[:, 0]
    env = vectorize(Faulty("hang", 1, (int(first[0]),)), 2, workers="processes", num_workers=2, step_timeout_s=2.0)
    obs = env.reset(seed=7)
    begun = time.monotonic()
    out = env.step(actions_for(env, obs))
    assert 1.5 < time.monotonic() - begun < 9
    assert out.info["failed"].tolist() == [True, False]
    assert "of game 0 did not answer within 2 s and was ended" in caplog.text
    env.reset(mask=out.info["failed"])


@pytest.mark.parametrize("method", ["step", "get_state", "render"])
def test_an_interrupted_call_mixes_up_no_answers(vectorize, monkeypatch, method):
    def interrupt(host, *, slow):
        raise KeyboardInterrupt

    env = vectorize(CountingGame, 2, workers="processes", num_workers=1)
    obs = env.reset(seed=1)
    call = functools.partial(env.step, actions_for(env, obs)) if method == "step" else getattr(env, method)
    with monkeypatch.context() as patch:
        patch.setattr(_Worker, "receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call()
    with pytest.raises(ValueError, match="game 0 has ended and was not reset"):
        env.step(actions_for(env, obs))
    assert_equal_records(play(env, 5), play(vectorize(CountingGame, 2), 5))


def test_a_process_that_always_dies_in_reset_is_given_up(vectorize):
    env = vectorize(Faulty("exit"), 2, workers="processes", num_workers=1)
    with pytest.raises(GameFailedError, match=r"game 0 could not be reset 3 times .* died with exit code 7"):
        env.reset(seed=7)


def is_alive(number):
    """Does the process run? One that has ended and is not yet reaped does not."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(numbers, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_alive, numbers)):
        time.sleep(0.05)
    return [number for number in numbers if is_alive(number)]


def numbers_in(path):
    return [int(line) for line in path.read_text().split()]


def test_close_leaves_no_process_not_even_what_games_have_started(tmp_path):
    pids = tmp_path / "pids"
    env = VectorizedTeamEnv(functools.partial(CountingGame, pid_file=str(pids)), 2, workers="processes", num_workers=2)
    env.reset(seed=1)
    started = numbers_in(pids)
    assert len(started) == 4
    assert all(map(is_alive, started))
    env.close()
    assert wait_until_gone(started) == []
    with pytest.raises(ValueError, match="VectorizedTeamEnv is closed; make a new one"):
        env.reset()


def test_a_forgotten_env_leaves_no_process(tmp_path):
    pids = tmp_path / "pids"
    env = VectorizedTeamEnv(functools.partial(CountingGame, pid_file=str(pids)), 1, workers="processes")
    env.reset(seed=1)
    del env
    assert wait_until_gone(numbers_in(pids)) == []


SCRIPT = """
import functools, os, sys, threading, time
from rllib_reborn.envs.vectorize import VectorizedTeamEnv
from tests.fakes.scripted_games import FaultyGame

if __name__ == "__main__":
    make_game = functools.partial(FaultyGame, "hang", 1, pid_file=sys.argv[1])
    env = VectorizedTeamEnv(make_game, 2, workers="processes", num_workers=2)
    # On a thread that ends at once: the games must outlive it.
    thread = threading.Thread(target=env.reset)
    thread.start()
    thread.join()
    print("ready", flush=True)
    if sys.argv[2] == "leave":
        sys.exit()
    import numpy as np
    env.step(env._out.action_mask.argmax(2))  # hangs, busy in a game
"""


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_children_end_with_their_parent(tmp_path, end):
    pids, script = tmp_path / "pids", tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])}
    parent = subprocess.Popen([sys.executable, script, pids, end], stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert parent.stdout.readline() == "ready\n"
        started = numbers_in(pids)
        if end == "kill":
            time.sleep(1.0)
            assert all(map(is_alive, started)), "they ended with the thread that started them"
            parent.send_signal(signal.SIGKILL)
        parent.wait(60)
        assert parent.returncode == (0 if end == "leave" else -9)
        assert len(started) == 4
        assert wait_until_gone(started) == []
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def refuse_to_be_unpickled():
    raise RuntimeError("not in this process")


class OnlyHere:
    """Can be pickled, but not unpickled."""

    def __call__(self):
        return CountingGame()

    def __reduce__(self):
        return refuse_to_be_unpickled, ()


def test_what_cannot_be_unpickled_is_said(vectorize):
    env = vectorize(OnlyHere(), 1, workers="processes")
    with pytest.raises(GameFailedError, match=r"make_game could not be unpickled there(.|\n)*not in this process"):
        env.reset()


# ---------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("workers", WAYS)
def test_games_go_on_exactly_after_a_restore_even_elsewhere(vectorize, workers):
    env = vectorize(CountingGame, 3, workers=workers)
    play(env, 11)
    state = env.get_state()
    first = play(env, 30, obs=env.set_state(state), policy_seed=1)
    assert_equal_records(first, play(env, 30, obs=env.set_state(state), policy_seed=1))
    other = vectorize(CountingGame, 3)
    assert_equal_records(first, play(other, 30, obs=other.set_state(state), policy_seed=1))


def test_a_state_knows_who_has_ended_and_how_far_the_others_are(vectorize):
    env, other = (vectorize(functools.partial(CountingGame, endless=True), 2) for _ in range(2))
    obs = env.reset(seed=0)
    for _ in range(LIMIT - 2):
        obs = env.step(actions_for(env, obs)).obs
    obs = other.set_state(env.get_state())
    for truncated in (False, True):
        out = other.step(actions_for(other, obs))
        obs = out.obs
        assert out.truncated.tolist() == [truncated] * 2
    env.set_state(other.get_state())
    with pytest.raises(ValueError, match="game 0 has ended"):
        env.step(actions_for(env, obs))


@pytest.mark.parametrize("workers", WAYS)
def test_games_without_state_are_said_to_have_none(vectorize, workers):
    env = vectorize(StatelessGame, 2, workers=workers)
    env.reset(seed=1)
    assert env.get_state() is None
    with pytest.raises(ValueError, match=r"state holds 1 games; this env has 2"):
        env.set_state({"games": [None]})


def test_a_state_that_cannot_travel_is_none_and_costs_nothing(vectorize, caplog):
    env = vectorize(StrangeStateGame, 2, workers="processes")
    obs = env.reset(seed=1)
    assert env.get_state() is None
    assert "failed in get_state" in caplog.text
    assert not env.step(actions_for(env, obs)).info["failed"].any()


def test_a_game_that_fails_when_asked_for_its_state_loses_its_episode(vectorize, caplog):
    env = vectorize(BrokenStateGame, 2)
    obs = env.reset(seed=1)
    assert env.get_state() is None
    assert "no state today" in caplog.text
    assert env.step(actions_for(env, obs)).info["failed"].all()
    env.reset()


# ---------------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("workers", WAYS)
def test_pictures(vectorize, workers):
    env, undrawn = vectorize(CountingGame, 2, workers=workers), vectorize(UndrawnGame, 2, workers=workers)
    with pytest.raises(ValueError, match="before the first reset"):
        env.render()
    obs = env.reset(seed=1)
    env.step(actions_for(env, obs))
    np.testing.assert_array_equal(env.render(1), np.ones((4, 5, 3)))
    with pytest.raises(ValueError, match=r"game 2 cannot be drawn; there are games 0..1"):
        env.render(2)
    obs = undrawn.reset(seed=1)
    with pytest.raises(ValueError, match="game 1 cannot be drawn: ValueError: UndrawnGame cannot be drawn"):
        undrawn.render(1)
    assert not undrawn.step(actions_for(undrawn, obs)).info["failed"].any()


@pytest.mark.parametrize("workers", WAYS)
def test_a_picture_of_a_game_that_failed_builds_no_new_one(vectorize, workers):
    env = vectorize(Faulty("raise", at=1), 1, workers=workers)
    obs = env.reset(seed=1)
    assert env.step(actions_for(env, obs)).info["failed"].all()
    with pytest.raises(ValueError, match=r"game 0 cannot be drawn: ValueError: it has failed.*call reset"):
        env.render()
    env.reset()
    np.testing.assert_array_equal(env.render(), np.zeros((4, 5, 3)))


def test_threads_wait_together(vectorize):
    class Slow(CountingGame):
        def step(self, actions):
            time.sleep(0.5)
            return super().step(actions)

    env = vectorize(Slow, 8, workers="threads")
    obs = env.reset(seed=1)
    begun = time.monotonic()
    env.step(actions_for(env, obs))
    assert time.monotonic() - begun < 3.0  # one after another: 4 s


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"workers": "fork"}, "workers is 'fork'; give one of"),
        ({"workers": "threads", "num_workers": 0}, "num_workers is 0"),
        ({"num_workers": 2}, "workers='inline' has none"),
        ({"workers": "inline", "step_timeout_s": 1.0}, "cannot be given up"),
        ({"workers": "processes", "step_timeout_s": -1}, "step_timeout_s is -1"),
        ({"make_game": dict}, "make_game returned a dict; expected a TeamGame"),
        (
            {"make_game": lambda: CountingGame(), "workers": "processes"},
            "cannot be sent to another process .* functools.partial",
        ),
    ],
)
def test_arguments_that_cannot_be(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        VectorizedTeamEnv(**({"make_game": CountingGame} | arguments))
