"""What is recorded of activations and of gradients, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery, declare_neurons
from rllib_reborn.plasticity.statistics import measure, recording, recording_gradients

#: 3 rows of 3 neurons. Sums of |h|: 4, 0, 6; of h: -2, 0, 6; rows that are not 0: 2, 0, 3.
H = torch.tensor([[1.0, 0.0, 1.0], [-3.0, 0.0, 2.0], [0.0, 0.0, 3.0]])


def watch(module: nn.Module, width: int, *, net: str = "net", name: str = "h", neuron_dim: int = -1) -> NeuronLayer:
    """Neurons that can only be looked at."""
    return NeuronLayer(
        net, name, width, ActivationHook(module, neuron_dim=neuron_dim), "Identity", Surgery.IMPOSSIBLE, "a test"
    )


def test_means_are_those_of_the_rows() -> None:
    hook = nn.Identity()
    found = measure([watch(hook, 3)], lambda: hook(H))["net/h"]
    torch.testing.assert_close(found.mean_abs, torch.tensor([4 / 3, 0.0, 2.0]))
    torch.testing.assert_close(found.mean, torch.tensor([-2 / 3, 0.0, 2.0]))
    torch.testing.assert_close(found.nonzero, torch.tensor([2 / 3, 0.0, 1.0]))
    assert found.rows == 3
    assert found.features is not None
    assert torch.equal(found.features, H)
    assert found.active.tolist() == [True] * 3


def test_masked_rows_do_not_count_even_where_they_are_nan() -> None:
    hook = nn.Identity()
    h = torch.cat([H, torch.full((1, 3), torch.nan)]).view(2, 2, 3)
    masks = {"net": torch.tensor([[True, True], [False, False]])}
    found = measure([watch(hook, 3)], lambda: hook(h), row_masks=masks)["net/h"]
    torch.testing.assert_close(found.mean_abs, torch.tensor([2.0, 0.0, 1.5]))  # rows 0 and 1
    assert found.rows == 2
    assert torch.equal(found.features, H[:2])  # type: ignore[arg-type]


def test_a_mask_goes_with_its_net_and_the_layers_own_wins() -> None:
    one, two, other = nn.Identity(), nn.Identity(), nn.Identity()
    layers = [watch(one, 3, name="one"), watch(two, 3, name="two"), watch(other, 3, net="other")]
    masks = {"net": torch.tensor([True, False, False]), "net/two": torch.tensor([False, True, True])}
    found = measure(layers, lambda: (one(H), two(H), other(H)), row_masks=masks)
    assert {key: of_layer.rows for key, of_layer in found.items()} == {"net/one": 1, "net/two": 2, "other/h": 3}


def test_calls_add_up() -> None:
    hook = nn.Identity()
    found = measure([watch(hook, 3)], lambda: [hook(row.unsqueeze(0)) for row in H])["net/h"]
    torch.testing.assert_close(found.mean_abs, torch.tensor([4 / 3, 0.0, 2.0]))
    assert found.rows == 3
    masked = measure(
        [watch(hook, 3)], lambda: (hook(H), hook(2 * H)), row_masks={"net": torch.tensor([True, False, True])}
    )["net/h"]
    # Rows 0 and 2 of H and of 2 H: |h_0| = 1, 0, 2, 0.
    assert masked.rows == 4
    assert masked.mean_abs[0] == pytest.approx(3 / 4)


def test_channels_of_a_convolution_are_neurons() -> None:
    hook = nn.Identity()
    h = torch.arange(2 * 3 * 4.0).view(2, 3, 4)
    found = measure([watch(hook, 3, neuron_dim=1)], lambda: hook(h))["net/h"]
    assert found.rows == 8
    # Neuron 0 sees 0..3 and 12..15, mean 7.5; each next one 4 more.
    assert found.mean_abs.tolist() == [7.5, 11.5, 15.5]


def test_sums_are_exact_where_float32_would_not_be() -> None:
    hook = nn.Identity()
    # In float32 1e8 + 1 == 1e8: a running float32 sum would lose all the ones.
    values = torch.cat([torch.full((1, 1), 1e8), torch.ones(10_000, 1)])
    found = measure([watch(hook, 1)], lambda: [hook(part) for part in values.split(100)])["net/h"]
    assert float(found.mean_abs) == pytest.approx((1e8 + 10_000) / 10_001, rel=1e-7)
    assert found.mean_abs.dtype is torch.float32


def test_half_precision_gives_float32() -> None:
    hook = nn.Identity()
    found = measure([watch(hook, 3)], lambda: hook(H.bfloat16()))["net/h"]
    assert {found.mean_abs.dtype, found.mean.dtype, found.nonzero.dtype, found.features.dtype} == {torch.float32}  # type: ignore[union-attr]


@given(rows=st.integers(1, 3000), calls=st.integers(1, 5), keep=st.integers(1, 64))
@settings(max_examples=30, deadline=None)
def test_features_are_spread_evenly_however_the_rows_arrive(rows: int, calls: int, keep: int) -> None:
    hook = nn.Identity()
    h = torch.arange(float(rows)).unsqueeze(1)

    def kept(parts: int) -> torch.Tensor:
        found = measure([watch(hook, 1)], lambda: [hook(part) for part in h.tensor_split(parts)], feature_rows=keep)
        features = found["net/h"].features
        assert features is not None
        return features.squeeze(1)

    features = kept(calls)
    assert len(features) == min(rows, keep)
    assert torch.equal(features, kept(1))
    gaps = torch.diff(features, prepend=torch.tensor([-1.0]), append=torch.tensor([float(rows)]))
    assert gaps.min() >= 1  # in order, no row twice
    assert gaps.max() <= 4 * max(1, rows / keep)  # no stretch is left out


def test_features_do_not_lock_into_the_layout() -> None:
    hook = nn.Identity()
    agent = torch.arange(8192.0) % 8  # 8 agents in turn; a fixed stride of 8192 / 512 would see agent 0 alone
    features = measure([watch(hook, 1)], lambda: hook(agent.unsqueeze(1)))["net/h"].features
    assert features is not None
    counts = features.long().flatten().bincount(minlength=8)
    assert counts.min() >= 40  # of 64 each


def test_no_features_where_none_are_wanted() -> None:
    hook = nn.Identity()
    assert measure([watch(hook, 3)], lambda: hook(H), feature_rows=0)["net/h"].features is None


def test_recording_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    layer = declare_neurons("net", "0", net[0], net[1], net[2])
    x = torch.randn(5, 3)
    plain = net(x)
    with recording([layer]) as statistics:
        watched = net(x)
    found = statistics()["net/0"]
    assert torch.equal(plain, watched)
    assert not any(t.requires_grad for t in (found.mean_abs, found.mean, found.nonzero, found.features))  # type: ignore[union-attr]
    assert watched.requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net)


def test_hooks_are_gone_after_an_error() -> None:
    hook = nn.Identity()
    with pytest.raises(RuntimeError, match="of the network"), recording([watch(hook, 3)]):
        raise RuntimeError("of the network")
    assert not hook._forward_hooks


def test_live_neurons_are_handed_on() -> None:
    layer = NeuronLayer(
        "net",
        "h",
        3,
        ActivationHook(nn.Identity()),
        "x",
        Surgery.IMPOSSIBLE,
        "y",
        active=torch.tensor([True, False, True]),
    )
    found = measure([layer], lambda: layer.hook.module(H))["net/h"]
    assert found.active.tolist() == [True, False, True]
    assert found.mean_abs[1] == 0


def test_errors_say_what_is_wrong() -> None:
    hook = nn.Identity()
    layer = watch(hook, 3)
    with pytest.raises(ValueError, match="net/h: its hook on Identity never fired"):
        measure([layer], lambda: None)
    with pytest.raises(ValueError, match="mask has 2 entries, the layer saw 3 rows"):
        measure([layer], lambda: hook(H), row_masks={"net": torch.tensor([True, False])})
    with pytest.raises(ValueError, match="none of the rows counts"):
        measure([layer], lambda: hook(H), row_masks={"net": torch.zeros(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"is torch.float32; expected torch.bool"):
        measure([layer], lambda: hook(H), row_masks={"net": torch.ones(3)})
    with pytest.raises(ValueError, match="expected 3"):
        measure([layer], lambda: hook(torch.ones(2, 4)))
    with pytest.raises(ValueError, match="1 of 3 neurons are NaN"):
        measure([layer], lambda: hook(torch.tensor([[1.0, torch.inf, 1.0]])))
    with pytest.raises(ValueError, match="feature_rows is -1"):
        measure([layer], lambda: hook(H), feature_rows=-1)
    assert not hook._forward_hooks


def gradient_net(activation: nn.Module) -> tuple[nn.Sequential, NeuronLayer]:
    """z = x (identity weights), out = h_0 + 2 h_1."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), activation, nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[2].weight.copy_(torch.tensor([[1.0, 2.0]]))
    return net, declare_neurons("net", "0", net[0], net[1], net[2])


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_are_those_before_the_activation(inplace: bool) -> None:
    net, layer = gradient_net(nn.ReLU(inplace=inplace))
    x = torch.tensor([[1.0, -1.0], [2.0, 3.0], [-1.0, -2.0], [4.0, -5.0]])
    with recording_gradients([layer]) as gradients:
        net(x).sum().backward()
    found = gradients()["net/0"]
    # dL/dz = (1, 2) * 1[z > 0]: neuron 0 in 3 of 4 rows, neuron 1 in 1 of 4.
    assert found.mean_abs.tolist() == [0.75, 0.5]
    assert found.rows == 4
    assert found.preactivation
    assert not net[1]._forward_pre_hooks


def test_gradients_of_any_activation() -> None:
    net, layer = gradient_net(nn.Tanh())
    x = torch.tensor([[0.5, -1.0]])
    with recording_gradients([layer]) as gradients:
        net(x).sum().backward()
    expected = (1 - x.tanh() ** 2) * torch.tensor([[1.0, 2.0]])  # tanh' = 1 - tanh^2
    torch.testing.assert_close(gradients()["net/0"].mean_abs, expected[0])


def test_where_only_the_activations_are_seen_relu_is_gated_and_others_are_marked() -> None:
    x = torch.tensor([[1.0, -1.0], [2.0, 3.0]])
    for activation, expected, known in ((nn.ReLU(), [1.0, 1.0], True), (nn.Tanh(), [1.0, 2.0], False)):
        net, at_activation = gradient_net(activation)
        layer = declare_neurons("net", "0", net[0], net[1], net[2], hook=ActivationHook(net[2], side="input"))
        with recording_gradients([layer]) as gradients:
            net(x).sum().backward()
        found = gradients()["net/0"]
        # dL/dh = (1, 2); ReLU's gate leaves neuron 1 one row of two.
        assert found.mean_abs.tolist() == expected
        assert found.preactivation is known
        assert at_activation.hook.module is activation


def test_gradients_come_back_to_channels() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 1))
    layer = declare_neurons("net", "0", net[0], net[1], net[3])
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[0].bias.zero_()
        net[3].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]))
    with recording_gradients([layer]) as gradients:
        net(torch.tensor([[[1.0, -1.0, 1.0]]])).sum().backward()
    # Position 1 is off: channel 0 has 1, 0, 3 and channel 1 has 4, 0, 6.
    assert gradients()["net/0"].mean_abs.tolist() == pytest.approx([4 / 3, 10 / 3])


def test_gradients_are_not_changed_and_their_absence_is_told() -> None:
    net, layer = gradient_net(nn.ReLU())
    x = torch.randn(5, 2)
    plain = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    with recording_gradients([layer]):
        watched = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    with recording_gradients([layer]) as gradients, torch.no_grad():
        net(x)
    with pytest.raises(ValueError, match="no gradient came back"):
        gradients()
