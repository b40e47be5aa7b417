"""What WQMIX and ResQ share: learners with a critic beside the mixer, in losses, gradients, plasticity and checkpoints."""

import copy

import numpy as np
import pytest
import torch

from rllib_reborn.callbacks.team_subject import measure_team, team_subject
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.perform import perform
from tests.algorithms.critic_learners import VARIANTS, batch_with_every_case, loop_loss, make_config, make_learner
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of, parameters_of, tensors, update
from tests.callbacks.test_plasticity_callbacks import KINDS

ALL = pytest.mark.parametrize("variant", VARIANTS)
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
    batch = tensors(make_sample(learner.config))
    batch["action_mask"][::2, :, 1, 1:] = False  # in every second episode agent 1 has nothing but action 0
    batch["actions"][::2, :, 1] = 0
    layers = module.unit_layers("full")
    before = measure_team(module, layers, batch)
    assert set(before) == {layer.key for layer in layers}
    critics = [key for key in before if ".agents." in key and key.endswith("encoder.0")]
    assert len(critics) == len(module.mixer.critics) * (1 if sharing == "all" else 2)
    of_agents = {key.split("agents.")[-1]: found.rows for key, found in before.items() if key.startswith("agent/")}
    of_agents = {name.removeprefix("agent/"): rows for name, rows in of_agents.items()}
    for key in critics:
        assert before[key].rows == of_agents[key.split(".agents.")[1]] < len(batch["obs"][:, :, 0].flatten(0, 1)) * 2
    rubbish = batch["obs"].float().clone()
    rubbish[::2, :, 1] = 1e6
    after = measure_team(module, layers, {**batch, "obs": rubbish})
    for key in critics:  # the first layer reads one observation at a time
        torch.testing.assert_close(after[key].mean_abs, before[key].mean_abs)


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_every_intervention_is_accepted(variant, kind):
    """``validate`` builds the networks, prepares them and lets the intervention plan."""
    entry = {"kind": kind, "every": 6, "unit": "updates", **KINDS[kind]}
    for scope in ("mixer",) if kind == "knife" else ("mixer", "agent", "all"):
        make_config(variant, interventions=[{**entry, "scope": scope}]).validate()


@BOTH
def test_reborn_on_the_mixer_treats_critics_online_and_target_and_keeps_the_greedy_actions(variant):
    learner = make_learner(variant)
    module = module_of(learner)
    update(learner, make_sample(learner.config))
    scoring = {name: value.numpy() for name, value in batch_with_every_case(learner).items()}
    before = parameters_of(learner)
    intervention = make_intervention(
        {"kind": "reborn", "scope": "mixer", "layers": "operable", "alpha": 0.5, "beta": 1.5}
    )
    subject = team_subject(module, "operable", scoring, scoring, learner.get_optimizer("default_policy"))
    report = perform(intervention, subject, generator=torch.Generator().manual_seed(0))
    treated = {change.layer for change in report.changes if change.units}
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
    assert sum(event["units"] for event in events if event["event"] == "intervention") > 0
    seen = {key for event in events if event["event"] == "dormancy" for key in event["layers"]}
    assert {"mixer/central.mixer.net.0", "mixer/central.agents.memory", "mixer/V"} <= seen
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
