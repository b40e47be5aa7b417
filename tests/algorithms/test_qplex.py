"""QPLEX as an algorithm: the loss by a plain loop, learners, checkpoints, interventions, and what QMIX cannot learn."""

from __future__ import annotations

import pytest
import torch

from rllib_reborn import QMIXConfig, QPLEXConfig, VDNConfig, load_team
from rllib_reborn.algorithms import ValueFactorization
from rllib_reborn.callbacks.scheduler import PLASTICITY_EVENTS
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.studies.invariance import draw_sample, study
from rllib_reborn.studies.trained_policy import team_from_algo
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.algorithms.test_learner import loss_and_gradients, make_learner, make_sample, module_of
from tests.padded import padded_episodes

DEEP = {"adv_hypernet_layers": 2, "adv_hypernet_dim": 8, "hypernet_dim": 8, "n_head": 2}


SPLIT = (slice(0, 4), slice(4, 8))


def learner_of(**training):
    learner = make_learner(QPLEXConfig, **training)
    module = module_of(learner)
    torch.manual_seed(5)
    with torch.no_grad():  # targets that differ from the online networks
        for parameter in [*module.target_agents.parameters(), *module.target_mixer.parameters()]:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return learner


def batch_of(learner):
    """Episodes with forbidden actions, no taken one among them."""
    batch = padded_episodes(make_sample(learner.config))
    mask = torch.rand(batch["action_mask"].shape, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[:, :-1].scatter_(3, batch["actions"].long().unsqueeze(3), True)
    mask[:, -1, :, 0] = True
    return {**batch, "action_mask": mask}


@pytest.mark.parametrize("double_q", [True, False])
def test_the_loss_equals_a_plain_loop_over_steps_and_episodes(double_q):
    learner = learner_of(double_q=double_q)
    module, batch = module_of(learner), batch_of(learner)
    loss, _ = loss_and_gradients(learner, batch)
    total, steps = 0.0, 0
    for e, length in enumerate(batch["lengths"].tolist()):
        values = {}
        for name, agents in (("online", module.agents), ("target", module.target_agents)):
            hidden, last = torch.zeros(1, 2, agents.state_dim), torch.full((1, 2), -1)
            values[name] = []
            for t in range(length + 1):
                q, hidden = agents.step(module.inputs(batch["obs"][e : e + 1, t], last), hidden)
                values[name].append(q)
                if t < length:
                    last = batch["actions"][e : e + 1, t].long()
        for t in range(length):
            here, there = ([batch[name][e : e + 1, at] for name in ("action_mask", "state")] for at in (t, t + 1))
            value = module.mixer.of_actions(values["online"][t], batch["actions"][e : e + 1, t].long(), *here)
            chooser = values["online" if double_q else "target"][t + 1]
            best = chooser.masked_fill(~there[0], -torch.inf).argmax(2)
            after = module.target_mixer.of_actions(values["target"][t + 1], best, *there)
            target = batch["reward"][e, t] + 0.99 * (1 - batch["terminated"][e, t].float()) * after
            total += (value - target).square().item()
            steps += 1
    assert loss.item() == pytest.approx(total / steps, rel=1e-5)


@pytest.mark.parametrize("training", [{"mixer": DEEP}, {"td_lambda": 0.6}, {"n_step": 3}])
def test_padding_changes_neither_loss_nor_gradient(training):
    learner = learner_of(**training)
    batch = batch_of(learner)
    padded = {
        name: value if value.dim() == 1 else torch.cat([value, torch.ones_like(value[:, :2])], 1)
        for name, value in batch.items()
    }
    (loss, gradients), (loss_padded, gradients_padded) = (loss_and_gradients(learner, one) for one in (batch, padded))
    torch.testing.assert_close(loss, loss_padded, rtol=1e-6, atol=1e-7)
    assert any(name.startswith("mixer.action_extractors") for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_two_learners_parts_sums_to_that_of_the_whole():
    learner = learner_of(mixer=DEEP)
    batch = batch_of(learner)
    _, whole = loss_and_gradients(learner, batch)
    halves = [loss_and_gradients(learner, {name: v[part] for name, v in batch.items()})[1] for part in SPLIT]
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, halves[0][name] + halves[1][name], rtol=1e-4, atol=1e-6)


def test_wrong_settings_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"QPLEX's mixer needs a global state.*use VDN"):
        quick(QPLEXConfig).environment(WALK, env_config={"state_dim": 0}).validate()
    with pytest.raises(ValueError, match=r"mixer.adv_hypernet_layers is 4"):
        quick(QPLEXConfig, mixer={"adv_hypernet_layers": 4}).validate()
    with pytest.raises(ValueError, match=r"unknown key 'mixer.n_heads'. Did you mean 'n_head'"):
        quick(QPLEXConfig, mixer={"n_heads": 4}).validate()


@pytest.fixture(scope="module")
def trained(ray_session, tmp_path_factory):
    """An algorithm under ReBorn and the dormancy check, its rows and events, and its checkpoint."""
    reborn = {"kind": "reborn", "every": 60, "alpha": 0.6, "layers": "editable", "scoring_episodes": 8}
    config = quick(
        QPLEXConfig,
        WALK,
        mixer=DEEP,
        td_lambda=0.6,
        model={"hidden_dim": 8, "parameter_sharing": "none", "recurrent": False},
        interventions=[reborn],
        dormancy={"every": 60, "episodes": 8, "layers": "editable"},
    )
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(4)]
    folder = tmp_path_factory.mktemp("qplex")
    algorithm.save_to_path(folder)
    yield algorithm, results, folder
    algorithm.stop()


def test_reborn_treats_the_layers_of_the_mixer(trained):
    _, results, _ = trained
    events = [event for result in results for event in result[PLASTICITY_EVENTS]]
    done = [event for event in events if event["event"] == "intervention"]
    assert sum(event["neurons"] for event in done) > 0
    assert all(event["greedy_actions_changed"] == 0 for event in done)
    (check, *_) = [event for event in events if event["event"] != "intervention"]
    assert {"mixer/hyper_w_final", "mixer/V", "mixer/action_extractors.1.0"} <= set(check["layers"])


def test_a_resumed_run_does_what_an_uninterrupted_one_does(trained):
    algorithm, _, folder = trained
    resumed = ValueFactorization.from_checkpoint(folder)
    assert rows(resumed, 2) == rows(algorithm, 2)
    assert equal(learner_weights(resumed), learner_weights(algorithm))
    resumed.stop()


def test_the_invariance_study_finds_the_greedy_joint_action_the_best_one(trained):
    """QPLEX promises an order for pairs with the greedy action alone (docs/method.md 5.3 item 3)."""
    team = load_team(trained[2])
    intervention = make_intervention({"kind": "reborn", "alpha": 0.6, "layers": "editable"})
    report = study(team, intervention, draw_sample(team, pairs=500, episodes=4))
    assert report.neurons_touched > 0
    assert report.function_drift > 0
    assert report.mixer_neurons == 2 * 8 + 3 * 2 * 8
    assert report.igm_checked > 0
    assert report.igm_violations_before == report.igm_violations == 0
    assert report.greedy_pairs > 0
    assert report.greedy_beaten == report.greedy_changed == 0


def learnt(config_class, seed: int) -> float:
    """Return of the greedy team after 2,500 random steps of the paper's matrix game, where 8 is hidden behind -12."""
    mixer = {"mixer": {"adv_hypernet_layers": 2}} if config_class is QPLEXConfig else {}
    algorithm = (
        quick(
            config_class,
            "matrix/nonmonotonic",
            seed=seed,
            lr=5e-3,
            batch_episodes=32,
            buffer_episodes=500,
            updates_per_episode=0.25,
            epsilon={"start": 1.0, "end": 1.0},
            target_update={"every": 50, "unit": "updates"},
            model={"hidden_dim": 16, "recurrent": False},
            **mixer,
        )
        .env_runners(num_envs_per_env_runner=32)
        .reporting(min_sample_timesteps_per_iteration=500)
        .build_algo()
    )
    for _ in range(5):
        algorithm.train()
    (found,) = set(team_from_algo(algorithm).evaluate(4, seed=0).returns.tolist())
    algorithm.stop()
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_qplex_finds_the_optimum_of_a_game_that_is_not_monotonic(seed):
    assert learnt(QPLEXConfig, seed) == 8.0


@pytest.mark.long  # its sample: tests/algorithms/test_resq.py
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("config_class", [QMIXConfig, VDNConfig])
def test_where_others_settle_for_0(config_class):
    assert learnt(config_class, 1) == 0.0
