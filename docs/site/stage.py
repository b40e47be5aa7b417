"""What Sphinx reads: the pages of ``docs/`` copied to a folder of their own, with what GitHub needs not and a site does.

- Links to files of the repository that lie outside ``docs/`` lead to pages of the site: a Markdown file is one, any other
  file becomes one that shows its text, a folder one that lists its files.
- The lists of ``index.md`` become the site's navigation: one block for each heading, in the order of the list. A page that
  is not listed there stands in a last block.

Lines are kept, so that Sphinx's warnings name the right one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from docs.site.markdown import Link, headings, links, with_targets

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
#: The folder of the site for files that lie outside ``docs/``.
OUTSIDE = "repository"
NOT_LISTED = "More"

_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".toml": "toml", ".cfg": "ini"}


def stage(target: Path) -> None:
    """Writes the site's sources.

    Args:
        target: A folder; what lies in it is deleted, but for what is not ours to write (``reference/generated``, which
            autosummary makes).
    """
    _copy_docs(target)
    staging = _Staging(target)
    for page in sorted(target.rglob("*.md")):
        origin = DOCS / page.relative_to(target)
        page.write_text(staging.rewritten(page.read_text(), origin, page))
    for notebook in sorted(target.rglob("*.ipynb")):
        _rewrite_notebook(staging, notebook, DOCS / notebook.relative_to(target))
    staging.write_pages()
    index = target / "index.md"
    index.write_text(with_navigation(index.read_text(), _page_names(target)))


def _copy_docs(target: Path) -> None:
    generated = target / "reference" / "generated"
    for path in target.iterdir() if target.is_dir() else ():
        if path.is_dir():
            for below in path.iterdir() if path == generated.parent else ():
                if below != generated:
                    below.unlink()
            if path != generated.parent:
                shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(
        DOCS, target, ignore=shutil.ignore_patterns("site", "__pycache__", ".ipynb_checkpoints"), dirs_exist_ok=True
    )


def _rewrite_notebook(staging: _Staging, page: Path, origin: Path) -> None:
    notebook = json.loads(page.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = staging.rewritten("".join(cell["source"]), origin, page)
            cell["source"] = text.splitlines(keepends=True)
    page.write_text(json.dumps(notebook))


class _Staging:
    """Turns links that leave ``docs/`` into links to pages, and remembers which pages these are."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._wanted: list[Path] = []

    def rewritten(self, text: str, origin: Path, page: Path) -> str:
        """The text of ``origin`` as it stands at ``page`` of the site."""
        targets: dict[Link, str] = {}
        for link in links(text):
            if not link.is_local or not link.path:
                continue
            file = (origin.parent / link.path).resolve()
            if not file.exists() or not file.is_relative_to(REPOSITORY):
                continue  # Sphinx warns of it, and tests/docs/test_links.py names it.
            there = self._place(file)
            path = Path(os.path.relpath(there, page.parent)).as_posix()
            targets[link] = path + (f"#{link.anchor}" if link.anchor else "")
        return with_targets(text, targets)

    def _place(self, file: Path) -> Path:
        if file.is_relative_to(DOCS):
            return self._target / file.relative_to(DOCS)
        if file not in self._wanted:
            self._wanted.append(file)
        place = self._target / OUTSIDE / file.relative_to(REPOSITORY)
        if file.is_dir():
            return place / "index.md"
        return place if file.suffix == ".md" else place.with_name(f"{place.name}.md")

    def write_pages(self) -> None:
        """Writes the pages of all files that links lead to, and of those that their own links lead to."""
        for file in self._wanted:  # grows meanwhile
            page = self._place(file)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("---\norphan: true\n---\n" + self._content(file, page))

    def _content(self, file: Path, page: Path) -> str:
        name = file.relative_to(REPOSITORY).as_posix()
        if file.is_dir():
            below = [path for path in sorted(file.iterdir()) if path.is_file()]
            listed = "\n".join(f"- [{path.name}]({self._place(path).relative_to(page.parent)})" for path in below)
            return f"# {name}\n\n{listed}\n"
        text = file.read_text()
        if file.suffix == ".md":
            return self.rewritten(text, file, page)
        fence = "`" * 4
        return f"# {name}\n\n{fence}{_LANGUAGES.get(file.suffix, 'text')}\n{text}{fence}\n"


def _page_names(target: Path) -> list[str]:
    """Pages that belong to the navigation, by their path without the ending."""
    pages = (path for ending in ("md", "ipynb") for path in target.rglob(f"*.{ending}"))
    names = (path.relative_to(target).with_suffix("").as_posix() for path in pages)
    return sorted(name for name in names if not name.startswith((f"{OUTSIDE}/", "index")))


def sections(index: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each heading of the second level, with text and page of the first link of each entry in the list below it."""
    for part in re.split(r"^## ", index, flags=re.M)[1:]:
        title = headings(f"## {part}")[0][1]
        entries = re.findall(r"^- .*?(?=^- |^$|\Z)", part, re.M | re.S)
        firsts = [re.search(r"\[([^\]]+)\]\(([^)#]+)", entry) for entry in entries]
        yield title, [(first[1], re.sub(r"\.(md|ipynb)$", "", first[2])) for first in firsts if first]


def with_navigation(index: str, pages: list[str]) -> str:
    """The text of the index with a hidden table of contents for each section, and one for ``pages`` that no section has."""
    blocks = [(title, [f"{text} <{page}>" for text, page in entries]) for title, entries in sections(index)]
    listed = {page for _, entries in sections(index) for _, page in entries}
    rest = [page for page in pages if page not in listed]
    if rest:
        blocks.append((NOT_LISTED, rest))
    written = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *entries, "```"]) for title, entries in blocks
    ]
    return "\n\n".join([index.rstrip(), *written]) + "\n"
