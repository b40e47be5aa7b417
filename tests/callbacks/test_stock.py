"""Plasticity in stock Learners: DQN, SAC and PPO, fed by hand (fast) and as whole algorithms (slow)."""

import hashlib
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_reborn.callbacks import DormancyCallback, InterventionCallback, LearnerCallback, ReBornCallback, ranks
from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime
from rllib_reborn.callbacks.ranks import average_over_ranks
from rllib_reborn.callbacks.stock import ClockCallback, PlasticityLearnerMixin, with_plasticity
from rllib_reborn.callbacks.stock_model import looking, online_view, run_module
from rllib_reborn.callbacks.stock_settings import stock_dormancy_check, stock_intervention
from rllib_reborn.plasticity.history import DormancyHistory
from rllib_reborn.plasticity.statistics import LayerStatistics

MODEL = {
    "fcnet_hiddens": [16, 16],
    "fcnet_activation": "relu",
    "head_fcnet_hiddens": [8],
    "head_fcnet_activation": "relu",
}
LEARNERS = {
    "dqn": (DQNConfig, DQNTorchLearner, "CartPole-v1"),
    "sac": (SACConfig, SACTorchLearner, "Pendulum-v1"),
    "ppo": (PPOConfig, PPOTorchLearner, "CartPole-v1"),
}
REBORN = {"kind": "reborn", "every": 2, "unit": "updates", "alpha": 0.5, "beta": 1.5}


def configured(kind, settings, *, model=None, learners=0, **training):
    config_class, learner_class, env = LEARNERS[kind]
    return (
        config_class()
        .environment(env)
        .env_runners(num_env_runners=0)
        .rl_module(model_config=MODEL if model is None else model)
        .learners(
            num_learners=learners,
            num_cpus_per_learner=1,
            learner_class=with_plasticity(learner_class),
            learner_config_dict=settings,
        )
        .training(**(training if kind == "sac" else training | {"lr": 1e-3}))
        .debugging(seed=0, log_sys_usage=False)
    )


def built(kind, settings, **kwargs):
    config = configured(kind, settings, **kwargs)
    env = gym.make(LEARNERS[kind][2])
    torch.manual_seed(0)
    learner = config.build_learner(env=env)
    learner.build()
    return learner


def batch_of(learner, seed=0, rows=32):
    rng = np.random.default_rng(seed)
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    obs_dim = module.observation_space.shape[0]
    discrete = isinstance(module.action_space, gym.spaces.Discrete)
    actions = rng.integers(0, 2, rows) if discrete else rng.uniform(-1, 1, (rows, 1)).astype(np.float32)
    columns = {
        "obs": rng.normal(size=(rows, obs_dim)).astype(np.float32),
        "new_obs": rng.normal(size=(rows, obs_dim)).astype(np.float32),
        "actions": actions,
        "rewards": rng.normal(size=rows).astype(np.float32),
        "terminateds": np.zeros(rows, bool),
        "truncateds": np.zeros(rows, bool),
        "weights": np.ones(rows, np.float32),
        "n_step": np.ones(rows, np.float32),
    }
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(tensors)}, env_steps=rows)


def update(learner, count=1, start=0):
    for n in range(start, start + count):
        learner.update(batch=batch_of(learner, n), timesteps={"num_env_steps_sampled_lifetime": 10 * (n + 1)})


def module_of(learner):
    return learner.module[DEFAULT_MODULE_ID].unwrapped()


def weights(learner):
    return {name: value.clone() for name, value in module_of(learner).state_dict().items()}


def interventions(learner):
    return [event for event in learner.take_events() if event["event"] == "intervention"]


# ------------------------------------------------------------------------------------------- what happens, and when


def test_units_are_found_across_encoder_and_heads_and_target_networks_are_left_alone():
    learner = built("dqn", {"interventions": [REBORN]}, dueling=False)
    update(learner, 1)
    before = weights(learner)
    assert interventions(learner) == []
    update(learner, 1, start=1)
    (event,) = interventions(learner)
    assert (event["clock"]["updates"], event["clock"]["env_steps"]) == (2, 20)
    # The encoder's last layer is read by the head, in another Sequential.
    assert [change["layer"] for change in event["changes"]] == [
        "module/af.net.mlp.0",
        "module/encoder.net.mlp.0",
        "module/encoder.net.mlp.2",
    ]
    assert event["neurons"] > 0
    assert event["dormant_after"]["module"] < event["dormant_before"]["module"]
    assert 0 < event["function_drift"] < 1
    assert event["greedy_actions_changed"] is not None
    after = weights(learner)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("_target"))


def test_a_layer_that_two_heads_read_is_scored_and_not_treated():
    settings = {"interventions": [REBORN], "dormancy": {"every": 2, "unit": "updates", "layers": "full"}}
    learner = built("dqn", settings, dueling=True)
    update(learner, 2)
    check, event = learner.take_events()
    treated = [change["layer"] for change in event["changes"]]
    assert "module/encoder.net.mlp.2" in check["layers"]
    assert sorted([*treated, "module/encoder.net.mlp.2"]) == sorted(check["layers"])


@pytest.mark.parametrize("kind", ["dqn", "sac"])
def test_measuring_changes_nothing(kind):
    """Not a weight, not a training flag, not torch's random numbers, which SAC draws actions from."""
    found = []
    for settings in ({"interventions": []}, {"dormancy": {"every": 1, "unit": "updates", "layers": "full"}}):
        learner = built(kind, settings)
        torch.manual_seed(3)
        update(learner, 4)
        found.append((weights(learner), torch.rand(3)))
        assert module_of(learner).training
    (without, drawn), (with_checks, drawn_with) = found
    assert all(torch.equal(without[name], with_checks[name]) for name in without)
    assert torch.equal(drawn, drawn_with)


def test_looking_moves_no_running_statistics_and_each_part_gets_its_own_flag_back():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout())
    net[1].eval()
    with looking(net):
        out = net(torch.randn(8, 4))
    assert not out.requires_grad
    assert net[0].num_batches_tracked == 0
    assert [part.training for part in net.modules()] == [True, True, False]


def test_a_dry_run_changes_nothing_either():
    found = []
    for settings in ({"interventions": []}, {"interventions": [REBORN | {"dry_run": True}]}):
        learner = built("sac", settings)
        torch.manual_seed(3)
        update(learner, 4)
        found.append(weights(learner))
    assert [event["dry_run"] for event in interventions(learner)] == [True, True]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_env_steps_are_a_clock_too():
    learner = built("dqn", {"interventions": [{"kind": "redo", "every": 30, "unit": "env_steps"}]}, dueling=False)
    update(learner, 7)  # 10, 20, ..., 70
    assert [event["clock"]["env_steps"] for event in interventions(learner)] == [30, 60]


def test_an_update_without_the_clock_that_is_asked_for_is_refused():
    learner = built("dqn", {"dormancy": {"every": 30, "unit": "env_steps"}}, dueling=False)
    with pytest.raises(ValueError, match=r"num_env_steps_sampled_lifetime.*updates"):
        learner.update(batch=batch_of(learner))


def test_ppo_is_scored_with_its_value_function_and_counts_gradient_steps():
    # No batch by hand here: PPO's connectors need episodes. What is run, is what the loss runs.
    learner = built("ppo", {"interventions": [REBORN]})
    module = module_of(learner)
    model = learner._plasticity_models[DEFAULT_MODULE_ID]
    model.batch = {"obs": torch.randn(32, 4)}
    names = [layer.name for layer in model.neuron_layers("official_code")]
    assert "vf.net.mlp.0" in names
    assert "encoder.critic_encoder.net.mlp.2" in names  # the value head, a call of its own, reads it
    assert "embeddings" not in run_module(module, model.batch)


# ------------------------------------------------------------------------------------------- methods, targets, optimizers


def test_pruned_neurons_stay_silent():
    learner = built(
        "dqn", {"interventions": [{"kind": "prune", "every": 2, "unit": "updates", "alpha": 0.6, "stop": 2}]}
    )
    update(learner, 6)
    changes = [change for event in interventions(learner) for change in event["changes"] if change["neurons"]]
    assert changes
    reader = {"module/encoder.net.mlp.0": "encoder.net.mlp.2", "module/af.net.mlp.0": "af.net.mlp.2"}
    for change in changes:
        if change["layer"] in reader:
            weight = weights(learner)[reader[change["layer"]] + ".weight"]
            assert not weight[:, list(change["neurons"])].any()
            assert weight.any()


@pytest.mark.parametrize("kind", ["dqn", "sac"])
def test_a_loss_term_reaches_the_gradients(kind):
    """SAC takes one gradient per optimizer and not that of the loss it reports: d/dtheta c |theta - theta_0|^2."""
    gradients = []
    for strength in (0.0, 0.5):
        learner = built(kind, {"interventions": [{"kind": "l2_init", "strength": strength}]})
        moved = {}
        for name, parameter in learner._plasticity_models[DEFAULT_MODULE_ID].online.named_parameters():
            parameter.data += 0.25
            moved[name] = parameter
        torch.manual_seed(1)
        recorded = {}
        original = learner.postprocess_gradients
        learner.postprocess_gradients = lambda found, recorded=recorded, go=original: (
            recorded.update(found) or go(found)
        )
        update(learner, 1)
        gradients.append({name: recorded[learner.get_param_ref(p)] for name, p in moved.items()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[1][name] - gradients[0][name], torch.full_like(gradients[0][name], 0.25))


def test_sync_copies_to_the_targets_and_mirror_treats_what_has_no_target_once():
    reset = {"kind": "reset", "which": "all", "every": 1, "unit": "updates", "target_networks": "sync"}
    learner = built("dqn", {"interventions": [reset]}, dueling=False)
    update(learner, 1)
    found = weights(learner)
    for name in [name for name in found if name.startswith(("encoder.", "af."))]:
        assert torch.equal(found[name], found[f"_target_{name}"])

    halve = {"kind": "shrink_perturb", "towards": "noise", "sigma": 0.0, "shrink": 0.5, "every": 1, "unit": "updates"}
    plain, mirrored = (
        built("sac", {"interventions": [halve | {"target_networks": targets}]}, tau=0.0)
        for targets in ("none", "mirror")
    )
    start = weights(mirrored)
    for learner in (plain, mirrored):
        torch.manual_seed(1)
        update(learner, 1)
    without, with_mirror = weights(plain), weights(mirrored)
    for name, _ in module_of(plain).named_parameters():
        if name.startswith("target_"):
            assert torch.equal(without[name], start[name])
            torch.testing.assert_close(with_mirror[name], 0.5 * start[name])
        else:  # the policy is halved once, although its stand-in among the targets is halved too
            assert torch.equal(without[name], with_mirror[name])


def test_all_optimizers_of_a_module_forget():
    redo = {"kind": "redo", "every": 3, "unit": "updates", "alpha": 0.7, "optimizer": "zero"}
    learner = built("sac", {"interventions": [redo]})
    update(learner, 3)
    (event,) = interventions(learner)
    touched = 0
    averages = {
        parameter: state["exp_avg"]
        for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
        for parameter, state in optimizer.state.items()
    }
    for change in event["changes"]:
        source = module_of(learner).get_submodule(change["layer"].removeprefix("module/"))
        rows = averages[source.weight]
        assert not rows[list(change["neurons"])].any()
        assert rows.any()
        touched += len(change["neurons"]) > 0
    assert touched >= 3


# ------------------------------------------------------------------------------------------- state


def test_state_holds_the_clock_the_memories_and_the_history():
    settings = {
        "interventions": [REBORN | {"every": 4}, {"kind": "prune", "every": 2, "unit": "updates", "alpha": 0.6}],
        "dormancy": {"every": 2, "unit": "updates"},
    }
    learner = built("dqn", settings, dueling=False)
    update(learner, 4)
    saved = learner.get_state()
    assert "plasticity" not in learner.get_state(components=COMPONENT_RL_MODULE)
    assert "plasticity" not in learner.get_state(not_components=["plasticity"])
    update(learner, 4, start=4)
    learner.take_events()

    other = built("dqn", settings, dueling=False)
    other.set_state(saved)
    assert other.take_events() == []
    # Nothing comes again at 5: check and prune at 6, ReBorn too at 8.
    update(other, 4, start=4)
    events = other.take_events()
    assert [event["clock"]["updates"] for event in events] == [6, 6, 8, 8, 8]
    first, second = weights(learner), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    history = other.get_state()["plasticity"]["modules"][DEFAULT_MODULE_ID]["history"]
    assert [row["updates"] for row in history["rows"]] == [2, 4, 6, 8]

    changed = built("dqn", {"interventions": [REBORN]}, dueling=False)
    with pytest.raises(ValueError, match=r"\['reborn', 'prune'\], this config has \['reborn'\]"):
        changed.set_state(saved)


def test_state_holds_copies_of_tensors_on_the_cpu(monkeypatch):
    settings = {"interventions": [{"kind": "l2_init"}, {"kind": "prune", "every": 1, "unit": "updates", "alpha": 0.6}]}
    learner = built("dqn", settings, dueling=False)
    update(learner, 1)
    watched = learner._plasticity_runtimes[DEFAULT_MODULE_ID]
    ours = learner.get_state()["plasticity"]["modules"][DEFAULT_MODULE_ID]
    key, mask = next(iter(watched.memories[1]["pruned"].items()))
    saved = ours["memories"][1]["pruned"][key]
    assert torch.equal(saved, mask)
    assert saved.data_ptr() != mask.data_ptr()

    # The meta device stands for a GPU: nothing can be copied from there, so that the attempt is seen.
    name, value = next(iter(watched.initial["module"].items()))
    watched.initial["module"][name] = value.to("meta")
    with pytest.raises(NotImplementedError, match="meta"):
        learner.get_state()
    state = learner.get_state(not_components=["plasticity"]) | {"plasticity": None}
    state["plasticity"] = {
        "kinds": ["l2_init", "prune"],
        "updates": 1,
        "asked_at": {"updates": 1, "env_steps": 10},
        "told": None,
    }
    state["plasticity"]["modules"] = {DEFAULT_MODULE_ID: ours}
    monkeypatch.setattr(PlasticityRuntime, "device", torch.device("meta"))
    learner.set_state(state)
    assert {value.device.type for value in watched.initial["module"].values()} == {"meta"}
    assert watched.memories[1]["pruned"][key].device.type == "cpu"  # where plans are made
    watched.memories[1]["pruned"][key].fill_(True)
    assert torch.equal(ours["memories"][1]["pruned"][key], saved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_travel_as_those_of_the_cpu():
    there = {"a": [torch.ones(2, device="cuda")], "b": (1, "text", None)}
    here = copied_to("cpu", there)
    assert here["a"][0].device.type == "cpu"
    assert copied_to("cuda", here)["a"][0].is_cuda


def test_nested_data_is_copied_with_its_tensors_moved():
    moved = copied_to("meta", {"a": [torch.ones(2)], "b": (1, torch.ones(3), None)})
    assert moved["a"][0].device.type == moved["b"][1].device.type == "meta"
    assert (moved["b"][0], moved["b"][2]) == (1, None)


def test_donors_are_not_asked_whether_they_are_dormant_again(monkeypatch):
    noted = {}
    monkeypatch.setattr(
        DormancyHistory, "note_recycled", lambda self, clock, key, neurons: noted.update({key: set(neurons)})
    )
    learner = built("dqn", {"interventions": [REBORN], "dormancy": {"every": 100}}, dueling=False)
    update(learner, 2)
    (event,) = interventions(learner)
    assert any(change["donors"] for change in event["changes"])
    for change in event["changes"]:
        assert noted[change["layer"]] == set(change["neurons"]) - set(change["donors"])


def test_a_kind_without_a_schedule_is_never_due_and_needs_no_clock():
    learner = built("dqn", {"interventions": [{"kind": "l2_init", "every": 1}]}, dueling=False)  # every 1 env step
    update(learner, 2)
    assert interventions(learner) == []
    learner.update(batch=batch_of(learner))  # without num_env_steps_sampled_lifetime


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "reborn", "scope": "mixer"}, "scope is 'mixer'.*no mixer"),
        ({"kind": "reborn", "unit": "hours"}, "unit is 'hours'"),
        ({"kind": "reborn", "scoring_source": "latest"}, "scoring_source.*last training batch"),
        ({"kind": "reborn", "scoring_episodes": 4}, "scoring_episodes is 4"),
        ({"kind": "knife"}, "knife: it builds parameters"),
        ({"kind": "injection"}, "injection: it builds parameters"),
        ({"kind": "sr"}, "replay ratio"),
        ({"kind": "marr"}, "replay ratio"),
        ({"kind": "reborm"}, "reborm.*reborn"),
        ("reborn", "expected a dict"),
    ],
)
def test_what_a_stock_algorithm_cannot_give_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        stock_intervention(data)


def test_scope_is_all_unless_it_is_given():
    assert stock_intervention({"kind": "reborn"}).scope == "all"


@pytest.mark.parametrize(
    ("data", "message"),
    [({"unit": "hours"}, "unit is 'hours'"), ({"source": "latest"}, "source"), ({"alfa": 1}, "alfa.*alpha")],
)
def test_checks_that_cannot_be_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        stock_dormancy_check(data)


@pytest.mark.parametrize("unit", ["iterations", "episodes"])
def test_a_clock_that_nobody_tells_is_refused(unit):
    learner = built("dqn", {"dormancy": {"every": 1, "unit": unit}}, dueling=False)
    with pytest.raises(ValueError, match=rf"unit is '{unit}'.*ClockCallback"):
        update(learner, 1)


def test_what_is_due_by_iterations_comes_at_the_first_update_after_them():
    learner = built("dqn", {"interventions": [{"kind": "redo", "every": 2, "unit": "iterations"}]}, dueling=False)
    learner.start_run_clocks()
    moments = []
    for iteration in range(5):
        update(learner, 3, start=3 * iteration)
        moments += [(iteration, event["clock"]["updates"]) for event in interventions(learner)]
        learner.tell_iteration(episodes=iteration)
    assert moments == [(2, 7), (4, 13)]

    other = built("dqn", {"interventions": [{"kind": "redo", "every": 2, "unit": "iterations"}]}, dueling=False)
    other.start_run_clocks()
    other.set_state(learner.get_state())
    update(other, 1)
    assert interventions(other) == []  # 5 are complete: the next is due at 6
    other.tell_iteration(episodes=5)
    update(other, 1)
    assert [event["clock"]["iterations"] for event in interventions(other)] == [6]


def test_a_misspelt_key_does_not_pass_for_no_settings():
    with pytest.raises(ValueError, match=r"'intervention'.*'interventions'"):
        built("dqn", {"intervention": [REBORN]})


TANH = {"fcnet_hiddens": [16, 16]}  # RLlib's default activation


def test_splitting_neurons_of_the_default_activation_is_refused_with_the_remedy():
    learner = built("dqn", {"interventions": [REBORN]}, model=TANH, dueling=False)
    with pytest.raises(ValueError, match=r"module/encoder.*Tanh.*allow_inexact"):
        update(learner, 2)


def test_reborn_leaves_inexact_layers_alone_where_there_are_exact_ones():
    # Tanh, whatever fcnet_activation says.
    tanh = {"module/qf_encoder.output_layer", "module/qf_twin_encoder.output_layer"}
    treated = []
    for extra in ({}, {"allow_inexact": True}):
        learner = built("sac", {"interventions": [REBORN | extra]})
        update(learner, 2)
        (event,) = interventions(learner)
        treated.append({change["layer"] for change in event["changes"]})
    assert treated[1] - treated[0] == tanh
    learner = built("sac", {"interventions": [REBORN | {"layers": "editable"}]})
    with pytest.raises(ValueError, match=r"encoder.output_layer: Tanh.*allow_inexact"):
        update(learner, 2)


@pytest.mark.parametrize(
    "settings",
    [
        REBORN | {"alpha": 0.9, "beta": 1.1, "allow_inexact": True},
        {"kind": "redo", "alpha": 0.9},
        {"kind": "reverse_redo", "beta": 1.1},
        {"kind": "prune", "alpha": 0.9},
        {"kind": "continual_backprop", "maturity": 0, "replacement_rate": 0.2},
    ],
    ids=lambda settings: settings["kind"],
)
def test_kinds_that_split_nothing_need_no_opt_in_for_it(settings):
    learner = built("dqn", {"interventions": [settings | {"every": 2, "unit": "updates"}]}, model=TANH, dueling=False)
    update(learner, 4)
    assert any(change["neurons"] for event in interventions(learner) for change in event["changes"])


def test_layers_of_the_default_activation_are_scored():
    learner = built("dqn", {"dormancy": {"every": 2, "unit": "updates"}}, model=TANH, dueling=False)
    update(learner, 2)
    (check,) = learner.take_events()
    assert "module/encoder.net.mlp.0" in check["layers"]


def test_a_module_without_a_layer_to_treat_is_refused_with_the_remedy():
    redo = {"kind": "redo", "every": 1, "unit": "updates"}
    learner = built("dqn", {"interventions": [redo]}, model={"fcnet_hiddens": [16]}, dueling=True)
    with pytest.raises(ValueError, match=r"no layer whose neurons can be edited \(module/encoder.*dueling=False"):
        update(learner, 1)


def test_recurrent_modules_are_refused():
    with pytest.raises(ValueError, match="recurrent"):
        built("ppo", {"interventions": [REBORN]}, model={"use_lstm": True, "max_seq_len": 4})


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match="PlasticityLearnerMixin, DQNTorchLearner"):

        class _Wrong(DQNTorchLearner, PlasticityLearnerMixin):
            pass

    with pytest.raises(TypeError, match="expected a Learner class"):
        with_plasticity(DQNConfig)


def test_targets_that_cannot_be_told_apart_are_refused():
    module, inner = torch.nn.Module(), torch.nn.Module()
    inner.online, inner.target = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    module.both = inner
    with pytest.raises(ValueError, match="target networks inside"):
        online_view(module, [inner.target])


# ------------------------------------------------------------------------------------------- ranks


def test_statistics_of_ranks_are_means_over_all_rows(monkeypatch):
    """10 rows here with mean |h| (1, 2), 30 elsewhere with (3, 6): together (10 + 90) / 40 = 2.5 and 5."""
    here = LayerStatistics(
        mean_abs=torch.tensor([1.0, 2.0]),
        mean=torch.tensor([-1.0, 2.0]),
        nonzero=torch.tensor([1.0, 0.5]),
        rows=10,
        features=None,
        active=torch.tensor([True, True]),
    )
    assert average_over_ranks({"a": here})["a"] is here
    other = torch.tensor([30 * 3.0, 30 * 6, 30 * 3, 30 * 6, 30, 30, 30], dtype=torch.float64)
    monkeypatch.setattr(ranks, "several_ranks", lambda: True)
    monkeypatch.setattr(ranks.dist, "all_reduce", lambda tensor: tensor.add_(other))
    monkeypatch.setattr(ranks.dist, "broadcast", lambda tensor, src: None)
    found = average_over_ranks({"a": here})["a"]
    assert found.mean_abs.tolist() == [2.5, 5.0]
    assert found.mean.tolist() == [2.0, 5.0]
    assert found.nonzero.tolist() == [1.0, 0.875]
    assert found.rows == 40


# ------------------------------------------------------------------------------------------- callbacks that do nothing


class _Mine(LearnerCallback):
    pass


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (
            partial(ReBornCallback, every=10, unit="updates"),
            r"ReBornCallback, which PPO's learner \(PPOTorchLearner\) never calls.*with_plasticity\(PPOTorchLearner\).*"
            r"'kind': 'reborn', 'every': 10",
        ),
        (partial(DormancyCallback, every=7), r"DormancyCallback.*with_plasticity.*'every': 7"),
        (InterventionCallback, r"InterventionCallback.*with_plasticity"),
        (_Mine, r"_Mine, which PPO's learner .* never calls.*rllib_reborn"),
        (ClockCallback, r"ClockCallback.*with_plasticity\(PPOTorchLearner\)"),
    ],
)
def test_a_callback_that_a_stock_learner_never_calls_is_refused(callback, message):
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0).callbacks(callback)
    with pytest.raises(ValueError, match=message):
        config.build_algo()


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_it_is_refused_with_remote_learners_too():
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0).callbacks(ReBornCallback)
    with pytest.raises(ValueError, match="with_plasticity"):
        config.learners(num_learners=1, num_cpus_per_learner=1).build_algo()


@pytest.mark.usefixtures("ray_session")
def test_a_learner_with_plasticity_takes_its_settings_from_one_place():
    config = configured("ppo", {"interventions": [REBORN]}).callbacks(partial(ReBornCallback, every=5))
    with pytest.raises(ValueError, match=r"learner_config_dict=\{\"interventions\".*leave the callback out"):
        config.build_algo()


# ------------------------------------------------------------------------------------------- whole algorithms


SETTINGS = {
    "interventions": [
        {"kind": "reborn", "every": 10, "unit": "updates", "alpha": 0.4, "beta": 2.0, "optimizer": "donor"},
        {"kind": "redo", "every": 100, "alpha": 0.2, "target_networks": "mirror"},
    ],
    "dormancy": {"every": 10, "unit": "updates"},
}
TRAINING = {
    "dqn": {"num_steps_sampled_before_learning_starts": 64, "train_batch_size_per_learner": 32, "dueling": False},
    "sac": {"num_steps_sampled_before_learning_starts": 64, "train_batch_size_per_learner": 32},
    "ppo": {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 2},
}


def whole(kind, learners=0):
    config = configured(kind, SETTINGS, learners=learners, **TRAINING[kind])
    return config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=100).build_algo()


def events_by_rank(algorithm):
    return [answer.get() for answer in algorithm.learner_group.foreach_learner(lambda learner: learner.take_events())]


def logged(results, *path):
    """The numbers at ``path``; iterations in which nothing was due have none, or NaN."""
    found = []
    for result in results:
        node = result["learners"][DEFAULT_MODULE_ID]
        for name in path:
            node = node.get(name, {})
        found += [] if node == {} or np.isnan(node) else [node]
    return found


def digest(learner):
    out = hashlib.sha256()
    for value in learner.module[DEFAULT_MODULE_ID].unwrapped().state_dict().values():
        out.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    for _, optimizer in learner.get_optimizers_for_module(DEFAULT_MODULE_ID):
        for state in optimizer.state.values():
            for value in state.values():
                out.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return out.hexdigest()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("kind", ["dqn", pytest.param("sac", marks=pytest.mark.long), "ppo"])
def test_stock_algorithms_train_with_it_and_restore_it(kind, tmp_path):
    algorithm = whole(kind)
    results = [algorithm.train() for _ in range(3)]
    fractions = logged(results, "dormancy", "module", "dormant_fraction")
    assert fractions
    assert all(0 <= fraction <= 1 for fraction in fractions)
    count = max(logged(results, "intervention", "count"))
    (events,) = events_by_rank(algorithm)
    applied = [event for event in events if event["event"] == "intervention"]
    assert count == len(applied) >= 3
    assert sum(event["neurons"] for event in applied) > 0

    algorithm.save_to_path(str(tmp_path))
    restored = type(algorithm).from_checkpoint(str(tmp_path))
    state = restored.learner_group._learner.get_state()["plasticity"]
    assert state["updates"] == algorithm.learner_group._learner.get_state()["plasticity"]["updates"] > 0
    assert max(logged([restored.train() for _ in range(3)], "intervention", "count")) > count
    algorithm.stop()
    restored.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("kind", [pytest.param("dqn", marks=pytest.mark.long), "ppo"])
def test_two_learners_stay_equal_although_their_batches_differ(kind):
    algorithm = whole(kind, learners=2)
    for _ in range(3):
        algorithm.train()
    by_rank = events_by_rank(algorithm)
    for events in by_rank:
        for event in events:
            event.pop("seconds", None)  # wall time is each rank's own
    assert by_rank[0] == by_rank[1]
    assert sum(event["neurons"] for event in by_rank[0] if event["event"] == "intervention") > 0
    digests = [answer.get() for answer in algorithm.learner_group.foreach_learner(digest)]
    assert digests[0] == digests[1]
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("kind", "learners"), [("dqn", 0), ("ppo", 0), pytest.param("ppo", 1, marks=pytest.mark.long)])
def test_iterations_are_a_clock_of_whole_algorithms(kind, learners, tmp_path):
    """As with our own algorithms: every 2 iterations, at the first update of the following one; a restored run goes on."""
    settings = {"interventions": [{"kind": "redo", "every": 2, "unit": "iterations"}]}
    config = configured(kind, settings, learners=learners, **TRAINING[kind]).callbacks(ClockCallback)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=100)
    algorithm = config.build_algo()

    def iterations_in(algorithm, iterations):
        found = []
        for _ in range(iterations):
            algorithm.train()
            found.append([event["clock"]["iterations"] for event in events_by_rank(algorithm)[0]])
        return found

    assert iterations_in(algorithm, 3) == [[], [], [2]]
    algorithm.save_to_path(str(tmp_path))
    restored = config.copy(copy_frozen=False).build_algo()
    restored.restore_from_path(str(tmp_path))
    assert iterations_in(restored, 2) == [[], [4]]
    algorithm.stop()
    restored.stop()
