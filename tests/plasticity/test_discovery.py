"""What is found in networks that declare nothing, and what is refused with which reason."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_reborn.plasticity.discovery import discover_neurons
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, Surgery
from rllib_reborn.plasticity.statistics import measure

X = torch.linspace(-1, 1, 18).view(6, 3)


class Parts(nn.Module):
    """Linear layers and activations, put together by each test."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.act, self.act2 = nn.ReLU(), nn.ReLU()
        self._how = forward

    def forward(self, x: Tensor) -> Any:
        return self._how(self, x)


def only(layers: list[NeuronLayer]) -> NeuronLayer:
    assert len(layers) == 1
    return layers[0]


def assert_impossible(layer: NeuronLayer, *reasons: str) -> None:
    assert layer.surgery is Surgery.IMPOSSIBLE
    assert all(part in layer.reason for part in reasons), layer.reason
    assert layer.output_weight is None


def assert_splits_exactly(net: nn.Module, layer: NeuronLayer, x: Tensor) -> None:
    """Scale neuron 0 by 4 in and by 1/4 out: exact in floating point for a homogeneous activation, if these are its rows
    and columns and nobody else's."""
    before = net(x)
    assert layer.input_weight is not None
    assert layer.output_weight is not None
    with torch.no_grad():
        layer.input_weight[0] *= 4
        if layer.input_bias is not None:
            layer.input_bias[0] *= 4
        layer.columns(layer.output_weight)[:, 0] /= 4
    torch.testing.assert_close(net(x), before, rtol=1e-6, atol=1e-7)


def test_a_sequential() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.LeakyReLU(), nn.Linear(5, 2))
    first, second = discover_neurons(net, X, name="critic")
    assert (first.key, first.width, first.surgery, first.activation) == ("critic/0", 4, Surgery.EXACT, "ReLU")
    assert (second.key, second.width, second.surgery, second.activation) == ("critic/2", 5, Surgery.EXACT, "LeakyReLU")
    assert first.input_weight is net[0].weight
    assert first.output_weight is net[2].weight
    assert first.output_bias is net[2].bias
    for layer in (first, second):
        assert_splits_exactly(net, layer, X)


@pytest.mark.parametrize("activation", [nn.ELU(), nn.Tanh(), nn.GELU(), nn.Sigmoid(), nn.SiLU(), nn.PReLU()])
def test_activations_that_are_not_homogeneous(activation: nn.Module) -> None:
    layer = only(discover_neurons(nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)), X))
    assert layer.surgery is Surgery.INEXACT
    assert type(activation).__name__ in layer.reason


def test_a_convolution_has_k_columns_for_each_channel() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )
    x = torch.linspace(-1, 1, 2 * 16).view(2, 1, 4, 4)
    first, second = discover_neurons(net, x)
    assert (first.width, second.width) == (4, 3)
    assert second.output_weight is net[5].weight
    assert second.columns(net[5].weight).shape == (2, 3, 4)
    for layer in (first, second):
        assert layer.surgery is Surgery.EXACT
        assert_splits_exactly(net, layer, x)
    found = measure([first, second], lambda: net(x))
    assert [found[layer.key].rows for layer in (first, second)] == [8, 8]


def test_pooling_dropout_and_identity_pass_neurons_on() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Identity(),
        nn.Flatten(),
        nn.Dropout(0.9),
        nn.Linear(16, 5),
        nn.Dropout(0.9),
        nn.ReLU(),
        nn.Linear(5, 1),
    )
    x = torch.linspace(-1, 1, 3 * 64).view(3, 1, 8, 8)
    layers = discover_neurons(net, x)
    assert [(layer.name, layer.surgery) for layer in layers] == [("0", Surgery.EXACT), ("7", Surgery.EXACT)]
    net.eval()
    for layer in layers:
        assert_splits_exactly(net, layer, x)


def test_a_view_by_hand_is_seen_through() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.out = nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.act(self.conv(x)).flatten(1))

    net, x = Net(), torch.linspace(-1, 1, 12).view(4, 1, 3)
    layer = only(discover_neurons(net, x))
    assert layer.surgery is Surgery.EXACT
    assert_splits_exactly(net, layer, x)


def test_a_view_that_mixes_neurons_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self, mix: Any) -> None:
            super().__init__()
            self.conv, self.act, self.mix = nn.Conv1d(1, 2, 1), nn.ReLU(), mix
            self.out = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.mix(self.act(self.conv(x))))

    x = torch.ones(4, 1, 3)
    assert_impossible(only(discover_neurons(Net(nn.Identity()), x)), "reshaped")  # Linear over positions, not channels
    assert_impossible(only(discover_neurons(Net(lambda h: h.view(8, 3)), x)), "reshaped")
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 2, 1))
    assert_impossible(only(discover_neurons(net, X)), "Unflatten")
    sequence = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Conv1d(6, 2, 1))  # reads time steps, not neurons
    assert_impossible(only(discover_neurons(sequence, torch.ones(2, 6, 3))), "reshaped")


@pytest.mark.parametrize("memory", [nn.GRU(4, 5), nn.LSTM(4, 5, batch_first=True), nn.RNN(4, 5)])
def test_a_recurrent_consumer(memory: nn.Module) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act, self.memory, self.head = nn.Linear(3, 4), nn.ReLU(), memory, nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.memory(self.act(self.fc(x)))[0])

    net, x = Net(), X.view(3, 2, 3)
    layer = only(discover_neurons(net, x))
    assert layer.output_weight is memory.weight_ih_l0
    assert layer.surgery is Surgery.EXACT
    assert_splits_exactly(net, layer, x)


def test_both_directions_of_a_gru_are_several_readers() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.GRU(4, 5, bidirectional=True))
    assert_impossible(only(discover_neurons(net, X)), "both directions")


def test_units_that_become_a_hidden_state_have_no_columns() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act, self.cell = nn.Linear(3, 4), nn.ReLU(), nn.GRUCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x, self.act(self.fc(x)))

    assert_impossible(only(discover_neurons(Net(), X)), "'cell' (GRUCell)", "no columns")


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.BatchNorm1d(4), nn.RMSNorm(4)])
@pytest.mark.parametrize("at", [1, 2])
def test_a_normalisation_between(norm: nn.Module, at: int) -> None:
    modules = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)]
    modules.insert(at, norm)
    layer = only(discover_neurons(nn.Sequential(*modules), X))
    assert_impossible(layer, type(norm).__name__, "normalises the scale")
    assert layer.name == "0"
    assert layer.hook.module is modules[1 if at == 2 else 2]
    assert layer.input_weight is modules[0].weight  # can still be scored by its gradient


@pytest.mark.parametrize(
    ("forward", "reasons"),
    [
        (lambda n, x: (lambda h: (n.b(h), n.c(h)))(n.act(n.a(x))), ("several", "'b' (Linear)", "'c' (Linear)")),
        (lambda n, x: (lambda h: n.b(h) + h)(n.act(n.a(x))), ("several", "'add'")),
        (lambda n, x: (lambda h: n.c(h) + h.detach().sum())(n.act(n.a(x))), ("several", "'detach'")),
        (lambda n, x: (lambda h: torch.cat([h, n.b(h)], 1))(n.act(n.a(x))), ("several", "'cat'")),
        (lambda n, x: (lambda h: (n.c(h), h))(n.act(n.a(x))), ("several", "the caller")),
        (lambda n, x: (lambda h: {"out": n.c(h), "features": [h.flatten()]})(n.act(n.a(x))), ("several", "'view'")),
        (lambda n, x: (lambda z: n.c(n.act(z)) + z.sum())(n.a(x)), ("into the activation", "'sum'")),
        (lambda n, x: (lambda z: (n.c(n.act(z)), z))(n.a(x)), ("into the activation", "the caller")),
        (lambda n, x: n.act(n.a(x)) * 2, ("'mul'", "no columns")),
        (lambda n, x: n.c(torch.tanh(n.act(n.a(x)))), ("second activation",)),
        (lambda n, x: n.c(n.act(n.a(x))) + n.a(x + 1)[:, :2], ("used 2 times",)),
        (lambda n, x: n.c(n.act(n.a(x))) + n.b(n.act2(n.a(x + 1)))[:, :2], ("used 2 times",)),
        (lambda n, x: n.c(n.act(n.a(x))) + n.c(x[:, :1].expand(-1, 4)), ("'c' (Linear)", "something else")),
        (lambda n, x: n.c(n.act(n.a(x))) + n.a.weight.sum(), ("outside of its module",)),
        (lambda n, x: functional.linear(n.c(n.act(n.a(x))), n.c.weight.t()), ("outside of its module",)),
    ],
)
def test_what_breaks_the_maths_is_named(forward: Any, reasons: tuple[str, ...]) -> None:
    layers = {layer.name: layer for layer in discover_neurons(Parts(forward), X)}
    assert_impossible(layers["a"], *reasons)


@pytest.mark.parametrize("grad", [False, True])
def test_readers_are_seen_without_gradients(grad: bool) -> None:
    net = Parts(lambda n, x: (lambda h: n.b(h) + h)(n.act(n.a(x))))
    with torch.set_grad_enabled(grad):
        assert_impossible(only(discover_neurons(net, lambda: net(X))), "'add'")


def test_weights_under_two_names() -> None:
    net = Parts(lambda n, x: n.c(n.act(n.b(n.a(x)))))
    net.tied = nn.Linear(4, 4)
    net.tied.weight = net.b.weight
    assert_impossible(only(discover_neurons(net, X)), "b.weight and tied.weight are the same parameter")


def test_computed_weights_and_groups() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.utils.parametrizations.weight_norm(net[0])
    layer = only(discover_neurons(net, X))
    assert_impossible(layer, "parametrization")
    assert layer.input_weight is None
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.utils.parametrizations.weight_norm(net[2])
    assert_impossible(only(discover_neurons(net, X)), "parametrization")
    net = nn.Sequential(nn.Conv1d(2, 4, 1, groups=2), nn.ReLU(), nn.Conv1d(4, 4, 1))
    assert_impossible(only(discover_neurons(net, torch.ones(2, 2, 3))), "2 groups")
    net = nn.Sequential(nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Conv1d(4, 4, 1, groups=2))
    assert_impossible(only(discover_neurons(net, torch.ones(2, 2, 3))), "in 2 groups")


def test_a_linear_that_computes_something_else_is_no_linear() -> None:
    class Noisy(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).round()

    assert_impossible(only(discover_neurons(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), Noisy(4, 2)), X)), "Noisy")


def test_the_same_chain_run_again_is_one_layer() -> None:
    net = Parts(lambda n, x: n.c(n.act(n.a(x))) - n.c(n.act(n.a(x + 1))))
    layer = only(discover_neurons(net, X))
    assert layer.surgery is Surgery.EXACT
    assert_splits_exactly(net, layer, X)
    assert measure([layer], lambda: net(X))["net/a"].rows == 12


def test_activations_called_as_functions_are_read_where_they_go() -> None:
    net = Parts(lambda n, x: n.c(functional.gelu(n.b(torch.relu(n.a(x))))))
    first, second = discover_neurons(net, X)
    assert (first.surgery, second.surgery) == (Surgery.EXACT, Surgery.INEXACT)
    h = torch.relu(net.a(X))
    torch.testing.assert_close(measure([first], lambda: net(X))["net/a"].mean_abs, h.abs().mean(0).detach())
    assert_splits_exactly(net, first, X)
    branching = Parts(lambda n, x: (lambda h: (n.b(h), n.c(h)))(torch.relu(n.a(x))))
    assert_impossible(only(discover_neurons(branching, X)), "several")


def test_an_activation_module_of_several_layers_is_not_where_one_is_read() -> None:
    net = Parts(lambda n, x: n.c(n.act(n.b(n.act(n.a(x))))))
    layers = discover_neurons(net, X)
    h = net.act(net.a(X))
    torch.testing.assert_close(measure(layers, lambda: net(X))["net/a"].mean_abs, h.abs().mean(0).detach())
    assert measure(layers, lambda: net(X))["net/b"].rows == 6


def test_a_layer_that_can_be_read_nowhere_is_named() -> None:
    net = Parts(lambda n, x: n.c((lambda h: n.act(n.b(h)) + 1)(n.act(n.a(x)))))
    with pytest.warns(
        UserWarning, match=r"net/b: its activations can be read nowhere.*other layers too.*declare_neurons"
    ):
        assert [layer.name for layer in discover_neurons(net, X)] == ["a"]


def test_outputs_gates_and_unused_views_are_no_neurons_and_no_readers() -> None:
    squashed = Parts(lambda n, x: torch.tanh(n.c(n.act(n.a(x)))))
    assert only(discover_neurons(squashed, X)).name == "a"
    gated = Parts(lambda n, x: n.c(n.act(n.a(x))) * torch.sigmoid(n.b(x[:, :1].expand(-1, 4)))[:, :2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [layer.name for layer in discover_neurons(gated, X)] == ["a"]

    def logs(n: Any, x: Tensor) -> Tensor:
        h = n.act(n.a(x))
        n.recorded = h.detach()
        return n.c(h + 0 if n.training else h) + h.new_zeros(2)

    assert only(discover_neurons(Parts(logs), X)).surgery is Surgery.EXACT


def test_a_function_that_runs_the_network_and_several_arguments() -> None:
    net = Parts(lambda n, x: n.c(n.act(n.a(x))))

    def runs() -> None:  # returns nothing, so that nothing is seen from its result
        assert not net(X).requires_grad

    assert only(discover_neurons(net, runs)).name == "a"

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.inner(x) + self.inner(y)

    assert only(discover_neurons(Two(), (X, X + 1))).name == "inner.a"
    assert only(discover_neurons(Two(), [X, X + 1])).key == "net/inner.a"


def test_nothing_is_left_behind() -> None:
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    net[4].eval()  # some modules in evaluation mode, others not
    net(X).sum().backward()
    training = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    random = torch.get_rng_state()
    for example in (X, lambda: net(X + torch.randn(6, 3))):
        discover_neurons(net, example)
    with pytest.raises(RuntimeError, match="shapes"):
        discover_neurons(net, torch.ones(2, 5))
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in net.modules()] == training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.ones(1).add(1) == 2  # the dispatch mode is gone


def test_nothing_found_says_what_ran() -> None:
    net = Parts(lambda n, x: n.c(n.a(x)))
    with pytest.raises(
        ValueError, match=r"ran: 'a' \(Linear\), 'c' \(Linear\)\. .*called as functions.*declare_neurons"
    ):
        discover_neurons(net, X)
    with pytest.raises(ValueError, match="ran: none"):
        discover_neurons(net, lambda: None)
    with pytest.raises(ValueError, match="without a batch dimension"):
        discover_neurons(nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Conv1d(2, 1, 1)), torch.ones(1, 5))
