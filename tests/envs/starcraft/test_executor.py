"""Many games as one environment: as each of them alone, and what goes wrong with one is its own affair."""

from __future__ import annotations

import gc

import numpy as np
import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn.envs import make_team_env
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.starcraft.mock_server.faults import Fault, FaultPlan
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from tests.envs.starcraft.programs import eventually


@pytest.fixture
def make(tmp_path, monkeypatch):
    """``make(name, games, faults=..., **options)`` is an environment; afterwards there is no process of any."""
    monkeypatch.setattr("rllib_reborn.envs.starcraft.launch._JITTER_S", 0.0)
    made = []

    def build(name, games, faults=None, **options):
        root = make_mock_install(tmp_path / "sc2", faults=faults)
        made.append(make_team_env(name, games, sc2_path=str(root), **options))
        return made[-1]

    build.servers = lambda: running_servers(tmp_path / "sc2")
    yield build
    for env in made:
        env.close()
        env.close()
    assert build.servers() == []


def play(env, steps):
    """Copies of all that is seen in ``steps`` random steps; ended games are restarted."""
    policy = RandomStreams(env.num_envs, 3)
    obs = env.reset(seed=7)
    record = [[np.array(part) for part in obs]]
    for _ in range(steps):
        step = env.step(random_legal_actions(obs.action_mask, policy.uniform(env.spec.n_agents)))
        outcome = (*step.obs, *step[1:4], step.info["failed"], step.info["won"])
        record.append([np.array(part) for part in outcome])
        over = step.terminated | step.truncated | step.info["failed"]
        obs = env.reset(mask=over) if over.any() else step.obs
        record.append([np.array(part) for part in obs])
    return record


@pytest.mark.parametrize("name", ["smac/2s3z", "smacv2/terran_5_vs_5"])
def test_together_they_play_as_each_does_alone(make, name):
    together = play(make(name, 2), 80)
    alone = play(make(name, 2, workers="inline"), 80)
    ends = 0
    for one, two in zip(together, alone, strict=True):
        assert len(one) == len(two)
        for a, b in zip(one, two):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        ends += int(one[4].sum()) if len(one) > 3 else 0
    assert ends >= 2


def test_the_dead_are_counted_as_in_the_simulator(make):
    env, simulated = make("smac/3m", 2), make_team_env("battle/3m", 2)
    obs = env.reset(seed=1)
    simulated.reset(seed=1)
    theirs = simulated.step(np.ones((2, 3), np.int64)).info
    most = np.zeros(2, np.int64)
    for _ in range(60):
        last = env.spec.n_actions - 1 - np.argmax(obs.action_mask[:, :, ::-1], axis=2)
        step = env.step(np.where(last >= 6, last, obs.action_mask[:, :, 1]))  # attack, or stop, or lie there dead
        for at, name in enumerate(("dead_allies", "dead_enemies")):
            found = step.info[name]
            assert (found.dtype, found.shape) == (theirs[name].dtype, theirs[name].shape)
            # Health in the state: every 4th number of the 3 allies, then every 3rd of the 3 enemies.
            health = step.obs.state[:, (slice(0, 12, 4), slice(12, 21, 3))[at]]
            np.testing.assert_array_equal(found, (health == 0).sum(axis=1))
            most[at] = max(most[at], found.max())
        if (step.terminated | step.truncated).any():
            break
        obs = step.obs
    assert most.max() == 3
    assert most.min() > 0


def test_a_crash_costs_its_own_episode(make, tmp_path):
    plan = FaultPlan(log=str(tmp_path / "log"), faults=(Fault(kind="crash", request="step", at=3, server=2),))
    env = make("smac/3m", 3, faults=plan)
    obs = env.reset(seed=1)
    servers = set(make.servers())
    for count in range(10):
        before = [np.array(part) for part in obs]
        # Another action than in the step before, which the state would show; all can still go north or stop.
        step = env.step(np.full((3, 3), 1 + count % 2))
        if step.info["failed"].any():
            break
        obs = step.obs
    (crashed,) = np.flatnonzero(step.info["failed"]).tolist()
    others = [row for row in range(3) if row != crashed]
    for old, new in zip(before, step.obs):
        np.testing.assert_array_equal(old[crashed], new[crashed])  # its last good observation
    assert not np.array_equal(before[1][others], step.obs.state[others])
    assert (step.reward[crashed], step.terminated[crashed], step.truncated[crashed]) == (0, False, False)
    assert len(servers & set(make.servers())) == 2
    kept = step.obs.state[others].copy()
    obs = env.reset(mask=step.info["failed"])
    np.testing.assert_array_equal(obs.state[others], kept)
    assert len(make.servers()) == 3
    assert not env.step(np.where(obs.action_mask[:, :, 1], 1, 0)).info["failed"].any()
    assert env.failed_resets == 0


def test_a_start_that_fails_is_tried_again_and_counted(make, tmp_path, monkeypatch):
    monkeypatch.setattr("rllib_reborn.envs.starcraft.names._RETRY_DELAY_S", 0.0)
    plan = FaultPlan(log=str(tmp_path / "log"), faults=(Fault(kind="refuse_launch", server=1),))
    env = make("smac/3m", 2, faults=plan)
    obs = env.reset(seed=1)
    assert env.failed_resets == 1
    assert len(make.servers()) == 2
    # Both stand there, as unhurt as each other.
    np.testing.assert_array_equal(obs.state[0, 0:21:4], obs.state[1, 0:21:4])
    assert env.provenance() == {"game_version": "mock_server"}
    assert env.render(1).shape == (508, 480, 3)
    assert env.get_state() is None
    with pytest.raises(ValueError, match="cannot restore a running battle"):
        env.set_state({"games": [None, None]})


def test_one_that_is_forgotten_leaves_no_process(make, tmp_path):
    root = make_mock_install(tmp_path / "other")
    env = make_team_env("smac/3m", 2, sc2_path=str(root))
    env.reset(seed=1)
    assert len(running_servers(root)) == 2
    del env
    gc.collect()
    assert eventually(lambda: running_servers(root) == [])


def test_nothing_is_started_before_the_first_reset(make):
    env = make("smac/3m", 4)
    assert make.servers() == []
    assert env.provenance() == {}
    assert not env.repeatable
    with pytest.raises(ValueError, match="num_workers is 0"):
        make("smac/3m", 2, num_workers=0)
    with pytest.raises(ValueError, match="workers is 'thread'"):
        make("smac/3m", 2, workers="thread")
