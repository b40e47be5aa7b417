"""How interventions are called."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_reborn.evaluation.intervention_text import NAMES, in_words, listed_interventions, short_value
from rllib_reborn.plasticity.interventions import KINDS

from .synthetic import REBORN, REDO


def words(**settings: Any) -> str:
    (one,) = listed_interventions({"interventions": [settings]})
    return in_words(one)


def test_every_kind_has_a_name() -> None:
    assert sorted(NAMES) == sorted(KINDS)


def test_all_settings_in_words() -> None:
    assert words(**REBORN) == (
        "every 2,000 env steps, on the mixer, official code's layers, paper rule, alpha 0.1, beta 3, partners [2, 5], "
        "unpaired reinit, scored on 32 episodes (uniform replay sample), optimizer state kept, targets left alone"
    )


def test_what_is_switched_on_is_said() -> None:
    text = words(**REDO | {"start": 10, "stop": 5_000, "optimizer": "zero", "target_networks": "sync", "dry_run": True})
    assert text.startswith("every 2,000 env steps after 10 up to 5,000, on mixer and agents")
    assert text.endswith("optimizer state of changed weights zeroed, targets synchronised, dry run: nothing is written")


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        ("critic", "on the critic"),
        (["agent", "critic"], "on the agents and the critic"),
        (["agent", "torso"], "scope agent, torso"),
    ],
)
def test_scopes_of_several_networks(scope: Any, text: str) -> None:
    assert words(kind="redo", scope=scope) == text


def test_settings_of_kinds_that_it_does_not_know_are_told_by_name() -> None:
    assert words(kind="new", scope="torso", replay_ratio=4, noisy=True, quiet=False, none=None) == (
        "scope torso, replay ratio 4, noisy, no quiet"
    )
    assert words(kind="new") == "settings not recorded"


@pytest.mark.parametrize("found", [None, "reborn", {"kind": "reborn"}])
def test_a_config_without_a_list_has_none(found: Any) -> None:
    assert listed_interventions({"interventions": found}) == []
    assert [one.name for one in listed_interventions({"interventions": ["odd"]})] == ["odd"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(20_000, "20k"), (1_500_000, "1.5M"), (1_234, "1234"), (999, "999"), (True, "true"), (0.1, "0.1"), ("a", "a")],
)
def test_values_in_labels(value: Any, text: str) -> None:
    assert short_value(value) == text
