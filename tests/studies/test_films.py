"""Films of games that others draw: who is asked for pictures and how, and what is printed where there are none."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.cli.evaluate import _games_of_training
from rllib_reborn.cli.main import main
from rllib_reborn.envs.adapters.multi_agent_game import drawn_by
from rllib_reborn.envs.render import drawing_remedy
from rllib_reborn.studies.trained_policy import TrainedPolicy
from tests.fakes.teams_by_process import Named
from tests.policy.teams import build

HERE = "tests.studies.test_films"
OBSERVATIONS = {"team": {"state": "observations"}}
PICTURE = np.zeros((4, 5, 3), np.uint8)


class Drawn(Named):
    """Draws where it is built to."""

    def __init__(self, render_mode: str | None = None, shade: int = 0) -> None:
        super().__init__()
        self.render_mode, self.shade = render_mode, shade

    def render(self) -> Any:
        return PICTURE + np.uint8(self.shade) if self.render_mode == "rgb_array" else None


class DrawnAtTheCall(Named):
    """As Gym's environments once were."""

    def render(self, mode: str = "human") -> Any:
        return PICTURE if mode == "rgb_array" else True


class WithoutDisplay(Named):
    """What draws it finds no display."""

    def render(self) -> Any:
        raise OSError("cannot connect to\n'None'.")


def team(name: str, **env_config: Any) -> TrainedPolicy:
    env = f"{HERE}:{name}" if ":" not in name else name
    module = build(env=env, env_config=OBSERVATIONS | env_config)
    return TrainedPolicy(module, env, OBSERVATIONS | env_config)


@pytest.mark.parametrize(
    "name", ["Drawn", "DrawnAtTheCall", "pettingzoo:mpe2.simple_spread_v3", "gymnasium:CartPole-v1"]
)
def test_whoever_can_draw_pictures_is_asked_to(name):
    for package in ("mpe2", "gymnasium"):
        if package in name:
            pytest.importorskip(package)
            pytest.importorskip("pygame")
    frames = team(name).evaluate(1, seed=0, record=True).frames
    assert len(frames) > 1
    assert all(frame.ndim == 3 and frame.dtype == np.uint8 for frame in frames)


def test_a_mode_that_the_user_gave_stays():
    with pytest.raises(ValueError, match="drew NoneType, no picture; build it with render_mode='rgb_array'"):
        team("Drawn", render_mode="human").evaluate(1, seed=0, record=True)


def test_only_a_film_is_built_to_be_drawn():
    env = team("Drawn").make_env(1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="drew NoneType"):
        env.render(0)
    env.close()


@pytest.mark.parametrize(
    ("display", "words"),
    [
        (None, "There is no display here: put 'xvfb-run -a' before the command"),
        (":0", "render_mode=rgb_array draws without"),
    ],
)
def test_what_a_library_raises_is_one_sentence_with_the_remedy(monkeypatch, display, words):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ValueError, match="cannot be drawn") as caught:
        team("WithoutDisplay").evaluate(1, seed=0, record=True)
    assert "OSError: cannot connect to 'None'. " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert drawing_remedy().startswith(". ")


def test_no_signature_is_no_hindrance():
    class Builtin:
        render = staticmethod(np.zeros)

    class Plain:
        def render(self):
            return PICTURE

    assert drawn_by(Plain(), "plain") is not None
    with pytest.raises(TypeError):
        drawn_by(Builtin(), "a function in C")


class TestCommand:
    @pytest.fixture
    def loaded(self, monkeypatch, tmp_path):
        """``evaluate`` with a team in place of a checkpoint."""

        def evaluate(name: str, *argv: str) -> int:
            monkeypatch.setattr("rllib_reborn.studies.trained_policy.load_team", lambda path: team(name))
            checkpoint = tmp_path / "checkpoint"
            checkpoint.mkdir(exist_ok=True)
            (checkpoint / "rllib_checkpoint.json").write_text("{}")
            return main(["evaluate", str(checkpoint), "--episodes", "2", *argv])

        return evaluate

    def test_numbers_come_first_and_then_why_there_is_no_film(self, loaded, tmp_path, capsys):
        assert loaded("WithoutDisplay", "--video", str(tmp_path / "film.gif")) == 2
        printed = capsys.readouterr()
        assert "return " in printed.out
        assert printed.err.startswith("error: no video was recorded: ")
        assert "Traceback" not in printed.err
        assert len(printed.err.strip().splitlines()) == 1
        assert not (tmp_path / "film.gif").exists()

    def test_json_is_one_object_in_any_case(self, loaded, tmp_path, capsys):
        assert loaded("WithoutDisplay", "--json", "--video", str(tmp_path / "film.gif")) == 2
        content = json.loads(capsys.readouterr().out)
        assert content["video"] is None
        assert len(content["returns"]) == 2

    def test_options_of_the_environment_are_laid_over_those_of_training(self, loaded, tmp_path, capsys):
        film = tmp_path / "film.gif"
        assert loaded("Drawn", "--video", str(film), "shade=200", "render_mode=rgb_array") == 0
        assert film.read_bytes().startswith(b"GIF8")
        assert f"video     {film}" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("option", "words"),
        [
            ("shape=1", "unknown option 'shape' of .*; did you mean 'shade'"),
            ("team.agents=ann", "agent 'bob' of named_v0 is not of our team"),
            ("team.state=none", "state_dim is 0 here and 9 there"),
        ],
    )
    def test_options_that_do_not_fit_are_one_sentence(self, loaded, capsys, option, words):
        assert loaded("Drawn", option) == 2
        assert re.search(words, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb-run on this machine")
@pytest.mark.parametrize("name", ["gymnasium:Foraging-8x8-2p-3f-v3", "gymnasium:rware-tiny-2ag-v2"])
def test_suites_that_need_a_display_draw_on_a_virtual_one(name, tmp_path):
    if importlib.util.find_spec("lbforaging" if "Foraging" in name else "rware") is None:
        pytest.skip("the suite is not installed")
    code = (
        "from tests.studies.test_films import team\n"
        f"frames = team({name!r}).evaluate(1, seed=0, record=True).frames\n"
        "assert len(frames) > 1 and frames[0].std() > 0\n"
        "print('FRAMES', len(frames))"
    )
    argv = ["xvfb-run", "-a", sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False)
    assert "FRAMES" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(("env", "expected"), [("predator_prey/small", None), (f"{HERE}:Drawn", 3)])
def test_a_run_is_evaluated_with_as_many_games_as_a_runner_played(tmp_path, env, expected):
    (tmp_path / "config.yaml").write_text(
        f"algorithm: VDN\nenv: '{env}'\nresources: {{num_envs_per_env_runner: 3}}\nstop: {{iterations: 1}}\n"
    )
    assert _games_of_training(env, tmp_path / "checkpoints" / "checkpoint_000001") == expected
    assert _games_of_training(env, tmp_path / "elsewhere") is None
