"""The Python code blocks of README.md and docs/ run as they stand there, one page from top to bottom.

A block that cannot (a module of one's own, hours of training) has ``<!-- not run: reason -->`` right above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.policy import onnx_bytes
from tests.docs_code import DOCS, PAGES, REPOSITORY, python_blocks
from tests.policy.teams import ENV, exported

#: What is made smaller; each must be there.
LESS = {
    "README.md": {
        "range(100)": "range(2)",
        "batch_episodes=32": "batch_episodes=4, learning_starts_episodes=4",
        "num_envs_per_env_runner=16": "num_envs_per_env_runner=4",
        "interval_env_steps=10_000, evaluation_duration=32": "interval_env_steps=1_000, evaluation_duration=2",
        '"/tmp/checkpoint"': 'f"{FOLDER}/checkpoint"',
    },
    "battle.md": {"num_envs=64": "num_envs=2"},
    "portable_policy.md": {"1_000": "3"},
}


def pages() -> list[Path]:
    return [page for page in PAGES if any(block.not_run is None for block in python_blocks(page))]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = exported()
    policy.save(tmp_path / "my_policy", beside={"policy.onnx": onnx_bytes(policy)})
    monkeypatch.chdir(tmp_path)
    from rllib_reborn.envs import make_team_env

    start = make_team_env(ENV, num_envs=1).reset(seed=0)
    names: dict[str, Any] = {"FOLDER": tmp_path, "obs": start.obs[0], "action_mask": start.action_mask[0]}
    less = LESS.get(page.name, {})
    run = [block for block in python_blocks(page) if block.not_run is None]
    assert [old for old in less if not any(old in block.code for block in run)] == []
    try:
        for block in run:
            code = block.code
            for old, new in less.items():
                code = code.replace(old, new)
            if "pettingzoo:mpe2" in code:
                pytest.importorskip("mpe2", reason="mpe2 is not installed")
            # Lines of errors are those of the page.
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), names)
    finally:
        if "algo" in names:
            names["algo"].stop()
    for value in names.values():
        if isinstance(value, ValueFactorizationConfig) and value.env is not None:
            value.copy(copy_frozen=False).validate()


def test_blocks_are_found_with_their_lines_and_reasons(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```python\na = 1\n```\n\n<!-- not run: hours -->\n```python\nb = 2\nc = 3\n```\n```bash\nls\n```\n"
    )
    blocks = [(block.line, block.code, block.not_run) for block in python_blocks(page)]
    assert blocks == [(4, "a = 1\n", None), (9, "b = 2\nc = 3\n", "hours")]
    found = {page.name for page in pages()}
    assert {"README.md", "battle.md", "plasticity.md", "portable_policy.md", "your_env.md"} <= found
    assert all(page.is_relative_to(REPOSITORY) for page in PAGES)
    assert any(page.is_relative_to(DOCS / "results") for page in PAGES)
