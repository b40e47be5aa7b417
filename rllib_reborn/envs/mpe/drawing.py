"""Pictures of particle worlds: discs as large as their radius, those of agents with a bright middle; the last words of those
who speak stand in the caption."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.world_arrays import WorldArrays
from rllib_reborn.envs.render import BACKGROUND, CAPTION_HEIGHT, GRID_LINE, INK, PICTURE_SIZE, as_array, blank

#: Free space around the outermost centre, as a factor.
_MARGIN = 1.15
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def draw_world(scenario: ParticleScenario, arrays: WorldArrays, game: int, caption: str) -> npt.NDArray[np.uint8]:
    """Draw one game. What is shown is the square around the centre that holds everybody, and the field of half-width 1 at
    least, whose edge is a line.

    Args:
        scenario: The game.
        arrays: The worlds.
        game: Which one.
        caption: A line of text above it; what was said last is added.

    Returns:
        [height, width, 3] uint8.

    Raises:
        ImportError: Pillow is not installed.
    """
    world = scenario.world
    sizes = [agent.size for agent in world.agents] + [mark.size for mark in world.landmarks]
    places = arrays.positions[:, : len(sizes), game].T
    shown = _MARGIN * max(1.0, float(np.abs(places).max()))
    scale = PICTURE_SIZE / 2 / shown
    words = [
        f"{agent.name}: {_ALPHABET[int(word.argmax())] if word.any() else '-'}"
        for number, agent in enumerate(world.agents)
        if agent.words
        for word in [arrays.rows[scenario.rows.message(number), game]]
    ]
    image, draw = blank(PICTURE_SIZE, PICTURE_SIZE, "    ".join([caption, *words]))

    def disc(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
        across, down = PICTURE_SIZE / 2 + x * scale, CAPTION_HEIGHT + PICTURE_SIZE / 2 - y * scale
        return (across - radius, down - radius, across + radius, down + radius)

    draw.rectangle(disc(0, 0, scale), outline=GRID_LINE)
    colors = scenario.colors(arrays.goals[:, game])
    size_scale = scale if scenario.options.dynamic_rescaling else PICTURE_SIZE / 2 / _MARGIN
    # The largest first, so that nobody is hidden.
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        (x, y), radius = places[number], sizes[number] * size_scale
        draw.ellipse(disc(x, y, radius), fill=colors[number], outline=INK)
        if number < world.n_agents:
            draw.ellipse(disc(x, y, radius / 3), fill=BACKGROUND)
    return as_array(image)
