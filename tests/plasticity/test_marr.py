"""MARR: the official settings, and its interpolation on online and target networks by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.interventions import MARR
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention


def line(weight: float) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(weight)
    return net


def test_official_settings():
    marr = MARR()
    assert (marr.every, marr.unit, marr.shrink, marr.towards) == (2000, "episodes", 0.8, "initial")
    assert (marr.scope, marr.target_networks, marr.amplitude) == ("all", "mirror", (0.8, 1.2))
    assert marr.updates_per_episode == 50 / 8
    assert marr.needs_initial
    assert not marr.needs_statistics


def test_online_and_target_both_move_towards_the_beginning():
    nets = {"agent": line(2.0), "mixer": line(-1.0)}
    targets = {"agent": line(3.0), "mixer": line(0.0)}
    initial = {"agent": {"0.weight": torch.tensor([[5.0]])}, "mixer": {"0.weight": torch.tensor([[1.0]])}}
    model_view = ModelView(nets=nets, layers=[], target_nets=targets)
    apply_intervention(MARR(), model_view, generator=torch.Generator(), initial=initial)
    # online: 0.8 * 2 + 0.2 * 5 = 2.6;  0.8 * -1 + 0.2 * 1 = -0.6.  target: 0.8 * 3 + 0.2 * 5 = 3.4;  0.2 * 1 = 0.2
    got = [net[0].weight.item() for net in (*nets.values(), *targets.values())]
    assert got == pytest.approx([2.6, -0.6, 3.4, 0.2], abs=1e-6)


def test_amplitude_can_be_switched_off_and_is_checked():
    assert MARR(amplitude=None).amplitude is None
    assert MARR(amplitude=[1, 2]).amplitude == (1.0, 2.0)  # type: ignore[arg-type]
    for wrong in ((1.2, 0.8), (0.0, 1.0), (1.0,), "wide"):
        with pytest.raises(ValueError, match="amplitude"):
            MARR(amplitude=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="updates_per_episode is -1"):
        MARR(updates_per_episode=-1)
