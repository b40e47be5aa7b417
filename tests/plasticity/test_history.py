"""Checks compared with earlier ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from rllib_reborn.plasticity.history import DormancyHistory, metric_names, redormant_name
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery
from rllib_reborn.plasticity.scores import LayerDormancy, layer_dormancy
from rllib_reborn.plasticity.statistics import LayerStatistics


def clock(steps: int) -> dict[str, int]:
    return {"env_steps": steps, "updates": steps // 100, "episodes": 0, "iterations": 0}


def found(**dormant: set[int]) -> dict[str, LayerDormancy]:
    """Layers ``net__name`` of 8 neurons of which these have activation 0 and the others 1."""
    result = {}
    for name, neurons in dormant.items():
        key = name.replace("__", "/")
        means = torch.tensor([0.0 if neuron in neurons else 1.0 for neuron in range(8)])
        active = torch.ones(8, dtype=torch.bool)
        result[key] = layer_dormancy(key, LayerStatistics(means, means, (means > 0).float(), 1, None, active))
    return result


def test_metrics_of_a_check() -> None:
    history = DormancyHistory()
    first = history.record(clock(100), found(mixer__W={0, 1, 2}, mixer__V={5}, agent__A=set()))
    assert first["dormancy/mixer/W/dormant_fraction"] == 3 / 8
    assert first["dormancy/mixer/dormant_fraction"] == 4 / 16  # pooled
    assert first["dormancy/mixer/W/dead_fraction"] == 3 / 8
    assert first["dormancy/agent/overactive_sum"] == 0
    assert first["dormancy/mixer/W/overlap"] is None
    assert first["dormancy/mixer/overlap"] is None
    second = history.record(clock(200), found(mixer__W={1, 2, 3, 4}, mixer__V={6, 7}, agent__A={1}))
    assert second["dormancy/mixer/W/overlap"] == pytest.approx(2 / 3)  # {1, 2} of {0, 1, 2}
    assert second["dormancy/mixer/V/overlap"] == 0
    assert second["dormancy/mixer/overlap"] == 2 / 4  # (2 + 0) / (3 + 1)
    assert second["dormancy/agent/overlap"] is None  # nobody was
    assert history.checks == 2


def test_metric_names_are_all_there_are() -> None:
    layers = [
        NeuronLayer(net, name, 8, ActivationHook(nn.Identity()), "ReLU", Surgery.IMPOSSIBLE, "a test")
        for net, name in (("mixer", "W"), ("mixer", "V"), ("agent", "A.0"))
    ]
    history = DormancyHistory()
    recorded = history.record(clock(1), found(mixer__W=set(), mixer__V=set(), **{"agent__A.0": set()}))
    names = metric_names(layers)
    assert set(names) == {*recorded, redormant_name("mixer"), redormant_name("agent")}
    assert len(set(names)) == len(names)
    assert "dormancy/mixer/redormant" in names
    assert "dormancy/agent/A.0/overlap" in names


def test_redormant_neurons_are_those_that_an_intervention_treated_before_the_check() -> None:
    history = DormancyHistory()
    history.record(clock(100), found(mixer__W={0, 1, 2, 3}, agent__A={0}))
    history.note_recycled(clock(100), "mixer/W", [0, 1, 2, 3])
    history.note_recycled(clock(100), "agent/A", torch.tensor([True] + [False] * 7))
    # Dormant BEFORE they were treated is not dormant again.
    assert history.redormant(clock(100)) is None
    history.record(clock(200), found(mixer__W={1, 7}, agent__A={0}))
    assert history.redormant(clock(200), net="mixer") == 1 / 4
    assert history.redormant(clock(200), net="agent") == 1
    assert history.redormant(clock(200)) == 2 / 5
    # Treated again after the check: the earlier treatment is what the check speaks of.
    history.note_recycled(clock(200), "mixer/W", [1])
    assert history.redormant(clock(200), net="mixer") == 1 / 4


def test_recycling_is_forgotten_after_k_steps() -> None:
    history = DormancyHistory()
    history.record(clock(0), found(mixer__W={0, 1}))
    history.note_recycled(clock(100), "mixer/W", [0, 1])
    history.note_recycled(clock(150), "mixer/W", [1, 2])  # neuron 1 last at 150
    history.record(clock(300), found(mixer__W={0, 1}))
    assert history.redormant(clock(300), 200) == pytest.approx(2 / 3)
    assert history.redormant(clock(300), 199) == 1 / 2
    assert history.redormant(clock(300), 149) is None
    assert history.redormant(clock(200_100)) == pytest.approx(2 / 3)  # 200,000 by default
    assert history.redormant(clock(200_101)) == 1 / 2


def test_overlaps_with_every_earlier_check() -> None:
    history = DormancyHistory()
    assert history.overlaps("mixer/W") == []
    for steps, dormant in ((10, {0}), (20, set()), (30, {1, 2, 3}), (40, {0, 1, 2})):
        history.record(clock(steps), found(mixer__W=dormant))
    assert history.overlaps("mixer/W") == [(10, 1.0), (20, None), (30, pytest.approx(2 / 3))]
    assert history.overlaps("mixer/W", of="overactive") == [(10, None), (20, None), (30, None)]
    with pytest.raises(ValueError, match="no layer 'mixer/V'; known: mixer/W"):
        history.overlaps("mixer/V")


def test_rows_are_json_and_each_is_given_once() -> None:
    history = DormancyHistory(capacity=3, scored=2)
    for steps in (100, 200):
        history.record(clock(steps), found(mixer__W={0, 1}))
    rows = history.rows_since(0)
    assert json.loads(json.dumps(rows)) == rows
    assert rows[1] == {
        "env_steps": 200,
        "updates": 2,
        # 6 of 8 say 1, mean 0.75: 1.3333.
        "layers": {"mixer/W": {"dormant": [0, 1], "overactive": [], "scores": [0.0, 0.0] + [1.3333] * 6}},
    }
    assert history.rows_since(history.checks) == []
    checks_before = history.checks
    for steps in (300, 400):
        history.record(clock(steps), found(mixer__W={0}))
    assert [row["env_steps"] for row in history.rows_since(checks_before)] == [300, 400]
    # Capacity 3: the first is gone; the numbering goes on.
    assert [row["env_steps"] for row in history.rows_since(0)] == [200, 300, 400]
    assert ["scores" in row["layers"]["mixer/W"] for row in history.rows_since(0)] == [False, True, True]
    history.rows_since(3)[0]["layers"].clear()  # a copy
    assert history.overlaps("mixer/W")


@example(checks=[({0}, {0, 1})], after={1})
@given(
    checks=st.lists(st.tuples(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7))), max_size=6),
    after=st.sets(st.integers(0, 7)),
)
@settings(deadline=None, max_examples=30)
def test_a_restored_history_goes_on_the_same(checks: list[tuple[set[int], set[int]]], after: set[int]) -> None:
    history = DormancyHistory(capacity=4, scored=2)
    for number, (dormant, treated) in enumerate(checks):
        history.record(clock(100 * number), found(mixer__W=dormant))
        history.note_recycled(clock(100 * number), "mixer/W", treated)
    state = history.get_state()
    restored = DormancyHistory(capacity=4, scored=2)
    text = json.dumps(state)
    restored.set_state(json.loads(text))
    assert restored.get_state() == state

    def goes_on(one: DormancyHistory) -> Any:
        metrics = one.record(clock(1000), found(mixer__W=after))
        return metrics, one.redormant(clock(1000), 1000), one.overlaps("mixer/W"), one.rows_since(0), one.checks

    assert goes_on(restored) == goes_on(history)
    assert json.dumps(state) == text  # the state is no view of the history


def test_a_layer_may_come_and_go() -> None:
    history = DormancyHistory()
    history.record(clock(1), found(mixer__W={1}))
    metrics = history.record(clock(2), found(mixer__W={1}, mixer__V={2}))
    assert metrics["dormancy/mixer/V/overlap"] is None
    assert metrics["dormancy/mixer/overlap"] == 1
    history.note_recycled(clock(2), "mixer/V", {2})
    history.record(clock(3), found(mixer__W={1}))
    assert history.redormant(clock(3)) is None
    assert history.overlaps("mixer/W") == [(1, 1.0), (2, 1.0)]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        DormancyHistory(capacity=0)
    with pytest.raises(ValueError, match="scored is True"):
        DormancyHistory(scored=True)
    with pytest.raises(ValueError, match="expected env_steps"):
        DormancyHistory().record({"updates": 1}, {})
    with pytest.raises(ValueError, match="expected env_steps and updates"):
        DormancyHistory().record({"env_steps": 1}, {})
