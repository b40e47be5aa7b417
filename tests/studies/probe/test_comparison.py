"""What is said about areas: no more than they show."""

from __future__ import annotations

import pytest

from rllib_reborn.studies.probe.comparison import compare_arms, explained_share, over_checkpoints, verdict

SLOW = {0: 0.61, 1: 0.72, 2: 0.66}
FAST = {0: 0.50, 1: 0.60, 2: 0.56}


def test_differences_are_paired_by_seed() -> None:
    found = compare_arms({"as_is": SLOW, "fresh": FAST})["as_is"]
    assert found.minus_fresh is not None
    assert found.minus_as_is is None
    assert found.minus_fresh.estimate == pytest.approx((0.11 + 0.12 + 0.10) / 3)
    # t(0.975, 2) = 4.303, deviation 0.01
    assert found.minus_fresh.low == pytest.approx(0.11 - 4.303 * 0.01 / 3**0.5, abs=1e-4)
    assert found.mean.low < 0.55  # alone, the two are not told from each other


def test_each_verdict() -> None:
    assert verdict({"as_is": SLOW, "fresh": FAST}).startswith(
        "Learns slower than a fresh net: difference of areas +0.110 ["
    )
    assert verdict({"as_is": FAST, "fresh": SLOW}).startswith(
        "Learns faster than a fresh net: difference of areas -0.110 ["
    )
    noisy = {0: 0.5, 1: 0.7, 2: 0.5}
    assert verdict({"as_is": noisy, "fresh": FAST}).startswith("No difference to a fresh net shown")
    assert "no interval" in verdict({"as_is": {0: 0.9}, "fresh": {0: 0.1}})
    assert "neither net learnt" in verdict({"as_is": {0: 1.0, 1: 1.0}, "fresh": {0: 0.99, 1: 0.999}})
    assert "are needed" in verdict({"as_is": SLOW})


def test_the_optimizers_part_is_said_apart() -> None:
    arms = {"as_is": SLOW, "fresh": FAST}
    assert "it does, too" in verdict({**arms, "optimizer_reset": SLOW})
    assert "this is not shown" in verdict({**arms, "optimizer_reset": {0: 0.49, 1: 0.62, 2: 0.55}})


def test_shares() -> None:
    areas = {"as_is": {0: 0.5, 1: 0.6}, "state_only": {0: 0.75, 1: 0.8}}
    share = explained_share(areas, "state_only")
    assert share is not None
    assert share.estimate == pytest.approx(0.5)
    assert explained_share({**areas, "as_is": {0: 0.5, 1: 0.99}}, "state_only") is None
    assert explained_share(areas, "agents_frozen") is None


def test_over_checkpoints_each_counts_once() -> None:
    found = over_checkpoints([{"as_is": 0.6, "fresh": 0.5, "redo": 0.6}, {"as_is": 0.7, "fresh": 0.5}])
    assert list(found) == ["as_is", "fresh"]
    assert found["as_is"].minus_fresh is not None
    assert found["as_is"].minus_fresh.n == 2
    assert found["as_is"].minus_fresh.estimate == pytest.approx(0.15)
