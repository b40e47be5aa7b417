"""Interventions on two real DDP learners: equal on both ranks to the bit, whatever they do."""

import pytest

from tests.algorithms.helpers import WALK, quick, rows
from tests.algorithms.test_distributed import digests
from tests.callbacks.test_plasticity_callbacks import OF_NEURONS, SETTINGS

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def entry(kind):
    common = {
        "kind": kind,
        "every": 5,
        "unit": "updates",
        "scoring_episodes": 4,
        "optimizer": "zero",
        "target_networks": "mirror",
    }
    return common | SETTINGS[kind]


def test_many_updates_and_interventions_leave_both_ranks_equal(tmp_path):
    """Also: the clock and the history of a restored pair are those that were saved."""
    interventions = [
        entry("reborn") | {"alpha": 0.5, "beta": 1.5, "optimizer": "donor"},
        entry("redo") | {"every": 7, "scope": "all", "optimizer": "layer_mean"},
        entry("shrink_perturb") | {"every": 11},
        entry("continual_backprop"),
        entry("snr") | {"scope": "all", "every": 9},
        entry("fire") | {"scope": "all", "every": 23, "optimizer": "layer_mean"},
    ]
    config = quick(env=WALK, interventions=interventions, dormancy={"every": 30, "episodes": 4})
    algorithm = config.learners(num_learners=2).build_algo()
    events = [event for _ in range(10) for event in algorithm.train()["plasticity"]]
    kinds = {event["kind"] for event in events if event["event"] == "intervention" and event["neurons"]}
    assert "reborn" in kinds
    assert "redo" in kinds
    assert "continual_backprop" in kinds
    assert "snr" in kinds
    assert "fire" in kinds
    assert algorithm.counters.updates >= 50
    first, second = digests(algorithm)
    assert first == second

    algorithm.save_to_path(tmp_path)
    after = rows(algorithm, 2)
    algorithm.restore_from_path(tmp_path)
    assert digests(algorithm) == [first, first]
    assert [row["intervention/count"] for row in rows(algorithm, 2)] == [row["intervention/count"] for row in after]
    algorithm.stop()


def test_shadows_stay_in_step_and_change_nothing():
    """Where nothing is edited the drift is exactly 0, which it would not be with one rank's gradients alone; and training is
    what it is without a shadow."""
    nothing = {"kind": "tests.callbacks.test_drift:Nothing", "every": 24, "stop": 24, "unit": "updates"}
    reborn = entry("reborn") | {"alpha": 0.5, "beta": 1.5, "optimizer": "layer_mean", "every": 12, "stop": 12}
    weights = []
    for updates in ([1, 3, 10], []):
        interventions = [one | {"drift_updates": updates} for one in (reborn, nothing)]
        algorithm = quick(env=WALK, interventions=interventions).learners(num_learners=2).build_algo()
        events = []
        while algorithm.counters.updates < 36:
            events += algorithm.train()["plasticity"]
        drifts = [(event["position"], event["updates"]) for event in events if event["event"] == "drift"]
        assert drifts == [(position, later) for position in (0, 1) for later in updates]
        for event in events:
            assert (event["q_drift"] > 0) == (event["position"] == 0)
        first, second = digests(algorithm)
        assert first == second
        weights.append(first)
        algorithm.stop()
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "entries",
    [
        [entry("marr"), entry("prune"), entry("l2_init")],
        # Both add weights, so each to networks of its own. (Its sample: tests/plasticity/test_knife.py, two ranks.)
        pytest.param(
            [entry("injection") | {"scope": "agent"}, entry("knife") | {"scope": "mixer"}], marks=pytest.mark.long
        ),
    ],
    ids=["losses", "weights"],
)
def test_what_adds_parameters_or_losses_trains_on_two_learners(entries):
    algorithm = quick(env=WALK, interventions=entries).learners(num_learners=2).build_algo()
    events = [event for _ in range(3) for event in algorithm.train()["plasticity"]]
    for kind in {one["kind"] for one in entries} - {"l2_init"}:  # which acts through the loss alone
        of_kind = [event for event in events if event["kind"] == kind]
        assert len(of_kind) >= 2
        assert any(event["neurons"] for event in of_kind) or kind not in OF_NEURONS
    first, second = digests(algorithm)
    assert first == second
    algorithm.stop()
