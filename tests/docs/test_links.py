"""Every link of the docs leads somewhere: on GitHub, and in the site, whose sources are made without Sphinx here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from docs.site import markdown
from docs.site.stage import NOT_LISTED, REPOSITORY, sections, stage, with_navigation

DOCS = REPOSITORY / "docs"
#: Everything written in Markdown but what is generated or of others.
SOURCES = sorted(
    path
    for folder in (".", "docs", "examples", "docker", "tune_experiments")
    for path in (REPOSITORY / folder).glob("**/*.md" if folder == "docs" else "*.md")
)


def markdown_texts(page: Path) -> list[str]:
    """The text of a page, or of the Markdown cells of a notebook."""
    if page.suffix == ".md":
        return [page.read_text()]
    cells = json.loads(page.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def anchors_of(page: Path) -> set[str]:
    """All anchors of a page or a notebook."""
    return set().union(*map(markdown.anchors, markdown_texts(page)))


def broken_links(page: Path, root: Path) -> list[str]:
    """Links of a page that lead nowhere, or out of ``root``."""
    found: list[str] = []
    for text in markdown_texts(page):
        for link in markdown.links(text):
            if not link.is_local:
                continue
            file = (page.parent / link.path).resolve() if link.path else page
            if not file.exists() or not file.is_relative_to(root):
                found.append(f"{page.relative_to(root)}: {link.target}: no such file")
            elif link.anchor and (file.suffix not in (".md", ".ipynb") or link.anchor not in anchors_of(file)):
                found.append(f"{page.relative_to(root)}: {link.target}: no such heading")
    return found


def test_links_and_anchors_are_found() -> None:
    text = (
        '# A `b` c, d\n[x](y.md#z) `[no](no.md)`\n```\n[no](no.md)\n```\n![p](q.png "t")\n# A `b` c, d\n## [L](m) 2.1\n'
    )
    assert [(link.target, link.path, link.anchor) for link in markdown.links(text)] == [
        ("y.md#z", "y.md", "z"),
        ("q.png", "q.png", ""),
        ("m", "m", ""),
    ]
    assert markdown.anchors(text) == {"a-b-c-d", "a-b-c-d-1", "l-21"}
    first = markdown.links(text)[0]
    assert markdown.with_targets(text, {first: "new"}).splitlines()[1] == "[x](new) `[no](no.md)`"


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n[1](b.md#there) [2](b.md#not) [3](c.md) [4](#a) [5](https://x.y/z)\n")
    (tmp_path / "b.md").write_text("# There\n")
    assert broken_links(tmp_path / "a.md", tmp_path) == ["a.md: b.md#not: no such heading", "a.md: c.md: no such file"]


@pytest.mark.parametrize(
    "page",
    [*SOURCES, *sorted(DOCS.glob("notebooks/*.ipynb"))],
    ids=lambda page: page.relative_to(REPOSITORY).as_posix(),
)
def test_links_resolve_on_github(page: Path) -> None:
    assert broken_links(page, REPOSITORY) == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    stage(folder)
    return folder


def test_links_resolve_in_the_site(site: Path) -> None:
    pages = [*site.rglob("*.md"), *site.rglob("*.ipynb")]
    assert len(pages) > len(SOURCES)
    assert [broken for page in pages for broken in broken_links(page, site)] == []


def test_files_of_the_repository_are_pages_of_the_site(site: Path) -> None:
    page = (site / "repository" / "examples" / "own_game.py.md").read_text()
    assert page.splitlines()[:5] == ["---", "orphan: true", "---", "# examples/own_game.py", ""]
    assert (REPOSITORY / "examples" / "own_game.py").read_text() in page
    assert "](repository/README.md)" in (site / "index.md").read_text()
    assert "](../docs/" not in (site / "repository" / "examples" / "README.md").read_text()


def test_lines_of_pages_are_kept(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md":
            staged = (site / page.relative_to(DOCS)).read_text()
            assert staged.count("\n") == page.read_text().count("\n"), page


def test_staging_again_takes_away_what_is_gone(site: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(site, again)
    (again / "gone.md").write_text("# Gone\n")
    (again / "reference" / "generated").mkdir()
    (again / "reference" / "generated" / "kept.rst").write_text("Kept\n====\n")
    stage(again)
    assert not (again / "gone.md").exists()
    assert (again / "reference" / "generated" / "kept.rst").exists()


def test_the_lists_of_the_index_are_the_navigation(site: Path) -> None:
    index = (
        "# T\n\n## One\n\n- [A](a.md): x, [not](z.md)\n- [B](sub/b.ipynb)\n\ntext [c](c.md)\n\n## Two\n\n- [D](d.md)\n"
    )
    assert list(sections(index)) == [
        ("One", [("A", "a"), ("B", "sub/b")]),
        ("Two", [("D", "d")]),
    ]
    text = with_navigation(index, ["a", "d", "e", "sub/b"])
    assert text.startswith(index.rstrip())
    assert "```{toctree}\n:hidden:\n:caption: One\n\nA <a>\nB <sub/b>\n```" in text
    assert f":caption: {NOT_LISTED}\n\ne\n```" in text
    real = dict(sections((DOCS / "index.md").read_text()))
    assert next(iter(real)) == "First run"
    assert real["Results"][0] == ("What the algorithms learn", "results/learning")
