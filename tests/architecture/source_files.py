"""The Python files of a package folder, parsed once."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "rllib_reborn"


@dataclass(frozen=True)
class SourceFile:
    """One file of a package.

    Attributes:
        place: Path below the package folder with forward slashes, for example ``envs/registry.py``.
        module: Dotted name with the package's own, for example ``rllib_reborn.envs.registry``.
        text: What stands in it.
        tree: Its syntax tree.
    """

    place: str
    module: str
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.place.rsplit("/", 1)[-1] == "__init__.py"

    @property
    def package(self) -> str:
        """The package that relative imports of this file start from."""
        return self.module if self.is_package else self.module.rpartition(".")[0]


def source_files(root: Path) -> list[SourceFile]:
    """All ``.py`` files below ``root``, whose name is the package's.

    Raises:
        ValueError: ``root`` holds no Python file (a guard of nothing would pass).
    """
    found = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        parts = [root.resolve().name, *place.removesuffix(".py").split("/")]
        if parts[-1] == "__init__":
            parts.pop()
        text = path.read_text(encoding="utf-8")
        found.append(SourceFile(place, ".".join(parts), text, _parsed(text, str(path))))
    if not found:
        raise ValueError(f"{root} holds no Python file; expected the folder of a package.")
    return found


@functools.cache
def _parsed(text: str, filename: str) -> ast.Module:
    """Once in a process: many guards read the same files."""
    return ast.parse(text, filename=filename)


def docstrings(tree: ast.AST) -> set[int]:
    """``id`` of the constants that are docstrings."""
    found = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found
