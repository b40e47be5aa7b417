"""Inputs of fixed seeds that mean harm: no undeclared error, none that takes over 2 s or 500 MB.

A few hundred of each here, 100,000 of each in the long series, in a process of their own.
"""

from __future__ import annotations

import random

import pytest

from tests.fuzzing.running import Target, assert_harmless, feed, feed_elsewhere
from tests.fuzzing.targets import NAMES, target

SAMPLE = {"yaml": 150, "manifest": 400, "policy": 200, "metrics": 60, "frames": 400}
SERIES = 100_000


def chosen(name: str) -> Target:
    if name == "frames":
        pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")
    return target(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample(name: str) -> None:
    assert_harmless(feed(chosen(name), range(SAMPLE[name])))


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_are_equal_inputs(name: str) -> None:
    make = chosen(name).make
    assert [repr(make(random.Random(seed))) for seed in range(20)] == [
        repr(make(random.Random(seed))) for seed in range(20)
    ]


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", NAMES)
def test_the_series(name: str) -> None:
    chosen(name)
    print(feed_elsewhere(name, SERIES))


class TestWhatIsCounted:
    def test_an_undeclared_error(self) -> None:
        outcome = feed(Target(random.Random.random, lambda x: 1 / 0, (ValueError,)), range(3))
        assert len(outcome.undeclared) == 3
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            assert_harmless(outcome)

    def test_time_and_noise(self) -> None:
        outcome = feed(Target(random.Random.random, float, ()), range(3))
        with pytest.raises(AssertionError, match="not hostile"):
            assert_harmless(outcome)
        outcome.slowest_s = 3.0
        with pytest.raises(AssertionError, match="slowest 3000 ms"):
            assert_harmless(outcome)
        outcome.slowest_s, outcome.peak_mb = 0.0, 501.0
        with pytest.raises(AssertionError, match="501 MB"):
            assert_harmless(outcome)
