"""Interventions and dormancy checks inside the training loop: when, with what, on which weights, and after a restore."""

import pickle
import re
from functools import partial

import numpy as np
import pytest
import torch

from rllib_reborn import DormancyCallback, IQLConfig, QMIXConfig, ReBornCallback, VDNConfig
from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.callbacks import InterventionCallback, LearnerCallback
from rllib_reborn.callbacks.team_view import measure_team
from rllib_reborn.plasticity.interventions import KINDS
from tests.algorithms.helpers import WALK, comparable, equal, learner_weights, quick, refusal, rows

pytestmark = pytest.mark.usefixtures("ray_session")

REBORN = {"kind": "reborn", "every": 12, "unit": "updates", "alpha": 0.5, "beta": 1.5, "scoring_episodes": 4}
CHECK = {"every": 40, "alpha": 0.3, "episodes": 4}


@pytest.fixture
def build():
    built = []

    def make(config):
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def events(algorithm, count):
    return [event for _ in range(count) for event in algorithm.train()["plasticity"]]


def learner_state(algorithm):
    return algorithm.learner_group._learner.get_state()["value_factorization"]


# ---------------------------------------------------------------------- settings are data


def test_a_partial_becomes_data_of_the_config():
    config = QMIXConfig().callbacks(partial(ReBornCallback, every=500, unit="updates", alpha=0.2, rule="official_code"))
    assert config.interventions == [
        {"kind": "reborn", "every": 500, "unit": "updates", "alpha": 0.2, "rule": "official_code"}
    ]
    config.callbacks([ReBornCallback, partial(DormancyCallback, every=7, unit="updates")])
    assert config.interventions[-1] == {"kind": "reborn"}
    assert config.dormancy == {"every": 7, "unit": "updates"}


def test_callbacks_given_later_replace_those_given_before_and_lists_add_to_them():
    config = QMIXConfig().callbacks(partial(ReBornCallback, alpha=0.2)).callbacks(ReBornCallback)
    assert config.interventions == [{"kind": "reborn"}]
    config.training(interventions=[{"kind": "redo"}])
    assert config.interventions == [{"kind": "redo"}, {"kind": "reborn"}]
    config.callbacks(None)
    assert config.interventions == [{"kind": "redo"}]


def test_a_copy_and_a_round_trip_through_a_dict_keep_the_data_as_it_is():
    """As Tune does it: the values that a trial got must not be joined by those of the partial."""
    config = quick().callbacks(partial(ReBornCallback, alpha=0.2))
    assert config.copy().interventions == config.interventions
    chosen = config.to_dict() | {"interventions": [{"kind": "reborn", "alpha": 0.3}]}
    again = QMIXConfig().update_from_dict(chosen)
    assert again.interventions == [{"kind": "reborn", "alpha": 0.3}]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"interventions": [{"kind": "rebirth"}]}, r"interventions\[0\].*rebirth.*reborn"),
        ({"interventions": [{"kind": "reborn", "alfa": 1}]}, r"interventions\[0\].*alfa.*alpha"),
        ({"interventions": [{"kind": "reborn", "alpha": 2.0, "beta": 1.5}]}, "alpha"),
        ({"interventions": [{"kind": "reborn", "every": 0}]}, "every is 0"),
        ({"interventions": {"kind": "reborn"}}, "expected a list"),
        ({"dormancy": {"evry": 5}}, "evry.*every"),
        ({"dormancy": {"episodes": 0}}, "episodes is 0"),
        ({"interventions": [{"kind": "sr"}, {"kind": "marr"}]}, "replay ratio"),
        (
            {"interventions": [{"kind": "injection"}], "optimizer": {"weight_decay": 0.1}},
            "weight_decay is 0.1.*injection",
        ),
    ],
)
def test_bad_settings_are_refused_before_anything_is_built(training, message):
    with pytest.raises(ValueError, match=message):
        quick(**training).validate()


# ---------------------------------------------------------------------- when, and what it leaves behind


def test_drifts_are_in_events_and_in_every_row_by_name(build):
    """Also where one is due in another iteration than the application, and a run is gone on with in between."""
    algorithm = build(quick(env=WALK, interventions=[REBORN | {"drift_updates": [1, 10]}]))
    names = [f"intervention/{name}/{updates}" for updates in (1, 10) for name in ("q_drift", "q_drift_untreated")]
    logged = []
    for _ in range(6):
        result = algorithm.train()
        row, found = result["team"], result["plasticity"]
        assert {"intervention/q_drift/0", *names} <= row.keys()
        for event in (event for event in found if event["event"] == "drift"):
            assert event["clock"]["updates"] == event["applied_at"]["updates"] + event["updates"]
            assert row[f"intervention/q_drift/{event['updates']}"] is not None
        logged += found
    applied = [event for event in logged if event["event"] == "intervention"]
    drifts = [event for event in logged if event["event"] == "drift"]
    assert all(event["q_drift"] is not None for event in [*applied, *drifts])
    assert [event["updates"] for event in drifts] == ([1, 10] * len(applied))[: len(drifts)]
    assert len(drifts) >= 2 * (len(applied) - 1) > 0
    assert algorithm.train()["team"]["intervention/count"] >= len(applied)


def test_it_acts_at_its_updates_and_tells(build):
    algorithm = build(quick(env=WALK, interventions=[REBORN]))
    logged = events(algorithm, 5)
    assert [event["event"] for event in logged] == ["intervention"] * len(logged) != []
    assert [event["clock"]["updates"] for event in logged] == [12 * k for k in range(1, len(logged) + 1)]
    assert sum(event["neurons"] for event in logged) > 0
    for event in logged:
        assert {change["layer"] for change in event["changes"]} <= {"mixer/hyper_w_final", "mixer/V"}
        assert event["function_drift"] >= 0
        assert 0 <= event["greedy_actions_changed"] <= 1
    row = algorithm.train()["team"]
    assert row["intervention/count"] >= len(logged)


def test_the_agents_are_left_alone_with_the_default_scope(build):
    """Same seeds, same episodes: until the first application both runs are equal; at it only the mixer changes."""

    class Watch(InterventionCallback):
        def on_learner_update(self, *, module, request, **kwargs):
            before = {k: v.clone() for k, v in module.state_dict().items()}
            super().on_learner_update(module=module, request=request, **kwargs)
            changed = {k for k, v in module.state_dict().items() if not torch.equal(before[k], v)}
            assert all(k.startswith("mixer.") for k in changed)
            assert bool(changed) <= bool(request and request.interventions)
            self.change_count = getattr(self, "change_count", 0) + bool(changed)

    algorithm = build(quick(env=WALK, interventions=[REBORN]).callbacks(Watch))
    events(algorithm, 4)
    (watch,) = algorithm.learner_group._learner.learner_callbacks
    assert watch.change_count > 0


def test_measuring_changes_nothing(build):
    plain = rows(build(quick(env=WALK)), 4)
    measured = build(quick(env=WALK, dormancy={**CHECK, "layers": "full"}))
    with_checks = [measured.train() for _ in range(4)]
    assert sum(len(result["plasticity"]) for result in with_checks) >= 3
    for mine, result in zip(plain, with_checks):
        theirs = comparable(result["team"])
        assert {k: theirs[k] for k in mine if not k.startswith("dormancy/")} == {
            k: v for k, v in mine.items() if not k.startswith("dormancy/")
        }


def test_measuring_an_update_that_kernels_compute_changes_no_bit(build):
    """They compute layers together, unless somebody looks between them, as a check does that reads an update's gradients."""
    pytest.importorskip("numba")
    taken = []
    for dormancy in (None, {**CHECK, "every": 1, "unit": "updates", "layers": "full"}):
        algorithm = build(
            QMIXConfig()
            .environment("lbf/8x8-2p-3f")
            .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
            .training(batch_episodes=32, learning_starts_episodes=32, buffer_episodes=64, dormancy=dormancy)
            .debugging(seed=3)
        )
        measured = 0
        while algorithm.counters.updates < 16:
            measured += len(algorithm.train()["plasticity"])
        assert (measured > 0) == (dormancy is not None)
        taken.append(learner_weights(algorithm))
    assert equal(*taken)


def test_a_dry_run_changes_nothing_and_reports(build):
    plain = build(quick(env=WALK))
    dry = build(quick(env=WALK, interventions=[{**REBORN, "dry_run": True}]))
    rows(plain, 4)
    logged = events(dry, 4)
    assert logged
    assert all(event["dry_run"] for event in logged)
    assert any(event["neurons"] for event in logged)
    assert equal(learner_weights(plain), learner_weights(dry))


def test_rows_hold_every_name_from_the_start(build):
    algorithm = build(quick(env=WALK, dormancy=CHECK))
    first = algorithm.train()["team"]
    names = {k for k in first if k.startswith(("dormancy/", "intervention/"))}
    assert {f"dormancy/{net}/{what}" for net in ("mixer", "agent") for what in ("dormant_fraction", "overlap")} <= names
    assert "dormancy/mixer/hyper_w_final/dormant_fraction" in names
    assert {"intervention/count", "intervention/neurons", "intervention/function_drift"} <= names
    later = [algorithm.train()["team"] for _ in range(4)]
    assert all(set(row) == set(first) for row in later)
    fractions = [row["dormancy/mixer/dormant_fraction"] for row in later]
    assert any(value is not None for value in fractions)
    assert all(value is None or 0 <= value <= 1 for value in fractions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config_class", [pytest.param(IQLConfig, marks=pytest.mark.long), VDNConfig])
def test_a_mixer_without_networks_cannot_be_treated(config_class, kind):
    algorithm, settings = config_class().algo_class.__name__, {"model": {"hidden_dim": 8, "recurrent": False}}

    def refused(config, scope):
        return refusal(quick(config, WALK, interventions=[{"kind": kind, "scope": scope}], **settings))

    message = rf"interventions(\[0\])?: {kind} has scope='mixer', and {algorithm} has no mixer.* say scope='agent'"
    assert re.search(message, refused(config_class, "mixer"))
    assert refused(QMIXConfig, "mixer") is None
    for scope in ("agent", "all"):
        assert refused(config_class, scope) is None


def test_the_callbacks_default_scope_is_refused_too():
    refused = refusal(quick(VDNConfig, WALK).callbacks(partial(ReBornCallback, every=10)))
    assert "reborn has scope='mixer', and VDN has no mixer" in refused


def test_vdns_agents_are_treated(build):
    algorithm = build(quick(VDNConfig, WALK, interventions=[{**REBORN, "scope": "agent"}], dormancy=CHECK))
    logged = [event for event in events(algorithm, 4) if event["event"] == "intervention"]
    assert logged
    assert any(event["neurons"] > 0 for event in logged)


def test_dead_agents_do_not_count(build):
    """MaskedWalk's agents die. Whatever stands in a dead agent's observations, no score may change."""
    algorithm = build(quick(env=WALK, dormancy=CHECK))
    rows(algorithm, 2)
    module = algorithm.learner_group._learner.module["default_policy"].unwrapped()
    batch = {k: torch.as_tensor(np.array(v)) for k, v in algorithm.replay.latest(6).batch.items()}
    masks = module.row_masks(batch)
    expected = int((batch["action_mask"].sum(-1) > 1).sum())
    assert {int(mask.sum()) for mask in masks.values()} == {expected}
    assert expected < len(next(iter(masks.values())))
    layers = [layer for layer in module.neuron_layers("official_code") if layer.net == "agent"]
    before = measure_team(module, layers, batch)
    dead = batch["action_mask"].sum(-1) == 1
    rubbish = batch["obs"].float().clone()
    rubbish[dead] = 1e6
    # The first layer reads one observation at a time: nothing flows from those rows into others.
    after = measure_team(module, layers, {**batch, "obs": rubbish})
    for key, found in before.items():
        torch.testing.assert_close(after[key].mean_abs, found.mean_abs)


def test_agents_that_never_have_a_choice_do_not_end_training(build):
    algorithm = build(quick(env=WALK, model={"hidden_dim": 8, "parameter_sharing": "none"}))
    rows(algorithm, 2)
    module = algorithm.learner_group._learner.module["default_policy"].unwrapped()
    batch = {k: torch.as_tensor(np.array(v)) for k, v in algorithm.replay.latest(6).batch.items()}
    batch["action_mask"][:, 1, 1:] = False
    measured = measure_team(module, module.neuron_layers("full"), batch)
    assert all(found.rows > 0 for found in measured.values())


@pytest.mark.parametrize("sharing", ["all", "none"])
def test_full_layers_with_and_without_shared_parameters(build, sharing):
    model = {"hidden_dim": 8, "parameter_sharing": sharing}
    algorithm = build(quick(env=WALK, model=model, dormancy={**CHECK, "layers": "full"}))
    (check, *_) = events(algorithm, 4)
    agents = {key for key in check["layers"] if key.startswith("agent/")}
    assert len(agents) == (2 if sharing == "all" else 4)
    assert {"mixer/hyper_w_1", "mixer/hyper_w_final", "mixer/V", "mixer/mixing"} <= set(check["layers"])


# ---------------------------------------------------------------------- every kind, in training


#: Settings with which every kind of the real table finds something to do in a hardly trained network.
SETTINGS = {
    "reborn": {"rule": "official_code", "alpha": 0.9, "beta": 1.1},
    "redo": {"alpha": 0.9},
    "reset": {},
    "reverse_redo": {"beta": 1.1},
    "prune": {"alpha": 0.9},
    "shrink_perturb": {},
    "sr": {"updates_per_episode": 1.0},
    "marr": {"updates_per_episode": 1.0},
    "continual_backprop": {"maturity": 0, "replacement_rate": 0.2},
    "injection": {},
    "l2_init": {},
    "knife": {"stagnant_below": 1.0},
    "snr": {"min_silence": 1, "max_silence": 2},
    "fire": {},
}
#: Those that treat single neurons, and say how many.
OF_NEURONS = ("reborn", "redo", "reverse_redo", "prune", "continual_backprop", "knife")


def test_every_kind_of_the_table_is_tested():
    assert SETTINGS.keys() == KINDS.keys()
    assert sorted(kind for kinds in TOGETHER for kind in kinds) == sorted(KINDS)


@pytest.mark.parametrize(
    ("kind", "scope"),
    [(kind, scope) for kind in KINDS for scope in ("mixer", "all") if (kind, scope) != ("knife", "all")],
)
def test_every_kind_trains(build, kind, scope):
    entry = {"kind": kind, "every": 6, "unit": "updates", "scope": scope, "scoring_episodes": 4, **SETTINGS[kind]}
    config = quick(env=WALK, interventions=[entry])
    algorithm = build(config)
    logged = [event for _ in range(3) for event in algorithm.train()["plasticity"]]
    assert all(np.isfinite(v).all() for v in learner_weights(algorithm).values())
    if kind == "l2_init":  # acts through the loss alone
        assert logged == []
    else:
        assert len(logged) >= 2
        assert all(set(event["dormant_before"]) <= {"mixer", "agent"} != set() for event in logged)
    if kind in OF_NEURONS:
        assert sum(event["neurons"] for event in logged) > 0
    assert algorithm.evaluate()["env_runners"]["num_episodes"] > 0


#: Kinds that go together in one run: sr and marr both set the replay ratio, knife and injection both add weights.
TOGETHER = (
    ("reborn", "redo", "reset", "reverse_redo", "shrink_perturb", "sr", "continual_backprop"),
    ("marr", "prune", "l2_init", "snr", "fire"),
    ("injection",),
    ("knife",),
)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        pytest.param(name, kinds, id=f"{name}-{'+'.join(kinds)}")
        for name in sorted(ALGORITHMS.keys() - {"QMIX"})
        for kinds in TOGETHER
        if name not in ("IQL", "VDN") or kinds != ("knife",)  # KNIFE does not take recurrent agents
    ],
)
def test_every_kind_acts_in_every_algorithm(build, name, kinds):
    scope = "agent" if name in ("IQL", "VDN") else "mixer"
    entries = [
        {"kind": kind, "every": 6, "unit": "updates", "scope": scope, "scoring_episodes": 4, **SETTINGS[kind]}
        for kind in kinds
    ]
    algorithm = build(quick(ALGORITHMS[name], WALK, interventions=entries))
    logged = [event for _ in range(2) for event in algorithm.train()["plasticity"]]
    assert {event["kind"] for event in logged} == set(kinds) - {"l2_init"}  # which acts through the loss alone
    assert all(np.isfinite(v).all() for v in learner_weights(algorithm).values())


@pytest.mark.parametrize(
    ("interventions", "message"),
    [
        ([{"kind": "knife", "scope": "all"}], r"interventions.*GRU.*scope='mixer'"),
        ([{"kind": "reborn", "layers": "full"}], r"interventions\[0\].*mixing.*hypernetworks"),
        ([{"kind": "reborn", "scope": "all"}, {"kind": "injection"}], r"interventions\[0\].*injection"),
        ([{"kind": "injection"}, {"kind": "reset", "scope": "mixer"}], r"interventions\[1\]"),
        ([{"kind": "knife"}, {"kind": "shrink_perturb", "scope": "mixer"}], r"interventions\[1\]"),
    ],
)
def test_what_would_be_refused_at_the_first_application_is_refused_before_training(interventions, message):
    """Not after 200,000 env steps."""
    assert re.search(message, refusal(quick(env=WALK, interventions=interventions)))


def test_sr_brings_its_replay_ratio(build):
    algorithm = build(quick(env=WALK, interventions=[{"kind": "sr", "updates_per_episode": 2.0}]))
    (row, *_) = rows(algorithm, 1)
    assert row["updates"] == 2 * (row["episodes"] - 8 + 1)


def test_marr_scales_observations_and_state_alike(build):
    """The amplitude multiplies what the learner reads, per episode; with amplitude 1 nothing changes."""
    algorithm = build(quick(env=WALK))
    rows(algorithm, 1)
    module = algorithm.learner_group._learner.module["default_policy"].unwrapped()
    batch = {k: torch.as_tensor(v) for k, v in algorithm.replay.latest(3).batch.items()}

    def q_tot(columns):
        return module._forward_train({name: column.unsqueeze(0) for name, column in columns.items()})["q_tot"]

    plain = q_tot(batch)
    ones = q_tot({**batch, "amplitude": torch.ones(3)})
    torch.testing.assert_close(plain, ones)
    scaled = q_tot({**batch, "amplitude": torch.tensor([1.0, 2.0, 1.0])})
    by_hand = dict(batch)
    by_hand["obs"], by_hand["state"] = batch["obs"].float().clone(), batch["state"].float().clone()
    second = slice(int(batch["lengths"][0]) + 1, int(batch["lengths"][:2].sum()) + 2)  # its observations
    by_hand["obs"][second] *= 2
    by_hand["state"][second] *= 2
    torch.testing.assert_close(scaled, q_tot(by_hand))
    assert not torch.allclose(scaled[1], plain[1])


def test_l2_init_pulls_towards_the_start(build):
    weak, strong = (
        build(quick(env=WALK, interventions=[{"kind": "l2_init", "strength": strength, "scope": "all"}]))
        for strength in (1e-6, 100.0)
    )
    moved = []
    for algorithm in (weak, strong):
        before = learner_weights(algorithm)
        rows(algorithm, 3)
        after = learner_weights(algorithm)
        moved.append(sum(float(np.abs(after[k] - before[k]).sum()) for k in before if "target" not in k))
    assert moved[1] < 0.5 * moved[0]


# ---------------------------------------------------------------------- restore


@pytest.mark.parametrize("kind", ["reborn", "continual_backprop", "prune", "marr", "injection", "knife"])
def test_a_resumed_run_equals_an_uninterrupted_one(build, tmp_path, kind):
    entry = {"kind": kind, "every": 5, "unit": "updates", "scoring_episodes": 4, **SETTINGS[kind]}
    config = quick(env=WALK, interventions=[entry], dormancy=CHECK)
    whole = build(config.copy())
    before = events(whole, 3)
    whole.save_to_path(tmp_path / "saved")
    expected = [whole.train() for _ in range(3)]
    resumed = build(config.copy())
    resumed.restore_from_path(tmp_path / "saved")
    found = [resumed.train() for _ in range(3)]
    assert [comparable(result["team"]) for result in found] == [comparable(result["team"]) for result in expected]

    def events_of(results):
        return [
            {k: v for k, v in event.items() if k != "seconds"} for result in results for event in result["plasticity"]
        ]

    assert events_of(found) == events_of(expected) != []
    if kind in OF_NEURONS:
        after = [event for result in expected for event in result["plasticity"]]
        assert sum(event.get("neurons", 0) for event in before + after) > 0
    assert equal(learner_weights(whole), learner_weights(resumed))


def test_a_state_kept_in_memory_does_not_change_with_training(build):
    algorithm = build(
        quick(env=WALK, interventions=[{"kind": "prune", "every": 4, "unit": "updates", **SETTINGS["prune"]}])
    )
    events(algorithm, 3)
    (state,) = learner_state(algorithm)["callbacks"]
    before = pickle.dumps(state)
    events(algorithm, 3)
    assert pickle.dumps(state) == before
    assert pickle.dumps(learner_state(algorithm)["callbacks"][0]) != before


def test_a_skipped_step_says_nothing_of_activity(build):
    """Its gradient is NaN; taken for a score it would make every neuron stagnant, and KNIFE would treat them all."""
    algorithm = build(quick(env=WALK, interventions=[{"kind": "knife", "every": 10**6, "unit": "updates"}]))
    rows(algorithm, 2)
    learner = algorithm.learner_group._learner
    (callback,) = learner.learner_callbacks
    before = {key: value.clone() for key, value in callback.runtime.activity[0].items()}
    module = learner.module["default_policy"].unwrapped()
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(torch.nan)
    callback.after_gradient_step(module=module)
    assert before
    assert all(torch.equal(before[key], value) for key, value in callback.runtime.activity[0].items())


def test_history_survives_a_restore(build, tmp_path):
    config = quick(env=WALK, dormancy=CHECK)
    algorithm = build(config.copy())
    events(algorithm, 4)
    algorithm.save_to_path(tmp_path / "saved")
    other = build(config.copy())
    other.restore_from_path(tmp_path / "saved")
    assert learner_state(other)["callbacks"] == learner_state(algorithm)["callbacks"]
    assert learner_state(other)["callbacks"] != [{}]


def test_another_list_of_interventions_cannot_take_over_the_state(build, tmp_path):
    algorithm = build(quick(env=WALK, interventions=[REBORN]))
    algorithm.save_to_path(tmp_path / "saved")
    other = build(quick(env=WALK, interventions=[{"kind": "redo", "every": 5}]))
    with pytest.raises(ValueError, match=r"reborn.*redo"):
        other.restore_from_path(tmp_path / "saved")


def test_other_callbacks_hear_of_interventions(build):
    heard = []

    class Listener(LearnerCallback):
        def on_intervention(self, *, report, **kwargs):
            heard.append(report.kind)

    algorithm = build(quick(env=WALK, interventions=[REBORN]))
    algorithm.learner_group._learner.learner_callbacks.append(Listener())
    events(algorithm, 3)
    assert heard
    assert set(heard) == {"reborn"}
