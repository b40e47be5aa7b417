"""Numbers as people read them: as many digits as they have something to say with."""

import pytest

from rllib_reborn.evaluation.statistics import Interval
from rllib_reborn.evaluation.text import format_interval, format_number


def interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, level=0.95, n=3)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((12.345, 11.8, 12.9), "12.35 [11.80, 12.90]"),
        ((15.39, -8.97, 39.75), "15 [-9, 40]"),
        ((-14.768, -14.9, -14.6), "-14.77 [-14.90, -14.60]"),
        ((20.0, 19.9999995, 20.0000005), "20.00 [20.00, 20.00]"),  # no more than four digits
        ((0.00012, 0.00011, 0.00013), "0.000120 [0.000110, 0.000130]"),
        ((1234.5, 1234.4, 1234.6), "1,234 [1,234, 1,235]"),
        ((20.0, 20.0, 20.0), "20.0 [20.0, 20.0]"),
        ((0.0, 0.0, 0.0), "0 [0, 0]"),
        ((0.0, -0.001, 0.001), "0.0000 [-0.0010, 0.0010]"),
    ],
)
def test_an_interval_has_the_digits_of_its_width(values, text) -> None:
    assert format_interval(interval(*values)) == text


def test_a_difference_shows_its_sign() -> None:
    assert format_interval(interval(2.34, 1.45, 3.24), signed=True) == "+2.34 [1.45, 3.24]"
    assert format_interval(interval(-30.0, -53.0, -7.0), signed=True) == "-30 [-53, -7]"


def test_what_is_unknown_is_said() -> None:
    nan = float("nan")
    assert format_interval(None) == "-"
    assert format_interval(interval(3.0, nan, nan)) == "3.00 (no interval)"
    assert format_number(nan) == format_number(None) == "-"
    assert format_number(-0.0001, 2) == "0.00"


def test_a_number_has_three_digits_and_all_above_a_thousand() -> None:
    assert [format_number(x) for x in (0.0, 0.368, 8.21, 165.0, 1088.3)] == ["0", "0.368", "8.21", "165", "1,088"]
