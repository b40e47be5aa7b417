"""Private names of others that a package uses.

``python -m tests.architecture.private_names ROOT`` prints each use (status 1 if there is one).

A name is private when it begins with ``_`` and is not one of Python's own ``__names__``. It belongs to a file that defines
it: a function, class or module-level name, an attribute of a class body or of ``self`` or ``cls``, an entry of
``__slots__``, a parameter. Inside that file every use is fine, also on another object (``other._value`` in ``__eq__``).
Elsewhere it is foreign:

- ``x._name``, read, written or deleted. On ``self`` and ``cls`` it may be defined in any file of the package (a base class
  of ours); what is defined in none is inherited from a base class of others. ``super()._name`` is fine: who overrides may.
- ``getattr(x, "_name")`` and its like: ``setattr``, ``hasattr``, ``delattr``, ``attrgetter``, ``methodcaller``, with a
  string, an f-string that begins with ``_`` or a variable that holds one of the file's strings. A name that the file does
  not show, as in ``getattr(x, f"_{name}")``, is ``_...`` and foreign. Likewise ``vars(x)["_name"]``.
- ``f(_name=1)``, and ``{"_name": 1}`` handed to a call: settings that others keep to themselves.
- ``from x import _name`` and modules such as ``ray._private``. A private module of this package may be used by the files
  beside and below it.

Ray's private names may be used in one file, ``ray_internals.py``, and nowhere else. ``DOCUMENTED`` lists names that begin
with ``_`` and are meant for users, ``NO_PUBLIC_WAY`` those of other libraries that one folder cannot do without,
``INTERNAL_WITHOUT_UNDERSCORE`` what is RLlib's own though no underscore says so.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source_files import SourceFile, source_files

#: The one file that may use private names (of Ray), wherever it lies.
RAY_INTERNALS = "ray_internals.py"

#: Names that begin with ``_`` and are documented for users all the same -> where. A last ``*`` stands for any end.
DOCUMENTED = {
    "_replace": "namedtuple: the underscore only keeps it apart from field names (Python library reference, collections)",
    "_asdict": "namedtuple, likewise",
    "_fields": "namedtuple, likewise",
    "_make": "namedtuple, likewise",
    "_exit": "os._exit: ends a forked child without its parent's clean-up (Python library reference, os)",
    "_current_frames": "sys._current_frames: where every thread is (Python library reference, sys)",
    "_foreach_*": "torch's operations on lists of tensors (torch reference, 'Foreach Operations')",
    "torch.utils._python_dispatch": "TorchDispatchMode (torch notes, 'Extending PyTorch', __torch_dispatch__ modes)",
}

_HOOKS = (
    "torch: nothing public says whether a module has hooks, and layers that are computed as one would not call them"
)

#: (Folder, private name of another library) -> why there is no other way. Never Ray's.
NO_PUBLIC_WAY = {
    ("envs/adapters/", "_max_episode_steps"): "lbforaging: its step limit, which tells truncation from termination",
    ("envs/adapters/", "_cur_inactive_steps"): "rware: likewise",
    ("envs/adapters/", "_cur_steps"): "rware: likewise",
    ("envs/adapters/", "_get_walls_info"): "magent2: the walls of this episode, where state() shows those of the first",
    ("envs/starcraft/", "_controller"): "smac, smacv2: the only road to the game's version",
    ("envs/starcraft/", "_launch"): "pysc2: starts its processes with fixed arguments",
    (
        "nets/",
        "_linear_pointwise",
    ): "torch: oneDNN's matrix product; asked for with a default, so a torch without it works",
    ("nets/", "_forward_hooks"): _HOOKS,
    ("nets/", "_forward_pre_hooks"): _HOOKS,
    ("nets/", "_backward_hooks"): _HOOKS,
    ("nets/", "_backward_pre_hooks"): _HOOKS,
    ("nets/", "_has_any_global_hook"): _HOOKS,
}

#: Names that belong to RLlib alone though no underscore says so -> why.
INTERNAL_WITHOUT_UNDERSCORE = {
    "callbacks_class": "AlgorithmConfig keeps what `callbacks()` was given here; nothing documents its form",
}

_BY_STRING = {"getattr": 1, "setattr": 1, "hasattr": 1, "delattr": 1, "attrgetter": 0, "methodcaller": 0}


@dataclass(frozen=True, order=True)
class ForeignName:
    """A private name of others, used at ``line`` of the file at ``place``, by ``how``."""

    place: str
    line: int
    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line} uses {self.name} ({self.how})"


def is_private(name: str) -> bool:
    """``_name`` and ``__name``, neither ``_`` nor ``__name__``."""
    return name.startswith("_") and name.strip("_") != "" and not (name.startswith("__") and name.endswith("__"))


def foreign_private_names(root: Path) -> list[ForeignName]:
    """Every use of a foreign private name outside ``ray_internals.py``."""
    files = source_files(root)
    package = {name for file in files for name in _defined(file.tree)}
    return sorted(found for file in files if not _may(file) for found in uses(file, package) if not is_excused(found))


def is_excused(found: ForeignName) -> bool:
    """Stands the name in one of the two tables?"""
    documented = any(
        found.name == name or (name.endswith("*") and found.name.startswith(name[:-1])) for name in DOCUMENTED
    )
    return documented or any(found.name == name and found.place.startswith(folder) for folder, name in NO_PUBLIC_WAY)


def private_names_in_ray_internals(root: Path) -> list[ForeignName]:
    """What ``ray_internals.py`` uses of Ray's."""
    return sorted(found for file in source_files(root) if _may(file) for found in uses(file, set()))


def _may(file: SourceFile) -> bool:
    return file.place.rsplit("/", 1)[-1] == RAY_INTERNALS


def uses(file: SourceFile, package: set[str]) -> set[ForeignName]:
    """Every use of a foreign private name in one file; ``package`` holds the names that any file of the package defines."""
    own = set(_defined(file.tree))
    return {
        ForeignName(file.place, line, name, how)
        for node, constants in _nodes_with_constants(file.tree)
        for name, how, line in _named(node, file, constants)
        if name in INTERNAL_WITHOUT_UNDERSCORE
        or how in ("import", "module")
        or (is_private(name) and name not in own and not (how == "inherited" and name in package))
    }


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that a file defines."""
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    for scope in scopes:
        for node in scope.body:
            for target in _targets(node):
                if isinstance(target, ast.Name):
                    yield target.id
                    if target.id == "__slots__":
                        yield from _strings(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
            yield node.attr


def _targets(node: ast.stmt) -> Iterator[ast.expr]:
    found = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in found:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]


def _strings(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _nodes_with_constants(tree: ast.Module) -> Iterator[tuple[ast.AST, dict[str, set[str]]]]:
    """Every node with the strings that names hold there: those of its outermost function, and of the file."""
    functions = [
        node
        for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        for node in scope.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    outermost = {id(inner): function for function in functions for inner in ast.walk(function)}
    outside = _string_constants(node for node in ast.walk(tree) if id(node) not in outermost)
    inside = {id(function): outside | _string_constants(ast.walk(function)) for function in functions}
    for node in ast.walk(tree):
        yield node, inside[id(outermost[id(node)])] if id(node) in outermost else outside


def _string_constants(nodes: Iterable[ast.AST]) -> dict[str, set[str]]:
    """Names -> strings that are assigned to them or compared with them, in a tuple or loop too."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            value, targets = node.value, list(_targets(node))
        elif isinstance(node, ast.For | ast.comprehension):
            value, targets = node.iter, [node.target]
        elif isinstance(node, ast.Compare):
            value, targets = node.comparators[0], [node.left]
        else:
            continue
        if isinstance(value, ast.Constant | ast.Tuple | ast.List | ast.Set):
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, set()).update(_strings(value))
    return found


def _named(node: ast.AST, file: SourceFile, constants: dict[str, set[str]]) -> Iterator[tuple[str, str, int]]:
    """(name, how, line) of names that a node uses on others, private or not."""
    if isinstance(node, ast.Attribute) and not _is_super(node.value):
        yield node.attr, "inherited" if _is_own(node.value) else "attribute", node.lineno
    elif isinstance(node, ast.Subscript) and _is_namespace(node.value):
        for name in _text(node.slice, constants):
            yield name, "namespace", node.lineno
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield from ((part, "module", node.lineno) for part in _private_parts(alias.name, file))
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        module = _absolute(node, file)
        yield from ((part, "module", node.lineno) for part in _private_parts(module, file))
        for alias in node.names:
            if is_private(alias.name) and not _beside(f"{module}.{alias.name}", file):
                yield alias.name, "import", node.lineno
    elif isinstance(node, ast.Call):
        yield from _of_call(node, constants)


def _of_call(node: ast.Call, constants: dict[str, set[str]]) -> Iterator[tuple[str, str, int]]:
    function = node.func
    called = (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )
    position = _BY_STRING.get(called)
    if position is not None and len(node.args) > position:
        for text in _text(node.args[position], constants):
            for part in text.split(".") if called == "attrgetter" else [text]:
                yield part, called, node.lineno
    for keyword in node.keywords:
        if keyword.arg is not None:
            yield keyword.arg, "keyword", node.lineno
    for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
        if isinstance(value, ast.Dict):
            for key in value.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isidentifier():
                    yield key.value, "key of a setting", node.lineno


def _text(node: ast.expr, constants: dict[str, set[str]]) -> set[str]:
    """The strings that an expression may be, as far as the file shows; ``...`` for what it does not show."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants) or {"..."}
    if isinstance(node, ast.JoinedStr):
        found = {""}
        for part in node.values:
            found = {start + end for start in found for end in _text(part, constants)}
        return found
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return {start + end for start in _text(node.left, constants) for end in _text(node.right, constants) or {"..."}}
    if isinstance(node, ast.IfExp):
        return _text(node.body, constants) | _text(node.orelse, constants)
    if isinstance(node, ast.Name):
        return constants.get(node.id, set())
    return set()


def _is_namespace(node: ast.expr) -> bool:
    """``vars(x)`` and ``x.__dict__`` of others."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args:
        return not _is_own(node.args[0])
    return isinstance(node, ast.Attribute) and node.attr == "__dict__" and not _is_own(node.value)


def _absolute(node: ast.ImportFrom, file: SourceFile) -> str:
    if node.level == 0:
        return node.module or ""
    parts = file.package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _private_parts(module: str, file: SourceFile) -> list[str]:
    """The module when a part of its name is private and lies elsewhere."""
    private = any(is_private(part) for part in module.split("."))
    return [module] if private and not _beside(module, file) else []


def _beside(module: str, file: SourceFile) -> bool:
    """Is the private module one of this package, in a folder in or below which the file lies?

    ``package.module._name`` is asked about in the same way. A module is no folder, so its private names are nobody else's;
    what a package's ``__init__`` defines is shared with the package's files.
    """
    parts = module.split(".")
    first = next((place for place, part in enumerate(parts) if is_private(part)), None)
    if not first or parts[0] != file.module.split(".")[0]:
        return False
    folder = ".".join(parts[:first])
    return file.package == folder or file.package.startswith(f"{folder}.")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m tests.architecture.private_names PACKAGE_FOLDER", file=sys.stderr)
        return 2
    found = foreign_private_names(Path(arguments[0]))
    print("\n".join(map(str, found)) or "no foreign private name")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
