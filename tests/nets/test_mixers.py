"""Mixers: the formula, monotonicity, and what they refuse."""

import pytest
import torch
from torch import nn
from torch.nn.functional import elu

from rllib_reborn.nets.mixers import QMixer, VDNMixer


@pytest.mark.parametrize("layers", [1, 2])
def test_qmix_equals_its_formula(layers):
    torch.manual_seed(1)
    mixer = QMixer(3, 5, embed_dim=4, hypernet_layers=layers, hypernet_dim=6)
    q, state = torch.randn(7, 3), torch.randn(7, 5)
    w_1 = mixer.hyper_w_1(state).abs().view(7, 3, 4)
    hidden = elu((q.unsqueeze(2) * w_1).sum(1) + mixer.hyper_b_1(state))
    expected = (hidden * mixer.hyper_w_final(state).abs()).sum(1) + mixer.V(state).squeeze(1)
    torch.testing.assert_close(mixer(q, state), expected)


def test_qmix_by_hand():
    mixer = QMixer(2, 1, embed_dim=1, hypernet_layers=1)
    with torch.no_grad():
        for p in mixer.parameters():
            p.zero_()
        mixer.hyper_w_1[0].weight.copy_(torch.tensor([[-2.0], [3.0]]))  # |w_1| = (2, 3) at state 1
        mixer.hyper_w_final[0].bias.fill_(-0.5)  # |w_final| = 0.5
        mixer.hyper_b_1.bias.fill_(1.0)
        mixer.V[2].bias.fill_(10.0)
    # 0.5 * elu(2 * 1 + 3 * 1 + 1) + 10
    assert mixer(torch.tensor([[1.0, 1.0]]), torch.ones(1, 1)).item() == pytest.approx(13.0)


def test_qmix_is_monotonic_in_every_agent():
    torch.manual_seed(0)
    mixer = QMixer(4, 6)
    q = torch.randn(500, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(q, torch.randn(500, 6)).sum(), q)
    assert (gradient >= 0).all()
    assert (gradient > 0).any()


def test_vdn_is_the_sum_and_has_no_parameters():
    mixer = VDNMixer()
    assert mixer(torch.tensor([[1.0, 2.0, -4.0]]), torch.zeros(1, 0)).tolist() == [-1.0]
    assert not list(mixer.parameters())


def test_qmix_refuses_a_task_without_state_and_other_depths():
    with pytest.raises(ValueError, match="global state"):
        QMixer(2, 0)
    with pytest.raises(ValueError, match="hypernet_layers is 3"):
        QMixer(2, 4, hypernet_layers=3)


def test_relus_are_modules_so_that_hooks_see_their_output():
    mixer = QMixer(2, 3, embed_dim=4, hypernet_dim=5)
    shapes = []
    for module in (mixer.hyper_w_final[1], mixer.V[1]):
        assert isinstance(module, nn.ReLU)
        module.register_forward_hook(lambda _m, _i, out: shapes.append(out.shape))
    mixer(torch.randn(6, 2), torch.randn(6, 3))
    assert sorted(shapes) == [(6, 4), (6, 5)]
