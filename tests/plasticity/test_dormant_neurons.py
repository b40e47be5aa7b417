"""Score, mask and action compose: ReDo and Prune by activation, by update activity and by gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rllib_reborn.plasticity.interventions import Prune, ReDo, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused, write_edits
from tests.plasticity.small_layers import context, four_neurons, layer_statistics, neurons_of

#: Mean 2: scores 3.2, 0, 0.05, 0.75. By activation neurons 1 and 2 are dormant.
ACTIVE = torch.tensor([6.4, 0.0, 0.1, 1.5])
#: Mean 2: scores 0.245, 0.25, 1.505, 2. Stagnant, below 0.25: neuron 0.
UPDATED = torch.tensor([0.49, 0.5, 3.01, 4.0])
#: Mean 2: scores 1.99, 2, 0.0, 0.01. Insensitive, at most 0.01: neurons 2 and 3.
FELT = torch.tensor([3.98, 4.0, 0.0, 0.02])


def neurons(intervention: Any, **activity: Tensor) -> tuple[int, ...]:
    layer = neurons_of(four_neurons())
    activities = {"update_activity": {layer.key: UPDATED}, "gradient_activity": {layer.key: FELT}} | {
        name: {layer.key: value} for name, value in activity.items()
    }
    (change,) = intervention.plan(context([layer], {layer.key: layer_statistics(ACTIVE)}, **activities)).changes
    assert change.dormant == len(change.neurons)
    return change.neurons


@pytest.mark.parametrize("kind", [ReDo, Prune])
def test_each_score_chooses_its_own_neurons(kind: Any) -> None:
    assert neurons(kind()) == (1, 2)
    assert neurons(kind(score="rua")) == (0,)
    assert neurons(kind(score="rua", at_most=0.2)) == ()
    assert neurons(kind(score="rua", at_most=0.26)) == (0, 1)
    assert neurons(kind(score="grama")) == (2, 3)
    assert neurons(kind(score="grama", at_most=0.005)) == (2,)


def test_regrama_writes_what_redo_writes_for_other_neurons() -> None:
    net = four_neurons()
    layer = neurons_of(net)
    asked = context([layer], {layer.key: layer_statistics(ACTIVE)}, seed=7, gradient_activity={layer.key: FELT})
    write_edits(ReDo(score="grama").plan(asked).edits, {layer.key: layer}, {})
    fresh = 2 * torch.rand(2, 2, generator=torch.Generator().manual_seed(7)) - 1
    assert torch.equal(net[0].weight[[2, 3]], fresh)
    assert net[2].weight.tolist() == [[1.0, 2.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0]]


def test_units_that_are_not_live_are_neither_chosen_nor_counted() -> None:
    layer = neurons_of(four_neurons())
    active = torch.tensor([True, True, True, False])
    activities = {"gradient_activity": {layer.key: torch.tensor([1.0, 1.0, 0.015, 0.0])}}
    plan = ReDo(score="grama", at_most=0.025).plan(
        context([layer], {layer.key: layer_statistics(ACTIVE, active)}, **activities)
    )
    # Mean over three neurons 0.672: neuron 2 scores 0.0223; over four it would be 0.0298.
    assert plan.changes[0].neurons == (2,)


def test_what_is_needed_follows_from_the_score() -> None:
    needs = {
        score: (made.needs_statistics, made.needs_update_activity, made.needs_gradient_activity)
        for score in ("activation", "rua", "grama")
        for made in (ReDo(score=score),)  # type: ignore[arg-type]
    }
    assert needs == {"activation": (True, False, False), "rua": (True, True, False), "grama": (True, False, True)}
    assert (ReDo(score="rua").dormant_at, ReDo(score="rua").threshold, ReDo(score="grama").threshold) == (
        0.1,
        0.25,
        0.01,
    )


def test_perform_hands_the_gradients_on() -> None:
    net = four_neurons()
    layer = neurons_of(net)
    model_view = ModelView(
        nets={"mixer": net}, layers=[layer], measure=lambda layers: {layer.key: layer_statistics(ACTIVE)}
    )
    report = apply_intervention(
        ReDo(score="grama"), model_view, generator=torch.Generator(), gradient_activity={layer.key: FELT}
    )
    assert report.changes[0].neurons == (2, 3)
    assert report.dormant_before == {"mixer": 0.5}  # the report's is the activation score, at 0.1


@pytest.mark.parametrize(
    ("score", "activity", "message"),
    [
        ("rua", {"update_activity": {}}, "mixer/V: no update activity was measured"),
        ("grama", {"gradient_activity": {}}, "mixer/V: no gradient activity was measured"),
        ("grama", {"gradient_activity": {"mixer/V": torch.ones(3)}}, r"is \[3\]; expected \[4\]"),
        ("rua", {"update_activity": {"mixer/V": torch.tensor([1.0, 1.0, 1.0, float("nan")])}}, "is not finite"),
    ],
)
def test_without_measurements_it_refuses(score: Any, activity: dict[str, Any], message: str) -> None:
    layer = neurons_of(four_neurons())
    for kind in (ReDo, Prune):
        with pytest.raises(SurgeryRefused, match=message):
            kind(score=score).plan(context([layer], {layer.key: layer_statistics(ACTIVE)}, **activity))


@pytest.mark.parametrize("kind", ["redo", "prune"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "naas"}, "score is 'naas'; expected one of activation, rua, grama"),
        ({"at_most": 0.1}, "the threshold of score 'activation' is alpha"),
        ({"score": "rua", "alpha": 0.2}, "the threshold of score 'rua' is at_most"),
        ({"score": "rua", "at_most": 0}, "expected 0 < at_most < 1"),
        ({"score": "grama", "at_most": 1.0}, "expected 0 < at_most < 1"),
        ({"score": "grama", "at_most": "low"}, "at_most is 'low'"),
        ({"alpha": 1.5}, "alpha is 1.5"),
    ],
)
def test_mistakes(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_intervention({"kind": kind, **settings})


def test_data_goes_round() -> None:
    made = make_intervention({"kind": "redo", "score": "grama", "at_most": 0.02})
    assert made == ReDo(score="grama", at_most=0.02)
    assert make_intervention(to_dict(made)) == made
