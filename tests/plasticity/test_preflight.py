"""What an intervention would refuse is found before training, and finding it changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import KINDS, make_intervention
from rllib_reborn.plasticity.interventions.preflight import first_refusal
from tests.algorithms.helpers import WALK, quick


class Chain(nn.Sequential):
    """A network with one hidden layer."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))


class Module:
    algorithm = "X"

    def __init__(self, **networks: nn.Module) -> None:
        self._networks = networks

    def networks(self):
        return self._networks

    def neuron_layers(self, choice="official_code"):
        return [layer for name, net in self._networks.items() for layer in declared_layers(name, net, choice)]


class Refusing:
    """An intervention that refuses, or looks at what it is given."""

    kind, layers, scope, counts_firing, treats_layers = "own", "editable", "all", False, True

    def __init__(self, refusal: str | None = None) -> None:
        self.refusal, self.contexts = refusal, []

    def layers_in_scope(self, layers, networks):
        return layers

    def networks_in_scope(self, networks):
        return networks

    def plan(self, context):
        self.contexts.append(context)
        if self.refusal is not None:
            raise ValueError(self.refusal)


@pytest.fixture
def module():
    return real_module()


def real_module(**training):
    from tests.algorithms.test_learner import make_learner, module_of

    return module_of(make_learner(**training))


def test_the_first_that_is_refused_is_named(module) -> None:
    assert first_refusal([], module) is None
    assert first_refusal([Refusing(), Refusing()], module) is None
    chosen = [Refusing(), Refusing("the layer is too wide"), Refusing("later")]
    assert first_refusal(chosen, module) == "interventions[1]: the layer is too wide"
    assert chosen[2].contexts == []


def test_a_scope_with_nothing_in_it_is_refused_without_a_plan() -> None:
    chosen = Refusing()
    chosen.scope = "mixer"
    message = first_refusal([chosen], Module(agent=Chain(), mixer=nn.Identity()))
    assert message == "interventions[0]: own has " + message.split("own has ")[1]
    assert "X has no mixer with weights to treat" in message
    assert chosen.contexts == []


def test_plans_are_made_on_scores_of_every_layer_in_scope(module) -> None:
    chosen = Refusing()
    assert first_refusal([chosen], module) is None
    (context,) = chosen.contexts
    layers = {layer.key: layer for layer in module.neuron_layers("editable")}
    assert layers
    assert context.layers.keys() == context.statistics.keys() == layers.keys()
    for key, layer in layers.items():
        assert context.statistics[key].mean_abs.shape == (layer.width,)
        assert context.update_activity[key].shape == context.gradient_activity[key].shape == (layer.width,)
    for name, net in module.networks().items():
        assert context.initial[name].keys() == dict(net.named_parameters()).keys()


def test_other_errors_are_not_taken_for_refusals(module) -> None:
    def plan(context):
        raise KeyError("a mistake in the intervention")

    chosen = Refusing()
    chosen.plan = plan
    with pytest.raises(KeyError, match="a mistake"):
        first_refusal([chosen], module)


@pytest.mark.parametrize("kind", KINDS)
def test_asking_writes_nothing_and_moves_no_random_stream(kind) -> None:
    data = {"kind": kind, "scope": "mixer"}
    module = real_module(interventions=[data])
    weights, stream = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    assert first_refusal([make_intervention(data)], module) is None
    assert torch.equal(torch.get_rng_state(), stream)
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.usefixtures("ray_session")
def test_an_algorithm_is_not_built_with_what_its_networks_refuse() -> None:
    config = quick(env=WALK, interventions=[{"kind": "redo", "scope": "critic"}])
    config.validate()  # no network is built for this
    with pytest.raises(ValueError, match=r"interventions\[0\]: redo has scope='critic'.*QMIX has no critic"):
        config.build_algo()
