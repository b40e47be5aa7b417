"""Tiny packages, written to a folder."""

from __future__ import annotations

from pathlib import Path


def package(folder: Path, files: dict[str, str], name: str = "pkg") -> Path:
    """The root of a package with these files (path below it -> text); missing ``__init__.py`` are added, empty."""
    root = folder / name
    for place, text in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in [root, *(inner for inner in root.rglob("*") if inner.is_dir())]:
        (path / "__init__.py").touch()
    return root
