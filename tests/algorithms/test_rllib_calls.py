"""What RLlib's users call on an algorithm and on its module: it works, or names the call to use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.helpers import quick

N, D, A = 2, 3, 2  # agents, numbers, actions of the two-step game


@pytest.fixture(scope="module")
def algo():
    algo = quick(env="matrix/two_step").build_algo()
    algo.train()
    yield algo
    algo.stop()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: a.get_policy(), "get_module"),
        (lambda a: a.get_policy("default_policy"), "get_module"),
        (lambda a: a.compute_single_action(np.zeros(D)), "team_from_algo"),
        (lambda a: a.compute_single_action(observation=np.zeros(D), explore=False), "team_from_algo"),
        (lambda a: a.compute_actions({"a": np.zeros(D)}), "team_from_algo"),
        (lambda a: a.export_policy_model("folder"), "portable"),
        (lambda a: a.add_policy("x"), "the one module"),
        (lambda a: a.add_module("x", None), "the one module"),
        (lambda a: a.remove_module("x"), "the one module"),
    ],
)
def test_calls_of_the_old_stack_name_the_right_one(algo, call, words):
    with pytest.raises(NotImplementedError, match=words):
        call(algo)


def test_weights_can_be_given_back(algo):
    before = algo.get_weights()
    assert any(name.startswith("mixer") for name in before["default_policy"])
    changed = {name: value + 1.0 for name, value in before["default_policy"].items()}
    algo.set_weights({"default_policy": changed})
    now = algo.get_weights()["default_policy"]
    runner = algo.env_runner.module.state_dict()
    for name, value in changed.items():
        np.testing.assert_array_equal(now[name], value)
        if name in runner:
            np.testing.assert_array_equal(runner[name].numpy(), value)
    one = next(name for name in runner if name in changed)
    algo.set_weights({one: before["default_policy"][one]})  # a part, without the module's name
    np.testing.assert_array_equal(algo.get_weights()["default_policy"][one], before["default_policy"][one])
    algo.set_weights(before)


def test_weights_that_do_not_fit_change_nothing(algo):
    before = algo.get_weights()["default_policy"]
    name = next(iter(before))
    for given, words in (
        ({"agents.nets.9.x": 0}, "there is no weight"),
        ({name: np.zeros((1, 2, 3))}, r"has shape \(1, 2, 3\)"),
    ):
        with pytest.raises(ValueError, match=words):
            algo.set_weights({"default_policy": given})
    for key, value in algo.get_weights()["default_policy"].items():
        np.testing.assert_array_equal(value, before[key])


class TestForward:
    def test_an_observation_is_enough(self, algo):
        module = algo.get_module()
        out = module.forward_inference({"obs": torch.zeros(5, N, D)})
        assert out["actions"].shape == (5, N)
        assert out["q"].shape == out["action_dist_inputs"].shape == (5, N, A)
        assert (out["action_dist_inputs"].argmax(-1) == out["actions"]).all()

    def test_as_the_env_runner_acts(self, algo):
        module, rng = algo.get_module(), np.random.default_rng(0)
        hidden, last = module.initial_hidden(3), np.full((3, N), -1)
        batch = {}
        for _ in range(3):
            obs, mask = rng.normal(size=(3, N, D)).astype(np.float32), np.ones((3, N, A), np.bool_)
            mask[:, 0, 1] = False
            actions, hidden = module.act(obs, mask, last, hidden)
            out = module.forward_inference(batch | {"obs": obs, "action_mask": mask})
            np.testing.assert_array_equal(out["actions"].numpy(), actions)
            assert (out["action_dist_inputs"][:, 0, 1] == -torch.inf).all()
            last = actions
            batch = {"hidden": out["hidden"], "last_actions": out["actions"]}

    def test_the_dict_of_the_modules_space_is_taken_as_it_is(self, algo):
        module = algo.get_module()
        one = {name: space.sample()[None] for name, space in module.observation_space.spaces.items()}
        one["action_mask"][:] = 1
        out = module.forward_exploration({"obs": one})
        np.testing.assert_array_equal(out["q"], module.forward_inference({"obs": one["obs"]})["q"])

    @pytest.mark.parametrize(
        ("batch", "words"),
        [
            ({}, "the batch has nothing; expected 'obs'"),
            ({"state": 1}, "the batch has 'state'; expected 'obs'"),
            ({"obs": np.zeros(D)}, r"'obs' has shape \[3\]; expected \[3, 2, 3\]: games, agents, numbers"),
            ({"obs": np.zeros((4, N, D + 1))}, r"'obs' has shape \[4, 2, 4\]; expected \[4, 2, 3\]"),
            ({"obs": np.zeros((4, N, D)), "action_mask": np.ones((4, A))}, r"'action_mask' has shape \[4, 2\]"),
            ({"obs": np.zeros((4, N, D)), "last_actions": [0]}, r"expected \[4, 2\]: games, agents\."),
            ({"obs": np.zeros((4, N, D)), "hidden": np.zeros((1, N, 64))}, "'hidden' has shape"),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, algo, batch, words):
        with pytest.raises(ValueError, match=words):
            algo.get_module().forward_inference(batch)
