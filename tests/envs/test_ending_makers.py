"""Environments that end the process that asks for them: a sentence, as for any other that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs import make_team_env
from rllib_reborn.envs.adapters.foreign_calls import ask, reset_env, step_env
from rllib_reborn.envs.team_game import FaultyGameError

OWN = """
import sys

def per_game(**options):
    sys.exit("enough")

def as_arrays(num_envs, **options):
    raise SystemExit

class AtOnce:
    def __init__(self):
        quit()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ending_makers_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "ending_makers_test"


@pytest.mark.parametrize("name", ["per_game", "as_arrays", "AtOnce"])
def test_a_maker_of_ones_own(own: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be built with the options .*SystemExit"):
        make_team_env(f"{own}:{name}")


def test_the_command_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "sys:exit"]) != 0
    out = "".join(capsys.readouterr())
    assert "SystemExit" in out
    assert "sys:exit" in out


class Ending(gymnasium.Env):  # type: ignore[type-arg]
    def reset(self, **options: object) -> tuple[object, dict[str, object]]:  # type: ignore[override]
        sys.exit(3)

    def step(self, action: object) -> tuple[object, float, bool, bool, dict[str, object]]:
        sys.exit()


def test_what_an_environment_does_later() -> None:
    with pytest.raises(FaultyGameError, match=r"reset\(\) raised SystemExit: 3"):
        reset_env(Ending(), 0, "mine", "Gymnasium")
    with pytest.raises(FaultyGameError, match=r"step\(\) raised SystemExit"):
        step_env(Ending(), 0, "mine", "Gymnasium", ())
    with pytest.raises(FaultyGameError, match="spaces raised SystemExit"):
        ask("mine", "spaces", sys.exit)
