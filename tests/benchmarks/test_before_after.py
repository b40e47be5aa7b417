"""The comparison of two trees: words, traces to the bit, and the rule for timings. No tree is run here."""

import copy
import json
import math
import sys
from pathlib import Path

import pytest

from benchmarks.before_after import turn_taker, turns
from benchmarks.before_after.checkout import Tree
from benchmarks.before_after.compare import counts, differences, same_value, shows_nothing_of
from benchmarks.before_after.intervals import median_ratio
from benchmarks.before_after.scenarios import ALGORITHMS, KINDS, all_scenarios
from benchmarks.before_after.timings import ratios, time_of
from benchmarks.before_after.traces import chosen
from benchmarks.before_after.words import (
    SETTINGS,
    events_in_new_words,
    in_old_words,
    row_in_new_words,
)

NEW_WORDS = {
    "algorithm_settings": {"compat": "official_code"},
    "interventions": [
        {
            "kind": "reborn",
            "rule": "official_code",
            "layers": "editable",
            "target_networks": "mirror",
            "unit": "updates",
        },
        {"kind": "redo", "score": "activation", "layers": "official_code"},
    ],
    "dormancy": {"layers": "official_code", "unit": "env_steps"},
    "optimizer": {"kind": "adam"},
}
OLD_WORDS = {
    "method": {"compat": "released"},
    "interventions": [
        {"kind": "reborn", "rule": "released", "layers": "operable", "targets": "mirror", "unit": "updates"},
        {"kind": "redo", "score": "nas", "layers": "released"},
    ],
    "dormancy": {"layers": "released", "unit": "env_steps"},
    "optimizer": {"kind": "adam"},
}
EVENTS = [
    {
        "event": "intervention",
        "settings": {"kind": "redo", "score": "nas", "targets": "none", "layers": "released"},
        "units": 3,
        "changes": [{"layer": "mixer/V", "units": [0, 2, 5]}],
        "seconds": 0.25,
    },
    {"event": "dormancy", "clock": {"env_steps": 60}, "layers": {"mixer/V": {"scores": [0.5, 1.5]}}},
]
ROWS = [{"team": {"train/loss": 0.1, "updates": 4, "eval/episodes": None, "time/total_s": 1.0}, "plasticity": EVENTS}]


def test_settings_for_a_tree_that_knows_no_new_word():
    assert in_old_words(NEW_WORDS, SETTINGS) == OLD_WORDS


def test_settings_for_a_tree_that_knows_all_words_stay():
    assert in_old_words(NEW_WORDS, []) == NEW_WORDS


def test_settings_for_a_tree_between_the_two():
    word = next(word for word in SETTINGS if word.old == "targets")
    found = in_old_words(NEW_WORDS, [word])
    assert found["interventions"][0]["targets"] == "mirror"
    assert found["interventions"][0]["rule"] == "official_code"
    assert "algorithm_settings" in found


def test_every_word_is_asked_for_in_its_new_form():
    for word in SETTINGS:
        assert json.dumps(word.new) in json.dumps(word.asks)
        assert in_old_words(word.asks, [word]) != word.asks


def test_results_of_both_trees_speak_the_new_words():
    new = events_in_new_words(EVENTS)
    assert new[0]["neurons"] == 3
    assert new[0]["changes"] == [{"layer": "mixer/V", "neurons": [0, 2, 5]}]
    assert new[0]["settings"] == {
        "kind": "redo",
        "score": "activation",
        "target_networks": "none",
        "layers": "official_code",
    }
    assert new[1] == EVENTS[1]
    assert events_in_new_words(new) == new
    assert row_in_new_words({"intervention/units": 3, "env_steps": 8}) == {"intervention/neurons": 3, "env_steps": 8}


def test_the_last_bit_of_a_float_is_found_and_said():
    after = copy.deepcopy(ROWS)
    after[0]["team"]["train/loss"] = math.nextafter(0.1, 1.0)
    (found,) = differences(ROWS, after, "rows")
    assert found.startswith("rows[0]['team']['train/loss'] is 0.1 ")


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.0), (1, 1.0), (True, 1), (None, 0.0), ("a", "b")])
def test_values_that_are_not_the_same(before, after):
    assert not same_value(before, after)


def test_equal_traces_have_no_difference_and_times_do_not_count():
    after = copy.deepcopy(ROWS)
    after[0]["team"]["time/total_s"] = 2.0
    after[0]["plasticity"][0]["seconds"] = 0.5
    assert not list(differences(ROWS, after))
    assert same_value(math.nan, math.nan)


def test_what_is_missing_new_or_shorter_is_found():
    assert len(list(differences({"a": 1}, {"b": 1}))) == 2
    assert len(list(differences([1, 2], [1]))) == 1
    assert len(list(differences({"a": [{"x": 1}]}, {"a": [{"x": 2}]}))) == 1


def test_a_trace_without_what_its_scenario_is_for_is_refused():
    rows = copy.deepcopy(ROWS)
    rows[0]["plasticity"] = events_in_new_words(EVENTS)
    (scenario,) = chosen(["qmix/redo"])
    assert counts(rows) == {"updates": 4, "evaluations": 0, "checks": 1, "applications": 1, "neurons": 3}
    assert shows_nothing_of(scenario, counts(rows)) == ["evaluations"]


def test_scenarios_cover_every_algorithm_with_and_without_interventions():
    names = [scenario["name"] for scenario in all_scenarios()]
    assert len(names) == len(set(names))
    assert {f"{one.lower()}/{what}" for one in ALGORITHMS for what in ("none", "reborn", "redo")} <= set(names)
    assert {f"qmix/{kind}" for kind in KINDS} <= set(names)
    with pytest.raises(ValueError, match="--only is 'qmux'"):
        chosen(["qmux"])


def test_the_tables_of_the_package_have_no_algorithm_and_no_kind_without_a_scenario():
    import rllib_reborn.algorithms
    from rllib_reborn.plasticity import interventions

    assert set(ALGORITHMS) == set(rllib_reborn.algorithms.ALGORITHMS)
    assert {*KINDS, "reborn", "redo"} == set(interventions.KINDS)


@pytest.mark.parametrize(
    ("after", "passes"),
    [
        ([1.0] * 7, True),
        ([0.8] * 7, True),
        ([1.02] * 7, True),
        ([1.03] * 7, False),  # slower in every pair
        ([0.9, 0.95, 0.97, 1.05, 1.1, 1.2, 1.1], True),  # the median is above, but chance does that
        ([1.04, 1.05, 1.06, 1.07, 1.08, 1.09, 0.9], False),  # one lucky pair does not help
    ],
)
def test_the_rule_for_timings(after, passes):
    found = median_ratio([1.0] * 7, after)
    assert found.low <= found.median <= found.high
    assert found.passes is passes


def test_times_and_rates_of_rows():
    assert time_of({"cpu_us": 5.0, "updates_per_s": 9.0}) == 5.0
    assert time_of({"env_steps_per_s": 4.0, "updates_per_s": 9.0}) == 0.25
    with pytest.raises(ValueError, match="'x' has name"):
        time_of({"name": "x"})


def test_a_row_that_one_tree_lacks_is_an_error():
    assert ratios([{"a": 2.0}], [{"a": 1.0}])["a"].median == 0.5
    with pytest.raises(ValueError, match="one tree only: a, b"):
        ratios([{"a": 1.0}], [{"b": 1.0}])


def test_every_row_of_turns_is_some_work_of_a_side():
    assert {work[0] for work, _ in turns.ROWS.values()} == set(turn_taker.WORKS)
    assert min(pairs for _, pairs in turns.ROWS.values()) >= 7


def test_sides_take_turns_and_one_that_ends_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "SCRIPT", tmp_path / "side.py")
    turns.SCRIPT.write_text(
        "import sys\nprint('noise')\nassert sys.argv[1] == 'work'\nprint('ready', flush=True)\n"
        "for number, _ in zip(range(2), sys.stdin):\n    print('noise')\n    print('seconds', number + 0.5, flush=True)\n"
    )
    tree = Tree("after", Path(tmp_path), Path(sys.executable))
    side = turns.TurnTaker(tree, ["work"])
    side.turn()
    side.turn()
    assert side.seconds == [0.5, 1.5]
    with pytest.raises((RuntimeError, BrokenPipeError)):
        side.turn()
    with pytest.raises(RuntimeError, match="after: no ended with 1"):
        turns.TurnTaker(tree, ["no"])
