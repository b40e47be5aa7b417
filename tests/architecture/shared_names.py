"""Public classes of one name in several files of a package: the reader of one takes it for the other."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.architecture.source_files import source_files


def shared_class_names(root: Path) -> dict[str, list[str]]:
    """Names of public classes, at module level, that more than one file defines -> those files."""
    places = defaultdict(set)
    for file in source_files(root):
        for node in _module_level(file.tree.body):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(file.place)
    return {name: sorted(files) for name, files in sorted(places.items()) if len(files) > 1}


def _module_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module, those under ``if`` and ``try`` included."""
    found = []
    for node in body:
        found.append(node)
        if isinstance(node, ast.If):
            found += _module_level(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            found += _module_level(
                node.body + node.orelse + node.finalbody + [s for h in node.handlers for s in h.body]
            )
    return found
