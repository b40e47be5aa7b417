"""On a GPU: the updates, interventions and checkpoints of the CPU, to rounding. Skipped where there is none."""

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.callbacks.test_plasticity_callbacks import SETTINGS

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("ray_session"),
]


def entry(kind: str, scope: str):
    common = {"kind": kind, "every": 6, "unit": "updates", "scope": scope, "scoring_episodes": 4}
    return common | {"optimizer": "zero", "target_networks": "mirror"} | SETTINGS[kind]


def trained(algorithm: str, interventions: list, gpus: int):
    """(weights before, weights at the end of the iteration with the first intervention, what was told)."""
    config = quick(ALGORITHMS[algorithm], WALK, interventions=interventions).learners(num_gpus_per_learner=gpus)
    built = config.build_algo()
    try:
        assert next(built.learner_group._learner.module["default_policy"].parameters()).is_cuda == bool(gpus)
        before = learner_weights(built)
        events = []
        for _ in range(3):
            events = events or built.train()["plasticity"]
        return before, learner_weights(built), events
    finally:
        built.stop()


def assert_same(algorithm: str, interventions: list) -> None:
    before, on_cpu, told_on_cpu = trained(algorithm, interventions, 0)
    before_on_gpu, on_gpu, told_on_gpu = trained(algorithm, interventions, 1)
    assert equal(before, before_on_gpu)

    # Only the first: RMSprop makes a whole step of a gradient that is all rounding, so in time neurons pass a threshold.
    def first(events):
        return [(event["kind"], event["clock"]["updates"], event["neurons"]) for event in events[:1]]

    assert first(told_on_gpu) == first(told_on_cpu)

    # For the same reason single weights differ; as a whole they must have gone the same way.
    def norm(of, minus):
        return np.sqrt(sum(np.square(of[name].astype(float) - minus[name].astype(float)).sum() for name in of))

    assert norm(on_gpu, on_cpu) < 0.05 * norm(on_cpu, before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_with_reborn_on_a_gpu_follows_that_on_the_cpu(algorithm: str) -> None:
    scope = "agent" if algorithm in ("IQL", "VDN") else "all"
    assert_same(algorithm, [entry("reborn", scope)])


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_intervention_on_a_gpu_does_what_it_does_on_the_cpu(kind: str) -> None:
    assert_same("QMIX", [entry(kind, "mixer")])


@pytest.mark.parametrize("algorithm", ["QMIX", "DMIX", "RMIX"])
def test_a_checkpoint_restores_on_a_gpu(algorithm: str, tmp_path) -> None:
    interventions = [entry("reborn", "all"), entry("knife", "mixer")]
    config = quick(ALGORITHMS[algorithm], WALK, interventions=interventions).learners(num_gpus_per_learner=1)
    first, second = config.build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        rows(first, 3)
        first.save_to_path(tmp_path)
        second.restore_from_path(tmp_path)
        assert equal(learner_weights(first), learner_weights(second))
        assert rows(second, 1)[0]["updates"] > first.counters.updates
    finally:
        first.stop()
        second.stop()


def test_a_remote_learner_with_a_gpu_trains_and_intervenes() -> None:
    config = quick(env=WALK, interventions=[entry("reborn", "all")])
    built = config.learners(num_learners=1, num_gpus_per_learner=1).build_algo()
    try:
        events = [event for _ in range(3) for event in built.train()["plasticity"]]
        assert any(event["neurons"] for event in events)
        devices = [
            answer.get()
            for answer in built.learner_group.foreach_learner(
                lambda learner: next(learner.module["default_policy"].parameters()).device.type
            )
        ]
        assert devices == ["cuda"]
    finally:
        built.stop()
