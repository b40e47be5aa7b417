"""RMIX: joint greed agrees with individual greed, when which loss is taken, and whom the risk level makes cautious."""

import itertools

import numpy as np
import pytest
import torch

from rllib_reborn import RMIXConfig
from rllib_reborn.algorithms.rmix import RMIXLearner
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.losses.risk import local_distribution_loss, local_targets
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, comparable, quick
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of, update
from tests.fakes.risky_game import RiskyGame
from tests.padded import columns, learner_columns, padded_episodes

SETTINGS = {"atoms": 12, "levels": 4, "embedding_dim": 5}


def clock(env_steps):
    return {"num_env_steps_sampled_lifetime": env_steps, "num_episodes_lifetime": 1}


def make_learner(algorithm_settings=None, **training) -> RMIXLearner:
    config = quick(RMIXConfig, WALK, algorithm_settings=SETTINGS | (algorithm_settings or {}), **training)
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    return learner


def enliven(learner):
    """Distributions and targets as after some training, and a predictor that chooses several levels."""
    module = module_of(learner)
    with torch.no_grad():
        for net in module.agents.nets:
            net.head.bias.add_(torch.randn_like(net.head.bias))
            if net.predictor is not None:
                net.predictor.history.weight.mul_(10)
                net.predictor.history.bias.mul_(10)
        module.target_agents.load_state_dict(module.agents.state_dict())
        for p in [*module.target_agents.parameters(), *module.target_mixer.parameters()]:
            p.add_(0.05 * torch.randn_like(p))
    return module


def test_individually_best_actions_are_jointly_best():
    """IGM on the CVaR values: of all joint actions the mixer prefers the one of which every agent prefers its part."""
    module = enliven(make_learner())
    n, n_actions = module.spec.n_agents, module.spec.n_actions
    episodes = module.packed_episodes(columns(padded_episodes(make_sample(make_learner().config))))
    with torch.no_grad():
        q = module.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        best = torch.full((len(q),), -torch.inf)
        for joint in itertools.product(range(n_actions), repeat=n):
            actions = torch.tensor(joint).expand(len(q), n)
            best = torch.maximum(best, module.mixer.of_actions(q, actions, episodes.action_mask, episodes.state))
        greedy = module.mixer.of_actions(q, q.argmax(2), episodes.action_mask, episodes.state)
    torch.testing.assert_close(greedy, best)
    assert len(q.argmax(2).unique()) > 1


def test_the_mixer_is_monotonic_in_every_agents_cvar():
    module = enliven(make_learner())
    values = torch.randn(200, module.spec.n_agents, requires_grad=True)
    (gradient,) = torch.autograd.grad(module.mixer(values, torch.randn(200, module.spec.state_dim)).sum(), values)
    assert (gradient >= 0).all()
    assert (gradient > 0).any()


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"algorithm_settings": {"risk": 0.3}, "model": {"hidden_dim": 8, "recurrent": False}},
        {"double_q": False, "td_lambda": 0.7, "model": {"hidden_dim": 8, "parameter_sharing": "none"}},
        {"n_step": 3, "algorithm_settings": {"compat": "official_code"}},
        {"algorithm_settings": {"auxiliary_reward": "team"}},
    ],
)
@pytest.mark.parametrize("due", [False, True])
def test_padding_changes_nothing_and_every_parameter_gets_a_gradient(training, due):
    learner = make_learner(**training)
    module = enliven(learner)
    module.local_loss_due = due
    batch = padded_episodes(make_sample(learner.config))
    loss, gradients = loss_and_gradients(learner, batch)
    padded = {
        name: value
        if value.dim() == 1
        else torch.cat([value, torch.ones(value.shape[0], 2, *value.shape[2:], dtype=value.dtype)], 1)
        for name, value in batch.items()
    }
    loss_padded, gradients_padded = loss_and_gradients(learner, padded)
    torch.testing.assert_close(loss, loss_padded, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():  # torch.autograd.grad has refused any that is missing
        torch.testing.assert_close(gradient, gradients_padded[name], rtol=1e-4, atol=1e-5)
    trained = {name for name, gradient in gradients.items() if gradient.norm() > 0}
    official_code = learner.config.parse_algorithm_settings().compat == "official_code"
    assert any("head" in name for name in trained)
    assert any(name.startswith("mixer") for name in trained) == (not (official_code and due))
    with_predictor = any("predictor" in name for name in gradients)
    assert any("predictor" in name for name in trained) == (with_predictor and not official_code)


def test_values_are_those_of_stepping_and_the_best_actions_are_the_online_networks():
    learner = make_learner({"auxiliary_start": 0})
    module = enliven(learner)
    module.local_loss_due = True
    batch = padded_episodes(make_sample(learner.config))
    out = module._forward_train(learner_columns(batch))
    for e, length in enumerate(batch["lengths"].tolist()):
        values = {}
        for name, agents in (("online", module.agents), ("target", module.target_agents)):
            hidden, last = torch.zeros(1, 2, agents.state_dim), torch.full((1, 2), -1)
            values[name] = []
            for t in range(length + 1):
                with torch.no_grad():
                    q, hidden = agents.step(module.inputs(batch["obs"][e : e + 1, t], last), hidden)
                values[name].append(q[0])
                last = batch["actions"][e : e + 1, t].long() if t < length else last
        for t in range(length):
            taken = values["online"][t].gather(1, batch["actions"][e, t].long().unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(out["value"][e, t], taken, rtol=1e-4, atol=1e-5)
            best = values["online"][t + 1].argmax(1, keepdim=True)
            after = values["target"][t + 1].gather(1, best).T
            expected = module.target_mixer(after, batch["state"][e, t + 1 : t + 2])
            torch.testing.assert_close(out["next_q_tot"][e, t], expected[0], rtol=1e-4, atol=1e-5)
    assert out["atoms"].shape == out["next_atoms"].shape == (*batch["actions"].shape, SETTINGS["atoms"])
    assert not out["next_atoms"].requires_grad


def test_the_local_loss_comes_at_its_interval_and_a_restored_learner_goes_on():
    learner = make_learner({"auxiliary_start": 1000, "auxiliary_every": 100})
    sample = make_sample(learner.config)
    with_local_loss = []
    for env_steps in (950, 1000, 1001, 1001, 1060, 1101, 1150):
        results = update(learner, sample, clock(env_steps))
        with_local_loss.append(float(results["default_policy"]["local_loss"].peek()) > 0)
    assert with_local_loss == [False, False, True, False, False, True, False]
    again = make_learner({"auxiliary_start": 1000, "auxiliary_every": 100})
    again.set_state(learner.get_state())
    assert again.last_local_loss_env_steps == 1101
    never = make_learner({"auxiliary_start": 0, "auxiliary_every": None})
    assert float(update(never, sample, clock(10**6))["default_policy"]["local_loss"].peek()) == 0


def test_the_local_loss_is_added_and_in_the_official_way_takes_the_place():
    for compat in (None, "official_code"):
        learner = make_learner({"compat": compat, "auxiliary_weight": 0.5})
        module = enliven(learner)
        batch = padded_episodes(make_sample(learner.config))
        without, _ = loss_and_gradients(learner, batch)
        module.local_loss_due = True
        both, _ = loss_and_gradients(learner, batch)
        out = module._forward_train(learner_columns(batch))
        mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
        _, metrics = learner.team_loss(learner.config, batch, out, mask, mask.sum())
        squared = 0 if compat else without
        torch.testing.assert_close(both, squared + 0.5 * metrics["local_loss"])
        real = mask.bool()
        targets = local_targets(out["value"][real], out["next_atoms"][real], batch["terminated"][real], gamma=0.99)
        per_agent = local_distribution_loss(out["atoms"][real], targets, official_code=compat is not None)
        torch.testing.assert_close(metrics["local_loss"], per_agent.mean().detach())
        assert 0 < metrics["risk_level_mean"] <= 1


def test_the_teams_reward_in_place_of_the_agents_own_value():
    learner = make_learner({"auxiliary_reward": "team", "auxiliary_weight": 1.0})
    module = enliven(learner)
    module.local_loss_due = True
    batch = padded_episodes(make_sample(learner.config))
    one, _ = loss_and_gradients(learner, batch)
    own = make_learner({"auxiliary_weight": 1.0})
    module_of(own).load_state_dict(module.state_dict())
    module_of(own).local_loss_due = True
    assert loss_and_gradients(own, batch)[0] != pytest.approx(one.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"algorithm_settings": {"risk": 1.5}},
            r"algorithm_settings.risk: 1.5 is no risk level; expected 'dynamic' or a number in \(0, 1\]",
        ),
        ({"algorithm_settings": {"risk": True}}, "algorithm_settings.risk: True is no risk level"),
        (
            {"algorithm_settings": {"atoms": 10, "compat": "official_code"}},
            "algorithm_settings.compat: risk level 0.1 takes one of 10 atoms",
        ),
        ({"algorithm_settings": {"rsk": 1.0}}, "unknown key 'algorithm_settings.rsk'. Did you mean 'risk'"),
        ({"model": {"recurrent": False}}, "algorithm_settings.risk is 'dynamic' with model.recurrent False"),
    ],
)
def test_wrong_settings_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        RMIXConfig().environment("matrix/two_step").training(**training).validate()


def test_it_is_kept_apart_from_a_task_without_state():
    with pytest.raises(ValueError, match="needs a global state"):
        RMIXConfig().environment("benchmarks.shapes:Shape", env_config={
            "n_agents": 2, "n_actions": 3, "obs_dim": 4, "state_dim": 0, "episode_limit": 5
        }).validate()  # fmt: skip


def test_plasticity_sees_and_treats_the_declared_layers():
    learner = make_learner()
    module = module_of(learner)
    assert [layer.key for layer in module.neuron_layers("official_code")] == [
        "agent/encoder.0",
        "mixer/hyper_w_final",
        "mixer/V",
    ]
    assert {"agent/predictor.encoder.0", "agent/predictor.memory"} <= {
        layer.key for layer in module.neuron_layers("full")
    }


@pytest.mark.usefixtures("ray_session")
def test_it_trains_with_interventions_on_all_layers_and_a_restored_run_goes_on(tmp_path):
    config = quick(
        RMIXConfig,
        algorithm_settings=SETTINGS | {"auxiliary_start": 0, "auxiliary_every": 20},
        interventions=[
            {"kind": "reborn", "every": 40, "scope": "all", "layers": "editable"},
            {"kind": "injection", "every": 60, "scope": "agent"},
        ],
        dormancy={"every": 40, "layers": "full"},
    )
    algorithm = config.build_algo()
    for _ in range(3):
        algorithm.train()
    path = algorithm.save_to_path(tmp_path / "saved")
    again = config.copy(copy_frozen=False).build_algo()
    again.restore_from_path(path)
    rows_of_both = [[comparable(one.train()["team"]) for _ in range(2)] for one in (algorithm, again)]
    algorithm.stop()
    again.stop()
    assert rows_of_both[0] == rows_of_both[1]
    row = rows_of_both[0][0]
    assert max(row["train/local_loss"] for row in rows_of_both[0]) > 0
    assert 0 < row["train/risk_level_mean"] <= 1
    assert row["intervention/neurons"] > 0
    assert row["dormancy/agent/predictor.memory/stable_rank"] >= 1
    assert np.isfinite(row["train/loss"])


def test_the_risky_game_keeps_the_contract():
    assert all(result.ok is not False for result in check_team_env(RiskyGame(5), make=lambda count: RiskyGame(count)))


def first_choice(algorithm_settings, seed):
    """The agents' first actions after training."""
    algorithm = (
        RMIXConfig()
        .environment("tests.fakes.risky_game:RiskyGame")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .training(
            lr=2e-3,
            batch_episodes=32,
            buffer_episodes=500,
            updates_per_episode=0.25,  # with four games: an update after each round, all with the local loss
            epsilon={"start": 1.0, "end": 1.0},
            target_update={"every": 50, "unit": "updates"},
            model={"hidden_dim": 32},
            algorithm_settings={"atoms": 20, "auxiliary_every": 1, "auxiliary_start": 0} | algorithm_settings,
        )
        .reporting(min_sample_timesteps_per_iteration=2_000)
        .debugging(seed=seed)
        .build_algo()
    )
    algorithm.train()
    module = algorithm.learner_group._learner.module["default_policy"].unwrapped()
    with torch.no_grad():
        x = module.inputs(torch.eye(4)[:1].expand(1, 2, 4), torch.full((1, 2), -1))
        q, _ = module.agents.step(x, module.initial_hidden(1))
    algorithm.stop()
    return q[0].argmax(1).tolist()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize(("risk", "choice"), [(0.1, 0), (1.0, 1)])
def test_with_the_teams_reward_a_low_risk_level_prefers_the_safe_action(risk, choice, seed):
    algorithm_settings = {"risk": risk, "auxiliary_reward": "team", "auxiliary_weight": 300.0}
    assert first_choice(algorithm_settings, seed) == [choice, choice]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_as_published_a_low_risk_level_makes_no_agent_cautious():
    """The squared error fits means, whatever share of the atoms carries them (see the module's docstring)."""
    assert first_choice({"risk": 0.1}, 0) == [1, 1]
