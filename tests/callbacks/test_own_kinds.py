"""Interventions of one's own, by ``module:Class``: settings, replay ratio, batch columns, remote learners, checkpoints."""

import numpy as np
import pytest

from rllib_reborn import QMIXConfig
from rllib_reborn.callbacks.request import update_rng
from rllib_reborn.callbacks.scheduler import PlasticityScheduler
from rllib_reborn.plasticity.interventions import intervention_class, make_intervention, to_dict
from tests.algorithms.helpers import WALK, learner_weights, quick, rows
from tests.fakes.interventions import Damp

DAMP = "tests.fakes.interventions:Damp"
CLOCK = {"env_steps": 100, "updates": 7, "episodes": 8, "iterations": 1}


def test_data_makes_it_and_it_makes_the_data():
    made = make_intervention({"kind": DAMP, "factor": 0.25, "loudness": [1.0, 3.0], "scope": ["agent"], "every": 2.0e5})
    assert made == Damp(factor=0.25, loudness=(1.0, 3.0), scope=("agent",), every=200_000)
    data = to_dict(made)
    assert data["kind"] == made.kind == DAMP
    assert make_intervention(data) == made
    with pytest.raises(ValueError, match=r"Damp has no setting 'faktor'.*factor"):
        make_intervention({"kind": DAMP, "faktor": 1})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tests.fakes.interventionz:Damp", r"no module 'tests.fakes.interventionz'.*PYTHONPATH"),
        ("tests.fakes.interventions:Dump", r"has no 'Dump'.*Damp"),
        ("tests.fakes.interventions:NoIntervention", "expected a subclass of Intervention"),
        ("tests.fakes.interventions:Unfinished", "does not define plan"),
        (":Damp", "expected a name of reborn, .*, or module:Class"),
        ("damp", "no intervention of kind 'damp'"),
        (3, "no intervention of kind 3"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(kind, message):
    with pytest.raises(ValueError, match=message):
        make_intervention({"kind": kind})
    with pytest.raises(ValueError, match=rf"interventions\[0\]: .*{message}"):
        quick(env=WALK, interventions=[{"kind": kind}]).validate()


def test_a_module_that_fails_to_import_something_else_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken_kinds.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"importing 'broken_kinds' fails with .*a_package_that_is_not_there.*line 1"):
        intervention_class("broken_kinds:Kind")


@pytest.mark.parametrize(("learners", "runners"), [(1, 0), (0, 1)])
def test_parts_of_the_main_script_are_refused_where_other_processes_need_them(learners, runners, monkeypatch):
    """A learner has to import a kind, a learner and a runner a mixer, by their names."""
    from rllib_reborn.nets.mixers import QMixer

    config = quick(env=WALK, interventions=[{"kind": DAMP}]).learners(num_learners=learners)
    config.env_runners(num_env_runners=runners).validate()
    monkeypatch.setattr(Damp, "__module__", "__main__")
    if learners:
        with pytest.raises(ValueError, match=r"interventions\[0\] is __main__:Damp, .*put it into a module of its own"):
            config.validate()
    else:
        config.validate()
    monkeypatch.undo()
    monkeypatch.setattr(QMixer, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"the mixer is __main__:QMixer, .*put it into a module of its own"):
        config.validate()
    quick(env=WALK).validate()  # in one process it is there


def test_columns_are_drawn_from_the_clock_and_multiplied():
    """The first that gives a column draws as MARR alone does, wherever it stands; several give their product."""
    plain, marr = make_intervention({"kind": "redo"}), make_intervention({"kind": "marr"})
    damp = make_intervention({"kind": DAMP, "loudness": [1.0, 2.0]})
    alone = PlasticityScheduler([marr], None, 3).batch_columns(5, CLOCK)["amplitude"]
    behind = PlasticityScheduler([plain, marr], None, 3).batch_columns(5, CLOCK)["amplitude"]
    expected = update_rng(3, CLOCK, "amplitude 0").uniform(0.8, 1.2, 5)
    np.testing.assert_array_equal(alone, expected.astype(np.float32))
    np.testing.assert_array_equal(behind, alone)
    both = PlasticityScheduler([marr, damp], None, 3).batch_columns(5, CLOCK)["amplitude"]
    other = update_rng(3, CLOCK, "amplitude 1").uniform(1.0, 2.0, 5)
    np.testing.assert_array_equal(both, (expected * other).astype(np.float32))
    assert PlasticityScheduler([plain], None, 3).batch_columns(5, CLOCK) == {}
    ragged = make_intervention({"kind": "tests.fakes.interventions:Ragged"})
    with pytest.raises(ValueError, match=r"Ragged: batch_columns gave 'amplitude' with shape \(6,\).*5 episodes"):
        PlasticityScheduler([ragged], None, 3).batch_columns(5, CLOCK)


def test_two_replay_ratios_are_refused():
    with pytest.raises(ValueError, match=r"Damp and sr each bring a replay ratio"):
        quick(env=WALK, interventions=[{"kind": DAMP}, {"kind": "sr"}]).validate()
    quick(env=WALK, interventions=[{"kind": DAMP, "ratio": None}, {"kind": "sr"}]).validate()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("learners", [0, pytest.param(1, marks=pytest.mark.long)])
def test_it_trains_with_its_replay_ratio_and_its_columns(learners):
    entry = {"kind": DAMP, "every": 3, "unit": "updates", "factor": 0.5}
    algorithm = quick(env=WALK, interventions=[entry]).learners(num_learners=learners).build_algo()
    result = algorithm.train()
    events, row = result["plasticity"], result["team"]
    assert {event["kind"] for event in events} == {DAMP} == {event["settings"]["kind"] for event in events}
    assert row["updates"] == int(1.5 * (row["episodes"] - 8 + 1))
    for one in (algorithm, quick(env=WALK).build_algo()):
        one.stop()


@pytest.mark.usefixtures("ray_session")
def test_columns_reach_the_loss():
    found = []
    for loudness in ([1.0, 1.0], [4.0, 4.0]):
        entry = {"kind": DAMP, "every": 10**6, "unit": "updates", "loudness": loudness, "ratio": 1.0}
        algorithm = quick(QMIXConfig, WALK, interventions=[entry]).build_algo()
        rows(algorithm, 1)
        found.append(learner_weights(algorithm))
        algorithm.stop()
    assert any(not np.array_equal(found[0][name], found[1][name]) for name in found[0])
