"""Whatever the game is like: what it does is what is stored and learnt from, no more and no less."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rllib_reborn import VDNConfig
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.losses import td_targets
from rllib_reborn.runtime.env_creator import create
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from tests.algorithms.helpers import quick
from tests.fakes.made_up_games import ENDS, LEDGER, make_env

ENV = "tests.fakes.made_up_games:make_env"
GAMMA = 0.9

recipes = st.fixed_dictionaries(
    {
        "n_agents": st.integers(1, 5),
        "n_actions": st.sampled_from([2, 3, 5, 9, 130]),  # 130 are stored as another dtype
        "obs_dim": st.integers(1, 6),
        "state_dim": st.integers(0, 4),
        "episode_limit": st.integers(1, 9),
        "obs_dtype": st.sampled_from(["float32", "float16", "uint8"]),
        "ends": st.lists(st.sampled_from(ENDS), min_size=1, max_size=4).map(tuple),
        "open_actions": st.floats(0, 1),
        "deaths": st.floats(0, 1),
        # Few: an env runner gives games up that fail ten times in a row.
        "crashes": st.sampled_from([0.0, 0.2]),
    }
)
OF_ALL_KINDS = {
    "n_agents": 3,
    "n_actions": 4,
    "obs_dim": 2,
    "state_dim": 2,
    "episode_limit": 5,
    "ends": ENDS,
    "open_actions": 0.4,
    "deaths": 0.5,
    "crashes": 0.2,
}


@pytest.fixture(autouse=True)
def _no_warnings_of_crashes():
    """They are made up by the hundred."""
    logging.getLogger("rllib_reborn.envs.vectorize").setLevel(logging.ERROR)
    yield
    logging.getLogger("rllib_reborn.envs.vectorize").setLevel(logging.NOTSET)


@settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(recipes, st.integers(1, 4), st.integers(0, 2**40))
@example(OF_ALL_KINDS, 4, 0)
def test_the_lift_passes_on_what_games_do(recipe, num_envs, seed):
    LEDGER.clear()
    env = make_env(num_envs, **recipe)
    policy = RandomStreams(num_envs, seed)
    obs = env.reset(seed=seed)
    running = [[] for _ in range(num_envs)]
    first = [[np.array(part[game]) for part in obs] for game in range(num_envs)]
    finished, failed = [], 0
    for _ in range(40):
        step = env.step(random_legal_actions(obs.action_mask, policy.uniform(recipe["n_agents"])))
        over = step.terminated | step.truncated | step.info["failed"]
        for game in range(num_envs):
            after = [np.array(part[game]) for part in step.obs]
            running[game].append((after, float(step.reward[game]), step.terminated[game], step.truncated[game]))
            if over[game]:
                if not step.info["failed"][game]:
                    finished.append((first[game], running[game]))
                failed += int(step.info["failed"][game])
                running[game] = []
        obs = env.reset(mask=over) if over.any() else step.obs
        for game in np.flatnonzero(over):
            first[game] = [np.array(part[game]) for part in obs]
    assert LEDGER.illegal == []
    assert failed == LEDGER.crashes
    assert len(finished) == len(LEDGER.finished)
    for (beginning, steps), played in zip(finished, LEDGER.finished):
        assert [reward for _, reward, _, _ in steps] == played.rewards
        assert [bool(terminated) for _, _, terminated, _ in steps] == [False] * (len(steps) - 1) + [
            played.is_terminated
        ]
        # Cut by the game or, at the limit, by VectorizedTeamEnv.
        assert steps[-1][3] == (played.end in ("truncated", "both", "limit"))
        for mine, theirs in zip([beginning] + [after for after, _, _, _ in steps], played.observations, strict=True):
            for a, b in zip(mine, theirs):
                np.testing.assert_array_equal(a, b)


def runner(recipe, num_envs, seed, epsilon) -> TeamEnvRunner:
    config = quick(VDNConfig, ENV, seed=seed, epsilon={"start": epsilon, "end": epsilon})
    config.environment(env_config=recipe).env_runners(num_envs_per_env_runner=num_envs)
    return TeamEnvRunner(
        config=config,
        env_creator=lambda context, num_envs, spec: create(ENV, context, num_envs, spec),
        worker_index=0,
        num_workers=0,
    )


@settings(deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    recipes,
    st.integers(1, 4),
    st.integers(0, 2**31 - 1),
    st.sampled_from([0.0, 0.3, 1.0]),
)
@example(OF_ALL_KINDS, 4, 0, 0.5)
def test_the_env_runner_stores_what_games_do(recipe, num_envs, seed, epsilon):
    check_env_runner(recipe, num_envs, seed, epsilon)


def test_the_env_runner_takes_games_without_a_state():
    check_env_runner(OF_ALL_KINDS | {"state_dim": 0}, 4, 0, 0.5)


def check_env_runner(recipe, num_envs, seed, epsilon):
    """Sample made-up games with the real env runner, and compare what it ships with what the games saw."""
    made = runner(recipe, num_envs, seed, epsilon)
    LEDGER.clear()
    episodes, dropped = [], 0
    for _ in range(3):  # running episodes go on from one call to the next
        answer = made.collect(5)
        assert answer.error is None
        episodes += [episode for block in answer.blocks for episode in block.episodes()]
        dropped += answer.dropped_episodes
        # A failure is one game's, not that of all games at once (then running episodes would be lost with it).
        assert answer.env_failures == answer.dropped_episodes
    made.stop()

    assert LEDGER.illegal == []
    assert dropped == LEDGER.crashes
    assert len(episodes) == len(LEDGER.finished) >= 15
    stored = sum(float(episode["reward"].sum()) for episode in episodes)
    assert stored == sum(sum(played.rewards) for played in LEDGER.finished)
    for episode, played in zip(episodes, LEDGER.finished):
        np.testing.assert_array_equal(episode["reward"], np.array(played.rewards, np.float32))
        np.testing.assert_array_equal(episode["actions"], played.actions)
        for name in ("obs", "state", "action_mask"):
            np.testing.assert_array_equal(episode[name], [getattr(game_obs, name) for game_obs in played.observations])
        check_bootstrap(episode, played)


def check_bootstrap(episode, played):
    """The target of the last step counts what comes after it exactly where the episode was only cut."""
    length = len(played.rewards)
    terminated = torch.from_numpy(np.array(episode["terminated"]))[None]
    assert terminated[0].tolist() == [False] * (length - 1) + [played.is_terminated]
    reward = torch.from_numpy(np.array(episode["reward"]))[None]
    value = torch.arange(1, length + 1, dtype=torch.float32)[None] * 100
    target = td_targets(reward, value, terminated, torch.ones(1, length), gamma=GAMMA)
    expected = played.rewards[-1] + (0 if played.is_terminated else GAMMA * 100 * length)
    assert float(target[0, -1]) == pytest.approx(expected)
    inner = reward[0, :-1] + GAMMA * value[0, :-1]
    np.testing.assert_allclose(target[0, :-1], inner)
