"""No foreign private names in the package, and a guard that sees every way to use one."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.made_up import package
from tests.architecture.private_names import (
    DOCUMENTED,
    NO_PUBLIC_WAY,
    RAY_INTERNALS,
    foreign_private_names,
    private_names_in_ray_internals,
    uses,
)
from tests.architecture.source_files import PACKAGE, PROJECT, source_files


def test_no_foreign_private_names():
    assert [str(found) for found in foreign_private_names(PACKAGE)] == []


def test_one_file_holds_rays_private_names_and_each_function_has_a_test():
    files = [file for file in source_files(PACKAGE) if file.place.rsplit("/", 1)[-1] == RAY_INTERNALS]
    assert len(files) == 1
    assert private_names_in_ray_internals(PACKAGE)
    tests = "\n".join(path.read_text() for path in PROJECT.glob("tests/*/test_ray_internals.py"))
    public = [n.name for n in files[0].tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    assert public
    assert [name for name in public if f"ray_internals.{name}(" not in tests] == []


def test_no_exception_is_out_of_use():
    used = {(found.place, found.name) for file in source_files(PACKAGE) for found in uses(file, set())}
    for folder, name in NO_PUBLIC_WAY:
        assert any(place.startswith(folder) and name == there for place, there in used), (
            f"{name} is not used in {folder}"
        )
    for name in set(DOCUMENTED) - {"_replace", "_asdict", "_fields", "_make"}:
        assert any(there.startswith(name.removesuffix("*")) for _, there in used), f"{name} is not used"


def found(tmp_path, text, **others):
    files = {"a.py": text, **{f"{name}.py": other for name, other in others.items()}}
    return [(one.line, one.name) for one in foreign_private_names(package(tmp_path, files)) if one.place == "a.py"]


@pytest.mark.parametrize(
    "name",
    [
        "_weights_seq_no",
        "_check_component",
        "callbacks_class",
        "_metrics_num_env_steps_sampled",
        "_rl_modules",
        "_worker_manager",
        "_local_env_runner",
        "_anything",
        "__mangled",
    ],
)
@pytest.mark.parametrize(
    "form", ["x.{}", "x.y().{} = 1", "del x.{}", "x[0].{}(1)", "getattr(x, '{}', None)", "setattr(x, '{}', 1)"]
)
def test_each_name_in_each_form(tmp_path, form, name):
    assert found(tmp_path, f"x = 1\n{form.format(name)}") == [(2, name)]


@pytest.mark.parametrize(
    "text",
    [
        "hasattr(x, '_a')",
        "delattr(x, '_a')",
        "from operator import attrgetter; attrgetter('b._a')",
        "import operator; operator.methodcaller('_a')",
        "NAME = '_a'; getattr(x, NAME)",
        "[getattr(x, name) for name in ('_a', 'b')]",
        "getattr(self, '_a')",
        "getattr(self, f'_{name}' if name == 'a' else name)",
        "getattr(self, '_' + 'a')",
        "vars(x)['_a']",
        "x.__dict__['_a']",
        "f(_a=1)",
        "f({'_a': 1})",
        "from x import _a",
        "from pkg.b import _a",
        "self._a",
        "cls._a",
        "x: y._a = 1",
    ],
)
def test_other_forms(tmp_path, text):
    assert found(tmp_path, text, b="") == [(1, "_a")]


@pytest.mark.parametrize(
    "text", ["import ray._private.services", "from ray._private.services import x", "import pkg.sub._b"]
)
def test_private_modules(tmp_path, text):
    files = {"a.py": text, "sub/_b.py": "", "sub/c.py": "import pkg.sub._b\nfrom pkg.sub import _b"}
    assert [one.place for one in foreign_private_names(package(tmp_path, files))] == ["a.py"]


def test_a_name_that_the_file_does_not_show(tmp_path):
    assert found(tmp_path, "def f(x, name):\n    return getattr(x, f'_{name}')") == [(2, "_...")]


@pytest.mark.parametrize(
    "text",
    [
        "x.__dict__, x.__class__.__name__",
        "super()._a()",
        "class C:\n    def _a(self):\n        return 1\n    def f(self, other):\n        return self._a() + other._a()",
        "class C:\n    def __init__(self):\n        self._a = 1\n    def f(self, other):\n        return other._a",
        "class C:\n    _a: int\nC(_a=1)._a",
        "class C:\n    __slots__ = ('_a',)\nC()._a",
        "def f(_a=1): ...\nf(_a=2)",
        "class C:\n    _x = _y = 0\n    def f(self):\n        return [getattr(self, f'_{name}') for name in ('x', 'y')]",
        "x._replace(a=1), x._asdict()",
        "getattr(x, 'a')",
        "for _ in x: x.a",
    ],
)
def test_what_is_fine(tmp_path, text):
    assert found(tmp_path, text) == []


def test_inherited_from_a_class_of_another_file_of_the_package(tmp_path):
    assert found(tmp_path, "self._a", b="class B:\n    def __init__(self):\n        self._a = 1") == []
    assert found(tmp_path, "other._a", b="class B:\n    def __init__(self):\n        self._a = 1") == [(1, "_a")]


def test_a_name_that_is_overridden_here_is_foreign_on_other_objects_elsewhere(tmp_path):
    """``RLModule._forward_inference``: our subclass overrides it; others must not call it."""
    own = (
        "class M(RLModule):\n    def _forward_inference(self): ...\n    def f(self):\n        self._forward_inference()"
    )
    assert found(tmp_path, own) == []
    assert found(tmp_path, "self.module._forward_inference(1)", b=own) == [(1, "_forward_inference")]


def test_only_ray_internals_may(tmp_path):
    root = package(tmp_path, {"runtime/ray_internals.py": "x._a", "runtime/not_ray_internals.py": "x._a"})
    assert [one.place for one in foreign_private_names(root)] == ["runtime/not_ray_internals.py"]
    assert [one.place for one in private_names_in_ray_internals(root)] == ["runtime/ray_internals.py"]


def test_an_exception_holds_in_its_folder_only(tmp_path):
    root = package(tmp_path, {"envs/adapters/a.py": "x._cur_steps", "envs/b.py": "x._cur_steps"})
    assert [one.place for one in foreign_private_names(root)] == ["envs/b.py"]
