"""Two trees to compare: the work tree and a checkout of another commit, each with a virtual environment of its own.

A light environment (the default) has no packages of its own: a ``.pth`` file names the tree's root and then the packages of
the interpreter that runs this, so both trees have the same ones. ``--fresh-venv`` installs the other commit's own lock.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: The commit before the packages were rearranged.
REF = "a0b914c"
SCRIPT = Path(__file__).with_name("in_tree.py")


@dataclasses.dataclass(frozen=True)
class Tree:
    """A tree of files and the python that imports from it.

    Attributes:
        name: ``before`` or ``after``.
        root: Where ``rllib_reborn`` and ``benchmarks`` lie.
        python: Interpreter of its virtual environment.
    """

    name: str
    root: Path
    python: Path

    @staticmethod
    def environment() -> dict[str, str]:
        """Of a process of a tree."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        # One thread, so that no sum depends on how threads share it; a fixed hash seed, so that no order of a set differs.
        return kept | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

    def run(self, arguments: Sequence[str], request: Any = None) -> str:
        """What ``python ARGUMENTS`` prints to stdout, run in the tree's root; ``request`` goes to stdin as JSON.

        Raises:
            RuntimeError: It failed; the message ends with the last lines of stderr.
        """
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.root,
            env=self.environment(),
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = "\n".join(done.stderr.splitlines()[-30:])
            raise RuntimeError(
                f"{self.name} ({self.root}): {' '.join(arguments)} ended with {done.returncode}:\n{last}"
            )
        return done.stdout

    def ask(self, task: str, **request: Any) -> list[dict[str, Any]]:
        """The answers of :mod:`.in_tree` to a task, one JSON object each.

        Raises:
            RuntimeError: The script failed, or the tree did not import its own ``rllib_reborn``.
        """
        with tempfile.TemporaryDirectory() as folder:
            answers = Path(folder) / "answers.jsonl"
            # -P: the folder of the script, which is the work tree's, does not go on the path of the other tree.
            self.run(["-P", str(SCRIPT), task, str(answers)], request)
            first, *rest = [json.loads(line) for line in answers.read_text().splitlines()]
        for process, imported in first["imported"].items():
            if not Path(imported).is_relative_to(self.root / "rllib_reborn"):
                raise RuntimeError(f"{self.name}: the {process} imported {imported}, expected it below {self.root}.")
        return rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--ref``, ``--folder`` and ``--fresh-venv``, for :func:`make_trees`."""
    parser.add_argument("--ref", default=REF, metavar="COMMIT", help=f"the commit before; default {REF}")
    default = Path(tempfile.gettempdir()) / "rllib_reborn_before_after"
    parser.add_argument("--folder", type=Path, default=default, help=f"checkouts are kept there; default {default}")
    parser.add_argument(
        "--fresh-venv", action="store_true", help="install the other commit's own lock instead of sharing our packages"
    )


def make_trees(arguments: argparse.Namespace) -> tuple[Tree, Tree]:
    """The other commit and the work tree; what the folder has already is used again.

    Raises:
        ValueError: The folder lies inside the repository, or there is no such commit.
    """
    folder: Path = arguments.folder.resolve()
    if folder.is_relative_to(ROOT):
        raise ValueError(f"--folder is {folder}, inside the repository; give one outside it.")
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{arguments.ref}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise ValueError(
            f"--ref is {arguments.ref!r}; expected a commit of this repository. In a shallow clone, fetch it."
        )
    commit = found.stdout.strip()
    root = folder / commit[:12]
    if not (root / ".complete").exists():
        root.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(root)], input=archive, check=True)
        (root / ".complete").touch()
    if arguments.fresh_venv:
        before = _fresh_python(root, folder / f"{commit[:12]}_fresh_venv")
    else:
        before = _light_python(root, folder / f"{commit[:12]}_venv")
    after = _light_python(ROOT, folder / f"{ROOT.name}_venv")
    return Tree("before", root, before), Tree("after", ROOT, after)


def shared_packages() -> Path:
    """The folder that this interpreter imports Ray from."""
    spec = importlib.util.find_spec("ray")
    if spec is None or spec.origin is None:
        raise RuntimeError("this interpreter has no ray; run with the repository's virtual environment.")
    return Path(spec.origin).parents[1]


def _light_python(root: Path, venv: Path) -> Path:
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    # Rewritten each time: work trees of one name share the folder.
    (packages / "trees.pth").write_text(f"{root}\n{shared_packages()}\n")
    return python


def _fresh_python(root: Path, venv: Path) -> Path:
    python = venv / "bin" / "python"
    if not (venv / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Of the commit itself; those before 0.2.0 have one for 3.11 alone, which installs on later Pythons too.
        own = f"constraints/py{sys.version_info[0]}{sys.version_info[1]}.txt"
        install += ["--constraint", own if (root / own).exists() else "constraints/py311.txt"]
        # torch on its own first, as in the Makefile.
        for what in (["torch"], ["--editable", ".[dev]"]):
            subprocess.run([*install, *what], cwd=root, check=True)
        (venv / ".complete").touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    for tree in make_trees(parser.parse_args()):
        tree.ask("imports")
        print(f"{tree.name}: {tree.python} imports rllib_reborn of {tree.root}, in Ray's workers too")


if __name__ == "__main__":
    main()
