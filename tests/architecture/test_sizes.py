"""No file or class over its limit, and a guard that counts right."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.made_up import package
from tests.architecture.sizes import DEFINITIONS, class_lines, oversized
from tests.architecture.source_files import PACKAGE


def test_nothing_is_over_a_limit():
    assert oversized(PACKAGE) == []


@pytest.mark.parametrize("place", DEFINITIONS)
def test_the_definitions_are_there(place):
    assert (PACKAGE / place).is_file()


@pytest.mark.parametrize(("lines", "says"), [(500, []), (501, ["a.py: 501 lines"])])
def test_files(tmp_path, lines, says):
    found = oversized(package(tmp_path, {"a.py": "x = 1\n" * lines}))
    assert [text.split(",")[0] for text in found] == says


@pytest.mark.parametrize(("lines", "says"), [(350, []), (351, ["a.py:1 C: 351 lines"])])
def test_classes(tmp_path, lines, says):
    found = oversized(package(tmp_path, {"a.py": "@decorated\nclass C:\n" + "    x = 1\n" * (lines - 2)}))
    assert [text.split(",")[0].replace(":2 ", ":1 ") for text in found] == says


def test_a_class_in_a_function_counts_too(tmp_path):
    text = "def f():\n    class C:\n" + "        x = 1\n" * 350
    assert len(oversized(package(tmp_path, {"a.py": text}))) == 1


@pytest.mark.parametrize(("methods", "says"), [(25, []), (26, ["a.py:1 C: 26 methods"])])
def test_methods(tmp_path, methods, says):
    text = "class C:\n" + "".join(f"    async def f{k}(self): ...\n" for k in range(methods))
    assert [found.split(",")[0] for found in oversized(package(tmp_path, {"a.py": text}))] == says


def test_a_property_and_its_setter_are_one_method(tmp_path):
    text = (
        "class C:\n"
        + "".join(f"    def f{k}(self): ...\n" for k in range(25))
        + "    @f0.setter\n    def f0(self, x): ...\n"
    )
    assert oversized(package(tmp_path, {"a.py": text})) == []


def test_the_signature_of_training_is_aside():
    text = 'class C:\n    def {}(\n        self,\n        a=1,\n    ):\n        """One\n        two."""\n        return 1\n'
    sizes = [class_lines(ast.parse(text.format(name)).body[0]) for name in ("training", "other")]
    assert sizes == [4, 8]


@pytest.mark.parametrize(("lines", "count"), [(40, 0), (41, 1)])
def test_definitions(tmp_path, lines, count):
    root = package(tmp_path, {"algorithms/vdn.py": "# x\n" * lines, "algorithms/dmix.py": "# x\n" * 100})
    assert len(oversized(root)) == count
