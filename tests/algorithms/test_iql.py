"""IQL: every agent's own loss, and everywhere else a team without a mixer, as VDN is."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from rllib_reborn import IQLConfig, VDNConfig, load_team
from rllib_reborn.algorithms import ValueFactorization
from rllib_reborn.algorithms.iql import IQLLearner
from rllib_reborn.callbacks.scheduler import PLASTICITY_EVENTS
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.runtime.spaces import team_spaces
from rllib_reborn.studies.invariance import draw_sample, study
from rllib_reborn.studies.trained_policy import team_from_algo
from tests.algorithms import test_learner as team_learner
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of
from tests.padded import columns, learner_columns, padded_episodes


def make_learner(**training) -> IQLLearner:
    config = quick(IQLConfig, WALK, **training)
    config.validate()
    assert config.get_default_learner_class() is IQLLearner
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = IQLLearner(config=config, module_spec=spec)
    learner.build()
    with torch.no_grad():  # targets that differ from the online networks
        for parameter in module_of(learner).target_agents.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return learner


def batch_of(learner):
    """Episodes with forbidden actions, no taken one among them."""
    batch = padded_episodes(make_sample(learner.config))
    mask = torch.rand(batch["action_mask"].shape, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[:, :-1].scatter_(3, batch["actions"].long().unsqueeze(3), True)
    mask[:, -1, :, 0] = True
    return {**batch, "action_mask": mask}


def own_targets(reward, after, terminated, gamma=0.99, n_step=1, td_lambda=None):
    """Targets of one agent in one episode, step by step: plain lists of numbers."""
    length = len(reward)
    values = [0.0 if end else value for value, end in zip(after, terminated, strict=True)]

    def ahead(t, steps):
        steps = min(steps, length - t)
        return sum(gamma**k * reward[t + k] for k in range(steps)) + gamma**steps * values[t + steps - 1]

    if td_lambda is None:
        return [ahead(t, n_step) for t in range(length)]
    mixed = []
    for t in range(length):
        last = length - t
        inner = sum((1 - td_lambda) * td_lambda ** (k - 1) * ahead(t, k) for k in range(1, last))
        mixed.append(inner + td_lambda ** (last - 1) * ahead(t, last))
    return mixed


@pytest.mark.parametrize(
    ("training", "sharing"),
    [({}, "all"), ({"double_q": False}, "none"), ({"n_step": 3}, "none"), ({"td_lambda": 0.7}, "all")],
)
def test_the_loss_equals_a_plain_loop_over_agents_episodes_and_steps(training, sharing):
    learner = make_learner(model={"hidden_dim": 8, "parameter_sharing": sharing}, **training)
    module, batch = module_of(learner), batch_of(learner)
    loss, _ = loss_and_gradients(learner, batch)
    returns = {name: value for name, value in training.items() if name != "double_q"}
    total, count = 0.0, 0
    for e, length in enumerate(batch["lengths"].tolist()):
        values = {}
        for name, agents in (("online", module.agents), ("target", module.target_agents)):
            hidden, last = torch.zeros(1, 2, agents.state_dim), torch.full((1, 2), -1)
            values[name] = []
            for t in range(length + 1):
                q, hidden = agents.step(module.inputs(batch["obs"][e : e + 1, t], last), hidden)
                values[name].append(q[0])
                if t < length:
                    last = batch["actions"][e : e + 1, t].long()
        for i in range(2):
            after = []
            for t in range(1, length + 1):
                chooser = values["online" if training.get("double_q", True) else "target"][t][i]
                best = max((a for a in range(4) if batch["action_mask"][e, t, i, a]), key=lambda a: chooser[a].item())
                after.append(values["target"][t][i, best].item())
            reward, ends = batch["reward"][e, :length].tolist(), batch["terminated"][e, :length].tolist()
            for t, target in enumerate(own_targets(reward, after, ends, **returns)):
                total += (values["online"][t][i, int(batch["actions"][e, t, i])].item() - target) ** 2
                count += 1
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


def test_agents_do_not_learn_from_each_other():
    """With networks of their own, what one agent did leaves the other's gradient as it is. (VDN's error is the team's.)"""
    for learner_of, independent in ((make_learner, True), (partial(team_learner.make_learner, VDNConfig), False)):
        learner = learner_of(model={"hidden_dim": 8, "parameter_sharing": "none"})
        batch = batch_of(learner)
        batch["action_mask"][:] = True
        other = {**batch, "actions": batch["actions"].clone()}
        other["actions"][:, :, 1] = (other["actions"][:, :, 1] + 1) % 4
        before, after = (loss_and_gradients(learner, one)[1] for one in (batch, other))
        mine = [name for name in before if name.startswith("agents.nets.0.")]
        assert mine
        assert all(torch.equal(before[name], after[name]) for name in mine) == independent
        assert not torch.equal(before["agents.nets.1.head.weight"], after["agents.nets.1.head.weight"])


def test_padding_changes_neither_loss_nor_gradient():
    learner = make_learner(td_lambda=0.7)
    batch = batch_of(learner)
    padded = {
        name: value if value.dim() == 1 else torch.cat([value, torch.ones_like(value[:, :2])], 1)
        for name, value in batch.items()
    }
    (loss, gradients), (loss_padded, gradients_padded) = (loss_and_gradients(learner, one) for one in (batch, padded))
    torch.testing.assert_close(loss, loss_padded, rtol=1e-6, atol=1e-7)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-5, atol=1e-6)


def test_the_log_says_what_it_means():
    learner = make_learner()
    batch = batch_of(learner)
    out = module_of(learner)._forward_train(learner_columns(batch))
    assert out["q"].shape == out["next_q"].shape == (*batch["reward"].shape, 2)
    assert not out["next_q"].requires_grad
    mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
    _, metrics = learner.team_loss(learner.config, batch, out, mask, mask.sum())
    outputs = module_of(learner).observe(columns(batch))
    assert metrics["q_tot_mean"].item() == pytest.approx(outputs["q_tot"].mean().item(), rel=1e-5)
    error = (out["q"] - learner.targets(learner.config, batch, out["next_q"], mask)).abs()
    assert metrics["td_error_abs"].item() == pytest.approx(error[mask > 0].mean().item(), rel=1e-5)


def test_there_is_no_mixer_to_set_and_no_state_is_needed():
    with pytest.raises(ValueError, match=r"unknown key 'mixer.embed_dim'"):
        quick(IQLConfig, mixer={"embed_dim": 8}).validate()
    quick(IQLConfig).environment(WALK, env_config={"state_dim": 0}).validate()


@pytest.fixture(scope="module")
def trained(ray_session, tmp_path_factory):
    """An algorithm with ReBorn on the agents, what it told, and its checkpoint."""
    reborn = {"kind": "reborn", "every": 60, "alpha": 0.6, "scoring_episodes": 8, "scope": "agent"}
    dormancy = {"every": 60, "episodes": 8}
    algorithm = quick(IQLConfig, WALK, td_lambda=0.6, interventions=[reborn], dormancy=dormancy).build_algo()
    results = [algorithm.train() for _ in range(4)]
    folder = tmp_path_factory.mktemp("iql")
    algorithm.save_to_path(folder)
    yield algorithm, results, folder
    algorithm.stop()


def test_there_is_nothing_to_treat_in_the_mixer_and_the_study_says_so(trained):
    _, results, folder = trained
    events = [event for result in results for event in result[PLASTICITY_EVENTS]]
    done = [event for event in events if event["event"] == "intervention"]
    assert done
    assert not [key for event in events for key in event.get("layers", {}) if key.startswith("mixer")]
    team = load_team(folder)
    report = study(team, make_intervention({"kind": "reborn"}), draw_sample(team, pairs=500, episodes=4))
    assert report.neurons_touched == report.mixer_neurons == report.order_flips == 0
    assert report.control_order_flips > 0
    assert report.verdict.startswith("This mixer has no neurons")


def test_a_resumed_run_does_what_an_uninterrupted_one_does(trained):
    algorithm, _, folder = trained
    resumed = ValueFactorization.from_checkpoint(folder)
    assert rows(resumed, 2) == rows(algorithm, 2)
    assert equal(learner_weights(resumed), learner_weights(algorithm))
    resumed.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("env", "best"), [("matrix/monotonic", 6.0), ("matrix/nonmonotonic", 0.0)])
def test_it_learns_what_is_best_beside_random_others(env, best):
    """Of the sum game the optimum; in the other the safe 0, since the row of the hidden 8 has -12 twice."""
    algorithm = (
        quick(
            IQLConfig,
            env,
            lr=5e-3,
            batch_episodes=32,
            buffer_episodes=500,
            updates_per_episode=0.25,
            epsilon={"start": 1.0, "end": 1.0},
            target_update={"every": 50, "unit": "updates"},
            model={"hidden_dim": 16, "recurrent": False},
        )
        .env_runners(num_envs_per_env_runner=32)
        .reporting(min_sample_timesteps_per_iteration=500)
        .build_algo()
    )
    for _ in range(4):
        algorithm.train()
    np.testing.assert_array_equal(team_from_algo(algorithm).evaluate(4, seed=0).returns, best)
    algorithm.stop()
