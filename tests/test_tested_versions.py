"""What is said of Pythons and Rays is the same everywhere, and the locks differ only where a reason is given."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from rllib_reborn.cli import doctor
from rllib_reborn.tested_versions import CANARY_RAYS, PYTHONS, RAY_BEFORE, RAY_FROM, RAYS, TESTED_PYTHONS
from tests.docs_code import REPOSITORY

CONSTRAINTS = REPOSITORY / "constraints"
COMPATIBILITY = (REPOSITORY / "docs" / "compatibility.md").read_text()
#: Package -> why its locked version differs between Pythons. None does today.
DIFFERING: dict[str, str] = {}


def lock(python: str) -> dict[str, str]:
    lines = (CONSTRAINTS / f"py{python.replace('.', '')}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    return parser


def test_each_tested_python_has_a_lock_and_no_other_has() -> None:
    assert {path.stem for path in CONSTRAINTS.iterdir()} == {f"py{one.replace('.', '')}" for one in PYTHONS}


@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_says_whose_it_is_and_is_sorted(python: str) -> None:
    first, *lines = (CONSTRAINTS / f"py{python.replace('.', '')}.txt").read_text().splitlines()
    assert f"for Python {python}:" in first
    assert lines == sorted(lines, key=str.lower)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), (
        "no local version such as +cpu, no hash, no URL"
    )


def test_locks_differ_only_where_a_reason_is_given() -> None:
    locks = [lock(python) for python in PYTHONS]
    names = set().union(*locks)
    assert {name for name in names if len({one.get(name) for one in locks}) > 1} == set(DIFFERING)


def test_no_lock_asks_for_a_gpu() -> None:
    for python in PYTHONS:
        assert not [name for name in lock(python) if re.match(r"nvidia|cuda|triton", name)]


def test_each_package_that_is_asked_for_is_locked() -> None:
    config = settings()
    blocks = [
        config["options"]["install_requires"],
        *(config["options.extras_require"][one] for one in ("dev", "docs")),
    ]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    asked = {re.split(r"[\[=<>]", line)[0].lower() for line in lines if line}
    for python in PYTHONS:
        assert asked <= {name.lower() for name in lock(python)}


def test_the_package_the_makefile_and_the_page_name_the_same_pythons() -> None:
    config, makefile = settings(), (REPOSITORY / "Makefile").read_text()
    listed = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    assert tuple(listed) == PYTHONS
    assert config["options"]["python_requires"] == f">={PYTHONS[0]}"
    assert f"PYTHONS := {' '.join(PYTHONS)}\n" in makefile
    rows = re.findall(r"^\| (3\.\d+) \|", COMPATIBILITY[COMPATIBILITY.index("| Python |") :], re.M)
    assert tuple(rows[: len(PYTHONS)]) == PYTHONS


def test_the_package_the_locks_and_the_page_name_the_same_rays() -> None:
    assert f"ray[rllib,tune,default]>={RAY_FROM},<{RAY_BEFORE}" in settings()["options"]["install_requires"]
    for python in PYTHONS:
        assert lock(python)["ray"] in RAYS
    order = [tuple(int(part) for part in one.split(".")) for one in (RAY_FROM, *CANARY_RAYS, RAY_BEFORE)]
    assert order == sorted(order)
    assert set(RAYS) <= set(CANARY_RAYS)
    assert RAY_FROM in CANARY_RAYS
    rows = re.findall(r"^\| (\d+\.\d+\.\d+) \|", COMPATIBILITY[COMPATIBILITY.index("| Ray |") :], re.M)
    assert set(CANARY_RAYS) <= set(rows)


def test_doctor_says_which_were_tested() -> None:
    assert set(TESTED_PYTHONS) <= set(PYTHONS)
    tested = f"(tested on {', '.join(TESTED_PYTHONS)})"
    for python in PYTHONS:
        found = doctor.check_python(tuple(int(part) for part in python.split(".")))
        assert found.ok is (True if python in TESTED_PYTHONS else None)
        assert found.sentence.endswith(tested)
    assert doctor.check_python((3, 10)).ok is False
    assert doctor.check_python((3, 14)).ok is None
    assert "was not tried (tested on" in doctor.check_python((3, 14)).sentence
    assert f"(all tests passed on {', '.join(RAYS)}, a subset on {CANARY_RAYS[0]}" in doctor.check_ray().sentence


def make(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The Makefile in a folder with locks; and "Pythons" that only say which they are."""
    (tmp_path / "Makefile").write_bytes((REPOSITORY / "Makefile").read_bytes())
    for name in ("setup.py", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "constraints").mkdir()
    for python in PYTHONS:
        (tmp_path / "constraints" / f"py{python.replace('.', '')}.txt").touch()
    return tmp_path


def interpreter(path: Path, version: str) -> Path:
    """A program that answers as a Python of that version does where the Makefile asks it; as ``-m venv DIR`` it puts
    itself there, as ``-m pip`` it prints its lock. Version "": one that does not run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!/bin/sh
test -n "{version}" || exit 127
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip") for word; do case "$word" in constraints/*) echo "lock $word" ;; esac; done ;;
"-m rllib_reborn") echo trains ;;
-c*) echo "{version}" ;;
esac
"""
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("there", "lock_of"),
    [
        ({"3.11": "3.11", "3.12": "3.12", "3.13": "3.13"}, "py311"),
        ({"3.11": "", "3.12": "3.12", "3.13": "3.13"}, "py312"),
        ({"3.11": "", "3.12": "", "3.13": "3.13"}, "py313"),
    ],
)
def test_make_takes_the_first_python_that_runs_and_its_lock(
    clone: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, str], lock_of: str
) -> None:
    for name, version in there.items():
        interpreter(clone / "programs" / f"python{name}", version)
    monkeypatch.setenv("PATH", f"{clone / 'programs'}:/usr/bin:/bin")
    monkeypatch.delenv("PYTHON", raising=False)
    status, printed = make(clone, "train")
    assert status == 0, printed
    assert set(re.findall(r"^lock (.*)$", printed, re.M)) == {f"constraints/{lock_of}.txt"}
    assert "trains" in printed


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("3.10", "is Python 3.10, which has no lock in constraints/ (3.11 3.12 3.13 have)"),
        ("3.14", "is Python 3.14, which has no lock"),
        ("", "does not run; install it or say another"),
    ],
)
def test_make_refuses_a_python_without_a_lock(clone: Path, version: str, says: str) -> None:
    python = interpreter(clone / "mine", version)
    status, printed = make(clone, "train", f"PYTHON={python}")
    assert status == 2
    assert says in printed
    assert not (clone / ".venv").exists()


def test_make_refuses_another_python_than_that_of_the_environment(clone: Path) -> None:
    assert make(clone, "train", f"PYTHON={interpreter(clone / 'one', '3.12')}")[0] == 0
    assert make(clone, "train", f"PYTHON={clone / 'one'}")[0] == 0
    status, printed = make(clone, "train", f"PYTHON={interpreter(clone / 'other', '3.13')}")
    assert status == 2
    assert ".venv is of Python 3.12" in printed
    assert make(clone, "clean", f"PYTHON={clone / 'other'}")[0] == 0
    assert not (clone / ".venv").exists()
