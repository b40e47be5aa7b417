"""A virtual environment with another Ray; everything else is that of the Python that runs this."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def make_environment(folder: Path, ray: str) -> Path:
    """The Python of a new environment in ``folder`` (one that is there is taken again).

    Only Ray is installed into it, without what it requires. Its other packages are those of this Python: 100 MB in place of
    gigabytes, and no other package changes with Ray.

    Raises:
        SystemExit: Ray of that version cannot be installed.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(_answer(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # Behind the environment's own packages, so that its Ray is found first; files .pth there are read as well.
    shared = sysconfig.get_path("purelib")
    (packages / "shared.pth").write_text(f"{REPOSITORY}\nimport site; site.addsitedir({shared!r})\n")
    if _own_ray(packages) != ray:
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
        command = [*pip, "--ignore-installed", "--no-compile", f"ray=={ray}"]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"canary: Ray {ray} cannot be installed; pip index versions ray lists what there is.")
    program = "import ray, rllib_reborn; print(ray.__version__, rllib_reborn.__file__)"
    found = _answer(python, program)
    if found != f"{ray} {REPOSITORY / 'rllib_reborn' / '__init__.py'}":
        raise SystemExit(f"canary: expected Ray {ray} and this clone in {folder}, found {found}; remove the folder.")
    return python


def unmet_requirements(python: Path) -> list[str]:
    """What the Ray of an environment requires with the extras of ``setup.cfg`` and does not find in it."""
    program = """
import importlib.metadata
from packaging.requirements import Requirement
for line in importlib.metadata.requires("ray") or ():
    one = Requirement(line)
    if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", "rllib", "tune", "default")):
        try:
            found = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{one.name}{one.specifier} (not there)")
        else:
            if not one.specifier.contains(found, prereleases=True):
                print(f"{one.name}{one.specifier} (there is {found})")
"""
    return sorted(set(_answer(python, program).splitlines()))


def _own_ray(packages: Path) -> str | None:
    found = [one.version for one in importlib.metadata.distributions(name="ray", path=[str(packages)])]
    return found[0] if found else None


def _answer(python: Path, program: str) -> str:
    # From a folder without packages: Python looks first where it is started.
    done = subprocess.run([python, "-c", program], cwd=python.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"canary: {python} cannot run:\n{done.stderr}")
    return done.stdout.strip()
