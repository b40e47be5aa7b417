"""Names of Ray that a package imports, and what Ray says of their stability."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.architecture.private_names import RAY_INTERNALS
from tests.architecture.source_files import source_files


def imported_names(root: Path) -> set[tuple[str, str]]:
    """(module, name) of everything that is imported from Ray outside ``ray_internals.py``."""
    files = [file for file in source_files(root) if file.place.rsplit("/", 1)[-1] != RAY_INTERNALS]
    return {found for file in files for node in ast.walk(file.tree) for found in _of_ray(node)}


def _of_ray(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "ray":
        yield from ((str(node.module), alias.name) for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "ray")


def stability(module: str, name: str) -> str:
    """``public``, ``beta``, ``alpha``, ``developer`` or ``deprecated`` as Ray's own annotation says; ``none``: a function or
    class without one; ``value``: a module or a constant, which cannot have one."""
    found: Any = importlib.import_module(module)
    if name:
        found = getattr(found, name, None) or importlib.import_module(f"{module}.{name}")
    if not (isinstance(found, type) or callable(found)):
        return "value"
    if getattr(found, "_annotated", None) != getattr(found, "__name__", ""):
        return "none"  # or that of a base class, which does not speak of it
    kind = str(getattr(found, "_annotated_type", "")).rpartition(".")[2]
    if kind != "PUBLIC_API":
        return {"DEVELOPER_API": "developer", "DEPRECATED": "deprecated"}.get(kind, "none")
    text = (found.__doc__ or "").lower()
    return next((one for one in ("alpha", "beta") if f"in {one}" in text and "may change" in text), "public")
