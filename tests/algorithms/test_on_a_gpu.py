"""On a GPU: the updates, interventions and checkpoints of the CPU, to rounding. Skipped where there is none."""

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.algorithms.value_factorization.captured_updates import CapturedUpdates, cuda_graph, uncaptured
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows
from tests.algorithms.test_captured_updates import batch_of, distance, make_learner, train, weights
from tests.algorithms.test_replay_mirror import Twins
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


def gpu_learner(algorithm: str, capture=None, **training):
    """A learner on the GPU, whose updates are captured unless ``capture`` says how else they are made."""
    config = quick(ALGORITHMS[algorithm], WALK, **training).learners(num_gpus_per_learner=1)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    if capture is not None:
        learner.captured = CapturedUpdates(learner, capture)
    return learner


RMIX_OFTEN = {"auxiliary_start": 0, "auxiliary_every": 200}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_update_is_captured_and_does_what_its_kernels_do_one_by_one(algorithm: str) -> None:
    training = {"algorithm_settings": RMIX_OFTEN} if algorithm == "RMIX" else {}
    captured, launched = gpu_learner(algorithm, **training), gpu_learner(algorithm, uncaptured, **training)
    by_captured, by_launched = train(captured, 14), train(launched, 14)
    assert captured.captured.capture is cuda_graph
    assert len(captured.captured.replays) == (2 if algorithm == "RMIX" else 1)
    for one, other in zip(by_captured, by_launched, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("sharing", ["group", "none"])
@pytest.mark.parametrize("algorithm", ["QMIX", "DMIX", "RMIX"])
def test_several_networks_of_agents_are_captured(algorithm: str, sharing: str) -> None:
    learner = gpu_learner(algorithm, model={"hidden_dim": 8, "parameter_sharing": sharing})
    train(learner, 10)
    assert learner.captured.capture is cuda_graph


def test_a_captured_update_follows_a_schedule_of_the_learning_rate() -> None:
    schedule = [[0, 1e-3], [500, 1e-3], [501, 0.0], [10_000, 0.0]]
    learner = gpu_learner("QMIX", lr=schedule, target_update={"every": 100, "unit": "updates"})
    train(learner, 8)
    assert learner.captured.replays
    before = weights(learner)
    train(learner, 3, first=8)
    assert distance(before, weights(learner)) == 0


def test_a_captured_update_with_a_bad_gradient_changes_nothing() -> None:
    learner = gpu_learner("QMIX")
    train(learner, 8)
    before = weights(learner)
    batch = batch_of(learner, (3, 4, 2, 2))
    batch["default_policy"]["reward"][:] = np.inf
    learner.update(batch=batch, timesteps={})
    assert distance(before, weights(learner)) == 0
    assert learner.nonfinite_in_row == 1


@pytest.mark.parametrize("kind", ["rmsprop", "adam"])
def test_the_state_of_a_learner_goes_from_the_cpu_to_a_gpu_and_back(kind: str) -> None:
    on_cpu, on_gpu = (
        make_learner(optimizer={"kind": kind}, as_on_gpu=False),
        gpu_learner("QMIX", optimizer={"kind": kind}),
    )
    train(on_cpu, 3)
    on_gpu.set_state(on_cpu.get_state())
    train(on_gpu, 6, first=3)
    on_cpu.set_state(on_gpu.get_state())
    for name, value in weights(on_gpu).items():
        assert torch.equal(weights(on_cpu)[name], value.cpu())
    (group,) = on_cpu.get_optimizer("default_policy").param_groups
    assert (group["capturable"], group["lr"]) == (False, 5e-4)
    train(on_cpu, 1, first=9)


def test_batches_of_a_mirror_on_a_gpu_are_those_of_the_replay() -> None:
    twins = Twins(device=torch.device("cuda"))
    for number in range(6):
        twins.add(*(1 + (number * k) % 6 for k in range(1, 4)))
        twins.assert_alike()
    saved = twins.plain.get_state()
    twins.add(6, 6)
    twins.do(lambda replay: replay.set_state(saved))
    twins.assert_alike()


@pytest.mark.parametrize("cuda_graph", ["auto", "off"])
def test_a_run_that_reads_the_replay_on_the_gpu_goes_as_one_that_copies_batches(cuda_graph: str) -> None:
    ends, before = [], {}
    for replay_device in ("off", "cuda"):
        config = quick(env=WALK, seed=3, updates_per_episode=1.0, replay_device=replay_device, cuda_graph=cuda_graph)
        built = config.learners(num_gpus_per_learner=1).build_algo()
        try:
            assert (built.mirror is not None) == (replay_device == "cuda")
            before = learner_weights(built)
            rows(built, 3)
            ends.append(learner_weights(built))
        finally:
            built.stop()
    first, second = ends
    apart, way = (
        np.sqrt(sum(np.square(first[name].astype(float) - other[name]).sum() for name in first))
        for other in (second, before)
    )
    assert apart < 0.05 * way  # kernels of a GPU may add in another order each time


def test_auto_reads_the_replay_on_the_gpu_and_goes_on_from_a_checkpoint(tmp_path) -> None:
    config = quick(env=WALK, seed=3).learners(num_gpus_per_learner=1)
    first, second = config.build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        assert first.mirror is not None
        rows(first, 3)
        first.save_to_path(tmp_path)
        second.restore_from_path(tmp_path)
        sampled, expected = second.mirror.sample(8), first.replay.sample(8)
        held = second.mirror.packed(sampled.block.slots, sampled.lengths)
        for name, array in expected.block.fields.items():
            assert np.array_equal(held[name].cpu().numpy(), array), name
    finally:
        first.stop()
        second.stop()
