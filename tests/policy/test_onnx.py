"""ONNX files compute what the module computes: values to 1e-5 with what is carried, whole episodes action by action."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from rllib_reborn._version import __version__
from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.nets.risk_agent import RiskAgentNet
from rllib_reborn.obs_parts import ObsPart
from rllib_reborn.policy import Policy, PolicyError, files, onnx_bytes
from rllib_reborn.policy.to_onnx import check, model
from rllib_reborn.policy.to_onnx.check import Observed, check_onnx, level_is_open, made_up
from rllib_reborn.policy.to_onnx.packages import require_packages
from rllib_reborn.studies.portable import policy_from_module
from tests.policy.onnx_team import ByModule, ByOnnx, documented, episodes_of, outputs
from tests.policy.teams import build, exported
from tests.policy.test_encoders import OWN, spec_of, weights_of

RISK = {"risk": 0.3, "atoms": 7}


def equal_steps(module: Any, data: bytes, *, games: int = 4, steps: int = 6) -> None:
    """Random observations: values and hidden state of every step, each with its own memory."""
    spec, rng = module.spec, np.random.default_rng(5)
    hidden = module.initial_hidden(games)
    last = np.full((games, spec.n_agents), -1)
    remembered = hidden.numpy().copy()
    inputs = {given.name for given in onnx.load_from_string(data).graph.input}
    for _ in range(steps):
        obs = rng.standard_normal((games, spec.n_agents, spec.obs_dim)).astype(np.float32)
        mask = rng.random((games, spec.n_agents, spec.n_actions)) < 0.6
        mask[..., 0] = True
        batch = {"obs": obs, "action_mask": mask, "last_actions": last}
        out = module._forward_inference({name: torch.from_numpy(x) for name, x in batch.items()} | {"hidden": hidden})
        given = {name: x for name, x in (batch | {"hidden": remembered}).items() if name in inputs}
        found = outputs(data, **given)
        expected = out["q"].numpy()
        np.testing.assert_allclose(found["values"], expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
        np.testing.assert_array_equal(found["actions"], out["actions"].numpy())
        hidden, last = out["hidden"], out["actions"].numpy()
        if "hidden" in inputs:
            remembered = found["next_hidden"]
            np.testing.assert_allclose(remembered, hidden.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_every_algorithm_with_what_it_carries(algorithm: str) -> None:
    module = build(algorithm=algorithm)
    data = onnx_bytes(policy_from_module(module))
    equal_steps(module, data)
    with pytest.raises(AssertionError):
        equal_steps(build(algorithm=algorithm, seed=1), data)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("QMIX", {"recurrent": False}),
        ("QMIX", {"last_action": False, "agent_id": False}),
        ("QMIX", {"last_action": False, "recurrent": False, "fc_layers": 3}),
        ("QMIX", {"parameter_sharing": "none"}),
        ("QMIX", {"parameter_sharing": "group", "groups": ("a", "b", "a")}),
        ("VDN", {"activation": "crelu", "normalisation": "layer", "fc_layers": 2}),
        ("VDN", {"activation": "crelu", "recurrent": False, "parameter_sharing": "none"}),
        ("DMIX", {"algorithm_settings": {"acting_quantiles": 3}, "parameter_sharing": "none"}),
        ("RMIX", {"algorithm_settings": RISK, "recurrent": False}),
        ("RMIX", {"algorithm_settings": {"risk": 1.0, "atoms": 5}}),
        ("RMIX", {"algorithm_settings": {"risk": 0.3, "atoms": 10, "compat": "official_code"}}),
        ("RMIX", {"algorithm_settings": {"levels": 1, "atoms": 5}}),
        ("RMIX", {"algorithm_settings": {"levels": 4, "atoms": 6}, "parameter_sharing": "none"}),
    ],
    ids=str,
)
def test_every_form_of_network(algorithm: str, settings: dict[str, Any]) -> None:
    module = build(algorithm=algorithm, env="lbf/8x8-3p-3f", **settings)
    data = onnx_bytes(policy_from_module(module))
    equal_steps(module, data)
    inputs = [given.name for given in onnx.load_from_string(data).graph.input]
    assert ("last_actions" in inputs) == settings.get("last_action", True)
    assert ("hidden" in inputs) == settings.get("recurrent", True)


ENVS = [
    ("predator_prey/small", "QMIX", {}),
    (
        "battle/2s3z",
        "RMIX",
        {"env_config": {"backend": "numpy"}, "algorithm_settings": {"atoms": 8, "levels": 4}},
    ),
    ("lbf/8x8-2p-3f", "DMIX", {}),
    ("mpe/simple_spread", "VDN", {"recurrent": False}),
    ("rware/tiny-2ag", "QPLEX", {"parameter_sharing": "none"}),
    ("matrix/two_step", "WQMIX", {"activation": "crelu", "seed": 3}),
    (
        "tests.fakes.picture_game:Pictures",
        "IQL",
        {
            "env_config": {"size": 6, "team": {"state": "observations"}},
            "encoder": "cnn",
            "encoder_settings": {"width": 6, "channels": [4], "kernels": [3], "strides": [2]},
        },
    ),
    ("tests.fakes.glyph_game:Cued", "ResQ", {"encoder": "per_field", "encoder_settings": {"width": 4}}),
]


@pytest.mark.parametrize(("env", "algorithm", "settings"), ENVS, ids=[env for env, _, _ in ENVS])
def test_whole_episodes_are_those_of_the_module(env: str, algorithm: str, settings: dict[str, Any]) -> None:
    module = build(algorithm=algorithm, env=env, **settings)
    data = onnx_bytes(policy_from_module(module))
    expected = episodes_of(ByModule(module), module, games=4)
    assert episodes_of(ByOnnx(data), module, games=4) == expected
    assert len({str(joint) for _, actions in expected for joint in actions}) > 1


def test_carried_memory_decides_on_actions() -> None:
    """The equal episodes above mean something: without the memory they are others."""
    module = build()
    actor = ByOnnx(onnx_bytes(policy_from_module(module)))
    expected = episodes_of(ByModule(module), module, games=4)
    act = actor._lines["act"]

    def forgets(obs: Any, mask: Any, state: Any) -> Any:
        actions, after = act(obs, mask, state)
        return actions, after | {"hidden": np.zeros_like(after["hidden"])}

    actor._lines["act"] = forgets
    assert episodes_of(actor, module, games=4) != expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "encoder_settings": {
                "width": 3,
                "channels": [2, 3],
                "kernels": [2, 2],
                "strides": [1, 2],
                "channels_first": False,
            }
        },
        {"obs_scale": 1.0, "last_action": False, "agent_id": False, "recurrent": False},
    ],
)
def test_encoders_of_several_parts(changes: dict[str, Any]) -> None:
    made_of = spec_of(**changes)
    policy = Policy(made_of, shaken(made_of))
    data = onnx_bytes(policy)
    obs = np.random.default_rng(0).integers(0, 3, (5, 2, 35)).astype(np.float32)
    inputs = {"obs": obs, "action_mask": np.ones((5, 2, 3), bool)} | documented(data)["begin"](5)
    np.testing.assert_allclose(outputs(data, **inputs)["values"], policy.values(obs), atol=1e-5)
    assert np.ptp(policy.values(obs)) > 1e-2


def test_a_picture_with_its_channels_first() -> None:
    picture = (ObsPart(name="eye", kind="picture", shape=(3, 4, 5)),)
    settings = {"width": 4, "channels": [3], "kernels": [2], "strides": [1], "channels_first": True}
    made_of = spec_of(encoder="cnn", encoder_settings=settings, obs_parts=picture, obs_dim=60, obs_scale=1 / 255)
    assert len(onnx_bytes(Policy(made_of, shaken(made_of)))) > 1000


def shaken(made_of: Any) -> dict[str, Any]:
    """Weights that fit a spec."""
    torch.manual_seed(0)
    return {name: (2 * value + 0.1).numpy() for name, value in made_of.make_team().state_dict().items()}


class TestWhatPeopleBring:
    def setup_method(self) -> None:
        self.policy = exported()
        self.data = onnx_bytes(self.policy)
        self.lines = documented(self.data)
        spec = self.policy.spec
        self.n, self.d, self.actions = spec.n_agents, spec.obs_dim, spec.n_actions
        self.obs = np.random.default_rng(0).standard_normal((3, self.n, self.d))

    def test_masks_are_honoured(self) -> None:
        for action in range(self.actions):
            mask = np.zeros((3, self.n, self.actions), int)
            mask[..., action] = 1
            found, _ = self.lines["act"](self.obs, mask, self.lines["begin"](3))
            assert (found == action).all()

    def test_who_may_do_nothing_gets_no_action(self) -> None:
        mask = np.ones((3, self.n, self.actions), bool)
        mask[1, 0] = False
        found, _ = self.lines["act"](self.obs, mask, self.lines["begin"](3))
        assert (found == -1).nonzero() == (np.array([1]), np.array([0]))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_not_finite_give_no_action(self, value: float) -> None:
        mask, begin = np.ones((3, self.n, self.actions), bool), self.lines["begin"]
        self.obs[2, 1, self.d - 1] = value
        found, state = self.lines["act"](self.obs, mask, begin(3))
        assert np.argwhere(found == -1).tolist() == [[2, 1]]
        again, _ = self.lines["act"](np.zeros_like(self.obs), mask, state)  # it remembers what is not finite
        assert np.argwhere(again == -1).tolist() == [[2, 1]]

    @pytest.mark.parametrize("games", [0, 1, 2, 700])
    def test_any_number_of_games(self, games: int) -> None:
        obs = np.random.default_rng(1).standard_normal((games, self.n, self.d))
        mask = np.ones((games, self.n, self.actions), bool)
        found, state = self.lines["act"](obs, mask, self.lines["begin"](games))
        assert found.shape == (games, self.n)
        assert state["hidden"].shape == (games, self.n, 16)
        if games:
            np.testing.assert_array_equal(found, self.policy.act(obs, mask)[0])

    @pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.int64])
    def test_any_type_of_numbers(self, dtype: Any) -> None:
        obs = (self.obs * 3).astype(np.int64).clip(0, 9).astype(dtype)
        mask = np.ones((3, self.n, self.actions), np.uint8)
        found, _ = self.lines["act"](obs, mask, self.lines["begin"](3))
        np.testing.assert_array_equal(found, self.policy.act(obs, mask)[0])

    def test_what_it_says_of_itself(self) -> None:
        made = onnx.load_from_string(self.data)
        facts = {entry.key: entry.value for entry in made.metadata_props}
        assert (facts["algorithm"], facts["env"], facts["rllib_reborn"]) == ("QMIX", "predator_prey/small", __version__)
        assert json.loads(facts["agents"]) == list(self.policy.spec.agent_ids)
        assert (facts["n_actions"], facts["obs_dim"], facts["hidden_dim"]) == (str(self.actions), str(self.d), "16")
        assert facts["weights_sha256"] == files.weights_sha256(self.policy.weights())
        shapes = {
            given.name: [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
            for given in (*made.graph.input, *made.graph.output)
        }
        n, a = self.n, self.actions
        assert shapes == {
            "obs": ["B", n, self.d],
            "action_mask": ["B", n, a],
            "last_actions": ["B", n],
            "hidden": ["B", n, 16],
            "values": ["B", n, a],
            "actions": ["B", n],
            "next_hidden": ["B", n, 16],
        }
        assert [(used.domain, used.version) for used in made.opset_import] == [("", 18)]
        assert made.ir_version == 8

    def test_equal_policies_make_equal_files(self) -> None:
        assert onnx_bytes(exported()) == self.data
        assert onnx_bytes(exported(seed=1)) != self.data


def test_bytes_are_scaled_inside() -> None:
    policy = exported()
    scaled = Policy(type(policy.spec)(**(policy.spec.to_dict() | {"obs_scale": 1 / 255})), policy.weights())
    obs = np.random.default_rng(0).integers(0, 256, (2, policy.spec.n_agents, policy.spec.obs_dim)).astype(np.uint8)
    data = onnx_bytes(scaled)
    inputs = {
        "obs": obs.astype(np.float32),
        "action_mask": np.ones((2, policy.spec.n_agents, policy.spec.n_actions), bool),
    }
    found = outputs(data, **inputs, **documented(data)["begin"](2))
    np.testing.assert_allclose(found["values"], scaled.values(obs), atol=1e-5)
    assert not np.allclose(found["values"], policy.values(obs), atol=1e-2)


class TestTheCheck:
    def test_another_policys_file_is_different(self) -> None:
        policy, other = exported(), exported(seed=1)
        with pytest.raises(
            PolicyError, match=r"the values of the ONNX file and of the policy are different by .*step 0 of 1"
        ):
            check_onnx(policy, onnx_bytes(other))

    def test_a_small_difference_in_what_is_carried_is_found(self) -> None:
        policy = exported()
        weights = policy.weights()
        name = "nets.0.memory.weight_hh_l0"  # has no effect on the first step
        weights[name] = weights[name] + np.float32(1e-3)
        other = onnx_bytes(Policy(policy.spec, weights))
        with pytest.raises(PolicyError, match=r"are different by .*\(step 1 of 1 games\)"):
            check_onnx(policy, other)

    def test_wrong_actions_of_right_values_are_found(self) -> None:
        policy = exported()
        made = onnx.load_from_string(onnx_bytes(policy))
        for node in made.graph.node:
            node.op_type = "ArgMin" if node.op_type == "ArgMax" else node.op_type
        with pytest.raises(PolicyError, match=r"the ONNX file does .* where the policy does"):
            check_onnx(policy, made.SerializeToString())

    def test_ten_times_what_other_roundings_make_is_allowed_and_no_more(self) -> None:
        found, expected = np.full(2, 5e-4, np.float32), np.zeros(2, np.float32)
        assert check._require_close("values", found, expected, lambda: 6e-5, "step 0") == pytest.approx(6e-4)
        with pytest.raises(PolicyError, match=r"different by 0\.0005, more than 0\.0004"):
            check._require_close("values", found, expected, lambda: 4e-5, "step 0")
        with pytest.raises(PolicyError, match="different by nan"):
            check._require_close("values", found * np.nan, expected, lambda: 1.0, "step 0")

    def test_roundings_are_not_computed_where_all_is_within_the_tolerance(self) -> None:
        expected = np.zeros(2, np.float32)
        assert check._require_close("values", expected + 9e-6, expected, lambda: 1 / 0, "step 0") == check.TOLERANCE

    def test_a_file_that_cannot_be_read_is_a_sentence(self) -> None:
        with pytest.raises(PolicyError, match="onnxruntime cannot read the ONNX file"):
            check_onnx(exported(), b"nothing of the kind")

    def test_played_episodes_are_compared_too(self) -> None:
        """A difference on them alone: one that made-up ones do not meet."""
        policy = exported(recurrent=False)
        made = onnx.load_from_string(onnx_bytes(policy))
        spec = policy.spec
        node = next(node for node in made.graph.node if "values" in node.output)
        node.output[0] = "right"
        limit = onnx.numpy_helper.from_array(np.float32(1_000), "limit")
        made.graph.initializer.append(limit)
        made.graph.node.insert(
            list(made.graph.node).index(node) + 1, onnx.helper.make_node("Clip", ["right", "", "limit"], ["values"])
        )
        wrong = made.SerializeToString()
        assert check_onnx(policy, wrong) == check._STEPS * (1 + 2 + 7)
        obs = np.full((3, 1, spec.n_agents, spec.obs_dim), 1e3)
        mask = np.ones((*obs.shape[:3], spec.n_actions), bool)
        begins = np.array([[True], [False], [False]])
        with pytest.raises(PolicyError, match="the values of the ONNX file"):
            check_onnx(policy, wrong, [Observed(obs, mask, begins)])

    def test_made_up_episodes_have_beginnings_and_allowed_actions(self) -> None:
        parts = list(made_up(exported().spec))
        assert all(part.action_mask.any(-1).all() and part.begins[0].all() for part in parts)
        assert any(part.begins[1:].any() for part in parts)
        assert not all(part.action_mask.all() for part in parts)

    def test_risk_levels_that_are_as_likely_are_open(self) -> None:
        policy = exported(algorithm="RMIX", algorithm_settings={"levels": 3, "atoms": 4})
        obs = np.random.default_rng(0).standard_normal((4, policy.spec.n_agents, policy.spec.obs_dim))
        mask = np.ones((4, policy.spec.n_agents, policy.spec.n_actions), bool)
        assert not level_is_open(policy, obs, policy.act(obs, mask)[1]).any()
        weights = policy.weights()
        history = "nets.0.predictor.history"
        weights[f"{history}.weight"][:] = 0
        weights[f"{history}.bias"][:] = 0.5  # all levels have one embedding
        tied = Policy(policy.spec, weights)
        assert isinstance(tied.networks.nets[0], RiskAgentNet)
        assert level_is_open(tied, obs, policy.act(obs, mask)[1]).all()
        assert len(onnx_bytes(tied)) > 0


class TestRefusals:
    @pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
    def test_a_missing_package(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        sentence = rf'needs the package {name}, which is not installed; pip install "rllib-reborn\[onnx\]"'
        with pytest.raises(PolicyError, match=sentence):
            require_packages()
        with pytest.raises(PolicyError, match=sentence):
            onnx_bytes(exported())

    def test_too_many_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(model, "_MOST_BYTES", 1_000)
        with pytest.raises(PolicyError, match="one ONNX file holds at most 1,000; export without --onnx"):
            onnx_bytes(exported())

    def test_a_layer_that_is_not_known(self) -> None:
        policy = exported(recurrent=False)
        policy.networks.nets[0].memory[1] = torch.nn.Tanh()
        with pytest.raises(PolicyError, match=r"nets\.0\.memory\.1 is a Tanh, which is not known how to write as ONNX"):
            onnx_bytes(policy)

    def test_nothing_is_written_where_the_check_fails(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(check, "TOLERANCE", -1.0)
        monkeypatch.setattr(check, "_TIMES", -1.0)
        policy = exported()
        with pytest.raises(PolicyError, match="nothing was written"):
            policy.save(tmp_path / "policy", beside={"policy.onnx": onnx_bytes(policy)})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["policy.json", "weights.npz", "../evil", "a/b", "", "."])
    def test_names_of_files_beside(self, name: str, tmp_path: Any) -> None:
        with pytest.raises(PolicyError, match="a file beside the policy has the name"):
            exported().save(tmp_path / "policy", beside={name: b"x"})
        assert list(tmp_path.iterdir()) == []

    def test_an_own_encoder_without_what_traces_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(
            PolicyError, match=r"with the encoder 'tests.*Doubled' needs the package onnxscript.*\[onnx\]"
        ):
            onnx_bytes(own_policy("Doubled"))


def own_policy(name: str) -> Policy:
    made_of = spec_of(encoder=f"tests.fakes.own_encoders:{name}", encoder_settings={"width": 3}, net_of_agent=(0, 0))
    return Policy(made_of, weights_of(made_of, made_of.net_of_agent), trust_encoder=True)


def test_files_beside_a_policy_do_not_matter_to_it(tmp_path: Any) -> None:
    policy = exported()
    policy.save(tmp_path / "policy", beside={"policy.onnx": b"onnx", "README.md": b"# Card"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "policy").iterdir()}.items() >= {
        ("policy.onnx", b"onnx"),
        ("README.md", b"# Card"),
    }
    assert Policy.load(tmp_path / "policy").spec == policy.spec


@pytest.mark.slow
class TestOwnEncoders:
    """Traced by torch's exporter, which takes seconds."""

    def test_they_are_traced(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert OWN.endswith(":Doubled")
        policy = own_policy("Doubled")
        importlib.import_module("onnxscript")  # of what it imports one sets filters of warnings
        stream, level, filters = torch.get_rng_state(), logging.getLogger("torch.onnx").level, list(warnings.filters)
        capfd.readouterr()
        data = onnx_bytes(policy)
        assert capfd.readouterr() == ("", "")
        assert torch.equal(torch.get_rng_state(), stream)
        assert logging.getLogger("torch.onnx").level == level
        assert warnings.filters == filters
        assert torch.is_grad_enabled()
        obs = np.random.default_rng(0).integers(0, 3, (5, 2, 35)).astype(np.float32)
        inputs = {"obs": obs, "action_mask": np.ones((5, 2, 3), bool)} | documented(data)["begin"](5)
        np.testing.assert_allclose(outputs(data, **inputs)["values"], policy.values(obs), atol=1e-5)

    @pytest.mark.parametrize("name", ["Branches", "ByRows"])
    def test_one_that_branches_is_refused(self, name: str) -> None:
        with pytest.raises(
            PolicyError, match=rf"encoder 'tests.fakes.own_encoders:{name}' cannot be traced|different by"
        ):
            onnx_bytes(own_policy(name))
