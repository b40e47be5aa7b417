"""Thresholds by quantile: which kinds have them, what they choose, and what they are exclusive with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_reborn.plasticity.interventions import KINDS, Prune, ReBorn, ReDo, ReverseReDo, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from tests.plasticity.small_layers import bits, context, four_neurons, layer_statistics, neurons_of, same_bits

#: Mean 2: scores 2.2, 0.8, 0.6, 0.4. At 0.1 and 3 none is dormant, and none over-active.
ACTIVE = torch.tensor([4.4, 1.6, 1.2, 0.8])
#: Lowest first: neurons 0, 1, 2, 3.
UPDATED = torch.tensor([0.5, 1.0, 1.5, 5.0])
#: Lowest first: neurons 2, 3, 0, 1.
FELT = torch.tensor([3.0, 4.0, 0.5, 0.6])


def change(intervention: Any) -> Any:
    layer = neurons_of(four_neurons())
    activities = {"update_activity": {layer.key: UPDATED}, "gradient_activity": {layer.key: FELT}}
    (found,) = intervention.plan(context([layer], {layer.key: layer_statistics(ACTIVE)}, **activities)).changes
    return found


@pytest.mark.parametrize("kind", [ReDo, Prune])
def test_the_lowest_of_every_score(kind: Any) -> None:
    assert change(kind()).neurons == ()
    assert change(kind(alpha_quantile=0.25)).neurons == (3,)
    assert change(kind(alpha_quantile=0.5)).neurons == (2, 3)
    assert change(kind(score="rua", alpha_quantile=0.5)).neurons == (0, 1)
    assert change(kind(score="grama", alpha_quantile=0.5)).neurons == (2, 3)
    assert change(kind(score="grama", alpha_quantile=0.99)).neurons == (2, 3)  # the others are above the mean
    assert change(kind(score="rua", alpha_quantile=0.24)).neurons == ()


def test_reborn_by_quantiles() -> None:
    for rule in ("paper", "official_code"):
        found = change(ReBorn(rule=rule, alpha_quantile=0.5, beta_quantile=0.75, partners=(2, 2)))  # type: ignore[arg-type]
        assert (found.dormant, found.overactive, found.donors, found.neurons) == (2, 1, (0,), (0, 2, 3))
    # One by quantile, the other by number.
    assert (change(ReBorn(alpha_quantile=0.25)).dormant, change(ReBorn(alpha_quantile=0.25)).overactive) == (1, 0)
    mixed = change(ReBorn(alpha=0.7, beta_quantile=0.75))
    assert (mixed.dormant, mixed.overactive) == (2, 1)


def test_reverse_redo_by_quantile() -> None:
    assert change(ReverseReDo()).neurons == ()
    assert change(ReverseReDo(beta_quantile=0.75)).neurons == (0,)
    assert change(ReverseReDo(beta_quantile=0.2)).neurons == (0,)  # no other is above the mean
    assert change(ReverseReDo(beta_quantile=0.8)).neurons == ()


def test_reborns_split_keeps_the_function_of_those_that_were_chosen() -> None:
    """Two dead neurons: the split is exact, and a dry run puts all back."""
    net = four_neurons()
    with torch.no_grad():
        net[0].weight[2:] = 0.0
        net[0].bias[2:] = -1.0
    layer = neurons_of(net)
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
    before, expected = bits(net), net(x).detach()

    def apply(**more: Any) -> Any:
        view = ModelView(
            nets={"mixer": net},
            layers=[layer],
            measure=lambda layers: {layer.key: layer_statistics(net[1](net[0](x)).detach().abs().mean(0))},
        )
        made = ReBorn(alpha_quantile=0.25, beta_quantile=0.75, partners=(1, 1), **more)
        return apply_intervention(made, view, generator=torch.Generator().manual_seed(0))

    dry = apply(dry_run=True)
    assert same_bits(net, before)
    report = apply()
    assert report.changes == dry.changes
    # A quarter of four neurons is one, and both dead ones tie; one finds a partner, the other is re-initialised.
    assert (report.changes[0].dormant, report.changes[0].overactive) == (2, 1)
    assert len(report.changes[0].donors) == len(report.changes[0].reinitialised) == 1
    torch.testing.assert_close(net(x).detach(), expected, rtol=1e-5, atol=1e-5)


HAVE = {
    "alpha_quantile": {"reborn", "redo", "prune"},
    "beta_quantile": {"reborn", "reverse_redo"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", HAVE)
def test_which_kinds_have_them(kind: str, setting: str) -> None:
    data = {"kind": kind, setting: 0.4}
    if kind in HAVE[setting]:
        made = make_intervention(data)
        assert make_intervention(to_dict(made)) == made != make_intervention({"kind": kind})
        return
    with pytest.raises(ValueError, match=f"{kind} has no setting '{setting}'"):
        make_intervention(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"kind": "redo", "alpha": 0.2, "alpha_quantile": 0.1},
            "alpha is 0.2 and alpha_quantile is 0.1, two thresholds",
        ),
        ({"kind": "prune", "score": "rua", "at_most": 0.2, "alpha_quantile": 0.1}, "at_most is 0.2 and alpha_quantile"),
        ({"kind": "reborn", "alpha": 0.2, "alpha_quantile": 0.1}, "alpha is 0.2 and alpha_quantile is 0.1"),
        ({"kind": "reborn", "beta": 2.0, "beta_quantile": 0.9}, "beta is 2.0 and beta_quantile is 0.9"),
        ({"kind": "reverse_redo", "beta": 2.0, "beta_quantile": 0.9}, "beta is 2.0 and beta_quantile is 0.9"),
        (
            {"kind": "reborn", "alpha_quantile": 0.6, "beta_quantile": 0.6},
            "alpha_quantile 0.6 and beta_quantile 0.6 overlap",
        ),
        ({"kind": "reborn", "beta_quantile": 1.0}, "beta_quantile is 1.0; expected a number between 0 and 1"),
        ({"kind": "redo", "alpha_quantile": 0}, "alpha_quantile is 0; expected"),
        ({"kind": "reverse_redo", "beta_quantile": "top"}, "beta_quantile is 'top'; expected"),
    ],
)
def test_mistakes(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_intervention(data)
