"""Numbers whose bounds are 0 and 255, as those of pictures, reach the networks divided by 255."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_reborn import QMIXConfig
from rllib_reborn.envs import TeamSpec, make_team_env
from rllib_reborn.envs.adapters.spaces import flat_space, team_layout
from rllib_reborn.nets.agents import AgentInputs
from rllib_reborn.studies.trained_policy import team_from_algo

NAME = "tests.fakes.picture_game:Pictures"
PICTURE = spaces.Box(0, 255, (2, 2, 1), np.uint8)
SEEN = np.array([[[0], [51]], [[102], [255]]], np.uint8)
AGENTS = ("a", "b")
CHOICE = spaces.Discrete(2)


def written(space, value, **kwargs):
    flat = flat_space(space, "observation space", **kwargs)
    out = np.zeros(flat.size, flat.dtype)
    flat.write(value, out)
    return out * flat.scale, flat.dtype


@pytest.mark.parametrize(
    ("space", "value", "expected", "dtype"),
    [
        (PICTURE, SEEN, [0, 0.2, 0.4, 1], "uint8"),
        (spaces.Box(0, 255, (4,), np.int32), SEEN.reshape(-1).astype(np.int32), [0, 0.2, 0.4, 1], "uint8"),
        (spaces.Box(0, 255, (4,), np.float32), SEEN.reshape(-1).astype(np.float32), [0, 0.2, 0.4, 1], "float32"),
        (spaces.Box(0, 254, (2,), np.uint8), [51, 254], [51, 254], "uint8"),  # a count
        (spaces.Box(0, 1, (2,), np.uint8), [0, 1], [0, 1], "uint8"),
        (
            spaces.Dict({"eye": PICTURE, "lives": spaces.Box(0, 9, (1,), np.int64)}),
            {"eye": SEEN, "lives": [3]},
            [0, 0.2, 0.4, 1, 3],
            "float32",
        ),
        (spaces.Tuple((PICTURE, spaces.Discrete(2))), (SEEN, 1), [0, 0.2, 0.4, 1, 0, 1], "float32"),
        (spaces.Tuple((PICTURE, PICTURE)), (SEEN, SEEN), [0, 0.2, 0.4, 1] * 2, "uint8"),
    ],
)
def test_what_networks_get_of_a_space(space, value, expected, dtype):
    got, stored = written(space, value)
    assert got == pytest.approx(expected)
    assert stored == dtype


def test_none_leaves_them_as_they_are():
    got, stored = written(PICTURE, SEEN, scaled=False)
    assert got.tolist() == [0, 51, 102, 255]
    assert stored == "uint8"


def test_pictures_of_unequal_agents_come_with_the_agents_numbers_which_are_not_scaled():
    layout = team_layout(AGENTS, [PICTURE, spaces.Box(0, 255, (2,), np.uint8)], [CHOICE, CHOICE])
    assert (layout.obs_dtype, layout.obs_scale) == ("float32", 1.0)
    row = np.zeros(layout.obs_dim, layout.obs_dtype)
    layout.write(1, np.array([51, 255], np.uint8), row)
    assert row == pytest.approx([0.2, 1, 0, 0, 0, 1])


def test_a_team_of_a_picture_and_a_count():
    layout = team_layout(
        AGENTS, [spaces.Box(0, 255, (1,), np.uint8), spaces.Box(0, 9, (1,), np.uint8)], [CHOICE, CHOICE]
    )
    rows = np.zeros((2, layout.obs_dim), layout.obs_dtype)
    layout.write(0, [51], rows[0])
    layout.write(1, [9], rows[1])
    assert rows == pytest.approx(np.array([[0.2, 1, 0], [9, 0, 1]]))


@pytest.mark.parametrize(("option", "scale"), [({}, 1 / 255), ({"observation_scale": "none"}, 1.0)])
def test_a_team_keeps_bytes_and_says_the_scale(option, scale):
    env = make_team_env(NAME, 2, size=6, team={"state": "observations"} | option)
    assert (env.spec.obs_dtype, env.spec.state_dtype) == ("uint8", "uint8")
    assert (env.spec.obs_scale, env.spec.state_scale) == (scale, scale)
    assert env.reset(seed=0).obs.max() == 240
    env.close()


def test_networks_get_them_scaled_in_play_in_training_and_in_a_portable_policy():
    config = QMIXConfig().environment(NAME, env_config={"size": 6, "team": {"state": "observations"}})
    config.env_runners(num_envs_per_env_runner=2).debugging(seed=0, log_level="ERROR")
    config.training(batch_episodes=2, learning_starts_episodes=2, buffer_episodes=8)
    algo = config.build_algo()
    try:
        algo.training_step()
        module = algo.env_runner.module
        obs = torch.from_numpy(np.array(algo.env_runner.env.reset(seed=0).obs))
        got = module.inputs(obs, torch.full((2, 2), -1))[..., : obs.shape[2]]
        assert torch.allclose(got, obs.float() / 255)
        sample = algo.replay.sample(2)
        columns = {name: torch.from_numpy(np.asarray(value)) for name, value in sample.batch.items()}
        packed = algo.learner_group._learner.module["default_policy"].packed_episodes(columns)
        assert float(packed.state.max()) == pytest.approx(240 / 255)
        assert float(packed.x[..., : obs.shape[2]].max()) == pytest.approx(240 / 255)
        policy = team_from_algo(algo).portable()
        assert policy.spec.obs_scale == pytest.approx(1 / 255)
        inputs = module.inputs(obs, torch.full((2, 2), -1))
        values, _ = module.agents.step(inputs, torch.zeros(2, 2, 64))
        assert torch.allclose(torch.from_numpy(policy.values(obs.numpy())), values, atol=1e-6)
    finally:
        algo.stop()


def test_a_scale_must_be_a_number_above_zero():
    sizes = {"n_agents": 1, "n_actions": 2, "obs_dim": 1, "state_dim": 0, "episode_limit": 1}
    for wrong in (0, -1, float("nan"), float("inf"), True, "auto"):
        with pytest.raises(ValueError, match="obs_scale"):
            TeamSpec(**sizes, obs_scale=wrong)
    with pytest.raises(ValueError, match="observation_scale is 'half'; expected one of auto, none"):
        make_team_env(NAME, 1, team={"observation_scale": "half"})


def test_a_scale_of_one_changes_nothing():
    obs = torch.tensor([[[200.0]]])
    inputs = AgentInputs(n_agents=1, n_actions=2, obs_dim=1, last_action=False, agent_id=False)
    assert inputs(obs, torch.zeros(1, 1)).item() == 200.0
