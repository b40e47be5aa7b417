"""Which hidden layers a choice means, and that ``editable`` ones can be edited."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers import QMixer, VDNMixer
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.dormancy_check import DormancyCheck
from rllib_reborn.plasticity.interventions import ReBorn, make_intervention
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused
from rllib_reborn.plasticity.neuron_layers import LAYER_CHOICES, NeuronLayer, Surgery
from rllib_reborn.plasticity.statistics import LayerStatistics, measure
from tests.plasticity.small_layers import bits


def names(layers: Sequence[NeuronLayer]) -> list[str]:
    return [layer.key for layer in layers]


def test_editable_is_every_hidden_layer_with_weights_of_its_own() -> None:
    mixer = QMixer(3, 10)
    assert names(declared_layers("mixer", mixer, "editable")) == ["mixer/hyper_w_1", "mixer/hyper_w_final", "mixer/V"]
    assert names(declared_layers("mixer", mixer, "full"))[-1] == "mixer/mixing"
    assert names(declared_layers("mixer", QMixer(3, 10, hypernet_layers=1), "editable")) == ["mixer/V"]
    assert declared_layers("mixer", VDNMixer(), "editable") == []
    recurrent, flat = (AgentTeam((0, 0), 5, 4, fc_layers=2, recurrent=recurrent) for recurrent in (True, False))
    assert names(declared_layers("agent", recurrent, "editable")) == ["agent/encoder.0", "agent/encoder.2"]
    assert names(declared_layers("agent", recurrent, "full")) == ["agent/encoder.0", "agent/encoder.2", "agent/memory"]
    assert names(declared_layers("agent", flat, "editable")) == names(declared_layers("agent", flat, "full"))
    assert all(layer.surgery is not Surgery.IMPOSSIBLE for layer in declared_layers("agent", recurrent, "editable"))


def test_every_setting_of_layers_knows_the_choices() -> None:
    assert LAYER_CHOICES == ("official_code", "editable", "full")
    for choice in LAYER_CHOICES:
        assert DormancyCheck(layers=choice).layers == choice
        assert make_intervention({"kind": "redo", "layers": choice}).layers == choice
    for made in (lambda: DormancyCheck(layers="all"), lambda: ReBorn(layers="all")):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="layers is 'all'; expected one of official_code, editable, full"):
            made()


def test_reborn_on_every_editable_layer_treats_the_first_hypernetwork_too() -> None:
    torch.manual_seed(2)
    mixer = QMixer(3, 10, embed_dim=32)
    q, state = torch.randn(200, 3), torch.randn(200, 10)
    with torch.no_grad():
        for net in (mixer.hyper_w_1, mixer.hyper_w_final, mixer.V):
            net[0].weight[:12], net[0].bias[:12] = 0.0, -1.0
            net[0].weight[12:14] *= 15.0

    def look(layers: Sequence[NeuronLayer]) -> dict[str, LayerStatistics]:
        return measure(layers, lambda: mixer(q, state))

    before, generator = bits(mixer), torch.Generator().manual_seed(0)
    every = ModelView(nets={"mixer": mixer}, layers=declared_layers("mixer", mixer, "full"), measure=look)
    with pytest.raises(SurgeryRefused, match=r"mixer/mixing.*layers='editable'"):
        apply_intervention(ReBorn(layers="full"), every, generator=generator)
    values_before = mixer(q, state)
    model_view = ModelView(nets={"mixer": mixer}, layers=declared_layers("mixer", mixer, "editable"), measure=look)
    report = apply_intervention(ReBorn(layers="editable", alpha=0.01), model_view, generator=generator)
    treated = {change.layer: len(change.neurons) for change in report.changes}
    assert set(treated) == {"mixer/hyper_w_1", "mixer/hyper_w_final", "mixer/V"}
    assert min(treated.values()) >= 12
    assert not torch.equal(mixer.hyper_w_1[0].weight, before["hyper_w_1.0.weight"])
    torch.testing.assert_close(mixer(q, state), values_before, rtol=1e-4, atol=1e-4)
