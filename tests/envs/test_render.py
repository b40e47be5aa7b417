"""Pictures and GIFs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rllib_reborn.envs import render
from rllib_reborn.envs.predator_prey import PRESETS, PredatorPrey
from rllib_reborn.envs.registry import env_names, make_team_env
from rllib_reborn.envs.render import record_gif


# Those of StarCraft II need the game, and the simulator is played in tests/envs/battle.
@pytest.mark.parametrize("name", [name for name in env_names() if not name.startswith(("smac", "battle/"))])
def test_every_environment_can_be_drawn(name):
    env = make_team_env(name, 2)
    env.reset(seed=0)
    picture = env.render(1)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert 440 <= picture.shape[1] <= 520
    assert 440 <= picture.shape[0] <= 560


def test_every_entity_is_drawn_where_it_stands():
    env = PredatorPrey(PRESETS["gradps_small"])
    obs = env.reset(seed=0)
    picture = env.render()
    grid = obs.state[0].reshape(20, 20, 3)
    for y in range(20):
        for x in range(20):
            # A little below the middle of the cell, where all three shapes are filled.
            pixel = tuple(picture[render.CAPTION_HEIGHT + y * 24 + 14, x * 24 + 12].tolist())
            kinds = [render.BLUE, render.ORANGE, render.GREEN]
            want = kinds[grid[y, x].argmax()] if grid[y, x].any() else render.BACKGROUND
            assert pixel == want


def test_picture_changes_with_the_game():
    env = PredatorPrey(PRESETS["stag_hunt"])
    env.reset(seed=0)
    before = env.render()
    env.step(np.full((1, 8), 4))
    assert not np.array_equal(before, env.render())


def test_gif_has_the_frames_and_the_pace(tmp_path):
    env = PredatorPrey(PRESETS["stag_hunt"])
    env.reset(seed=0)
    frames = []
    for _ in range(5):
        env.step(np.full((1, 8), 4))
        frames.append(env.render())
    path = record_gif(iter(frames), tmp_path / "new" / "hunt.gif", fps=10)
    with Image.open(path) as gif:
        assert gif.n_frames == 5
        assert gif.info["duration"] == 100
        assert gif.info["loop"] == 0
        for number, frame in enumerate(frames):
            gif.seek(number)
            shown = np.asarray(gif.convert("RGB"), int)
            assert abs(shown - frame).mean() < 2  # antialiased text may lose a shade


def test_gif_refuses_what_it_cannot_write(tmp_path):
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="no frames"):
        record_gif([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="frame 1 has shape"):
        record_gif([frame, frame[:2]], tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"frame 0 has shape .* dtype float64"):
        record_gif([frame.astype(float)], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="fps is 0"):
        record_gif([frame], tmp_path / "a.gif", fps=0)


def test_missing_pillow_is_explained(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        render.pillow()
