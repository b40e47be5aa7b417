"""YAML blocks of the docs are valid experiments or sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_reborn.experiments.build import configure
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.tuning.sweep import read_sweep
from tests.docs_code import PAGES, REPOSITORY, Block, fenced_blocks

BLOCKS = [(page, block) for page in PAGES for block in fenced_blocks(page) if block.language == "yaml"]


def check_block(block: Block, folder: Path) -> None:
    """Reads a block as what its keys say it is."""
    file = folder / "block.yaml"
    file.write_text(block.code)
    if block.code.startswith("base:"):
        read_sweep(file)
    else:
        configure(load_experiment(file))


@pytest.mark.parametrize(
    ("page", "block"), BLOCKS, ids=[f"{page.relative_to(REPOSITORY)}:{block.line}" for page, block in BLOCKS]
)
def test_block_is_valid(page: Path, block: Block, tmp_path: Path) -> None:
    check_block(block, tmp_path)


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="training"):
        check_block(Block(1, "extends: matrix/two_step/qmix\ntraining: {lrr: 1}\n", None, "yaml"), tmp_path)
    with pytest.raises(ExperimentError, match="budget"):
        check_block(Block(1, "base: matrix/two_step/qmix\nbudgget: {env_steps: 1}\n", None, "yaml"), tmp_path)


def test_there_are_some() -> None:
    assert {page.name for page, _ in BLOCKS} >= {"experiments.md", "sweeps.md", "coming_from_pymarl.md"}
