"""What is wrong with a wheel or a sdist is found; ``make dist`` asks real ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.wheel.contents import SDIST_FILES, read_archive, wrong_in_sdist, wrong_in_wheel

TRACKED = [
    "rllib_reborn/a.py",
    "rllib_reborn/py.typed",
    "configs/algorithm/x.yaml",
    "tests/test_a.py",
    "docs/a.md",
    "setup.py",
]
WHEEL = {
    "rllib_reborn/a.py": b"a = 1",
    "rllib_reborn/py.typed": b"",
    "rllib_reborn/configs/algorithm/x.yaml": b"lr: 1",
    "rllib_reborn-0.2.0.dist-info/METADATA": b"",
    "rllib_reborn-0.2.0.dist-info/licenses/LICENSE": b"Apache",
}
SDIST = dict.fromkeys([*TRACKED[:3], *sorted(SDIST_FILES), "rllib_reborn.egg-info/SOURCES.txt"], b"")


def test_nothing_is_wrong() -> None:
    assert wrong_in_wheel(WHEEL, TRACKED) == []
    assert wrong_in_sdist(SDIST, TRACKED) == []


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("rllib_reborn/py.typed", "rllib_reborn/py.typed is not in the wheel"),
        ("rllib_reborn/configs/algorithm/x.yaml", "rllib_reborn/configs/algorithm/x.yaml is not in the wheel"),
        ("rllib_reborn-0.2.0.dist-info/licenses/LICENSE", "the wheel has no licence"),
    ],
)
def test_what_a_wheel_lacks(gone: str, says: str) -> None:
    assert wrong_in_wheel({name: text for name, text in WHEEL.items() if name != gone}, TRACKED) == [says]


@pytest.mark.parametrize("more", ["tests/test_a.py", "rllib_reborn/__pycache__/a.pyc", "configs/algorithm/x.yaml"])
def test_what_a_wheel_has_too_much(more: str) -> None:
    assert wrong_in_wheel(WHEEL | {more: b""}, TRACKED) == [f"{more} is in the wheel and not of the package"]


def test_a_sdist() -> None:
    assert wrong_in_sdist(SDIST | {"tests/test_a.py": b""}, TRACKED) == [
        "tests/test_a.py is in the sdist and not of the package"
    ]
    assert wrong_in_sdist({name: b"" for name in SDIST if name != "LICENSE"}, TRACKED) == [
        "LICENSE is not in the sdist"
    ]


@pytest.mark.parametrize("path", ["/root/a", "'/work/clone'", "file:///home/me/b"])
def test_a_path_of_a_machine(path: str) -> None:
    (sentence,) = wrong_in_wheel(WHEEL | {"rllib_reborn/a.py": f"x = {path}".encode()}, TRACKED)
    assert sentence.startswith("rllib_reborn/a.py has a path of a machine, /")


@pytest.mark.parametrize("text", ["~/work/a", "runs/root/a", "/home/", "frameworks/work/a"])
def test_what_is_no_path_of_a_machine(text: str) -> None:
    assert wrong_in_wheel(WHEEL | {"rllib_reborn/a.py": text.encode()}, TRACKED) == []


def test_archives_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("rllib_reborn/a.py", "a")
    with tarfile.open(tmp_path / "a-1.tar.gz", "w:gz") as sdist:
        one = tarfile.TarInfo("a-1/rllib_reborn/a.py")
        one.size = 1
        sdist.addfile(one, io.BytesIO(b"a"))
    assert read_archive(tmp_path / "a.whl") == read_archive(tmp_path / "a-1.tar.gz") == {"rllib_reborn/a.py": b"a"}
