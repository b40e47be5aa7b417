"""What docker/Dockerfile does with the user's game, without Docker: the script that unpacks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "unpack_game.sh"
GAME = ("StarCraftII/Versions/Base75689/SC2_x64", "StarCraftII/Libs/libx.so")
MAPS = ("SMAC_Maps/3m.SC2Map", "SMAC_Maps/2s3z.SC2Map")

pytestmark = pytest.mark.skipif(shutil.which("unzip") is None, reason="not run: unzip is not installed")


def archive(path: Path, names: tuple[str, ...]) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, name)


def unpack(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "temporary").mkdir()
    return subprocess.run(
        ["sh", SCRIPT, tmp_path / "game", tmp_path / "out", tmp_path / "password"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )


@pytest.fixture
def game(tmp_path: Path) -> Path:
    folder = tmp_path / "game"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_the_users_game_and_maps_are_there_and_no_archive_is(tmp_path: Path, game: Path, form: str) -> None:
    archive(game / "SC2.4.10.zip", GAME)
    if form == "folder":
        with zipfile.ZipFile(game / "SC2.4.10.zip") as made:
            made.extractall(game)
        (game / "SC2.4.10.zip").unlink()
    archive(game / "SMAC_Maps.zip", MAPS)
    archive(game / "SMAC_Maps_v2.zip", ("32x32_flat.SC2Map",))
    done = unpack(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "Maps" / "SMAC_Maps").iterdir()) == [
        "2s3z.SC2Map",
        "32x32_flat.SC2Map",
        "3m.SC2Map",
    ]
    assert os.access(out / "Versions" / "Base75689" / "SC2_x64", os.X_OK)
    assert (out / "Libs" / "libx.so").is_file()
    assert list(out.rglob("*.zip")) == list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("archives", "message"),
    [
        ({}, "holds neither a folder StarCraftII nor an archive SC2"),
        ({"SC2.4.10.zip": GAME}, "there are no maps"),
        ({"SC2.4.10.zip": GAME, "SC2.4.6.zip": GAME}, "holds 2 archives of the game"),
        ({"SC2.4.10.zip": MAPS, "SMAC_Maps.zip": MAPS}, "holds no folder StarCraftII"),
        ({"SC2.4.10.zip": GAME[1:], "SMAC_Maps.zip": MAPS}, "there is no Versions"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, game: Path, archives: dict[str, tuple[str, ...]], message: str
) -> None:
    for name, content in archives.items():
        archive(game / name, content)
    done = unpack(tmp_path)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_wrong_password_is_told_with_where_to_give_it(tmp_path: Path, game: Path) -> None:
    # Python makes no encrypted archives: the flag in both headers is enough to be asked for a password.
    archive(game / "SC2.4.10.zip", GAME[:1])
    content = bytearray((game / "SC2.4.10.zip").read_bytes())
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flag] |= 1
    (game / "SC2.4.10.zip").write_bytes(content)
    (tmp_path / "password").write_text("wrong\n")
    done = unpack(tmp_path)
    assert done.returncode == 1
    assert "--secret id=sc2_password,src=FILE" in done.stderr
