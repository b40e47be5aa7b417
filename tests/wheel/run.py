"""Installs what a release would ship into an empty virtual environment, and uses it as a user without a clone does.

Builds the sdist and, from it, the wheel; installs the wheel with the lock of the Python that runs this; and runs, in a
folder outside the clone: ``configs``, ``train`` (also ``--dry-run``), ``report``, ``evaluate``. ``make wheel-test`` runs it;
it is no part of pytest, because it installs everything once more, which takes a minute or a few.

    python tests/wheel/run.py [--keep DIR]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
LOCK = CLONE / "constraints" / f"py{sys.version_info[0]}{sys.version_info[1]}.txt"
PAGE_PARTS = {
    f"rllib_reborn/evaluation/page/{name}" for name in ("page.html", "page.css", "draw.js", "charts.js", "page.js")
}
PIP_OPTIONS = ("--quiet", "--disable-pip-version-check")


class WheelTestError(Exception):
    """Something that a user would meet is broken."""


def main() -> int:
    """Run everything; 0: the wheel works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave it there")
    args = parser.parse_args()
    if not LOCK.exists():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        parser.error(f"Python {version} has no lock in constraints/; run this with one of those that have.")
    if args.keep is not None:
        args.keep.mkdir(parents=True)
        return test_wheel(args.keep.resolve())
    with tempfile.TemporaryDirectory(prefix="rllib-reborn-wheel-") as folder:
        return test_wheel(Path(folder))


def test_wheel(folder: Path) -> int:
    """Build, install and use the package in an empty ``folder`` outside the clone."""
    if folder.is_relative_to(CLONE):
        raise SystemExit(f"{folder} is inside the clone, whose files must not be found; give another folder.")
    try:
        with step("build"):
            wheel = build(folder)
        with step("install"):
            program = install(folder, wheel)
        with step("use"):
            use(folder, program)
    except WheelTestError as error:
        print(f"wheel-test: {error}", file=sys.stderr)
        return 1
    print(f"wheel-test: ok on Python {sys.version_info[0]}.{sys.version_info[1]}")
    return 0


class step:  # noqa: N801
    """Prints how long a block took, in seconds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *error: object) -> None:
        print(f"wheel-test: {self.name} {time.monotonic() - self.start:.0f} s", flush=True)


def build(folder: Path) -> Path:
    """The wheel, made from the sdist, which is made from a copy of the clone's tracked and new files.

    Both are checked to hold every file of ``configs/`` and the parts of the HTML page.
    """
    source = folder / "source"
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CLONE).split("\0")
    for name in filter(None, listed):
        if (CLONE / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CLONE / name, source / name)
    builder = folder / "builder"
    venv.create(builder, with_pip=True)
    pip = [str(builder / "bin" / "python"), "-m", "pip"]
    run([*pip, "install", *PIP_OPTIONS, "setuptools>=77", "wheel"], cwd=folder)
    make_sdist = "from setuptools import build_meta; import sys; print(build_meta.build_sdist(sys.argv[1]))"
    run([str(builder / "bin" / "python"), "-c", make_sdist, str(folder / "dist")], cwd=source)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    run(
        [*pip, "wheel", *PIP_OPTIONS, "--no-deps", "--no-build-isolation", "-w", str(folder / "dist"), str(sdist)],
        cwd=folder,
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("rllib_reborn/configs/")}
    wanted = {f"rllib_reborn/{name}" for name in listed if name.startswith("configs/") and (CLONE / name).is_file()}
    if shipped != wanted:
        raise WheelTestError(f"the wheel's configs differ from those of the clone: {sorted(shipped ^ wanted)}.")
    with zipfile.ZipFile(wheel) as archive:
        missing = PAGE_PARTS - set(archive.namelist())
    if missing:
        raise WheelTestError(f"the wheel lacks parts of the HTML page: {sorted(missing)}.")
    return wheel


def install(folder: Path, wheel: Path) -> Path:
    """Path of ``rllib-reborn`` in a new, empty virtual environment."""
    target = folder / "venv"
    venv.create(target, with_pip=True)
    python = str(target / "bin" / "python")
    # Files are compiled when they are imported; compiling all of torch and Ray now would take as long as the rest.
    pip = [python, "-m", "pip", "install", *PIP_OPTIONS, "--no-compile", "--constraint", str(LOCK)]
    # torch on its own first, as in the Makefile: with a CPU file of the locked release at hand pip takes that one.
    run([*pip, "torch"], cwd=folder)
    run([*pip, str(wheel)], cwd=folder)
    found = run([python, "-c", "import rllib_reborn; print(rllib_reborn.__file__)"], cwd=folder).strip()
    if not Path(found).is_relative_to(target):
        raise WheelTestError(f"rllib_reborn is imported from {found}, outside the virtual environment.")
    return target / "bin" / "rllib-reborn"


def use(folder: Path, program: Path) -> None:
    """What a user does first, in an empty folder."""
    work = folder / "work"
    work.mkdir()

    def command(*arguments: str) -> str:
        return run([str(program), *arguments], cwd=work)

    expect("qmix", command("configs"))
    expect("configs/algorithm/vdn.yaml", command("configs", "battle/8m/vdn+redo"))
    expect("env_steps: 5000000", command("train", "smacv2/zerg_5_vs_5/qmix", "--dry-run"))
    command("train", "matrix/two_step/qmix", "stop.env_steps=400", "--out", "runs/first")
    command("report", "runs/first", "--html")
    if not (work / "runs" / "first" / "report" / "report.html").exists():
        raise WheelTestError("'report --html' left no report.html.")
    command("evaluate", "runs/first", "--episodes", "4")
    for made in ("config.yaml", "metrics.jsonl", "final_evaluation.json", "report"):
        if not (work / "runs" / "first" / made).exists():
            raise WheelTestError(f"'train matrix/two_step/qmix' left no {made}.")


def expect(words: str, text: str) -> None:
    """Raise unless ``words`` are in ``text``."""
    if words not in text:
        raise WheelTestError(f"{words!r} is not in what was printed:\n{text}")


def run(command: list[str], cwd: Path) -> str:
    """What the command prints; nothing of the clone is in its environment.

    Raises:
        WheelTestError: It failed; the message has its output.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WheelTestError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
