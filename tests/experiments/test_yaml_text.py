"""Reading YAML: plain data only, nothing twice, no bombs, numbers as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.yaml_text import dump_yaml, parse_yaml
from rllib_reborn.parsing.yaml_text import MAX_ALIASES, MAX_BYTES


def refused(text: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        parse_yaml(text, "some.yaml")
    message = str(caught.value)
    assert message.startswith("some.yaml")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1e6", 1_000_000),
        ("-2E3", -2000),
        ("2.5e6", 2_500_000),
        ("1.5e-3", 0.0015),
        ("0.5", 0.5),
        ("null", None),
        ("'5e-4'", "5e-4"),
        ("e5", "e5"),
        ("1e", "1e"),
    ],
)
def test_numbers_with_an_exponent_are_numbers(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "some.yaml")
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_repeated_key_is_refused_with_its_line() -> None:
    assert "line 3" in refused("a: 1\nb: 2\na: 3\n")
    assert "'a' is given twice" in refused("a: 1\na: 3\n")
    assert "'c' is given twice" in refused("a: {c: 1, c: 2}\n")


@pytest.mark.parametrize(
    "payload",
    ["!!python/object/apply:os.system ['true']", "a: !!python/name:os.system", "!!python/tuple [1, 2]"],
)
def test_a_tag_that_would_build_objects_is_refused(payload: str) -> None:
    assert "never objects" in refused(payload)


def test_aliases_have_a_limit() -> None:
    assert parse_yaml("a: &x 1\nb: *x\n", "some.yaml") == {"a": 1, "b": 1}
    assert "aliases" in refused("a: &x 1\nb: [" + ", ".join(["*x"] * (MAX_ALIASES + 1)) + "]\n")


def test_a_bomb_within_that_limit_is_found_by_what_it_unfolds_to() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5)]
    assert "unfolds" in refused("\n".join(lines))


def test_a_tree_that_contains_itself_is_refused() -> None:
    assert "unfolds" in refused("a: &a [*a]\n")


def test_too_long_too_deep_and_not_yaml() -> None:
    assert "larger than" in refused("#" * (MAX_BYTES + 1))
    assert refused("[" * 5000)
    assert refused("a: [1, 2\n")
    assert refused("a: 2026-99-99\n")
    assert refused("\x00")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_what_is_dumped_reads_back_equal(data: Any) -> None:
    assert parse_yaml(dump_yaml(data), "some.yaml") == data


@given(st.from_regex(r"[-+]?[0-9]{1,3}(\.[0-9]{0,2})?[eE][-+]?[0-9]{1,2}", fullmatch=True))
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"key": text}), "some.yaml") == {"key": text}
