"""Builds what a release ships, checks it and leaves it in ``build/dist``: ``make dist``. RELEASING.md says what comes then.

The wheel is made from the sdist. Both are checked by ``tests/wheel/contents.py`` and ``twine check --strict``, and what they
hold is listed in ``build/dist/contents.txt`` with a hash of each archive.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from tests.wheel.contents import read_archive, wrong_in_sdist, wrong_in_wheel
from tests.wheel.run import CLONE, PIP_OPTIONS, WheelTestError, build, run


def main() -> int:
    """Build, check, list; 0: nothing is wrong."""
    target = CLONE / "build" / "dist"
    with tempfile.TemporaryDirectory(prefix="rllib-reborn-dist-") as name:
        folder = Path(name)
        try:
            wheel = build(folder)
            (sdist,) = wheel.parent.glob("*.tar.gz")
            python = str(folder / "builder" / "bin" / "python")
            run([python, "-m", "pip", "install", *PIP_OPTIONS, "twine"], cwd=folder)
            print(run([python, "-m", "twine", "check", "--strict", str(wheel), str(sdist)], cwd=folder).strip())
        except WheelTestError as error:
            print(f"dist: {error}", file=sys.stderr)
            return 1
        tracked = [path.relative_to(folder / "source").as_posix() for path in (folder / "source").rglob("*")]
        tracked = [one for one in tracked if (folder / "source" / one).is_file() and ".egg-info/" not in one]
        wrong = wrong_in_wheel(read_archive(wheel), tracked) + wrong_in_sdist(read_archive(sdist), tracked)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        lines = []
        for archive in (wheel, sdist):
            shutil.copy2(archive, target)
            files = read_archive(archive)
            size, digest = archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest()
            print(f"{target / archive.name}: {len(files)} files, {size:,} bytes, sha256 {digest}")
            lines += [
                f"{archive.name} {digest}",
                *(f"  {len(content):>8} {name}" for name, content in sorted(files.items())),
            ]
        (target / "contents.txt").write_text("\n".join(lines) + "\n")
    for sentence in wrong:
        print(f"dist: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
