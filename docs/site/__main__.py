"""``python -m docs.site``: builds the site with Sphinx; any warning is an error. ``make docs`` calls it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from docs.site.stage import stage


def main(arguments: list[str] | None = None) -> int:
    """Exit status of Sphinx: 0 where it built the site without a warning."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description="Builds the documentation site.")
    parser.add_argument(
        "--out", type=Path, default=Path("build/docs"), help="folder of the site (default: %(default)s)"
    )
    parser.add_argument("--no-notebooks", action="store_true", help="show notebooks without executing them")
    options = parser.parse_args(arguments)
    from sphinx.cmd.build import main as sphinx

    source, html = options.out / "source", options.out / "html"
    source.mkdir(parents=True, exist_ok=True)
    stage(source.resolve())
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = [f"-Dnb_execution_mode={'off' if options.no_notebooks else 'cache'}"]
    folders = ["-c", str(Path(__file__).parent), "-d", str(options.out / "doctrees"), str(source), str(html)]
    status = sphinx(["-b", "html", "-a", "-W", "--keep-going", "-q", *settings, *folders])
    if status == 0:
        print(f"site: {html / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
