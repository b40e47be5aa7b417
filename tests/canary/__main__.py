"""``python -m tests.canary 2.58.1``: installs that Ray into ``build/canary/`` and runs the subset on it; 0: all passed.

Prints one JSON object and a row of a table, for docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.canary.environment import REPOSITORY, make_environment, unmet_requirements
from tests.canary.results import as_data, as_row, read_results, works
from tests.canary.subset import SUBSET


def main() -> int:
    """Install, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ray", type=_release, metavar="RAY", help="a release of Ray, such as 2.58.1")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "canary", metavar="DIR", help="where")
    args = parser.parse_args()
    folder = args.folder.resolve() / f"ray-{args.ray}"
    python = make_environment(folder, args.ray)
    unmet = unmet_requirements(python)
    junit = folder / "junit.xml"
    junit.unlink(missing_ok=True)
    pytest = [
        str(python),
        "-m",
        "pytest",
        "-m",
        "not long",
        "-p",
        "no:cacheprovider",
        "-q",
        "-o",
        "junit_family=xunit1",
    ]
    # Ray's own programs, and processes that Ray starts, are this environment's.
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    tests = [name for names in SUBSET.values() for name in names]
    subprocess.run(
        [*pytest, f"--junitxml={junit}", *tests], cwd=REPOSITORY, env=os.environ | {"PATH": path}, check=False
    )
    if not junit.exists():
        print("canary: pytest ended without results.", file=sys.stderr)
        return 1
    groups = read_results(junit)
    print(json.dumps(as_data(args.ray, groups, unmet)))
    print(as_row(args.ray, groups))
    return 0 if works(groups) else 1


def _release(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no release such as 2.58.1")
    return text


if __name__ == "__main__":
    sys.exit(main())
