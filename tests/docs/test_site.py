"""The site is built by Sphinx without a warning, with everything in it that a reader needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs_code import DOCS

pytestmark = pytest.mark.long


def test_every_page_is_there(html: Path) -> None:
    for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]:
        assert (html / page.relative_to(DOCS).with_suffix(".html")).is_file(), page


def test_reference_search_and_notebooks(html: Path) -> None:
    config = (html / "reference" / "generated" / "rllib_reborn.algorithms.ValueFactorizationConfig.html").read_text()
    assert "batch_episodes" in config
    assert "Whole episodes per update" in config
    assert "searchindex.js" in (html / "search.html").read_text()
    assert (html / "searchindex.js").stat().st_size > 100_000
    notebook = (html / "notebooks" / "first_run.html").read_text()
    assert "env steps" in re.sub(r"<[^>]+>", "", notebook)
    assert 'class="output' in notebook or "cell_output" in notebook


def test_links_of_the_pages_resolve(html: Path) -> None:
    broken: list[str] = []
    ids: dict[Path, set[str]] = {}
    for page in html.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path.partition("?")[0]).resolve() if path else page
            if file.suffix == ".html" and anchor and file.is_file():
                known = ids.setdefault(file, set(re.findall(r'id="([^"]+)"', file.read_text())))
                if anchor not in known:
                    broken.append(f"{page.relative_to(html)}: {target}")
            elif not file.exists():
                broken.append(f"{page.relative_to(html)}: {target}")
    assert broken == []


def test_no_page_asks_the_network_for_anything(html: Path) -> None:
    for page in html.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', page.read_text())
        styles = re.findall(r'<link[^>]+rel="(?:stylesheet|preload)"[^>]+href="(https?:[^"]+)"', page.read_text())
        assert (loaded, styles) == ([], []), page
