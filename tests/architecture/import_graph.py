"""Which file of a package imports which, and the circles among them.

``python -m tests.architecture.import_graph ROOT`` prints every circle with its edges (status 1 if there is one).

An edge is a place where one file names another as something to be loaded:

- ``import`` and ``from ... import``, anywhere: in functions and under ``TYPE_CHECKING`` too. A type-only import runs
  nothing, but whoever reads the file has to know the other one, which is what a circle costs.
- Strings that name a module of the package and nothing else: ``"pkg.a.b"`` and ``"pkg.a.b:Name"``, in a call of
  ``import_module``, a lazy table or anywhere else, docstrings aside. ``"a.b:Name"`` counts too when it names a file below
  the package or beside the file. An f-string in ``import_module(f"pkg.a.{name}")`` counts for every module of ``pkg.a``.

Which file an import means:

- ``from pkg.a import b`` means ``pkg/a/b.py`` when there is one, else ``pkg/a/__init__.py``, which defines ``b``. So a file
  that takes a name from its own package's ``__init__``, which imports that file, is a circle, as it is at run time.
- ``import pkg.a.b`` runs ``pkg/a/__init__.py`` first. That is an edge for files outside ``pkg.a``. It is none for files
  inside: by the time they are imported it is running already, and they need nothing that is defined in it.

There are no exceptions: a lazy table does not hide a circle, since what it names still cannot be understood, moved or tested
without the table's file. A table belongs above what it names, and what it names must not look into it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source_files import SourceFile, docstrings, source_files

NAMES_A_MODULE = re.compile(r"\w+(\.\w+)*(:\w+)?")


@dataclass(frozen=True, order=True)
class Edge:
    """``importer`` names ``imported`` (places below the package folder) at ``line``, by ``how``."""

    importer: str
    imported: str
    line: int
    how: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} -> {self.imported} ({self.how})"


@dataclass(frozen=True)
class ImportGraph:
    """The files of a package and who imports whom.

    Attributes:
        places: All files, below the package folder.
        edges: One for each place in the source; never from a file to itself.
        outside: Per file the modules outside the package that it imports, with ``True`` where a mere import of the file
            imports them too (neither in a function nor under ``TYPE_CHECKING``).
    """

    places: tuple[str, ...]
    edges: tuple[Edge, ...]
    outside: dict[str, dict[str, bool]]

    def cycles(self) -> list[list[str]]:
        """Largest sets of at least two files, each of which reaches all others (sorted)."""
        return [component for component in strong_components(self.places, self.edges) if len(component) > 1]

    def edges_within(self, places: Iterable[str]) -> list[Edge]:
        inside = set(places)
        return sorted(edge for edge in self.edges if edge.importer in inside and edge.imported in inside)

    def runs_on_import(self, place: str) -> set[str]:
        """Files that are run when ``place`` is imported, itself and the packages it lies in included."""
        reached, waiting = set(), [place]
        followers = defaultdict(set)
        for edge in self.edges:
            if edge.how in ("import", "package"):
                followers[edge.importer].add(edge.imported)
        while waiting:
            here = waiting.pop()
            if here in reached:
                continue
            reached.add(here)
            folders = here.split("/")[:-1]
            above = ["/".join([*folders[:depth], "__init__.py"]) for depth in range(len(folders) + 1)]
            waiting += [*followers[here], *(package for package in above if package in self.places)]
        return reached

    def report(self) -> str:
        """Every circle with its files and edges; empty without one."""
        parts = []
        for places in self.cycles():
            lines = [f"circle of {len(places)} files: {', '.join(places)}"]
            lines += [f"  {edge}" for edge in self.edges_within(places)]
            parts.append("\n".join(lines))
        return "\n\n".join(parts)


def import_graph(root: Path) -> ImportGraph:
    """Reads the package in folder ``root``; runs nothing of it."""
    files = source_files(root)
    modules = {file.module: file for file in files}
    edges, outside = set(), {}
    for file in files:
        reader = _Reader(file, modules)
        edges |= {edge for edge in reader.edges() if edge.imported != file.place}
        outside[file.place] = reader.outside
    return ImportGraph(tuple(file.place for file in files), tuple(sorted(edges)), outside)


class _Reader:
    """The edges of one file."""

    def __init__(self, file: SourceFile, modules: dict[str, SourceFile]) -> None:
        self._file = file
        self._modules = modules
        self._name = file.module.split(".")[0]
        self._docstrings = docstrings(file.tree)
        self.outside: dict[str, bool] = {}

    def edges(self) -> Iterator[Edge]:
        yield from self._visit(self._file.tree, "import")

    def _visit(self, node: ast.AST, when: str) -> Iterator[Edge]:
        yield from self._of_node(node, when)
        for field, value in ast.iter_fields(node):
            inner = when
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and field == "body":
                inner = "import in a function" if when == "import" else when
            if isinstance(node, ast.If) and field == "body" and _is_type_checking(node.test):
                inner = "import for types"
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._visit(child, inner)

    def _of_node(self, node: ast.AST, when: str) -> Iterator[Edge]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from self._of_module(alias.name, node.lineno, when)
        elif isinstance(node, ast.ImportFrom):
            base = self._absolute(node.module or "", node.level)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield from self._of_module(inner if inner in self._modules else base, node.lineno, when)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in self._docstrings:
            module = self._named_by(node.value)
            if module is not None:
                yield from self._of_module(module, node.lineno, "string")
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            yield from self._of_call(node)

    def _of_call(self, node: ast.Call) -> Iterator[Edge]:
        argument = node.args[0]
        if isinstance(argument, ast.JoinedStr) and argument.values and isinstance(argument.values[0], ast.Constant):
            start = str(argument.values[0].value)
            if start.startswith("."):
                start = self._relative(start)
            package = start.rpartition(".")[0]
            for module in self._modules:
                if package and module.rpartition(".")[0] == package:
                    yield from self._of_module(module, node.lineno, "f-string")
        elif isinstance(argument, ast.Constant) and str(argument.value).startswith("."):
            yield from self._of_module(self._relative(str(argument.value)), node.lineno, "string")

    def _relative(self, dotted: str) -> str:
        name = dotted.lstrip(".")
        return self._absolute(name, len(dotted) - len(name))

    def _absolute(self, module: str, level: int) -> str:
        if level == 0:
            return module
        parts = self._file.package.split(".")
        parts = parts[: len(parts) - level + 1]
        return ".".join([*parts, module] if module else parts)

    def _named_by(self, text: str) -> str | None:
        """The module of the package that a string names, or None."""
        if not NAMES_A_MODULE.fullmatch(text):
            return None
        path, colon, _ = text.partition(":")
        if path.startswith(f"{self._name}."):
            while path not in self._modules and path != self._name:  # "pkg.a.b.Class" means the file that defines it
                path = path.rpartition(".")[0]
            return None if path == self._name else path
        if colon:
            for base in (self._name, self._file.package):
                if f"{base}.{path}" in self._modules:
                    return f"{base}.{path}"
        return None

    def _of_module(self, module: str, line: int, how: str) -> Iterator[Edge]:
        if module != self._name and not module.startswith(f"{self._name}."):
            self.outside[module] = self.outside.get(module, False) or how == "import"
            return
        while module not in self._modules and "." in module:  # a name of a module, as in "import pkg.a.b.Name"
            module = module.rpartition(".")[0]
        if module in self._modules:
            yield Edge(self._file.place, self._modules[module].place, line, how)
        above = module.rpartition(".")[0]
        while above:
            foreign = self._file.module != above and not self._file.module.startswith(f"{above}.")
            if foreign and above in self._modules:
                how_above = "package" if how == "import" else f"package, {how}"
                yield Edge(self._file.place, self._modules[above].place, line, how_above)
            above = above.rpartition(".")[0]


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _called(node: ast.Call) -> str:
    function = node.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def strong_components(places: Iterable[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Tarjan's strongly connected components, each sorted, in sorted order."""
    followers: dict[str, list[str]] = {place: [] for place in places}
    for edge in edges:
        followers[edge.importer].append(edge.imported)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    components = []
    for start in followers:
        if start in index:
            continue
        work = [(start, iter(followers[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            here, rest = work[-1]
            for there in rest:
                if there not in index:
                    index[there] = low[there] = len(index)
                    stack.append(there)
                    on_stack.add(there)
                    work.append((there, iter(followers[there])))
                    break
                if there in on_stack:
                    low[here] = min(low[here], index[there])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == index[here]:
                    component = []
                    while not component or component[-1] != here:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    components.append(sorted(component))
    return sorted(components)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tests.architecture.import_graph PACKAGE_FOLDER", file=sys.stderr)
        return 2
    graph = import_graph(Path(arguments[0]))
    text = graph.report()
    print(text or f"no circle among {len(graph.places)} files ({len(graph.edges)} imports)")
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
