"""How large files and classes of a package are.

``python -m tests.architecture.sizes ROOT`` prints what is over a limit (status 1 if anything is).

- A file: all its lines, blank ones, comments and docstrings included.
- A class: from its first decorator to its last line, all lines in between, less the signature of a method ``training`` (its
  ``def`` line to the line before its docstring or first statement): RLlib's form for settings, one line an argument.
- Methods: different names defined in the class body (a property with its setter is one), inherited and nested ones aside.
- The definition of VDN, QMIX and QPLEX: the whole file, all lines.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tests.architecture.source_files import source_files

LINES_OF_A_FILE = 500
LINES_OF_A_CLASS = 350
METHODS_OF_A_CLASS = 25
LINES_OF_A_DEFINITION = 40
DEFINITIONS = ("algorithms/vdn.py", "algorithms/qmix.py", "algorithms/qplex.py")

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def class_lines(node: ast.ClassDef) -> int:
    """Lines of a class, less the signature of ``training``."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    signatures = sum(
        max(0, method.body[0].lineno - method.lineno)
        for method in node.body
        if isinstance(method, _FUNCTION) and method.name == "training"
    )
    return (node.end_lineno or node.lineno) - first + 1 - signatures


def method_names(node: ast.ClassDef) -> set[str]:
    return {method.name for method in node.body if isinstance(method, _FUNCTION)}


def oversized(root: Path) -> list[str]:
    """A sentence for each file, class or definition of the package over its limit."""
    found = []
    for file in source_files(root):
        lines = len(file.text.splitlines())
        if lines > LINES_OF_A_FILE:
            found.append(f"{file.place}: {lines} lines, at most {LINES_OF_A_FILE}; split it by reason to exist.")
        if file.place in DEFINITIONS and lines > LINES_OF_A_DEFINITION:
            found.append(f"{file.place}: {lines} lines, a definition has at most {LINES_OF_A_DEFINITION}.")
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            lines, methods = class_lines(node), len(method_names(node))
            if lines > LINES_OF_A_CLASS:
                found.append(f"{file.place}:{node.lineno} {node.name}: {lines} lines, at most {LINES_OF_A_CLASS}.")
            if methods > METHODS_OF_A_CLASS:
                found.append(
                    f"{file.place}:{node.lineno} {node.name}: {methods} methods, at most {METHODS_OF_A_CLASS}."
                )
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tests.architecture.sizes PACKAGE_FOLDER", file=sys.stderr)
        return 2
    found = oversized(Path(arguments[0]))
    print("\n".join(found) or "nothing is over a limit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
