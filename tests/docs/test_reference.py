"""The names of the reference exist, are documented, and no public name of the packages that users need is forgotten."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import rllib_reborn
from tests.docs_code import DOCS

PAGES = sorted((DOCS / "reference").glob("*.md"))
NAMES = [
    (page.name, name) for page in PAGES for name in re.findall(r"^   ~(rllib_reborn\.[\w.]+)$", page.read_text(), re.M)
]
#: Public names that have no page: constants, and what is described where it is used.
WITHOUT_PAGE = {
    "rllib_reborn": {"ALGORITHMS", "__version__"},
    "rllib_reborn.envs": {"ENVS"},
    "rllib_reborn.plasticity": set(),
    "rllib_reborn.plasticity.interventions": {"KINDS"},
    "rllib_reborn.callbacks": set(),
    "rllib_reborn.policy": set(),
}


def found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", [name for _, name in NAMES])
def test_the_name_exists_and_has_a_docstring(name: str) -> None:
    thing = found(name)
    text = inspect.getdoc(thing) or ""
    assert len(text) > 20
    # What dataclasses and NamedTuples get without one.
    assert not re.match(rf"{re.escape(name.rpartition('.')[2])}\(", text)


def test_no_name_stands_there_twice() -> None:
    names = [name for _, name in NAMES]
    assert sorted(set(names)) == sorted(names)


def test_names_of_one_file_stand_there_with_one_package() -> None:
    """The page of a file's source links each name back by the package of the first one (sphinx.ext.viewcode)."""
    packages: dict[str, set[str]] = {}
    for _, name in NAMES:
        if home := getattr(found(name), "__module__", None):
            packages.setdefault(home, set()).add(name.rpartition(".")[0])
    assert {home: names for home, names in packages.items() if len(names) > 1} == {}


@pytest.mark.parametrize("package", WITHOUT_PAGE)
def test_every_public_name_has_an_entry(package: str) -> None:
    module = importlib.import_module(package)
    documented = [found(name) for _, name in NAMES]
    # Algorithms themselves are documented by their configs.
    algorithms = {name for name in module.__all__ if f"{name}Config" in module.__all__}
    missing = {
        name
        for name in set(module.__all__) - WITHOUT_PAGE[package] - algorithms
        if not any(getattr(module, name) is thing for thing in documented)
    }
    assert missing == set(), f"add them to docs/reference/, or to WITHOUT_PAGE with the reason: {missing}"


def test_the_package_says_which_names_are_public() -> None:
    assert "QMIXConfig" in rllib_reborn.__all__
