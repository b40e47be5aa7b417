"""Settings that would be without effect are refused, and what a kind declares of itself."""

from __future__ import annotations

import pytest

from rllib_reborn.plasticity.interventions import KINDS, make_intervention
from rllib_reborn.plasticity.schedule import Schedule

DROP = {"reborn", "redo", "reverse_redo", "prune", "continual_backprop"}
WHOLE = {"reset", "sr", "shrink_perturb", "marr", "injection", "l2_init", "fire"}


@pytest.mark.parametrize("kind", KINDS)
def test_bias_compensation_is_for_kinds_that_drop_neurons(kind: str) -> None:
    data = {"kind": kind, "bias_compensation": True}
    if kind in DROP:
        assert make_intervention(data).bias_compensation
        return
    with pytest.raises(ValueError, match=f"bias_compensation is true, but {kind} drops no neurons"):
        make_intervention(data)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_for_kinds_that_treat_layers_of_neurons(kind: str) -> None:
    assert make_intervention({"kind": kind, "layers": "official_code"}).layers == "official_code"
    for choice in ("editable", "full"):
        data = {"kind": kind, "layers": choice}
        if kind not in WHOLE:
            assert make_intervention(data).layers == choice
            continue
        with pytest.raises(ValueError, match=f"layers is '{choice}', but {kind} treats whole parameters"):
            make_intervention(data)


def test_what_each_kind_needs_of_a_run() -> None:
    made = {kind: make_intervention({"kind": kind}) for kind in KINDS}
    assert [kind for kind, one in made.items() if not one.is_scheduled] == ["l2_init"]
    assert {kind for kind, one in made.items() if one.needs_initial} == {"marr", "l2_init"}
    assert {kind for kind, one in made.items() if one.needs_update_activity} == {"knife"}
    assert {kind for kind, one in made.items() if one.needs_gradient_activity} == set()


def test_who_counts_firing() -> None:
    assert {kind for kind, cls in KINDS.items() if cls.counts_firing} == {"snr"}


def test_a_schedule_that_is_never_due_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stop is 29, before the first due time 30 \(start 10 \+ every 20\)"):
        Schedule(20, start=10, stop=29)
    with pytest.raises(ValueError, match="nothing would ever be due"):
        make_intervention({"kind": "sr", "stop": 1_000_000})  # its interval is longer
    once = Schedule(20, start=10, stop=30)
    clock = {"env_steps": 0, "updates": 0, "episodes": 0, "iterations": 0}
    assert not once.due(clock, clock | {"env_steps": 29})
    assert once.due(clock, clock | {"env_steps": 30})
    assert not once.due(clock | {"env_steps": 30}, clock | {"env_steps": 90})
