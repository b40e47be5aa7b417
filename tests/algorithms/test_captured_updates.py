"""Captured updates without a GPU: padded episodes, and the code that a GPU captures, recorded call by call."""

import contextlib
import dataclasses
import importlib

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS, rmix
from rllib_reborn.algorithms.value_factorization import learner as learner_module
from rllib_reborn.algorithms.value_factorization import learner_setup
from rllib_reborn.algorithms.value_factorization.captured_updates import (
    CapturedUpdates,
    PaddedBatch,
    padded_length,
    uncaptured,
)
from rllib_reborn.algorithms.value_factorization.learner_updates import learner_batches, packed_columns
from rllib_reborn.callbacks import LearnerCallback, PlasticityRequest
from rllib_reborn.losses import risk
from rllib_reborn.nets import cvar, quantile_agent, risk_agent, sequence
from rllib_reborn.nets.sequence import gru_sequence
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, learner_weights, quick
from tests.algorithms.test_learner import make_sample, module_of
from tests.callbacks.test_plasticity_callbacks import SETTINGS
from tests.fakes.recorded_graph import recorded

#: Logged once, when a learner is built.
ONCE = ("num_trainable_parameters", "num_non_trainable_parameters")
LENGTHS = ((3, 6, 1, 2), (5, 5, 4, 6), (1, 2, 1, 1), (6, 6, 6, 6), (2, 6, 3, 3), (4, 1, 6, 5), (6, 2, 2, 1))


def make_learner(algorithm="QMIX", callbacks=None, *, as_on_gpu=True, **training):
    """A learner, whose optimizer counts its steps as on a GPU unless told otherwise."""
    if algorithm == "RMIX":
        training = {"algorithm_settings": {"auxiliary_start": 0, "auxiliary_every": 200}} | training
    config = quick(ALGORITHMS[algorithm], WALK, **training)
    if callbacks is not None:
        config.callbacks(callbacks)
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    for group in learner.get_optimizer("default_policy").param_groups:
        group["capturable"] = as_on_gpu
    return learner


def state_of(learner):
    module, optimizer = module_of(learner), learner.get_optimizer("default_policy")
    return [
        *module.parameters(),
        *module.buffers(),
        *(value for state in optimizer.state.values() for value in state.values()),
        *(value for value in learner.update_counts().values() if isinstance(value, torch.Tensor)),
    ]


def capturing(learner, capture=None):
    """``learner``, whose updates are captured by ``capture``; None: recorded."""
    learner.captured = CapturedUpdates(learner, capture or recorded(lambda: state_of(learner)))
    return learner


def launched(learner):
    """``learner``, whose updates are not captured where :func:`capturing` ones are. They read the learning rate as those do,
    as a tensor: a number is rounded otherwise."""
    (group,) = learner.get_optimizer("default_policy").param_groups

    def capture(work, parameters):
        def launch():
            number, group["lr"] = group["lr"], torch.tensor(float(group["lr"]))
            try:
                return work()
            finally:
                group["lr"] = number

        return launch

    return capturing(learner, capture)


def batch_of(learner, lengths, seed=0, **columns):
    sample = make_sample(learner.config, lengths, seed)
    if learner.config.algorithm_name == "DMIX":
        rng = np.random.default_rng(seed)
        columns = {"quantile_fractions": rng.random((sample.env_steps, 16), np.float32), **columns}
    (batch,) = learner_batches(sample, 1, step_columns=columns)
    return batch


def update(learner, number, **kwargs):
    """An update on a batch that ``number`` decides; what it logged."""
    batch = batch_of(learner, LENGTHS[number % len(LENGTHS)], number)
    clock = {"num_env_steps_sampled_lifetime": 100 * number, "num_episodes_lifetime": number}
    results = learner.update(batch=batch, timesteps=clock, **kwargs)["default_policy"]
    return {name: float(value.peek()) for name, value in results.items() if name not in ONCE}


def number_captured(learner):
    """Updates that are captured; none could not be."""
    assert learner.captured.capture is not uncaptured
    return len(learner.captured.replays)


def train(learner, updates, first=0):
    return [update(learner, number) for number in range(first, first + updates)]


def weights(learner):
    return {name: p.detach().clone() for name, p in module_of(learner).named_parameters()}


def distance(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """What networks, losses and optimizers do on a GPU: no sorting by NumPy, no sizes that the host has to know."""
    net = risk_agent.RiskAgentNet
    monkeypatch.setattr(rmix, "_real_steps", rmix._weighted_steps)
    monkeypatch.setattr(risk, "_sorted_double", lambda target: target.sort(dim=1).values.double())
    for module in (cvar, risk_agent):
        monkeypatch.setattr(module, "ascending", lambda atoms: atoms.detach().sort(dim=-1).values)
    monkeypatch.setattr(quantile_agent, "_rows_of", quantile_agent._by_product)
    monkeypatch.setattr(
        net, "_atoms_of", lambda self, x, actions: self._atoms_of_all(x, actions, *risk_agent.applied(self.head))
    )
    monkeypatch.setattr(learner_module, "looking_is_free", lambda tensor: False)
    for name in ("rmsprop", "adam"):
        module = importlib.import_module(f"torch.optim.{name}")
        monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda supports_xla=True: ["cpu"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_padded_updates_are_those_of_packed_episodes(algorithm, as_on_a_gpu, monkeypatch):
    padded = capturing(make_learner(algorithm), uncaptured)
    by_padded = train(padded, 3)
    monkeypatch.undo()  # the packed ones as on the CPU
    packed = make_learner(algorithm, as_on_gpu=False)
    for one, other in zip(train(packed, 3), by_padded, strict=True):
        # RLlib logs sizes too, of batches that are all of size 1 to it.
        assert (
            {"total_loss", "grad_norm", "td_error_abs", "num_updates", "num_target_updates"}
            <= other.keys()
            <= one.keys()
        )
        assert {name: one[name] for name in other} == pytest.approx(other, rel=2e-4, abs=1e-5)
    assert distance(weights(packed), weights(padded)) < 1e-4
    assert padded.get_state()["weights_seq_no"] == packed.get_state()["weights_seq_no"] == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_captured_repeats_the_update_on_every_later_batch(algorithm, as_on_a_gpu):
    settings = {"target_update": {"every": 3, "unit": "updates"}}
    eager, captured = (make_learner(algorithm, **settings) for _ in range(2))
    updates = 14 if algorithm == "RMIX" else 8  # with the local loss and without
    by_eager, by_captured = train(launched(eager), updates), train(capturing(captured), updates)
    assert number_captured(captured) == (2 if algorithm == "RMIX" else 1)
    assert by_captured == by_eager
    assert distance(weights(eager), weights(captured)) == 0


@pytest.mark.parametrize(("algorithm", "sharing"), [("QMIX", "group"), ("DMIX", "none"), ("RMIX", "none")])
def test_several_networks_of_agents_are_captured(algorithm, sharing, as_on_a_gpu):
    model = {"hidden_dim": 8, "parameter_sharing": sharing}
    eager, captured = (make_learner(algorithm, model=model) for _ in range(2))
    updates = 9 if algorithm == "RMIX" else 6
    assert train(capturing(captured), updates) == train(launched(eager), updates)
    assert number_captured(captured)


def test_a_captured_update_follows_the_learning_rate(as_on_a_gpu):
    eager, captured = make_learner(), make_learner()
    train(launched(eager), 6), train(capturing(captured), 6)
    assert number_captured(captured)
    for learner in (eager, captured):
        learner.get_optimizer("default_policy").param_groups[0]["lr"] = 0.1
    before = weights(captured)
    assert train(captured, 2, first=6) == train(eager, 2, first=6)
    assert distance(weights(eager), weights(captured)) == 0
    assert distance(before, weights(captured)) > 0.01


def test_a_captured_update_with_a_bad_gradient_changes_nothing(as_on_a_gpu):
    learner = capturing(make_learner())
    train(learner, 6)
    before = [tensor.clone() for tensor in state_of(learner)[:-2]]
    batch = batch_of(learner, (3, 4, 2, 2))
    batch["default_policy"]["reward"][:] = np.inf
    learner.update(batch=batch, timesteps={})
    assert all(map(torch.equal, before, state_of(learner)))
    assert learner.nonfinite_in_row == 1
    update(learner, 6)
    assert learner.nonfinite_in_row == 0


def test_a_loaded_state_is_captured_anew(as_on_a_gpu):
    source, learner = capturing(make_learner()), capturing(make_learner())
    train(source, 2), train(learner, 8)
    learner.set_state(source.get_state())
    assert not learner.captured.replays
    train(learner, 8, first=2), train(source, 8, first=2)
    assert number_captured(learner)
    assert distance(weights(source), weights(learner)) < 1e-6  # they were captured at other updates


def test_gradients_are_those_of_the_update_where_callbacks_look_at_them(as_on_a_gpu):
    class Keeps(LearnerCallback):
        gradients = ()

        def after_gradient_step(self, *, module):
            Keeps.gradients = (*Keeps.gradients, module.agents.nets[0].head.weight.grad.clone())

    eager, captured = make_learner(callbacks=Keeps), make_learner(callbacks=Keeps)
    train(launched(eager), 7), train(capturing(captured), 7)
    assert number_captured(captured)
    assert all(map(torch.equal, Keeps.gradients[:7], Keeps.gradients[7:]))


class AddsToTheLoss(LearnerCallback):
    def on_learner_loss(self, *, learner, module_id, module):
        return 0.1 * module.agents.nets[0].head.weight.square().sum()


class Watches(LearnerCallback):
    def watch_update(self, *, module, request):
        return contextlib.nullcontext()


@pytest.mark.parametrize("callback", [AddsToTheLoss, Watches])
def test_an_update_that_a_callback_looks_into_is_the_one_of_the_cpu(callback):
    plain, learner = (
        make_learner(callbacks=callback, as_on_gpu=False),
        make_learner(callbacks=callback, as_on_gpu=False),
    )
    train(plain, 5), train(capturing(learner), 5)
    assert not learner.captured.replays
    assert distance(weights(plain), weights(learner)) == 0


@pytest.mark.parametrize(("kind", "alone"), [("reborn", True), ("redo", True), ("l2_init", False), ("snr", False)])
def test_interventions_say_whether_they_look_into_every_update(kind, alone):
    learner = make_learner(interventions=[{"kind": kind, **SETTINGS[kind]}], as_on_gpu=False)
    assert all(callback.leaves_updates_alone() for callback in learner.learner_callbacks) is alone


def test_an_update_with_a_request_is_the_one_of_the_cpu_and_an_intervention_ends_what_was_captured(as_on_a_gpu):
    learner = capturing(make_learner())
    train(learner, 6)
    assert number_captured(learner)
    request = PlasticityRequest(
        clock={}, seed=0, dormancy=False, interventions=(), scoring_batch={}, holdout_batch=None
    )
    loaded = []
    learner.captured.load = loaded.append
    update(learner, 6, request=request)
    assert not loaded
    assert number_captured(learner)
    update(learner, 7, request=dataclasses.replace(request, interventions=(0,)))
    assert not learner.captured.replays


def test_an_update_that_cannot_be_captured_says_so_once_and_is_made(as_on_a_gpu, caplog):
    eager, learner = capturing(make_learner(), uncaptured), capturing(make_learner())
    for one in (eager, learner):
        module, mix = module_of(one), module_of(one).mixer.forward
        module.mixer.forward = lambda q, state, mix=mix: mix(q, state) * (1.0 if float(q.detach().sum()) < 1e9 else 2.0)
    with caplog.at_level("WARNING"):
        assert train(learner, 8) == train(eager, 8)
    assert len([record for record in caplog.records if "cannot be captured" in record.message]) == 1
    assert learner.captured.capture is uncaptured


@pytest.mark.parametrize(
    ("longest", "limit", "length"),
    [
        (1, 25, 25),
        (25, 200, 25),
        (26, 200, 50),
        (101, 200, 200),
        (3, 6, 6),
        (120, 120, 120),
        (101, 120, 120),
        (9, 6, 9),
    ],
)
def test_episodes_are_padded_to_few_lengths(longest, limit, length):
    assert padded_length(longest, limit) == length


def test_what_is_filled_in_leaves_nothing_of_the_batch_before():
    learner = make_learner(as_on_gpu=False)
    longer, shorter = (packed_columns(batch_of(learner, lengths)["default_policy"]) for lengths in ((6, 6), (3, 1)))
    padded, fresh = (PaddedBatch(longer, 6, torch.device("cpu")) for _ in range(2))
    padded.fill(longer), padded.fill(shorter), fresh.fill(shorter)
    for name in fresh.batch:
        assert torch.equal(padded.batch[name], fresh.batch[name]), name
    real = padded.batch["real_lengths"][0].tolist()
    assert real == shorter["lengths"].tolist()
    assert padded.batch["lengths"][0].tolist() == [6] * len(real)
    first = real[0]
    obs = padded.batch["obs"][0].unflatten(0, (len(real), 7))
    assert np.array_equal(obs[0, : first + 1], shorter["obs"][: first + 1])
    assert not obs[0, first + 1 :].any()
    assert padded.batch["action_mask"][0].unflatten(0, (len(real), 7))[0, first + 1 :].all()


def test_a_column_that_is_not_of_env_steps_is_not_padded():
    learner = capturing(make_learner(as_on_gpu=False))
    batch = batch_of(learner, (3, 2, 2, 1))
    batch["default_policy"]["of_episodes"] = np.zeros((1, 8), np.float32)
    assert learner.captured.load(batch) is None


@pytest.mark.parametrize("kind", ["rmsprop", "adam"])
def test_optimizers_take_up_the_state_of_the_other_device(kind, as_on_a_gpu):
    """A GPU's learner counts steps beside the parameters; there ``capturable`` is True, and False on the CPU."""
    optimizer = {"kind": kind}
    on_cpu, on_gpu = make_learner(optimizer=optimizer, as_on_gpu=False), make_learner(optimizer=optimizer)
    train(on_cpu, 3)
    on_gpu.set_state(on_cpu.get_state())
    (group,) = on_gpu.get_optimizer("default_policy").param_groups
    assert group["capturable"]
    train(on_gpu, 2, first=3), train(on_cpu, 2, first=3)
    assert distance(weights(on_cpu), weights(on_gpu)) < 1e-6
    on_cpu.set_state(on_gpu.get_state())
    (group,) = on_cpu.get_optimizer("default_policy").param_groups
    assert not group["capturable"]
    assert float(group["lr"]) == 5e-4
    train(on_gpu, 1, first=5), train(on_cpu, 1, first=5)
    assert distance(weights(on_cpu), weights(on_gpu)) < 1e-6


def test_equal_sequences_take_the_dense_gru():
    gru, x = torch.nn.GRU(4, 8), torch.randn(15, 4)
    expected = gru_sequence(gru, x, [3] * 5)
    assert torch.allclose(sequence._torch_gru(gru, x, [3] * 5), expected, atol=1e-6)
    assert torch.allclose(
        sequence._torch_gru(gru, x, [5, 4, 3, 2, 1]), gru_sequence(gru, x, [5, 4, 3, 2, 1]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("resources", "value", "message"),
    [
        ({}, "off", "cuda_graph is 'off', but the learner is on the CPU"),
        ({"num_learners": 2, "num_gpus_per_learner": 1}, "off", "cuda_graph is 'off', but there are several learners"),
        ({"num_gpus_per_learner": 1}, "on", "cuda_graph is 'on'; expected 'auto' or 'off'"),
    ],
)
def test_what_has_no_effect_is_refused(resources, value, message):
    config = quick(env=WALK, cuda_graph=value).learners(**resources)
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_training_with_an_intervention_and_a_check_is_that_without_captured_updates(as_on_a_gpu, monkeypatch):
    entry = {"kind": "reborn", "every": 12, "unit": "updates", "scope": "all", "scoring_episodes": 4}
    settings = {"interventions": [entry | SETTINGS["reborn"]], "dormancy": {"every": 9, "unit": "updates"}}
    captures, ends = [], []

    def recording(learner):
        record = recorded(lambda: state_of(learner))
        return capturing(learner, lambda *work: captures.append(record(*work)) or captures[-1]).captured

    for make in (lambda learner: None, recording):
        monkeypatch.setattr(learner_setup, "captured_updates", make)
        algorithm = quick(env=WALK, seed=3, updates_per_episode=1.0, **settings).build_algo()
        try:
            before = learner_weights(algorithm)
            events = [event for _ in range(4) for event in algorithm.train()["plasticity"]]
            ends.append((learner_weights(algorithm), [(e["event"], e["clock"]["updates"]) for e in events]))
        finally:
            algorithm.stop()
    (plain, found), (captured, found_captured) = ends
    assert found == found_captured
    assert {"dormancy", "intervention"} <= {kind for kind, _ in found}
    assert len(captures) >= 2  # each intervention has them made again

    # RMSprop makes a whole step of a gradient that is all rounding, so single weights may differ.
    def norm(of, minus):
        return np.sqrt(sum(np.square(of[name].astype(float) - minus[name].astype(float)).sum() for name in of))

    assert norm(captured, plain) < 0.05 * norm(plain, before)
