"""Which neurons fire at an update: those of its own forward pass, dead agents aside; counted at every update, kept in
checkpoints, equal with and without anything due."""

import numpy as np
import pytest
import torch

from rllib_reborn import QMIXConfig
from rllib_reborn.callbacks import InterventionCallback
from rllib_reborn.callbacks.stock_settings import stock_intervention
from rllib_reborn.callbacks.team_view import measure_team
from tests.algorithms.helpers import WALK, equal, learner_weights, quick
from tests.algorithms.test_learner import make_learner, make_sample, module_of, update

SNR = {"kind": "snr", "every": 10_000, "unit": "env_steps", "max_silence": 4, "min_silence": 1, "layers": "editable"}


def memory_of(learner):
    (callback,) = (one for one in learner.learner_callbacks if isinstance(one, InterventionCallback))
    return callback.runtime.memories[0].get("layers", {})


def fired_in(module, sample):
    """By the measure of the dormancy check, on the same episodes."""
    batch = {name: torch.as_tensor(np.array(array)) for name, array in sample.batch.items()}
    found = measure_team(module, module.neuron_layers("editable"), batch)
    return {key: of_layer.nonzero > 0 for key, of_layer in found.items()}


@pytest.mark.parametrize("layers", ["official_code", "editable"])
def test_each_update_counts_its_own_neurons(layers):
    learner = make_learner(QMIXConfig, interventions=[SNR | {"layers": layers}])
    module, expected = module_of(learner), {}
    for seed in range(3):
        sample = make_sample(learner.config, seed=seed)
        for key, fired in fired_in(module, sample).items():
            expected[key] = torch.where(fired, 0, expected.get(key, torch.zeros(len(fired), dtype=torch.int64)) + 1)
        update(learner, sample)
    memory = memory_of(learner)
    assert set(memory) == {layer.key for layer in module.neuron_layers(layers)}
    for key, record in memory.items():
        assert torch.equal(record["silence"], expected[key]), key
    assert any(record["silence"].any() for record in memory.values())
    assert any(not record["silence"].all() for record in memory.values())


def test_a_neuron_that_only_dead_agents_make_fire_is_silent():
    learner = make_learner(QMIXConfig, interventions=[SNR])
    sample = make_sample(learner.config)
    module = module_of(learner)
    (layer,) = (one for one in module.neuron_layers("editable") if one.key.startswith("agent/"))
    first = layer.input_weight
    with torch.no_grad():
        first.zero_()
        layer.input_bias.fill_(-1.0)
        first[0, 0] = 1.0  # fires where the first number of an observation is large
        layer.input_bias[1] = 1.0  # fires always
    mask, obs = sample.batch["action_mask"], sample.batch["obs"]
    obs[..., 0] = 0
    mask[0, 0] = False
    mask[0, 0, 0] = True  # one agent has its no-op alone at one observation
    obs[0, 0, 0] = 100
    update(learner, sample)
    assert memory_of(learner)[layer.key]["silence"][:3].tolist() == [1, 0, 1]
    mask[0, 0] = True
    update(learner, sample)
    assert int(memory_of(learner)[layer.key]["silence"][2]) == 2
    assert int(memory_of(learner)[layer.key]["silence"][0]) == 0


def test_counting_is_kept_in_checkpoints_and_measured_by_nothing_else():
    one, other = (make_learner(QMIXConfig, interventions=[SNR]) for _ in range(2))
    samples = [make_sample(one.config, seed=seed) for seed in range(4)]
    for sample in samples[:2]:
        update(one, sample)
    other.set_state(one.get_state())
    # A look in between, as a check has it, is no update.
    fired_in(module_of(one), samples[3])
    for sample in samples[2:]:
        update(one, sample)
        update(other, sample)
    assert memory_of(one).keys() == memory_of(other).keys() != set()
    for key, record in memory_of(one).items():
        for name, value in record.items():
            assert torch.equal(value, memory_of(other)[key][name])
    assert all(int(record["intervals"].sum()) > 0 for record in memory_of(one).values())


@pytest.mark.usefixtures("ray_session")
def test_counting_changes_no_training():
    weights = []
    for interventions in ([], [SNR | {"scope": "mixer"}]):
        algorithm = quick(env=WALK, interventions=interventions).build_algo()
        algorithm.train()
        algorithm.train()
        weights.append(learner_weights(algorithm))
        algorithm.stop()
    assert equal(*weights)


def test_stock_algorithms_refuse_it():
    with pytest.raises(ValueError, match="snr: when neurons fire is not counted in a stock algorithm"):
        stock_intervention({"kind": "snr"})
