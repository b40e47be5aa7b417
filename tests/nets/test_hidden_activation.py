"""Layer normalisation and CReLU in hidden layers: by hand, in every network, and as layers that are measured."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.hidden_activation import (
    NORMALISED,
    TWO_OUTPUTS,
    CReLU,
    NormalisedActivation,
    shape_hidden_layers,
    shaped,
)
from rllib_reborn.nets.mixers import FeedForwardMixer, Mixer, QMixer, QPLEXMixer, VDNMixer
from rllib_reborn.nets.mixers.state_encoder import put_state_encoder
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.neuron_layers import Surgery
from rllib_reborn.plasticity.statistics import measure, recording_gradients

BOTH = [("layer", "relu"), ("none", "crelu"), ("layer", "crelu")]


def hidden(z: Tensor, norm: nn.LayerNorm | None, activation: str) -> Tensor:
    """What the reader reads, written out."""
    if norm is not None:
        mean, variance = z.mean(-1, keepdim=True), z.var(-1, unbiased=False, keepdim=True)
        z = (z - mean) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias
    if activation == "relu":
        return z.clamp(min=0)
    out = z.new_empty(*z.shape[:-1], 2 * z.shape[-1])
    out[..., 0::2], out[..., 1::2] = z.clamp(min=0), (-z).clamp(min=0)
    return out


def norm_of(activation: nn.Module) -> nn.LayerNorm | None:
    return activation[0] if isinstance(activation, NormalisedActivation) else None  # type: ignore[return-value]


def disturb(net: nn.Module) -> None:
    """Scales and shifts that are not 1 and 0, so that they can be told apart."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)


def test_crelu_on_paper() -> None:
    z = torch.tensor([[1.0, -2.0, 0.0]])
    assert CReLU()(z).tolist() == [[1.0, 0.0, 0.0, 2.0, 0.0, 0.0]]


def test_a_gradient_passes_wherever_z_is() -> None:
    z = torch.tensor([3.0, -3.0], requires_grad=True)
    CReLU()(z).sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(("normalisation", "activation"), BOTH)
def test_an_agent_by_hand(normalisation: str, activation: str) -> None:
    torch.manual_seed(0)
    net = shaped(AgentNet, normalisation, activation)(3, 4, hidden_dim=5, fc_layers=2)
    disturb(net)
    first, act_1, second, act_2 = net.encoder
    x = torch.randn(7, 3)
    h = hidden(first(x), norm_of(act_1), activation)
    h = hidden(functional.linear(h, second.weight, second.bias), norm_of(act_2), activation)
    gru = net.memory
    assert isinstance(gru, nn.GRU)
    assert gru.input_size == (10 if activation == "crelu" else 5)
    state = torch.gru_cell(h, torch.zeros(7, 5), *gru.parameters())
    values, after = net.step(x, torch.zeros(7, 5))
    torch.testing.assert_close(after, state)
    torch.testing.assert_close(values, functional.linear(state, net.head.weight, net.head.bias))


@pytest.mark.parametrize(("normalisation", "activation"), BOTH)
@pytest.mark.parametrize("recurrent", [True, False])
def test_a_sequence_is_its_steps(normalisation: str, activation: str, recurrent: bool) -> None:
    torch.manual_seed(1)
    team = AgentTeam(
        (0, 1), 3, 4, hidden_dim=5, recurrent=recurrent, make_net=shaped(AgentNet, normalisation, activation)
    )
    x = torch.randn(6, 2, 3)  # two episodes of three steps
    sequence = team.unroll(x, [2, 2, 2])
    state = torch.zeros(2, 2, team.state_dim)
    for step in range(3):
        values, state = team.step(x[2 * step : 2 * step + 2], state)
        torch.testing.assert_close(sequence[2 * step : 2 * step + 2], values)


@pytest.mark.parametrize(("normalisation", "activation"), BOTH)
def test_qmix_by_hand(normalisation: str, activation: str) -> None:
    torch.manual_seed(2)
    mixer = QMixer(2, 6, embed_dim=3, hypernet_dim=4)
    shape_hidden_layers(mixer, normalisation, activation)
    disturb(mixer)
    q, state = torch.randn(5, 2), torch.randn(5, 6)

    def of(net: Any) -> Tensor:
        h = hidden(functional.linear(state, net[0].weight, net[0].bias), norm_of(net[1]), activation)
        return functional.linear(h, net[2].weight, net[2].bias)

    w_1 = of(mixer.hyper_w_1).abs().view(5, 2, 3)
    b_1 = functional.linear(state, mixer.hyper_b_1.weight, mixer.hyper_b_1.bias)
    inner = functional.elu((q.unsqueeze(1) @ w_1).squeeze(1) + b_1)
    expected = (inner * of(mixer.hyper_w_final).abs()).sum(1) + of(mixer.V).squeeze(1)
    torch.testing.assert_close(mixer(q, state), expected)


def mixers() -> list[Mixer]:
    torch.manual_seed(3)
    made: list[Mixer] = [
        QMixer(2, 6),
        QMixer(2, 6, hypernet_layers=1),
        QPLEXMixer(2, 3, 6, adv_hypernet_layers=3),
        FeedForwardMixer(2, 6, embed_dim=8),
    ]
    for mixer in made:
        put_state_encoder(mixer, 9, 6)
    return made


@pytest.mark.parametrize(("normalisation", "activation"), BOTH)
@pytest.mark.parametrize("number", range(4))
def test_every_hidden_layer_of_a_mixer_and_a_gradient_for_every_parameter(
    number: int, normalisation: str, activation: str
) -> None:
    mixer = mixers()[number]
    plain = declared_layers("mixer", copy.deepcopy(mixer), "full")
    shape_hidden_layers(mixer, normalisation, activation)
    layers = declared_layers("mixer", mixer, "full")
    assert [layer.key for layer in layers] == [layer.key for layer in plain]
    assert [layer.width for layer in layers] == [layer.width for layer in plain]
    reason = NORMALISED if normalisation == "layer" else TWO_OUTPUTS
    for before, after in zip(plain, layers, strict=True):
        assert after.surgery is Surgery.IMPOSSIBLE
        assert before.surgery is Surgery.IMPOSSIBLE or after.reason == reason
    q, state = torch.randn(40, 2), torch.randn(40, 9)
    mask, actions = torch.ones(40, 2, 3, dtype=torch.bool), torch.randint(3, (40, 2))
    values = torch.randn(40, 2, 3)
    value = mixer.of_actions(values, actions, mask, state) if isinstance(mixer, QPLEXMixer) else mixer(q, state)
    value.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in mixer.parameters())


def test_relu_without_normalisation_is_what_was_there_to_the_bit() -> None:
    torch.manual_seed(4)
    plain = QMixer(2, 6).state_dict()
    torch.manual_seed(4)
    mixer = QMixer(2, 6)
    shape_hidden_layers(mixer, "none", "relu")
    assert all(torch.equal(plain[name], value) for name, value in mixer.state_dict().items())
    assert shaped(AgentNet, "none", "relu") is AgentNet


@pytest.mark.parametrize(("normalisation", "activation"), BOTH)
def test_what_is_measured(normalisation: str, activation: str) -> None:
    torch.manual_seed(5)
    net = shaped(AgentNet, normalisation, activation)(3, 2, hidden_dim=4)
    disturb(net)
    (layer, _) = declared_layers("agent", net, "full")
    x = torch.randn(9, 3)
    read = hidden(net.encoder[0](x), norm_of(net.encoder[1]), activation)
    expected = read.unflatten(-1, (4, -1)).sum(-1).mean(0)
    found = measure([layer], lambda: net.step(x, torch.zeros(9, 4)))[layer.key]
    torch.testing.assert_close(found.mean_abs.float(), expected.detach())
    with recording_gradients([layer]) as gradients:
        values, _ = net.step(x, torch.zeros(9, 4))
        values.square().sum().backward()
    assert gradients()[layer.key].preactivation
    z = net.encoder[0](x).detach()
    norm = norm_of(net.encoder[1])
    z = (z if norm is None else norm(z)).detach().requires_grad_()
    inner = net.encoder[1][-1] if norm is not None else net.encoder[1]
    state = torch.gru_cell(inner(z), torch.zeros(9, 4), *net.memory.parameters())
    net.head(state).square().sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(gradients()[layer.key].mean_abs.float(), z.grad.abs().mean(0))


@pytest.mark.parametrize(
    ("normalisation", "activation", "words"),
    [
        ("batch", "relu", "normalisation is 'batch'; expected one of none, layer"),
        ("none", "tanh", "activation is 'tanh'; expected one of relu, crelu"),
    ],
)
def test_what_is_unknown_is_refused(normalisation: str, activation: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shape_hidden_layers(QMixer(2, 3), normalisation, activation)


def test_a_network_without_hidden_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="a VDNMixer of these settings has no hidden layer"):
        shape_hidden_layers(VDNMixer(), "layer", "relu")
