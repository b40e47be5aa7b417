"""No circle among the files of the package, and a guard that sees every kind of circle."""

from __future__ import annotations

import pytest

from tests.architecture.import_graph import import_graph, main
from tests.architecture.made_up import package
from tests.architecture.source_files import PACKAGE


def test_no_circle():
    report = import_graph(PACKAGE).report()
    assert not report, report


def circles(tmp_path, **files):
    return import_graph(package(tmp_path, {f"{name}.py": text for name, text in files.items()})).cycles()


@pytest.mark.parametrize(
    "back",
    [
        "import pkg.a",
        "from pkg import a",
        "from pkg.a import X",
        "from . import a",
        "from .a import X",
        "def f():\n    import pkg.a",
        "class C:\n    def f(self):\n        return lambda: __import__('pkg.a')",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.a import X",
        "import typing\nif typing.TYPE_CHECKING:\n    from pkg.a import X",
        "import importlib\nimportlib.import_module('pkg.a')",
        "from importlib import import_module\nimport_module('.a', __package__)",
        "from importlib import import_module\ndef f(name):\n    import_module(f'pkg.{name}')",
        "TABLE = {'X': 'pkg.a:X'}",
        "TABLE = {'X': 'a:X'}",
        "TABLE = {'X': 'pkg.a.X'}",
        "try:\n    import pkg.a\nexcept ImportError:\n    pass",
    ],
)
def test_each_way_back_makes_a_circle(tmp_path, back):
    assert circles(tmp_path, a="import pkg.b", b=back) == [["a.py", "b.py"]]


@pytest.mark.parametrize(
    "harmless",
    [
        "",
        "import os",
        "'''See pkg.a:X.'''",
        "def f():\n    'pkg.a'",
        "print('pkg.a is a module')",
        "X = 'b:X'",
        "import pkgs.a",
    ],
)
def test_what_is_no_way_back(tmp_path, harmless):
    assert circles(tmp_path, a="import pkg.b", b=harmless) == []


def test_a_long_circle_and_one_beside_it(tmp_path):
    found = circles(
        tmp_path, a="import pkg.b", b="import pkg.c", c="import pkg.a", d="import pkg.e", e="import pkg.d, pkg.a"
    )
    assert found == [["a.py", "b.py", "c.py"], ["d.py", "e.py"]]


def test_two_ways_to_one_file_are_no_circle(tmp_path):
    assert circles(tmp_path, a="import pkg.b, pkg.c", b="import pkg.d", c="import pkg.d", d="") == []


class TestPackages:
    def test_the_packages_own_init_is_a_circle_when_a_name_comes_from_it(self, tmp_path):
        files = {"sub/__init__.py": "from pkg.sub.a import X\nY = 1", "sub/a.py": "from pkg.sub import Y\nX = 1"}
        assert import_graph(package(tmp_path, files)).cycles() == [["sub/__init__.py", "sub/a.py"]]

    @pytest.mark.parametrize(
        "form", ["from pkg.sub.b import Y", "from pkg.sub import b", "from . import b", "import pkg.sub.b"]
    )
    def test_a_file_beside_is_none(self, tmp_path, form):
        files = {"sub/__init__.py": "from pkg.sub.a import X", "sub/a.py": form, "sub/b.py": "Y = 1"}
        assert import_graph(package(tmp_path, files)).cycles() == []

    def test_an_init_of_others_that_comes_back_is_one(self, tmp_path):
        # Importing pkg.a first fails in Python: the init of sub wants X of a, which is only half there.
        files = {
            "a.py": "import pkg.sub.b\nX = 1",
            "sub/__init__.py": "import pkg.sub.c",
            "sub/b.py": "",
            "sub/c.py": "import pkg.a",
        }
        assert import_graph(package(tmp_path, files)).cycles() == [["a.py", "sub/__init__.py", "sub/c.py"]]

    def test_relative_imports_from_above(self, tmp_path):
        files = {"sub/a.py": "from ..b import X", "b.py": "from .sub import a"}
        assert import_graph(package(tmp_path, files)).cycles() == [["b.py", "sub/a.py"]]


def test_every_edge_of_a_circle_is_shown_with_its_line_and_kind(tmp_path, capsys):
    root = package(
        tmp_path,
        {"a.py": "\nimport pkg.b", "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pkg.a"},
    )
    assert main([str(root)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "circle of 2 files: a.py, b.py",
        "  a.py:2 -> b.py (import)",
        "  b.py:3 -> a.py (import for types)",
    ]
    (root / "b.py").write_text("")
    assert main([str(root)]) == 0


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no Python file"):
        import_graph(tmp_path)


def test_what_runs_on_import(tmp_path):
    files = {
        "a.py": "import pkg.sub.b\ndef f():\n    import pkg.c",
        "sub/b.py": "import numpy.random",
        "c.py": "import ray",
    }
    graph = import_graph(package(tmp_path, files))
    assert graph.runs_on_import("a.py") == {"__init__.py", "a.py", "sub/__init__.py", "sub/b.py"}
    assert graph.outside["sub/b.py"] == {"numpy.random": True}
    assert graph.outside["c.py"] == {"ray": True}
