"""YAML that means harm, or that nobody meant: one ExperimentError, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rllib_reborn.experiments.composition import MAX_FILES
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.experiments.yaml_text import parse_yaml
from rllib_reborn.parsing.yaml_text import MAX_DIGITS, MAX_MERGES, MAX_VALUES
from rllib_reborn.tuning.sweep import read_sweep

#: So far that building it would be found out: the tests' own limit of 300 s is no help to who waits.
pytestmark = pytest.mark.timeout(60)


def refused(text: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        parse_yaml(text, "some.yaml")
    message = str(caught.value)
    assert message.startswith("some.yaml")
    assert "\n" not in message
    assert len(message) < 1_000
    return message


def doubling(levels: int, entry: str) -> str:
    """Each line merges the one before it twice."""
    lines = ["a0: &a0 {k0: v}"]
    lines += [f"a{n}: &a{n} {entry.format(n=n, before=n - 1)}" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        doubling(24, "{{<<: [*a{before}, *a{before}]}}"),
        doubling(20, "{{<<: [*a{before}, *a{before}], k{n}: v}}"),
        doubling(16, "{{<<: [*a{before}, {{<<: *a{before}}}], k{n}: [*a{before}]}}"),
        doubling(30, "[*a{before}, *a{before}]"),
        doubling(49, "[*a{before}]"),
    ],
    ids=["merges", "merges and keys", "merges in merges", "lists", "deep through aliases"],
)
def test_bombs_of_aliases_and_merges(text: str) -> None:
    assert len(text) < 2_000
    assert "unfolds" in refused(text) or "aliases" in refused(text)


def test_merges_have_a_limit_and_few_of_them_work() -> None:
    merges = "\n".join(f"a{n}: {{<<: {{x: 1}}}}" for n in range(MAX_MERGES + 1))
    assert "merges" in refused(merges)
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", "f") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}
    # An anchored mapping that merges, merged itself before it is built.
    text = "z: &z {x: 1}\na: {in: &i {x: 2, <<: *z}}\nc: {<<: *i}\n"
    assert parse_yaml(text, "f") == {"z": {"x": 1}, "a": {"in": {"x": 2}}, "c": {"x": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "!!float ''",
        "!!bool maybe",
        "!!null x",
        "!!int [1]",
        "!!map [1, 2]",
        "!!seq {a: 1}",
        "!!str {=: x}",
        "!!timestamp x",
        "!!binary '\u00e9'",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "a: =",
        "a: <<",
        "a: {<<: 1}",
        "a: {<<: [[1]]}",
        "&a {<<: *a}",
        "&a [*a]",
        "a: &x 1\nb: &x 2\n",
        "a: *nothing",
        "[{[a]: b}]",
        "? {a: b}\n: c",
        "a: 0b_",
        "a: 0x_",
        "a: 1e999",
        "a: -1.0e+999",
        "a: '" + "\\" * 3,
        'a: "\\UFFFFFFFF"',
        'a: "\\uD800"',
        "%YAML 1.{}\n--- a".format("1" * 5_000),
        "%YAML 9.9\n--- a",
        "a: 2026-01-01",
        "a: 9999999-99-99 99:99:99",
        "a: b: c",
        "a\0b",
        "\x07",
        "{a, a}",
        "!<tag:yaml.org,2002:python/object/apply:os.system> [true]",
    ],
)
def test_what_pyyaml_does_not_survive_or_makes_objects_of(text: str) -> None:
    if text.startswith("a: 9999999"):  # not in the form of a date: a text
        assert parse_yaml(text, "f") == {"a": "9999999-99-99 99:99:99"}
    else:
        refused(text)


@pytest.mark.parametrize(
    "text",
    ["9" * 5_000, ":".join(["1"] * 40_000), "0x" + "f" * 50_000, "0b" + "1" * 90_000, "1." + "0" * 9_000, "1" * 101],
    ids=["digits", "base 60", "hexadecimal", "binary", "fraction", "one too many"],
)
def test_endless_numbers(text: str) -> None:
    assert f"more than {MAX_DIGITS} characters" in refused(f"a: {text}")


def test_numbers_of_base_60_and_with_underscores_are_still_read() -> None:
    assert parse_yaml("a: 1_000:59:59\nb: 1_000\nc: .inf\nd: 0x1F\n", "f") == {
        "a": 3_603_599,
        "b": 1_000,
        "c": float("inf"),
        "d": 31,
    }


def test_many_values() -> None:
    assert "values" in refused("[" + "1," * MAX_VALUES + "1]")
    assert "values" in refused("".join(f"k{n}: 1\n" for n in range(MAX_VALUES)))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_diamond_of_small_files(tmp_path: Path) -> None:
    for n in range(26):
        write(tmp_path, f"f{n}.yaml", f"extends: [f{n + 1}.yaml, f{n + 1}.yaml]\n")
    write(tmp_path, "f26.yaml", "seed: 1\n")
    with pytest.raises(ExperimentError, match=f"more than {MAX_FILES} files"):
        load_experiment(tmp_path / "f0.yaml")


def test_a_long_chain_and_a_wide_list_of_files(tmp_path: Path) -> None:
    for n in range(1_200):
        write(tmp_path, f"f{n}.yaml", f"extends: f{n + 1}.yaml\n")
    wide = write(tmp_path, "wide.yaml", f"extends: [{', '.join(['f1200.yaml'] * 5_000)}]\n")
    write(tmp_path, "f1200.yaml", "seed: 1\n")
    for path in (tmp_path / "f0.yaml", wide):
        with pytest.raises(ExperimentError, match=f"more than {MAX_FILES} files"):
            load_experiment(path)


def test_many_large_files(tmp_path: Path) -> None:
    write(tmp_path, "large.yaml", "#" * 200_000)
    path = write(tmp_path, "top.yaml", f"extends: [{', '.join(['large.yaml'] * 90)}]\n")
    with pytest.raises(ExperimentError, match=r"large\.yaml holds NoneType"):
        load_experiment(path)
    write(tmp_path, "large.yaml", "seed: 1\n" + "#" * 200_000)
    with pytest.raises(ExperimentError, match="bytes; let fewer"):
        load_experiment(path)


def test_a_diamond_of_a_few_files_is_as_before(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "extends: matrix/two_step/qmix\nseed: 1\n")
    write(tmp_path, "left.yaml", "extends: base.yaml\nseed: 2\n")
    write(tmp_path, "right.yaml", "extends: base.yaml\n")
    # The later one wins, with what it extends.
    assert load_experiment(write(tmp_path, "top.yaml", "extends: [left.yaml, right.yaml]\n")).seed == 1


@pytest.mark.parametrize("read", [load_experiment, read_sweep])
def test_the_size_is_looked_at_before_the_file_is_read(tmp_path: Path, read: object) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(ExperimentError, match="larger than"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("read", [read_sweep])
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ExperimentError, match="no regular file"):
        read(tmp_path / "pipe.yaml")  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        "extends: [matrix/two_step/qmix, intervention/reborn, protocol/short]\ninterventions: 3\n",
        "extends: [own.yaml, protocol/short]\n",
        f"extends: {'x' * 5_000}\n",
        f"extends: matrix/two_step/qmix{'+redo' * 20_000}\n",
        "extends: {}\n",
        "extends: [1]\n",
        "extends: matrix/two_step/qmix\n1: 2\n",
        "extends: matrix/two_step/qmix\n~: 2\n",
        "algorithm: [qmix]\nenv: 3\n",
        "compose: 1\n",
        "[]",
        "",
    ],
)
def test_files_that_are_no_experiment(tmp_path: Path, text: str) -> None:
    write(tmp_path, "own.yaml", "extends: matrix/two_step/qmix\ninterventions: [1, {kind: 7}]\n")
    path = write(tmp_path, "some.yaml", text)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    assert len(str(caught.value)) < 2_500


@pytest.mark.parametrize(
    "override",
    [
        "training.lr=1e999",
        f"training.lr={'9' * 5_000}",
        f"seed={'9' * 90}",
        "seed=!!int ''",
        "seed=[" + "[" * 5_000,
        f"{'a.' * 5_000}b=1",
        "training.lr=" + "{a: " * 50,
        "=1",
        "a..b=1",
        "seed=.nan",
        "interventions.99999999999999999999.x=1",
        "interventions.\u00b2.x=1",
        "stop=\ud800",
    ],
)
def test_overrides(override: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        load_experiment("matrix/two_step/qmix+redo", [override])
    assert len(str(caught.value)) < 1_000


def test_laying_many_keys_over_many_takes_no_quadratic_time(tmp_path: Path) -> None:
    many = "env_config:\n" + "".join(f"  k{n}: [1]\n" for n in range(2_900))
    write(tmp_path, "a.yaml", "extends: matrix/two_step/qmix\n" + many)
    path = write(tmp_path, "b.yaml", f"extends: [{', '.join(['a.yaml'] * 6)}]\n" + many)
    assert len(load_experiment(path).env_config) == 2_900
