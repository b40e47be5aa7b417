"""CVaR: the definition, closed forms, its gradient, and the official code's defect."""

import math

import pytest
import torch

from rllib_reborn.nets import cvar as cvar_module
from rllib_reborn.nets.cvar import cvar, cvar_at, tail_weights


def by_definition(atoms, level):
    """Mean of the lowest share of probability, atom by atom."""
    left, total = level, 0.0
    for atom in sorted(atoms):
        part = min(1 / len(atoms), left)
        total += part * atom
        left -= part
    return total / level


@pytest.mark.parametrize("level", [0.05, 0.1, 0.25, 0.3, 0.37, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("count", [1, 3, 10, 100])
def test_it_is_the_mean_of_the_lowest_share(level, count):
    atoms = torch.randn(6, count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    expected = [by_definition(row.tolist(), level) for row in atoms]
    torch.testing.assert_close(cvar(atoms, level), torch.tensor(expected, dtype=torch.float64))
    assert cvar(atoms.view(2, 3, count), level).shape == (2, 3)


def test_at_level_one_it_is_the_mean():
    atoms = torch.randn(5, 7)
    torch.testing.assert_close(cvar(atoms, 1.0), atoms.mean(1))


@pytest.mark.parametrize("level", [0.1, 0.25, 0.5, 1.0])
def test_closed_forms(level):
    middles = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    # Uniform on 0..1: alpha / 2. Normal: -pdf(z_alpha) / alpha.
    assert cvar(middles, level).item() == pytest.approx(level / 2, rel=1e-9)
    normal = math.sqrt(2) * torch.erfinv(2 * middles - 1)
    z = math.sqrt(2) * torch.erfinv(torch.tensor(2 * level - 1, dtype=torch.float64)).item()
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    assert cvar(normal, level).item() == pytest.approx(-density / level, abs=1e-3)


def test_weights_of_every_level_sum_to_one_and_whole_shares_are_whole():
    weights = tail_weights([k / 10 for k in range(1, 11)], 100)
    torch.testing.assert_close(weights.sum(1), torch.ones(10, dtype=torch.float64))
    # 0.3 * 100 is 30.000000000000004 in floating point
    assert (weights > 0).sum(1).tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


@pytest.mark.parametrize("block", [2, 2048])
def test_rows_have_their_own_levels_and_gradients(block, monkeypatch):
    monkeypatch.setattr(cvar_module, "BLOCK_ROWS", block)
    torch.manual_seed(0)
    levels = (0.05, 0.25, 0.77, 1.0)
    weights = tail_weights(levels, 11)
    atoms = torch.randn(9, 11, dtype=torch.float64, requires_grad=True)
    level = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 1])
    value, of_levels = cvar_at(atoms, weights, level)
    plain = (atoms.sort(dim=1).values * weights[level]).sum(1)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(of_levels, torch.stack([cvar(atoms.detach(), at) for at in levels], dim=1))
    assert not of_levels.requires_grad
    factor = torch.randn(9, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((value * factor).sum(), atoms)
    (expected,) = torch.autograd.grad((plain * factor).sum(), atoms)
    torch.testing.assert_close(gradient, expected)


def test_equal_atoms_at_the_edge_share_the_gradient():
    atoms = torch.tensor([[2.0, 0.0, 2.0, 5.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(cvar(atoms, 0.5).sum(), atoms)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, 0.5, 0.25, 0.0]]))


def test_the_official_code_divides_by_one_atom_too_few():
    """docs/method.md D17: 10 atoms / 9 at level 0.1; float rounding gives 31 / 30 at level 0.3."""
    weights = tail_weights([0.1, 0.3, 1.0], 100, official_code=True)
    assert (weights > 0).sum(1).tolist() == [10, 31, 100]
    torch.testing.assert_close(weights.sum(1), torch.tensor([10 / 9, 31 / 30, 100 / 99], dtype=torch.float64))


def test_refusals():
    for level in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="risk level is"):
            cvar(torch.zeros(1, 3), level)
    with pytest.raises(ValueError, match="atoms is 0"):
        tail_weights([0.5], 0)
    with pytest.raises(ValueError, match="divides by 0"):
        tail_weights([0.1], 10, official_code=True)
