"""Sampling: episodes are whole and legal, belong to their seed, and a broken env costs what it must and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.random_policy import epsilon_greedy
from rllib_reborn.envs.random_streams import stream_keys
from rllib_reborn.envs.team_env import IllegalActionError
from rllib_reborn.replay.fields import Episode
from rllib_reborn.runtime import exploration
from rllib_reborn.runtime.env_creator import create
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from tests.algorithms.helpers import WALK, quick


def runner(
    env: str = WALK, num_envs: int = 4, seed: int | None = 3, env_config=None, worker_index: int = 0, **training
) -> TeamEnvRunner:
    config = quick(env=env, seed=seed, **training).environment(env_config=env_config or {})
    config.env_runners(num_envs_per_env_runner=num_envs)
    torch.manual_seed(0)
    made = TeamEnvRunner(
        config=config,
        env_creator=lambda context, num_envs, spec: create(env, context, num_envs, spec),
        worker_index=worker_index,
        num_workers=worker_index,
    )
    torch.manual_seed(0)
    for p in made.module.parameters():  # equal weights in every runner of these tests
        torch.nn.init.normal_(p, std=0.3)
    return made


def episodes_of(made: TeamEnvRunner, count: int, **kwargs) -> list[Episode]:
    return [episode for block in made.sample(num_episodes=count, **kwargs) for episode in block.episodes()]


def test_episodes_are_whole_and_consistent():
    made = runner()
    for episode in episodes_of(made, 30):
        length = len(episode["reward"])
        assert 1 <= length <= 6
        assert len(episode["obs"]) == len(episode["state"]) == len(episode["action_mask"]) == length + 1
        assert not episode["terminated"][:-1].any()
        # This env truncates at 6 steps exactly, and terminates before.
        assert episode["terminated"][-1] == (length < 6)
        np.testing.assert_array_equal(episode["reward"], episode["actions"].sum(1))


def record_steps(made: TeamEnvRunner) -> list[bool]:
    """Whether each joint action that will be sent is inside the masks before it; grows as the runner steps."""
    legal: list[bool] = []
    step, reset, env = made.env.step, made.env.reset, made.env
    masks = None

    def recorded_reset(**kwargs):
        nonlocal masks
        obs = reset(**kwargs)
        masks = obs.action_mask.copy()
        return obs

    def recorded_step(actions):
        nonlocal masks
        assert made.env is env
        legal.append(bool(np.take_along_axis(masks, actions[..., None], 2).all()))
        answer = step(actions)
        masks = answer.obs.action_mask.copy()
        return answer

    env.step, env.reset = recorded_step, recorded_reset
    return legal


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(0, 10_000), st.floats(0, 1), st.booleans())
def test_no_action_outside_its_mask_is_ever_sent(num_envs, seed, epsilon, random_actions):
    made = runner(num_envs=num_envs, seed=seed, epsilon={"start": epsilon, "end": epsilon})
    legal = record_steps(made)
    answer = made.collect(6, random_actions=random_actions)
    assert all(legal)
    assert len(legal) * num_envs == answer.env_steps > 0
    assert (answer.error, answer.env_failures, answer.dropped_episodes) == (None, 0, 0)
    for block in answer.blocks:
        for episode in block.episodes():
            mask = episode["action_mask"][:-1]
            assert np.take_along_axis(mask, episode["actions"][..., None].astype(int), 2).all()


def now_and_then_illegal(greedy, mask, uniforms, epsilon):
    """:func:`epsilon_greedy`, but about one joint action in twenty is outside its mask."""
    actions = epsilon_greedy(greedy, mask, uniforms, epsilon)
    forbidden = np.argwhere(~mask)
    if uniforms.flat[0] < 0.05 and len(forbidden):
        game, agent, action = forbidden[0]
        actions[game, agent] = action
    return actions


def test_the_test_above_would_see_an_illegal_action(monkeypatch):
    monkeypatch.setattr(exploration, "epsilon_greedy", now_and_then_illegal)
    made = runner()
    legal = record_steps(made)
    answer = made.collect(200)
    assert not all(legal)
    assert answer.error is not None


def test_a_refused_action_ends_with_an_error_and_is_no_failure_of_the_env(monkeypatch):
    monkeypatch.setattr(exploration, "epsilon_greedy", now_and_then_illegal)
    made = runner()
    env = made.env
    answer = made.collect(200)
    assert "IllegalActionError: action" in answer.error.message
    assert "is not allowed; allowed are" in answer.error.message
    assert not answer.error.env_is_broken
    assert answer.env_failures == 0
    assert 0 < answer.dropped_episodes <= 4, "the running ones: nobody knows where their games are"
    assert made.env is env
    with pytest.raises(IllegalActionError):
        made.sample(num_episodes=200)


@pytest.mark.parametrize("env", [WALK, "predator_prey/small"])
def test_a_trajectory_depends_on_its_seed_and_not_on_the_games_beside_it(env):
    alone, beside = (runner(env, num_envs=n, epsilon={"start": 0.4, "end": 0.4}) for n in (1, 7))
    for made in (alone, beside):
        made.sample(num_timesteps=4 * made.num_envs, explore=True)
    one, many = alone.games_state(), beside.games_state()
    assert one["time"][0] == many["time"][0]
    for name, array in one["buffers"].items():
        length = one["time"][0] + (name in ("obs", "state", "action_mask"))
        np.testing.assert_array_equal(array[0, :length], many["buffers"][name][0, :length])


def test_equal_runners_sample_equal_episodes_and_other_seeds_do_not():
    a, b, other = episodes_of(runner(), 8), episodes_of(runner(), 8), episodes_of(runner(seed=4), 8)
    for mine, theirs in zip(a, b):
        np.testing.assert_array_equal(mine["obs"], theirs["obs"])
        np.testing.assert_array_equal(mine["actions"], theirs["actions"])
    assert not np.array_equal(a[0]["obs"][:1], other[0]["obs"][:1])


def test_runners_of_different_seeds_share_no_random_streams():
    def streams(seed, worker_index):
        made = runner(seed=seed, worker_index=worker_index)
        made.sample(num_episodes=1)
        games = made.games_state()
        return np.concatenate([games["actor"]["streams"]["keys"], games["env"]["streams"]["keys"]])

    keys = np.stack([streams(seed, worker_index) for seed in range(4) for worker_index in range(4)])
    assert len(np.unique(keys)) == keys.size
    np.testing.assert_array_equal(keys[5], streams(1, 1))


def test_the_local_runner_plays_with_the_seed_of_the_config():
    made = runner(seed=7)
    made.sample(num_timesteps=1, explore=True)
    games = made.games_state()
    np.testing.assert_array_equal(games["actor"]["streams"]["keys"], stream_keys(7, 4, salt=0xE5))
    np.testing.assert_array_equal(games["env"]["streams"]["keys"], stream_keys(7, 4))


def test_an_unseeded_remote_runner_is_unseeded():
    def keys():
        made = runner(seed=None, worker_index=1)
        made.sample(num_timesteps=1)
        games = made.games_state()
        return np.concatenate([games["actor"]["streams"]["keys"], games["env"]["streams"]["keys"]])

    assert not np.isin(keys(), keys()).any()


def test_running_episodes_survive_between_calls():
    split, whole = runner(), runner()
    for _ in range(6):
        split.sample(num_timesteps=4, explore=False)
    whole.sample(num_timesteps=24, explore=False)
    for name, array in whole.games_state()["buffers"].items():
        np.testing.assert_array_equal(array, split.games_state()["buffers"][name][:, : array.shape[1]])


def test_epsilon_one_is_uniform_over_legal_actions():
    made = runner(epsilon={"start": 1.0, "end": 1.0}, num_envs=16)
    rate = np.zeros(4)
    expected = np.zeros(4)
    for episode in episodes_of(made, 500):
        mask = episode["action_mask"][:-1].reshape(-1, 4)
        rate += np.bincount(episode["actions"].reshape(-1), minlength=4)
        expected += (mask / mask.sum(1, keepdims=True)).sum(0)
    # About 4,000 draws; a standard deviation is about 30.
    assert np.abs(rate - expected).max() < 150


def test_greedy_play_gives_each_game_its_share_and_repeats_itself():
    made = runner(num_envs=4)
    first, second = made.evaluate(10, seed=5), made.evaluate(10, seed=5)
    assert len(first) == 10
    assert first == second
    assert first != made.evaluate(10, seed=6)
    assert len(made.evaluate(3, seed=5)) == 3  # fewer episodes than games


def test_after_play_the_next_sample_starts_new_episodes():
    made = runner()
    made.sample(num_episodes=2)
    made.evaluate(4, seed=1)
    assert made.games_state() is None


def test_later_starts_do_not_play_the_beginning_again():
    def first_obs(made):
        made.sample(num_timesteps=4, explore=False)
        return made.games_state()["buffers"]["obs"][:, 0]

    beginning, again, later = runner(), runner(), runner()
    later.num_env_steps_sampled_lifetime = 1000  # as after a restore or a restart in the middle of a run
    start = first_obs(beginning)
    np.testing.assert_array_equal(start, first_obs(again))
    assert not np.array_equal(start, first_obs(later))
    again.set_games_state(None)
    assert not np.array_equal(start, first_obs(again))


def test_exploration_follows_the_clock_of_the_request():
    made = runner(epsilon={"start": 1.0, "end": 0.0, "anneal_env_steps": 1000})
    made.collect(1, env_steps=10_000)
    greedy = runner(epsilon={"start": 0.0, "end": 0.0})
    greedy.collect(1, env_steps=10_000)
    for name, array in made.games_state()["buffers"].items():
        np.testing.assert_array_equal(array, greedy.games_state()["buffers"][name])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan_obs", "obs with the value nan"),
        ("nan_reward", "returned reward with the value nan"),
        ("wrong_shape", r"obs of shape \(4, 1, 3\) and dtype float32; expected \(4, 2, 3\)"),
        ("int_mask", "action_mask of shape .* and dtype int8; expected .* and bool"),
        ("float_ends", "terminated of shape .* and dtype float64"),
        ("no_action", "allows agent 1 of game 0 no action"),
        ("endless", "runs on after its 6 steps"),
    ],
)
def test_a_broken_contract_is_named(fault, message):
    made = runner(env_config={"fault": fault})
    with pytest.raises(EnvContractError, match=message):
        made.sample(num_episodes=20)
    # For remote runners it travels as data.
    answer = runner(env_config={"fault": fault}).collect(20)
    assert answer.error is not None
    assert answer.blocks == []


def breaking(made: TeamEnvRunner, *, step=lambda step: step, reset=lambda obs: obs) -> TeamEnvRunner:
    """Put what the env's ``step`` and ``reset`` return through these functions."""
    own_step, own_reset = made.env.step, made.env.reset
    made.env.step = lambda actions: step(own_step(actions))
    made.env.reset = lambda **kwargs: reset(own_reset(**kwargs))
    return made


STEPS = {
    "step is None": (lambda s: None, r"its step as NoneType \(None\); expected a TeamStep\(obs, reward"),
    "step is a plain tuple": (tuple, r"its step as tuple \(.*; expected a TeamStep\(obs, reward"),
    "obs is a plain tuple": (lambda s: s._replace(obs=tuple(s.obs)), "its observations as tuple .* a TeamObs"),
    "reward is a list": (
        lambda s: s._replace(reward=s.reward.tolist()),
        r"reward as list \(.*; expected a numpy array of shape \(4,\) and dtype float32",
    ),
    "reward is one number": (lambda s: s._replace(reward=1.0), r"reward as float \(1.0\); expected a numpy array"),
    "terminated is a list": (lambda s: s._replace(terminated=[False] * 4), "terminated as list"),
    "truncated is a bool": (lambda s: s._replace(truncated=False), "truncated as bool"),
    "obs.state is None": (lambda s: s._replace(obs=s.obs._replace(state=None)), "state as NoneType"),
    "info is None": (lambda s: s._replace(info=None), r"info as NoneType \(None\); expected a dict of arrays"),
    "won is missing": (lambda s: s._replace(info={"x": 1}), r"with the keys \['x'\]; expected 'won' among them"),
    "won is too short": (
        lambda s: s._replace(info={"won": np.zeros(1, bool)}),
        r"info\['won'\] of shape \(1,\) and dtype bool; expected \(4,\) and bool",
    ),
    "won is a bool": (lambda s: s._replace(info={"won": False}), r"info\['won'\] as bool"),
    "failed is a list": (
        lambda s: s._replace(info={**s.info, "failed": [False] * 4}),
        r"info\['failed'\] as list .*; expected a numpy array of shape \(4,\) and dtype bool",
    ),
}
RESETS = {
    "obs is None": (lambda o: None, r"its observations as NoneType \(None\); expected a TeamObs"),
    "obs is an array": (lambda o: o.obs, "its observations as ndarray"),
    "obs.obs is a list": (lambda o: o._replace(obs=o.obs.tolist()), "obs as list"),
    "obs.action_mask is a list": (lambda o: o._replace(action_mask=o.action_mask.tolist()), "action_mask as list"),
}


@pytest.mark.parametrize(("method", "case"), [*(("step", c) for c in STEPS), *(("reset", c) for c in RESETS)])
def test_what_is_no_array_or_of_another_type_is_named(method, case):
    function, message = (STEPS if method == "step" else RESETS)[case]
    made = breaking(runner(), **{method: function})
    with pytest.raises(EnvContractError, match=message) as caught:
        made.sample(num_episodes=20)
    assert "\n" not in str(caught.value)
    answer = breaking(runner(), **{method: function}).collect(20)
    assert answer.error.env_is_broken
    assert "Traceback" not in answer.error.message


def test_won_may_be_missing_where_no_episode_ends():
    def only_at_the_end(step):
        return step if (step.terminated | step.truncated).any() else step._replace(info={})

    assert breaking(runner(), step=only_at_the_end).collect(8).error is None


def test_a_crash_costs_the_running_episodes_and_is_counted():
    made = runner(env_config={"fault": "raise"})
    answer = made.collect(20)
    assert answer.error is None
    assert answer.env_failures >= 1
    assert answer.dropped_episodes >= 1
    assert sum(len(block) for block in answer.blocks) >= 20
    for block in answer.blocks:
        for episode in block.episodes():
            np.testing.assert_array_equal(episode["reward"], episode["actions"].sum(1))


def test_crashes_in_evaluation_are_counted_apart():
    made = runner(env_config={"fault": "raise"})
    answer = made.evaluate_remote(20, 0)
    assert len(answer.outcomes) == 20
    assert answer.env_failures >= 1
    assert made.games.counts.take().env_failures == 0


def test_an_env_that_always_crashes_ends_with_a_sentence():
    with pytest.raises(EnvContractError, match=r"failed 40 times in 0 env steps.*the game process died"):
        runner(env_config={"fault": "raise_always"}).sample(num_episodes=1)


def test_an_env_that_cannot_be_reset_ends_with_a_sentence():
    with pytest.raises(EnvContractError, match=r"failed 3 time\(s\) in a row.*no new game"):
        runner(env_config={"fault": "reset_always"}).sample(num_episodes=1)
    answer = runner(env_config={"fault": "reset_always"}).evaluate_remote(2, 0)
    assert answer.error.env_is_broken
    assert "no new game" in answer.error.message


def test_an_env_that_raises_now_and_then_before_any_episode_ends_is_given_up():
    with pytest.raises(EnvContractError, match="without a finished episode"):
        runner(env_config={"fault": "raise_every_second"}).sample(num_episodes=5)


def test_games_that_always_fail_are_given_up():
    with pytest.raises(EnvContractError, match="failed 40 times in 40 env steps without a finished episode"):
        runner(env_config={"fault": "games_always_fail"}).sample(num_episodes=1)


def test_one_game_that_always_fails_costs_its_share_in_training_and_ends_an_evaluation():
    """Which needs episodes of every game, so that it would never be over."""
    made = runner(env_config={"fault": "first_always_fails"})
    assert (
        sum(len(list(block.episodes())) for block in made.collect(200).blocks) == 200
    )  # the first has failed hundreds of times
    answer = runner(env_config={"fault": "first_always_fails"}).evaluate_remote(8, 0)
    assert answer.error.env_is_broken
    assert "game 0 of 4 of 'tests.fakes.envs:MaskedWalk' failed 10 times in 10 of its steps" in answer.error.message


def test_a_failed_game_drops_its_episode_only():
    made = runner(env_config={"fault": "game_failed", "at": 2})
    answer = made.collect(8)
    assert answer.dropped_episodes == 4
    # Nothing that began before the failure was kept: every game restarted at step 2.
    assert all(len(e["reward"]) >= 1 for block in answer.blocks for e in block.episodes())
    assert answer.env_steps > sum(block.env_steps() for block in answer.blocks)


GAMES = "tests.fakes.scripted_games"


def test_a_game_that_can_never_be_played_is_tried_once():
    made = runner(f"{GAMES}:FaultyGame", num_envs=1, env_config={"fault": "unavailable"})
    made_anew = []
    made.make_env = lambda: made_anew.append(1)
    answer = made.collect(1)
    assert answer.error.env_is_broken
    assert (
        answer.error.message
        == "'tests.fakes.scripted_games:FaultyGame' cannot be played on this machine: no such program; install it"
    )
    assert made_anew == []


def test_a_reset_that_is_tried_again_is_a_failure_and_costs_no_episode():
    class Stumbling(type(create(WALK, {}, 4))):
        def reset(self, **kwargs):
            self.failed_resets += 2
            return super().reset(**kwargs)

    made = runner()
    made.env.__class__ = Stumbling
    answer = made.collect(4)
    resets = made.env.failed_resets // 2
    assert resets >= 2
    assert (answer.env_failures, answer.dropped_episodes) == (2 * resets, 0)
    assert made.collect(4).env_failures == made.env.failed_resets - 2 * resets


def test_what_the_games_run_on_goes_with_the_episodes():
    assert runner(f"{GAMES}:VersionedGame", num_envs=8).collect(8).provenance == {
        "game_version": "1.0, 1.1",
        "engine": "script",
    }
    assert runner().collect(4).provenance == {}


def test_older_weights_are_ignored_unless_forced():
    made = runner()
    new = {k: v * 0 for k, v in made.module.get_state().items()}
    made.set_state({"rl_module": {"default_policy": new}, "weights_seq_no": 5})
    old = {k: v + 1 for k, v in new.items()}
    made.set_state({"rl_module": {"default_policy": old}, "weights_seq_no": 4})
    assert all((v == 0).all() for v in made.module.get_state().values())
    made.overwrite_weights({"default_policy": old}, 4, 0)
    assert all((v == 1).all() for v in made.module.get_state().values())
