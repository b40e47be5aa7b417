"""``training.model.encoder``: refusals before anything is built, every algorithm, interventions, restoring, remote learners,
what a trained team does afterwards."""

import logging

import numpy as np
import pytest
import torch

from rllib_reborn import QMIXConfig, VDNConfig, load_team
from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.envs import make_team_env, team_spec
from rllib_reborn.envs.same_team import OtherTeamError
from rllib_reborn.plasticity.interventions.kinds import KINDS
from rllib_reborn.policy import Policy, PolicyError
from rllib_reborn.runtime.spaces import team_spaces
from rllib_reborn.studies.trained_policy import team_from_algo
from tests.algorithms.helpers import equal, learner_weights, quick, refusal, rows

PICTURES = "tests.fakes.picture_game:Pictures"
PARTS = "tests.fakes.glyph_game:Cued"
OWN = "tests.fakes.own_encoders"
CNN = {"encoder": "cnn", "encoder_settings": {"width": 6, "channels": [4], "kernels": [3], "strides": [2]}}
OPTIONS = {"size": 6, "team": {"state": "observations"}}


def on_pictures(model=None, config_class=QMIXConfig, env=PICTURES, options=None, **training):
    config = quick(config_class, model={"hidden_dim": 8} | (CNN if model is None else model), **training)
    return config.environment(env, env_config=OPTIONS if options is None else options).debugging(log_level="ERROR")


def built_module(config):
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    assert learner.refused_intervention() is None
    return learner.module["default_policy"].unwrapped()


# ------------------------------------------------------------------------------------------------ before anything is built


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"encoder": "cnm"}, "model: encoder is 'cnm'.*Did you mean 'cnn'"),
        ({"encoder": 3}, "model.encoder is 3"),
        ({"encoder": "cnn", "encoder_settings": {"widht": 3}}, "'encoder_settings.widht'. Did you mean 'width'"),
        (
            {"encoder": "cnn", "encoder_settings": {"channels": [3]}},
            r"\[3\], \[3, 3\] and \[1, 2\]; expected lists of one",
        ),
        ({"encoder": "cnn", "encoder_settings": {"width": "3"}}, "encoder_settings.width is '3'"),
        (
            {"encoder": "cnn", "encoder_settings": {"kernels": [7, 1]}},
            "model.encoder is 'cnn': kernels is .7, 1.*6 x 6",
        ),
        ({"encoder_settings": {"width": 3}}, "encoder is null, which reads none of them"),
        ({"encoder": f"{OWN}:Doubled", "encoder_settings": {"widht": 3}}, "has 'widht'.*Did you mean 'width'"),
        ({"encoder": f"{OWN}:Doubled", "encoder_settings": {"width": {1, 2}}}, "expected plain data"),
        ({"encoder": f"{OWN}:NoModule"}, "expected a subclass of torch.nn.Module"),
        ({"encoder": "no_such_module_of_mine:C"}, "there is no module 'no_such_module_of_mine'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(model, says):
    with pytest.raises(ValueError, match=says):
        on_pictures(model).validate()


@pytest.mark.parametrize(
    ("env", "model", "says"),
    [
        ("matrix/two_step", {"encoder": "cnn"}, "does not say what the 3 numbers of an observation are"),
        ("matrix/two_step", {"encoder": "per_field"}, "does not say of which parts the 3 numbers"),
        (PARTS, {"encoder": "cnn"}, "expected one picture and nothing else. Set encoder: per_field"),
        ("tests.fakes.glyph_game:Numbers", {"encoder": "cnn"}, "observations are obs .vector of 5."),
        (
            "tests.fakes.glyph_game:Numbers",
            {"encoder": "per_field", "encoder_settings": {"channels": [3, 3]}},
            r"encoder_settings.channels is \[3, 3\], but no part of the observations is a picture .obs",
        ),
    ],
)
def test_an_encoder_that_does_not_fit_the_environment_is_refused(env, model, says):
    with pytest.raises(ValueError, match=says):
        quick(VDNConfig, env, model=model).validate()


@pytest.mark.parametrize("cls", ["NoWidth", "Breaks", "WrongWidth", "NotFinite", "Fails"])
def test_an_own_encoder_that_is_not_as_it_says_is_refused_when_it_is_built(cls):
    config = on_pictures({"encoder": f"{OWN}:{cls}"})
    config.validate()
    with pytest.raises(ValueError, match=f"model.encoder '{OWN}:{cls}'"):
        built_module(config)


def test_evaluation_shows_the_encoder_the_same_parts():
    other = {"size": 6, "turned": True, "team": {"state": "observations"}}
    env = "tests.fakes.glyph_game:Turned"
    config = on_pictures(env=env, options=OPTIONS).evaluation(
        evaluation_interval=1, evaluation_config={"env_config": other}
    )
    with pytest.raises(OtherTeamError, match=r"obs_parts is .*4 x 9 x 3.* here and .*6 x 6 x 3"):
        config.get_evaluation_config_object()
    config.training(model={"encoder": None})
    config.get_evaluation_config_object()  # numbers in a row are numbers in a row


def test_what_is_not_measured_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            on_pictures({"encoder": f"{OWN}:Doubled"}, dormancy={}).validate()
        on_pictures({"encoder": f"{OWN}:NotFinite"}).validate()  # nothing is measured
        on_pictures({"encoder": f"{OWN}:Declared", "encoder_settings": {"width": 3}}, dormancy={}).validate()
    logged = [record.getMessage() for record in caplog.records if "hidden_layers" in record.getMessage()]
    assert len(logged) == 1
    assert "Doubled has no hidden_layers()" in logged[0]


# -------------------------------------------------------------------------------------------------------------- networks


def test_without_an_encoder_nothing_of_it_is_there():
    module = built_module(on_pictures({}))
    assert not [name for name, _ in module.named_parameters() if "obs_encoder" in name]
    assert module.spec.obs_parts == ()
    assert type(module.agents).__name__ == "AgentTeam"


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_every_algorithm_reads_bytes_through_encoders_of_its_own(name, sharing):
    module = built_module(on_pictures(CNN | {"parameter_sharing": sharing}, ALGORITHMS[name]))
    nets = 1 if sharing == "all" else 2
    convolutions = [path for path, _ in module.named_parameters() if path.endswith("net.convs.0.weight")]
    online = [path for path in convolutions if path.startswith("agents.")]
    assert len(online) == nets
    assert len([path for path in convolutions if path.startswith("target_agents.")]) == nets
    critics = {"WQMIX": 1, "ResQ": 2}.get(name, 0)
    assert len(convolutions) == 2 * nets * (1 + critics)
    obs = torch.randint(0, 255, (3, 2, 108), dtype=torch.uint8)
    read = []
    module.agents.nets[0].obs_encoder[0].register_forward_pre_hook(lambda _, args: read.append(args[0]))
    batch = {"obs": obs, "action_mask": torch.ones(3, 2, 3, dtype=torch.bool), "last_actions": torch.full((3, 2), -1)}
    out = module._forward_inference(batch | {"hidden": module.initial_hidden(3)})
    assert out["q"].shape == (3, 2, 3)
    assert {one.dtype for one in read} == {torch.uint8}


def test_a_team_whose_agents_share_nothing_has_encoders_by_group():
    spec = team_spec(PARTS)
    assert [str(part) for part in spec.obs_parts] == ["cue (one-hot of 2)", "eye (picture of 8 x 8 x 3)"]
    module = built_module(on_pictures({"encoder": "per_field", "parameter_sharing": "group"}, env=PARTS, options={}))
    assert len(module.agents.nets) == len({*spec.agent_groups})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_intervention_on_agents_with_an_encoder(kind):
    """Refused in a sentence, or planned; none is surprised by convolutions."""
    entry = {"kind": kind, "scope": "agent", "every": 3, "unit": "updates"}
    if kind in ("reborn", "redo", "prune", "reverse_redo", "continual_backprop", "snr"):
        entry["layers"] = "editable"
    refused = refusal(on_pictures(interventions=[entry]))
    if kind == "knife":
        assert "KNIFE widens Linear layers only" in refused
    else:
        assert refused is None


# -------------------------------------------------------------------------------------------------------------- training


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_it_trains_measures_saves_restores_and_acts_alike(tmp_path):
    """One run: channels are measured and treated, a restored run has its weights, the portable policy acts as it does."""
    interventions = [{"kind": "redo", "scope": "agent", "layers": "editable", "every": 4, "unit": "updates"}]
    settings = {"interventions": [*interventions, {"kind": "marr"}], "dormancy": {"every": 40, "layers": "editable"}}
    algorithm = on_pictures(**settings).build_algo()
    events = algorithm.train()["plasticity"]
    measured = {layer for event in events for layer in event.get("layers", {})}
    assert any("obs_encoder.0.net.convs.0" in layer for layer in measured), measured
    checkpoint = algorithm.save_to_path(tmp_path / "checkpoint")
    again = on_pictures(**settings).build_algo()
    again.restore_from_path(checkpoint)
    assert equal(learner_weights(again), learner_weights(algorithm))
    assert rows(again, 1)[0]["updates"] > 0  # other episodes: these games cannot say where they stand
    again.stop()
    team, loaded = team_from_algo(algorithm), load_team(checkpoint)
    algorithm.stop()
    assert loaded.evaluate(4, seed=0).returns.shape == (4,)
    team.portable().save(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    env = make_team_env(PICTURES, 3, **OPTIONS)
    obs, state, hidden = env.reset(seed=1), None, team.module.initial_hidden(3)
    last = np.full((3, 2), -1)
    for _ in range(3):
        actions, state = policy.act(obs.obs, obs.action_mask, state)
        expected_actions, hidden = team.module.act(obs.obs, obs.action_mask, last, hidden)
        assert np.array_equal(actions, expected_actions)
        assert torch.equal(state.hidden, hidden)
        obs, last = env.step(actions).obs, actions


@pytest.mark.long  # its sample: tests/examples/test_as_a_package.py
@pytest.mark.usefixtures("ray_session")
def test_an_own_encoder_on_a_remote_learner_and_a_remote_runner(tmp_path):
    model = {"encoder": f"{OWN}:Declared", "encoder_settings": {"width": 5}}
    config = on_pictures(model).learners(num_learners=1).env_runners(num_env_runners=1)
    algorithm = config.build_algo()
    before = learner_weights(algorithm)
    row = rows(algorithm, 1)[0]
    after = learner_weights(algorithm)
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    team = team_from_algo(algorithm)
    algorithm.stop()
    assert row["updates"] > 0
    name = "agents.nets.0.obs_encoder.0.first.weight"
    assert not np.array_equal(before[name], after[name])
    assert load_team(path).evaluate(2, seed=0).returns.shape == (2,)
    team.portable().save(tmp_path / "policy")
    with pytest.raises(PolicyError, match=r"its encoder is .*Declared', code that a module.*trust_encoder=True"):
        Policy.load(tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy", trust_encoder=True)
    obs = make_team_env(PICTURES, 2, **OPTIONS).reset(seed=1)
    values = policy.values(obs.obs)
    x = team.module.inputs(torch.from_numpy(np.array(obs.obs)), torch.full((2, 2), -1))
    with torch.no_grad():
        assert np.array_equal(values, team.module.agents.step(x, team.module.initial_hidden(2))[0].numpy())
