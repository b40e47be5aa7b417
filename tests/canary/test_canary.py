"""The subset names tests that there are, and what came of them is read; ``make canary RAY=...`` runs them on another Ray."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.canary import __main__ as program
from tests.canary.results import Group, as_row, read_results, works
from tests.canary.subset import SUBSET, group_of
from tests.docs_code import REPOSITORY

NAMES = [name for names in SUBSET.values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_a_test(name: str) -> None:
    file, _, test = name.partition("::")
    tree = ast.parse((REPOSITORY / file).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert not test or test in found


def test_no_test_is_in_two_groups() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert not [name for name in NAMES for other in NAMES if name != other and name.startswith(f"{other}::")]


def test_tests_belong_to_the_group_of_their_file_or_function() -> None:
    assert group_of("tests/policy/test_export_cli.py::TestExport::test_it_acts_as_the_saved_team") == "export"
    tune = "tests/algorithms/test_tune.py::test_tuner_runs_two_trials_and_their_checkpoints_restore"
    assert group_of(f"{tune}[name]") == "tune"
    with pytest.raises(KeyError, match="is in no group"):
        group_of(f"{tune}_and_more")


JUNIT = """<testsuites><testsuite>
<testcase file="tests/runtime/test_ray_internals.py" classname="tests.runtime.test_ray_internals" name="test_a"/>
<testcase file="tests/runtime/test_ray_internals.py" classname="tests.runtime.test_ray_internals" name="test_b">
  <failure message="x"/></testcase>
<testcase file="tests/policy/test_export_cli.py" classname="tests.policy.test_export_cli.TestExport" name="test_c"/>
<testcase file="tests/policy/test_export_cli.py" classname="tests.policy.test_export_cli.TestExport" name="test_d">
  <skipped/></testcase>
<testcase classname="" name="tests.algorithms.test_tune"><error message="collection failure"/></testcase>
</testsuite></testsuites>"""


def test_what_came_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    groups = read_results(tmp_path / "junit.xml")
    assert groups["ray_internals"] == Group(1, 0, ["tests/runtime/test_ray_internals.py::test_b"])
    assert groups["export"] == Group(1, 1, [])
    assert groups["tune"] == Group(0, 0, ["tests/algorithms/test_tune.py"])
    assert groups["resume"] == Group()
    assert not works(groups)
    monkeypatch.setattr("platform.python_version_tuple", lambda: ("3", "11", "7"))
    row = as_row("2.58.1", groups)
    assert row.startswith(
        "| 2.58.1 | 3.11 | 2 | 2 | `test_ray_internals.py::test_b`, `test_tune.py`, `settings: not run`"
    )


def test_it_works_only_where_something_passed_in_each_group() -> None:
    passed = {name: Group(passed=1) for name in SUBSET}
    assert works(passed)
    assert as_row("2.60.0", passed).endswith(f"| {len(SUBSET)} | 0 |  |")
    assert not works(passed | {"tune": Group(skipped=1)})


@pytest.mark.parametrize("ray", ["2.58", "latest", "2.58.1; ls", ""])
def test_what_is_no_release_is_refused(
    ray: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["canary", ray])
    with pytest.raises(SystemExit):
        program.main()
    assert "is no release such as 2.58.1" in capsys.readouterr().err
