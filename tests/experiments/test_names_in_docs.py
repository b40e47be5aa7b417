"""Every experiment, and every file of configs/, that the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rllib_reborn.experiments.composition import compose
from rllib_reborn.experiments.shipped_configs import configs_folder

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*", "docker/*", "benchmarks/**/*", "Makefile", ".ci/run")
    for path in ROOT.glob(pattern)
    if path.suffix in (".md", ".py", ".sh", "")
    and path.is_file()
    and path.name != "words.py"  # holds the names of an earlier commit, to translate them
)
ENV = r"(?:matrix|predator_prey|battle|smac|smacv2)/\w+|(?:pettingzoo|gymnasium):[\w.:-]+"
NAMED = re.compile(rf"(?<![\w/.:-])(?:{ENV})/[a-z]\w*(?:\+\w+)*")
TRAINED = re.compile(r"(?:rllib-reborn|rllib_reborn) (?:train|configs) ([\w.:-]+/[^\s`\"]+)")
FILE = re.compile(r"(?<![\w/.])configs/[\w/.-]+\.yaml")
# Stand for any of several in the text around them.
PLACEHOLDERS = re.compile(r"ALGORITHM|NAME|<\w+>|\.yaml$|config\b")


def names_in(text: str) -> list[str]:
    """Names of experiments, in the order of the text."""
    found = [*NAMED.findall(text), *TRAINED.findall(text)]
    return list(dict.fromkeys(name for name in found if not PLACEHOLDERS.search(name)))


def test_the_finder_finds() -> None:
    text = (
        "`battle/3m/qmix` and a/battle/3m/qmix.png; rllib-reborn train smac/3m/vdm+redo x=1\n"
        "pettingzoo:mpe2.simple_v3/qmix, `rllib-reborn train predator_prey/small/NAME`, rllib-reborn train qmix/of_old\n"
    )
    assert names_in(text) == ["battle/3m/qmix", "smac/3m/vdm+redo", "pettingzoo:mpe2.simple_v3/qmix", "qmix/of_old"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in names_in(text):
        compose(name)  # raises where a part of the name is unknown
    for name in FILE.findall(text):
        assert (configs_folder().parent / name).is_file(), name


def test_the_readme_and_the_guide_name_experiments() -> None:
    """What is found is not nothing."""
    for document in ("README.md", "docs/experiments.md", "docs/results/battle.md"):
        assert len(names_in((ROOT / document).read_text(encoding="utf-8"))) >= 3, document
