"""Which package may import which, and what stays out of a fresh import (docs/architecture.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.import_graph import ImportGraph, import_graph
from tests.architecture.source_files import PACKAGE

#: From the bottom up. A package imports packages of lower rows only: neither of its own row nor of a higher one.
LEVELS = (
    ("parsing",),
    ("losses", "replay", "nets", "checkpoints", "evaluation"),
    ("plasticity",),
    ("policy",),
    ("envs",),
    ("callbacks",),
    ("runtime",),
    ("algorithms",),
    ("studies", "monitoring"),
    ("experiments",),
    ("tuning",),
    ("cli",),
)
#: Package -> packages that it must not import though they are lower.
FORBIDDEN = {
    "policy": ("plasticity", "losses", "replay", "checkpoints", "evaluation"),
    "envs": ("losses", "replay", "nets", "plasticity", "checkpoints", "evaluation"),
    "callbacks": ("evaluation",),
    "algorithms": ("evaluation",),
}
MAY_IMPORT_RAY = (
    "callbacks/",
    "runtime/",
    "algorithms/",
    "studies/",
    "tuning/",
    "monitoring/",
    "experiments/",
    "cli/",
    "envs/adapters/rllib.py",
)
#: Environments and evaluation run without torch; adapters may load a trained opponent.
WITHOUT_TORCH = ("envs/", "evaluation/")
#: What changes networks and optimizers in ``plasticity``; everything else there only measures.
ACTS = ("interventions/", "optimizer_state.py")


def upward(graph: ImportGraph) -> list[str]:
    """Imports of a package of the same or a higher row, or of one that is forbidden by name."""
    level = {package: height for height, row in enumerate(LEVELS) for package in row}
    found = []
    for edge in graph.edges:
        here, there = edge.importer.split("/")[0], edge.imported.split("/")[0]
        if here == there or not (here in level and there in level):
            continue
        if level[there] >= level[here] or there in FORBIDDEN.get(here, ()):
            found.append(f"{here} must not import {there}: {edge}")
    return found


def without_place(graph: ImportGraph) -> set[str]:
    """Packages that no row of ``LEVELS`` names."""
    packages = {place.split("/")[0] for place in graph.places if "/" in place}
    return packages - {package for row in LEVELS for package in row} - {"configs"}


def of_root_files(graph: ImportGraph) -> list[str]:
    """Packages that a file beside them imports, those aside that are the roads in (``__init__``, ``__main__``)."""
    return [
        str(edge)
        for edge in graph.edges
        if "/" not in edge.importer and "/" in edge.imported and edge.importer not in ("__init__.py", "__main__.py")
    ]


def brings(graph: ImportGraph, place: str, library: str) -> list[str]:
    """Files that are run when ``place`` is imported and import ``library`` then, and ``place`` if it does so at all."""
    found = []
    for file in sorted(graph.runs_on_import(place)):
        for module, at_once in graph.outside[file].items():
            if (module == library or module.startswith(f"{library}.")) and (at_once or file == place):
                found.append(f"{file} imports {module}")
    return found


def naming_interventions(graph: ImportGraph, place: str) -> list[str]:
    """Imports by which a file of ``plasticity`` knows of interventions, directly or through others of the package."""
    reached, waiting, found = set(), [place], []
    while waiting:
        here = waiting.pop()
        if here in reached:
            continue
        reached.add(here)
        for edge in graph.edges:
            if edge.importer == here:
                if edge.imported.startswith("plasticity/interventions/"):
                    found.append(str(edge))
                waiting.append(edge.imported)
    return found


#: Listed without reading them: every test process imports this file, and one needs the graph.
PLACES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def package():
    return import_graph(PACKAGE)


def test_the_list_has_all_files(package):
    assert sorted(package.places) == PLACES


def test_no_package_imports_upward(package):
    assert upward(package) == []


def test_every_package_has_a_place(package):
    assert without_place(package) == set()
    assert of_root_files(package) == []


@pytest.mark.parametrize("place", [place for place in PLACES if not place.startswith(MAY_IMPORT_RAY)])
def test_ray_stays_out(package, place):
    if place != "__main__.py":  # the road into the command line, which loads Ray when a command asks for it
        assert brings(package, place, "ray") == []


@pytest.mark.parametrize("place", [p for p in PLACES if p.startswith(WITHOUT_TORCH) and "adapters" not in p])
def test_torch_stays_out(package, place):
    assert brings(package, place, "torch") == []


MEASURES = [
    place
    for place in PLACES
    if place.startswith("plasticity/") and not place.startswith(tuple(f"plasticity/{name}" for name in ACTS))
]


def test_there_is_something_that_measures():
    names = {place.removeprefix("plasticity/") for place in MEASURES}
    assert {"statistics.py", "scores.py", "masks.py", "history.py", "discovery.py", "dormancy_check.py"} <= names


@pytest.mark.parametrize("place", MEASURES)
def test_what_measures_knows_nothing_of_what_acts(package, place):
    assert naming_interventions(package, place) == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("rllib_reborn", ("ray", "torch", "gymnasium", "matplotlib")),
        ("rllib_reborn.envs", ("ray", "torch", "gymnasium", "PIL", "pettingzoo", "pygame")),
        ("rllib_reborn.envs.adapters.opponents", ("ray", "torch", "pettingzoo")),
        ("rllib_reborn.evaluation", ("ray", "torch", "matplotlib")),
        ("rllib_reborn.nets.agents", ("ray",)),
        ("rllib_reborn.policy", ("ray", "pydantic", "gymnasium", "pandas")),
        ("rllib_reborn.plasticity", ("ray", "pydantic", "pandas")),
        ("rllib_reborn.plasticity.interventions", ("ray", "pydantic", "pandas")),
        ("rllib_reborn.replay", ("ray", "torch")),
        ("rllib_reborn.cli.main", ("ray", "torch", "pandas", "matplotlib")),
    ],
)
def test_a_fresh_import_stays_light(module, absent):
    code = f"import sys, {module}; print([m for m in {absent!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


class TestTheRulesCanFail:
    """On made-up packages."""

    @staticmethod
    def graph(folder: Path, **files: str) -> ImportGraph:
        root = folder / "rllib_reborn"
        for name, text in {"__init__": "", **files}.items():
            path = root / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return import_graph(root)

    @pytest.mark.parametrize(
        ("here", "there"),
        [
            ("nets", "envs"),
            ("nets", "plasticity"),
            ("envs", "algorithms"),
            ("runtime", "algorithms"),
            ("envs", "replay"),
        ],
    )
    @pytest.mark.parametrize(
        "form",
        [
            "from rllib_reborn.{} import x",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import rllib_reborn.{}.x",
            "def f():\n    from rllib_reborn.{}.x import X",
            "NAME = 'rllib_reborn.{}.x:X'",
        ],
    )
    def test_upward(self, tmp_path, here, there, form):
        graph = self.graph(tmp_path, **{f"{there}__in__x": "X = 1", f"{here}__in__y": form.format(there)})
        assert upward(graph)
        assert f"{here} must not import {there}" in upward(graph)[0]

    def test_downward_is_fine(self, tmp_path):
        graph = self.graph(tmp_path, envs__in__x="X = 1", algorithms__in__y="from rllib_reborn.envs import x")
        assert upward(graph) == []

    def test_a_package_without_a_place(self, tmp_path):
        graph = self.graph(tmp_path, attic__in__x="X = 1", loose="import rllib_reborn.attic.x")
        assert without_place(graph) == {"attic"}
        assert len(of_root_files(graph)) == 1

    def test_ray_through_another_file(self, tmp_path):
        graph = self.graph(
            tmp_path,
            envs__in__x="import rllib_reborn.callbacks.a",
            envs__in__y="def f():\n    import rllib_reborn.callbacks.a",
            envs__in__z="def f():\n    import ray",
            callbacks__in__a="from ray.rllib import x",
        )
        assert brings(graph, "envs/x.py", "ray") == ["callbacks/a.py imports ray.rllib"]
        assert brings(graph, "envs/y.py", "ray") == []
        assert brings(graph, "envs/z.py", "ray") == ["envs/z.py imports ray"]

    def test_interventions_through_another_file(self, tmp_path):
        graph = self.graph(
            tmp_path,
            plasticity__in__scores="import rllib_reborn.plasticity.invariance",
            plasticity__in__invariance="def f():\n    from rllib_reborn.plasticity.interventions.reborn import ReBorn",
            plasticity__in__masks="",
            plasticity__in__interventions__in__reborn="",
        )
        assert len(naming_interventions(graph, "plasticity/scores.py")) == 1
        assert naming_interventions(graph, "plasticity/masks.py") == []
