"""DMIX's mixer: the mean is QMIX's, the shape is the sum's; greedy actions are the best (by enumeration), monotonic."""

import itertools

import pytest
import torch

from rllib_reborn.nets.mixers import DMixer, QMixer

ROWS, N, A, S, QUANTILES = 20, 3, 4, 5, 8


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return DMixer(N, S, embed_dim=8, hypernet_dim=16)


def distribution(rows=ROWS):
    """Quantiles of every action: [rows, n, A, N]."""
    return torch.randn(rows, N, A, QUANTILES).sort(-1).values


def mixed(mixer, z, state):
    """z [rows, n, N] -> [rows, N]."""
    return mixer.quantiles(z.mean(-1), z.sum(1), state)


def test_by_the_formula(mixer):
    z, state = distribution()[:, :, 0], torch.randn(ROWS, S)
    q = z.mean(-1)
    qmix = QMixer(N, S, embed_dim=8, hypernet_dim=16)
    qmix.load_state_dict(mixer.state_dict())
    expected = torch.stack([z[:, :, j].sum(1) - q.sum(1) + qmix(q, state) for j in range(QUANTILES)], dim=1)
    torch.testing.assert_close(mixed(mixer, z, state), expected)


def test_its_mean_is_qmix_of_the_means(mixer):
    z, state = 10 * distribution()[:, :, 0], torch.randn(ROWS, S)
    torch.testing.assert_close(mixed(mixer, z, state).mean(-1), mixer(z.mean(-1), state), rtol=1e-5, atol=1e-5)


def test_its_shape_is_the_sum_of_shapes(mixer):
    z, state = distribution()[:, :, 0], torch.randn(ROWS, S)
    mine = mixed(mixer, z, state)
    torch.testing.assert_close(mine - mine.mean(-1, keepdim=True), (z - z.mean(-1, keepdim=True)).sum(1))
    assert (mine.diff(dim=-1) >= 0).all()  # quantiles of agents in order stay in order


def test_greedy_actions_are_the_best_joint_action_of_the_mean(mixer):
    z, state = distribution(), torch.randn(ROWS, S)
    joint = list(itertools.product(range(A), repeat=N))
    value = torch.stack(
        [mixed(mixer, torch.stack([z[:, i, u[i]] for i in range(N)], dim=1), state).mean(-1) for u in joint], dim=1
    )
    greedy = z.mean(-1).argmax(-1)
    of_greedy = torch.stack([value[row, joint.index(tuple(greedy[row].tolist()))] for row in range(ROWS)])
    assert (of_greedy >= value.max(1).values - 1e-5).all()


def test_the_mean_is_monotonic_in_every_agent(mixer):
    z = torch.randn(300, N, QUANTILES, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixed(mixer, z, torch.randn(300, S)).mean(-1).sum(), z)
    assert (gradient.sum(-1) >= -1e-6).all()
    assert (gradient.sum(-1) > 1e-4).any()


def test_a_task_without_state_is_refused():
    with pytest.raises(ValueError, match="global state"):
        DMixer(2, 0)
