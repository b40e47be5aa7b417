"""What WQMIX and ResQ share: learners with a critic beside the mixer, in losses, gradients, plasticity and checkpoints."""

import copy

import numpy as np
import pytest
import torch

from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime
from rllib_reborn.callbacks.team_view import TeamModel, measure_team, team_view
from rllib_reborn.plasticity.interventions import KINDS, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import apply_intervention
from tests.algorithms.critic_learners import VARIANTS, batch_with_every_case, loop_loss, make_config, make_learner
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of, parameters_of, update
from tests.callbacks.test_plasticity_callbacks import OF_NEURONS, SETTINGS
from tests.padded import columns, padded_episodes

ALL = pytest.mark.parametrize("variant", VARIANTS)
CLOCK = {"env_steps": 100, "updates": 1, "episodes": 8, "iterations": 1}
BOTH = pytest.mark.parametrize("variant", ["cw", "resq"])


@ALL
@pytest.mark.parametrize("double_q", [True, False])
def test_the_loss_equals_a_plain_loop_over_steps_and_episodes(variant, double_q):
    learner = make_learner(variant, double_q=double_q)
    batch = batch_with_every_case(learner)
    loss, _ = loss_and_gradients(learner, batch)
    with torch.no_grad():
        expected, cases = loop_loss(learner, batch)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    # Else this test would not see a wrong case.
    used = ("greedy", "other") if variant == "resq" else ("greedy", "other", "full", "alpha")
    assert all(cases[case] >= 3 for case in used)


@ALL
@pytest.mark.parametrize("training", [{}, {"td_lambda": 0.7}, {"n_step": 3}])
def test_padding_changes_neither_loss_nor_gradient(variant, training):
    learner = make_learner(variant, **training)
    batch = batch_with_every_case(learner)
    loss, gradients = loss_and_gradients(learner, batch)
    padded = {
        name: value
        if value.dim() == 1
        else torch.cat([value, torch.ones(len(value), 2, *value.shape[2:], dtype=value.dtype)], 1)
        for name, value in batch.items()
    }
    loss_padded, gradients_padded = loss_and_gradients(learner, padded)
    torch.testing.assert_close(loss, loss_padded, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("model", [{}, {"recurrent": False, "fc_layers": 2}, {"parameter_sharing": "none"}])
def test_the_gradient_of_parts_sums_to_that_of_the_whole_and_reaches_every_parameter(variant, model):
    """Each parameter must have one in each part, or DDP would wait for ever (loss_and_gradients raises where one has none);
    the first part holds greedy actions alone."""
    learner = make_learner(variant, model={"hidden_dim": 8, **model})
    batch = batch_with_every_case(learner)
    _, whole = loss_and_gradients(learner, batch)
    parts = [loss_and_gradients(learner, {k: v[rows] for k, v in batch.items()})[1] for rows in (slice(4), slice(4, 8))]
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-5)
    assert all(gradient.any() for gradient in whole.values())


@BOTH
def test_targets_follow_the_critic_too_and_nothing_else_moves_them(variant):
    learner = make_learner(variant, target_update={"every": 2, "unit": "updates"})
    module = module_of(learner)
    before = copy.deepcopy(module.target_mixer.state_dict())
    sample = make_sample(learner.config)
    update(learner, sample)
    assert all(torch.equal(value, before[name]) for name, value in module.target_mixer.state_dict().items())
    update(learner, sample)
    online = module.mixer.state_dict()
    assert all(torch.equal(value, online[name]) for name, value in module.target_mixer.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in online.items() if name.startswith("central."))


@BOTH
def test_a_restored_learner_goes_on_as_if_nothing_had_happened(variant):
    learner, again = make_learner(variant), make_learner(variant)
    for seed in range(2):
        update(learner, make_sample(learner.config, seed=seed))
    again.set_state(learner.get_state())
    for one in (learner, again):
        update(one, make_sample(one.config, seed=5))
    expected = parameters_of(learner)
    assert any(name.startswith("mixer.central.agents") for name in expected)
    for name, value in parameters_of(again).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@BOTH
def test_runners_hold_the_agents_alone(variant):
    names = module_of(make_learner(variant)).get_state(inference_only=True)
    assert names
    assert all(name.startswith("agents.") for name in names)


# ---------------------------------------------------------------------- plasticity


@BOTH
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_every_layer_is_seen_and_rows_of_dead_agents_do_not_count(variant, sharing):
    learner = make_learner(variant, model={"hidden_dim": 8, "parameter_sharing": sharing})
    module = module_of(learner)
    batch = padded_episodes(make_sample(learner.config))
    batch["action_mask"][::2, :, 1, 1:] = False  # in every second episode agent 1 has nothing but action 0
    batch["actions"][::2, :, 1] = 0
    layers = module.neuron_layers("full")
    before = measure_team(module, layers, columns(batch))
    assert set(before) == {layer.key for layer in layers}
    critics = [key for key in before if ".agents." in key and key.endswith("encoder.0")]
    assert len(critics) == len(module.mixer.critics) * (1 if sharing == "all" else 2)
    of_agents = {key.split("agents.")[-1]: found.rows for key, found in before.items() if key.startswith("agent/")}
    of_agents = {name.removeprefix("agent/"): rows for name, rows in of_agents.items()}
    for key in critics:
        assert before[key].rows == of_agents[key.split(".agents.")[1]] < 2 * len(columns(batch)["obs"])
    rubbish = batch["obs"].float().clone()
    rubbish[::2, :, 1] = 1e6
    after = measure_team(module, layers, columns({**batch, "obs": rubbish}))
    for key in critics:  # the first layer reads one observation at a time
        torch.testing.assert_close(after[key].mean_abs, before[key].mean_abs)


#: What is moved by an intervention with a scope: names of parameters begin with one of these.
SCOPES = {
    "mixer": ("mixer.",),
    "critic": ("mixer.central.", "mixer.residual."),
    "agent": ("agents.",),
    "all": ("agents.", "mixer."),
    ("agent", "critic"): ("agents.", "mixer.central.", "mixer.residual."),
    ("mixer", "critic"): ("mixer.",),
}


#: KNIFE refuses the layer in front of a GRU, which agents have (tests/callbacks).
WITH_AGENTS = ("agent", "all", ("agent", "critic"))


@BOTH
@pytest.mark.parametrize(
    ("kind", "scope"),
    [(kind, scope) for kind in KINDS for scope in SCOPES if kind != "knife" or scope not in WITH_AGENTS],
    ids=str,
)
def test_every_intervention_acts_on_the_networks_in_its_scope_and_on_no_other(variant, kind, scope):
    """Every kind of the real table, on the learner's own networks, in each of them."""
    entry = {"kind": kind, "every": 6, "unit": "updates", "layers": "editable", **SETTINGS[kind], "scope": scope}
    if kind in ("knife", "injection"):
        entry |= {"layers": "official_code"}
    if not KINDS[kind].treats_layers:
        del entry["layers"]
    intervention = make_intervention(entry)
    learner = make_learner(variant, interventions=[to_dict(intervention)])
    module = module_of(learner)
    update(learner, make_sample(learner.config))
    before = parameters_of(learner)
    batch = {name: value.numpy() for name, value in columns(batch_with_every_case(learner)).items()}
    view = team_view(module, intervention.layers, batch, batch, learner.get_optimizer("default_policy"))
    runtime = PlasticityRuntime([intervention], None, TeamModel(module), lambda metrics: None)
    if kind == "l2_init":  # acts through the loss alone
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        for parameter in trained.values():
            parameter.data += 0.5
        gradients = torch.autograd.grad(runtime.loss(), list(trained.values()), allow_unused=True)
        moved = {
            name for name, gradient in zip(trained, gradients, strict=True) if gradient is not None and gradient.any()
        }
    else:
        runtime.activity[0] = {layer.key: torch.rand(layer.width) for layer in module.neuron_layers("full")}
        if intervention.counts_firing:
            none = {layer.key: torch.zeros(layer.width, dtype=torch.bool) for layer in module.neuron_layers("editable")}
            intervention.note_firing(none, runtime.memories[0])
            intervention.note_firing(none, runtime.memories[0])
        report = runtime.apply(0, view, clock=CLOCK, seed=0)
        if kind in OF_NEURONS:
            assert report.neurons > 0
        after = parameters_of(learner)
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    online = {name for name in moved if not name.startswith("target_")}
    assert online
    assert all(name.startswith(SCOPES[scope]) for name in online)
    for prefix in SCOPES[scope]:
        if prefix != "mixer.residual." or variant == "resq":
            assert any(name.startswith(prefix) for name in online)
    if scope in ("mixer", "all", ("mixer", "critic")):  # the critics are a part of the mixer
        assert any(name.startswith("mixer.central.") for name in online)
        assert any(name.startswith(("mixer.hyper", "mixer.V")) for name in online)


@BOTH
def test_a_targets_critic_is_copied_by_a_scope_that_names_it(variant):
    learner = make_learner(variant)
    module = module_of(learner)
    update(learner, make_sample(learner.config))
    before = copy.deepcopy(module.target_mixer.state_dict())
    reset = make_intervention({"kind": "reset", "scope": ["critic"], "which": "all", "target_networks": "sync"})
    runtime = PlasticityRuntime([reset], None, TeamModel(module), lambda metrics: None)
    runtime.apply(0, team_view(module, reset.layers, None, None, None), clock=CLOCK, seed=0)
    online = module.mixer.state_dict()
    for name, value in module.target_mixer.state_dict().items():
        expected = online if name.startswith(("central.", "residual.")) else before
        assert torch.equal(value, expected[name])


@BOTH
def test_networks_are_named_and_a_critic_calls_its_parameters_as_the_mixer_does(variant):
    module = module_of(make_learner(variant))
    for networks, mixer in ((module.networks(), module.mixer), (module.target_networks(), module.target_mixer)):
        assert list(networks) == ["agent", "mixer", "critic"]
        of_mixer = dict(mixer.named_parameters())
        of_critic = dict(networks["critic"].named_parameters())
        assert of_critic
        assert all(of_mixer[name] is parameter for name, parameter in of_critic.items())
        assert of_critic.keys() == {name for name in of_mixer if name.startswith(("central.", "residual."))}
    names = [name for name, _ in module.named_parameters()]
    assert not [name for name in names if "critic" in name]  # a view, registered nowhere


@BOTH
def test_reborn_on_the_mixer_treats_critics_online_and_target_and_keeps_the_greedy_actions(variant):
    learner = make_learner(variant)
    module = module_of(learner)
    update(learner, make_sample(learner.config))
    scoring_batch = {name: value.numpy() for name, value in columns(batch_with_every_case(learner)).items()}
    before = parameters_of(learner)
    intervention = make_intervention(
        {"kind": "reborn", "scope": "mixer", "layers": "editable", "alpha": 0.5, "beta": 1.5}
    )
    model_view = team_view(module, "editable", scoring_batch, scoring_batch, learner.get_optimizer("default_policy"))
    report = apply_intervention(intervention, model_view, generator=torch.Generator().manual_seed(0))
    treated = {change.layer for change in report.changes if change.neurons}
    assert {key for key in treated if ".agents." in key}
    assert {key for key in treated if ".mixer.net." in key}
    assert report.greedy_actions_changed == 0
    moved = {name for name, value in parameters_of(learner).items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith(("agents.", "target_agents."))}
    assert {name for name in moved if name.startswith("mixer.central.")}


@pytest.mark.slow
@BOTH
def test_it_trains_with_reborn_and_dormancy_and_resumes_exactly(variant, tmp_path, ray_session):
    entry = {"kind": "reborn", "every": 6, "unit": "updates", "scoring_episodes": 4, "alpha": 0.9, "beta": 1.1}
    check = {"every": 4, "unit": "updates", "layers": "full", "episodes": 4}
    config = make_config(variant, interventions=[entry], dormancy=check)
    whole = config.copy().build_algo()
    events = [event for _ in range(2) for event in whole.train()["plasticity"]]
    assert sum(event["neurons"] for event in events if event["event"] == "intervention") > 0
    keys = {key for event in events if event["event"] == "dormancy" for key in event["layers"]}
    assert {"mixer/central.mixer.net.0", "mixer/central.agents.memory", "mixer/V"} <= keys
    whole.save_to_path(tmp_path / "saved")
    resumed = config.copy().build_algo()
    resumed.restore_from_path(tmp_path / "saved")
    mine, theirs = (algorithm.train()["team"] for algorithm in (whole, resumed))
    own = [f"train/{key}" for key in config.learner_class.own_metrics]
    assert len(own) == 2
    for name in ("train/loss", "train/td_error_abs", "train/q_tot_mean", "updates", "episodes", *own):
        assert mine[name] == theirs[name]
        assert np.isfinite(mine[name])
    whole.stop()
    resumed.stop()
