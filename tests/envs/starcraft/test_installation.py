"""Finding the game, its versions and its maps, and what is said where something is missing or broken."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from rllib_reborn.envs.starcraft import installation as module
from rllib_reborn.envs.starcraft.errors import InstallationError
from rllib_reborn.envs.starcraft.installation import (
    base_build,
    check_executable,
    find_installation,
    known_complaint,
    same_version,
)
from rllib_reborn.envs.team_game import GameUnavailableError
from tests.envs.starcraft.programs import installation


@pytest.fixture
def game(tmp_path):
    installation(tmp_path, "", build=69232)
    installation(tmp_path, "", build=75689)
    (tmp_path / "Versions" / "Base80000").mkdir()  # without a program
    (tmp_path / "Versions" / "Shaders").mkdir()
    return find_installation(str(tmp_path))


def test_the_folder_is_the_one_that_is_named(tmp_path, monkeypatch):
    given, variable, home = (installation(tmp_path / name, "") for name in ("given", "variable", "home/StarCraftII"))
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.delenv("SC2PATH", raising=False)
    assert find_installation().root == home
    monkeypatch.setenv("SC2PATH", str(variable))
    assert find_installation().root == variable
    assert find_installation(str(given)).root == given
    assert find_installation("~/StarCraftII").root == home


def test_versions(game):
    assert [build.number for build in game.builds] == [69232, 75689]
    assert game.build().number == 75689
    for version in ("4.10", "4.10.0", "4.10.0.75689", "75689", "Base75689"):
        assert game.build(version).number == 75689
    assert game.build("4.6.2").executable == game.root / "Versions" / "Base69232" / "SC2_x64"
    with pytest.raises(InstallationError, match=r"'4.7' .Base70154. is not installed: .* has Base69232, Base75689"):
        game.build("4.7")
    with pytest.raises(InstallationError, match=r"'newest' .a build such as 75689. is not installed"):
        game.build("newest")
    assert base_build("4") == 4
    assert base_build("4.99") is None
    assert base_build("4.12.0.79998") == 79998  # in no table


def test_the_build_of_a_version_is_its_folders_and_not_its_datas():
    assert [base_build(version) for version in ("4.7.1", "4.7.1.70326", "70154")] == [70154] * 3
    assert base_build("4.6.1.68195") == 67926


@pytest.mark.parametrize(
    ("wanted", "reported", "same"),
    [
        ("4.10", "4.10.0.75689", True),
        ("4.10", "4.6.2.69232", False),
        ("4.7", "4.7.1.70326", False),
        ("4.7.1", "4.7.1.70326", True),
        ("4.7.1.70326", "4.7.1.70326", True),
        ("4.7.1.70325", "4.7.1.70326", False),
        ("70154", "4.7.1.70326", True),
        ("4.10", "mock_server", True),
    ],
)
def test_a_version_is_compared_as_far_as_it_was_named(wanted, reported, same):
    assert same_version(wanted, reported) is same


def test_maps(game):
    assert game.map_file("3m") == game.root / "Maps" / "SMAC_Maps" / "3m.SC2Map"
    other = game.root / "Maps" / "mine" / "8m.SC2Map"
    other.parent.mkdir()
    other.write_bytes(b"")
    assert game.map_file("8m") == other
    with pytest.raises(InstallationError, match=r"25m.SC2Map is not in .*, which has 1 others; unpack SMAC_Maps.zip"):
        game.map_file("25m")


def test_nothing_there(tmp_path, monkeypatch):
    monkeypatch.delenv("SC2PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        InstallationError, match=r"StarCraftII .the default, since SC2PATH is not set., which does not exist; B"
    ):
        find_installation()
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    with pytest.raises(InstallationError, match=r"\(\$SC2PATH\) holds no Versions/Base\*/SC2_x64"):
        find_installation()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InstallationError, match=r"\(sc2_path\), which is a file"):
        find_installation(str(file))


def test_an_error_is_hopeless_has_a_remedy_and_travels(tmp_path):
    with pytest.raises(GameUnavailableError) as caught:
        find_installation(str(tmp_path / "nowhere"))
    error = caught.value
    assert str(error) == f"{error.sentence}; {error.remedy}"
    assert "SC2PATH" in error.remedy
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.remedy) == (str(error), error.remedy)
    assert str(InstallationError("Hm")) == "Hm"


class TestExecutable:
    def test_a_whole_one(self, game):
        check_executable(game.build())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xcf\xfa\xed\xfe mach-o", "is no program for Linux"),
            (b"", "is no program for Linux"),
            (b"\x7fELF" + bytes(14) + b"\x3e\x00", "is built for x86-64 and this machine is aarch64"),
        ],
    )
    def test_of_another_system(self, game, content, message, monkeypatch):
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        game.build().executable.write_bytes(content)
        with pytest.raises(InstallationError, match=message):
            check_executable(game.build())

    def test_that_may_not_be_executed(self, game):
        path = game.build().executable
        path.chmod(0o644)
        with pytest.raises(InstallationError, match=f"may not be executed; run: chmod \\+x {path}"):
            check_executable(game.build())

    def test_on_a_file_system_without_programs(self, game, monkeypatch):
        class NoExec:
            f_flag = os.ST_NOEXEC

        monkeypatch.setattr("os.statvfs", lambda path: NoExec)
        with pytest.raises(InstallationError, match="mounted noexec"):
            check_executable(game.build())

    def test_that_is_gone(self, game):
        build = game.build()
        build.executable.unlink()
        build.executable.mkdir()
        with pytest.raises(InstallationError, match="is not a file"):
            check_executable(build)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("SC2_x64: /lib/libc.so.6: version `GLIBC_2.18' not found", "newer system"),
        ("error while loading shared libraries: libEGL.so.1: cannot open", "a library is missing"),
        ("Startup failed: e_fileCorruptRepairable", "unpack the game again"),
        ("cannot execute: [Errno 8] Exec format error", "no program for this machine"),
    ],
)
def test_complaints_that_no_further_attempt_can_mend(words, remedy):
    assert remedy in known_complaint(f"Starting up...\n{words}\n")


def test_other_complaints_are_worth_another_attempt():
    assert known_complaint("Segmentation fault (core dumped)") is None
    assert known_complaint("") is None


def test_what_is_said_of_maps_names_the_folder_that_is_looked_into():
    assert str(module.MAPS_FOLDER) in module.HOW_TO_GET_MAPS
    assert Path("Maps", "SMAC_Maps") == module.MAPS_FOLDER
