"""The arithmetic of the soak, and its game; nothing is trained here."""

import numpy as np
import pytest

from benchmarks.failing_game import FailingGame
from benchmarks.soak import Sample, summary


def sample(minutes, driver_mb):
    return Sample(minutes, int(100 * minutes), driver_mb, 700.0, 1.0, 36, 30, 9)


def test_slopes_are_those_after_the_warm_up():
    samples = [sample(m, 900.0) for m in (0.0, 1.0)] + [sample(2.0 + m, 500.0 + 0.25 * m) for m in range(8)]
    row = summary(samples, warm_up=2.0)
    assert row["samples"] == 8
    assert row["driver_mb"]["per_minute"] == pytest.approx(0.25)
    assert row["driver_mb"]["off_line"] == pytest.approx(0.0, abs=1e-9)
    assert (row["driver_mb"]["first"], row["driver_mb"]["last"]) == (500.0, 501.75)
    assert row["mb_per_1000_iterations"] == pytest.approx(2.5)
    assert row["children"]["per_minute"] == pytest.approx(0.0)


def test_too_short_a_soak_is_refused():
    with pytest.raises(ValueError, match="3 samples are left after a warm-up of 2 minutes; expected 4"):
        summary([sample(m, 500.0) for m in range(5)], warm_up=2.0)


def test_one_step_in_a_hundred_fails():
    game, failed, actions = FailingGame(), 0, np.zeros(2, np.int64)
    steps = 5000
    game.reset(0)
    for seed in range(steps):
        try:
            step = game.step(actions)
        except RuntimeError:
            failed += 1
            game.reset(seed)
            continue
        if step.truncated:
            game.reset(seed)
    assert 20 < failed < 90
