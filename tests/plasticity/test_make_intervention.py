"""Interventions from plain data and back."""

from __future__ import annotations

import json

import pytest

from rllib_reborn.plasticity.interventions import (
    KINDS,
    MARR,
    Injection,
    Knife,
    ReBorn,
    ReSet,
    make_intervention,
    to_dict,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults_and_goes_round(kind):
    made = make_intervention({"kind": kind})
    assert type(made) is KINDS[kind]
    assert made.kind == kind
    data = to_dict(made)
    assert data["kind"] == kind
    assert make_intervention(json.loads(json.dumps(data))) == made


def test_settings_arrive():
    made = make_intervention({"kind": "reborn", "every": 2e5, "stop": 1e6, "alpha": 0.2, "partners": [3, 4]})
    assert made == ReBorn(every=200_000, stop=1_000_000, alpha=0.2, partners=(3, 4))
    assert isinstance(made, ReBorn)
    assert isinstance(made.every, int)
    assert isinstance(made.stop, int)
    assert make_intervention(made) is made
    whole = make_intervention({"kind": "reborn", "partners": [2.0, 5.0]})
    assert whole == ReBorn(partners=(2, 5))
    assert [type(number) for number in whole.partners] == [int, int]  # type: ignore[attr-defined]
    floats = make_intervention({"kind": "marr", "amplitude": [1.0, 2.0]})
    assert [type(number) for number in floats.amplitude] == [float, float]  # type: ignore[attr-defined]
    assert make_intervention({"kind": "marr", "amplitude": [0.5, 1.5]}) == MARR(amplitude=(0.5, 1.5))
    assert make_intervention({"kind": "marr", "amplitude": None}) == MARR(amplitude=None)
    assert make_intervention({"kind": "reset", "parameters": ["V"]}) == ReSet(parameters=("V",))
    assert make_intervention({"kind": "injection", "parameters": ["V"]}) == Injection(parameters=("V",))
    assert make_intervention({"kind": "knife", "slots": 3.0}) == Knife(slots=3)


def test_a_whole_float_stays_one_where_the_setting_is_a_float():
    made = make_intervention({"kind": "sr", "updates_per_episode": 2.0})
    assert isinstance(made.updates_per_episode, float)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"alpha": 0.1}, "without a 'kind'; expected one of reborn, redo"),
        ({"kind": "rebron"}, "no intervention of kind 'rebron'. Did you mean 'reborn'?"),
        ({"kind": 3}, "no intervention of kind 3"),
        ({"kind": "reborn", "aplha": 0.1}, "reborn has no setting 'aplha'. Did you mean 'alpha'?"),
        ({"kind": "reborn", 1: 0.1}, "reborn has no setting 1"),
        ({"kind": "reborn", "every": 0.5}, "every is 0.5"),
        ({"kind": "reborn", "partners": [2.5, 5.0]}, "partners[0] is 2.5"),
        ({"kind": "reborn", "every": float("inf")}, "every is inf"),
        ({"kind": "reborn", "every": "often"}, "every is 'often'"),
        ({"kind": "reborn", "scope": ["mixer", "mixer"]}, "scope is"),
        ({"kind": "injection", "optimizer": "keep"}, "injection freezes weights"),
        ({"kind": "knife", "optimizer": "donor"}, "knife freezes weights"),
        ({"kind": "injection", "optimizer": "layer_mean"}, "injection freezes weights"),
        ("reborn", "an intervention is 'reborn'; expected its kind and settings"),
    ],
)
def test_mistakes(data, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the message is compared below, as plain text)
        make_intervention(data)
    assert message in str(error.value)
