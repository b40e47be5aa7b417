"""QMIX's mixing by kernels: torch's numbers, whole and in parts the same bits, and nothing hidden from who looks."""

import pytest
import torch
from torch import nn

from rllib_reborn.nets import compiled
from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.mixers import QMixer, compiled_qmix

pytest.importorskip("numba")
pytestmark = pytest.mark.usefixtures("kernels_are_taken")

#: Agents, width of the state, rows, embed_dim, hypernet_dim.
SHAPES = [(2, 30, 1600, 32, 64), (8, 128, 1029, 32, 64), (1, 7, 1024, 64, 16), (5, 16, 1100, 16, 48)]
LOOKED_AT = ["hyper_w_1.1", "hyper_w_final.0", "V.1", "hyper_b_1", "mixing"]


@pytest.fixture
def whole(monkeypatch):
    """How often the whole mixing was computed at once."""
    calls = []
    q_tot = compiled_qmix.q_tot
    monkeypatch.setattr(compiled_qmix, "q_tot", lambda *given: calls.append(1) or q_tot(*given))
    return calls


def _mixer(shape):
    n, s, rows, embed, hidden = shape
    torch.manual_seed(rows)
    mixer = QMixer(n, s, embed_dim=embed, hypernet_dim=hidden)
    return mixer, torch.randn(rows, n, requires_grad=True), torch.randn(rows, s, requires_grad=True)


def _values_and_gradients(mixer, q, state):
    out = mixer(q, state)
    weights = torch.linspace(-0.5, 1, len(out))
    return [out, *torch.autograd.grad((out * weights).sum(), [q, state, *mixer.parameters()])]


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_torch_s(shape, whole, monkeypatch):
    mixer, q, state = _mixer(shape)
    ours = _values_and_gradients(mixer, q, state)
    assert whole
    monkeypatch.setattr(compiled, "suits", lambda *_: False)
    for mine, theirs in zip(ours, _values_and_gradients(mixer.double(), q.double(), state.double())):
        torch.testing.assert_close(
            mine.double(), theirs.double(), rtol=0, atol=1e-5 * float(theirs.detach().abs().max() + 1)
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", LOOKED_AT)
def test_who_looks_at_a_part_changes_no_bit(shape, part, whole):
    mixer, q, state = _mixer(shape)
    alone = _values_and_gradients(mixer, q, state)
    with torch.no_grad():
        alone.append(mixer(q, state))
    assert len(whole) == 2
    watched = []
    handle = mixer.get_submodule(part).register_forward_hook(lambda *given: watched.append(given))
    beside = _values_and_gradients(mixer, q, state)
    with torch.no_grad():
        beside.append(mixer(q, state))
    handle.remove()
    assert len(whole) == 2
    # The first layers are one product, so that they are not called: a torch hook on them is told nothing, as before.
    assert len(watched) == (0 if part in ("hyper_w_final.0", "hyper_b_1") else 2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(alone, beside, strict=True))


def test_gradients_come_back_to_who_looks(whole):
    mixer, q, state = _mixer(SHAPES[0])
    grads = []
    mixer.mixing.register_forward_pre_hook(lambda _, given: given[0].register_hook(grads.append) and None)
    mixer(q, state).sum().backward()
    assert not whole
    assert grads[0].shape == (1600, 32)
    assert grads[0].any()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("given", ["q", "state"])
def test_what_is_not_finite_is_shown_as_torch_shows_it(number, given, whole, monkeypatch):
    mixer, q, state = _mixer(SHAPES[0])
    with torch.no_grad():
        (q if given == "q" else state)[700, 1] = number
    ours = _values_and_gradients(mixer, q, state)
    assert whole
    monkeypatch.setattr(compiled, "suits", lambda *_: False)
    theirs = _values_and_gradients(mixer, q, state)
    assert torch.equal(ours[0].isfinite(), theirs[0].isfinite())
    for mine, other in zip(ours, theirs):
        assert mine.isfinite().all() == other.isfinite().all()


def test_a_weight_of_zero_has_no_gradient_and_relus_are_shut(whole):
    mixer, q, state = _mixer(SHAPES[0])
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
    out, by_q, by_state, *of_parameters = _values_and_gradients(mixer, q, state)
    assert whole
    assert not out.any()
    assert not by_q.any()
    assert not by_state.any()
    names = [name for name, _ in mixer.named_parameters()]
    assert {name for name, grad in zip(names, of_parameters) if grad.any()} == {"V.2.bias"}


def test_frozen_weights_and_values_without_gradient(whole):
    mixer, q, state = _mixer(SHAPES[0])
    mixer.V.requires_grad_(False)
    mixer(q.detach(), state.detach()).sum().backward()
    assert whole
    assert q.grad is None
    assert mixer.V[0].weight.grad is None
    assert mixer.hyper_w_1[0].weight.grad.any()


def test_a_gradient_of_the_gradient_is_refused_and_not_wrong():
    mixer, q, state = _mixer(SHAPES[0])
    [grad] = torch.autograd.grad(mixer(q, state).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.square().sum().backward()


@pytest.mark.parametrize("change", ["layer", "activation", "one layer", "few rows", "threads", "double"])
def test_what_kernels_do_not_suit_is_torch_s(change, whole):
    mixer, q, state = _mixer(SHAPES[0])
    if change == "layer":
        mixer.hyper_w_1[2] = InjectedLinear(mixer.hyper_w_1[2])
    elif change == "activation":
        mixer.hyper_w_1[1] = nn.Sequential(nn.LayerNorm(64), nn.ReLU())
    elif change == "one layer":
        mixer = QMixer(2, 30, hypernet_layers=1)
    elif change == "few rows":
        q, state = q[:1023], state[:1023]
    elif change == "threads":
        torch.set_num_threads(2)
    else:
        mixer, q, state = mixer.double(), q.double(), state.double()
    mixer(q, state).sum().backward()
    assert not whole
    assert all(p.grad is not None for p in mixer.parameters())


def test_shapes_that_do_not_fit_are_refused_and_a_missing_bias_is_torch_s(whole):
    mixer, q, state = _mixer(SHAPES[0])
    with pytest.raises(RuntimeError):
        mixer(torch.cat([q, q[:, :1]], 1), state)
    with pytest.raises(RuntimeError):
        mixer(q, state[:, 1:])
    mixer.hyper_w_1[2] = Linear(64, 64, bias=False)
    assert mixer(q, state).isfinite().all()
    mixer.hyper_w_1[2] = Linear(64, 96)  # of three agents
    with pytest.raises(RuntimeError):
        mixer(q, state)
    assert not whole


def test_a_hook_on_the_last_layer_of_v_is_called(whole):
    mixer, q, state = _mixer(SHAPES[0])
    mixer.V[2].register_forward_hook(lambda *given: given[2] + 1000)
    assert (mixer(q, state) > 900).all()
    assert not whole


def test_a_forward_that_was_replaced_is_called(whole):
    mixer, q, state = _mixer(SHAPES[0])
    mixer.hyper_w_final[1].forward = lambda x: x * 0
    assert torch.allclose(mixer(q, state), _with_final_weights_of_biases(mixer, q, state), atol=1e-5)
    assert not whole


def _with_final_weights_of_biases(mixer, q, state):
    w_1 = mixer.hyper_w_1(state).abs().view(-1, 2, 32)
    hidden = nn.functional.elu((q.unsqueeze(2) * w_1).sum(1) + mixer.hyper_b_1(state))
    return (hidden * mixer.hyper_w_final[2].bias.abs()).sum(1) + mixer.V(state).squeeze(1)


def test_elu_alone():
    x = torch.cat(
        [torch.linspace(-100, 100, 40_000), torch.tensor([0.0, -1e-6, 1e-6, -1e30, float("inf"), float("nan")])]
    )
    x = torch.nn.functional.pad(x, (0, -len(x) % 16)).view(-1, 16).requires_grad_()
    assert len(x) >= 1024
    ours, theirs = compiled_qmix.ELU()(x), nn.functional.elu(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7, equal_nan=True)
    of_ours, of_theirs = (torch.autograd.grad(out.nansum(), x)[0].nan_to_num(0) for out in (ours, theirs))
    torch.testing.assert_close(of_ours, of_theirs, rtol=1e-6, atol=1e-12)
    assert torch.equal(compiled_qmix.ELU(alpha=2.0)(x).nan_to_num(), nn.functional.elu(x, 2.0).nan_to_num())
