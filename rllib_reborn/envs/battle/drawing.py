"""Pictures of battles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.unit_stats import FLYING, TABLES
from rllib_reborn.envs.render import (
    BLUE,
    CAPTION_HEIGHT,
    GREEN,
    GRID_LINE,
    INK,
    ORANGE,
    PICTURE_SIZE,
    as_array,
    blank,
    pillow,
)
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import UNIT_TYPES
from rllib_reborn.envs.smac.units import Units

#: Letters of the kinds; capital ones for those whose first letter is taken.
_LETTERS = {"marine": "m", "marauder": "M", "medivac": "v", "spine_crawler": "c", "stalker": "s", "zealot": "z"}
_LETTERS |= {"colossus": "C", "zergling": "g", "hydralisk": "h", "baneling": "b"}
LETTERS = tuple(_LETTERS[unit_type.name] for unit_type in UNIT_TYPES)

_SHIELD = (86, 180, 233)
_EMPTY = (225, 225, 222)
_WALL = (190, 186, 178)
_BAR = 3


def draw_battle(
    terrain: Terrain, units: Units, targets: npt.NDArray[np.integer], n_agents: int, caption: str = ""
) -> npt.NDArray[np.uint8]:
    """Draw one battle: north is up; allies blue, enemies orange, flying units with a double edge; a letter says the kind,
    a bar the health, a thin one above it the shield; a line goes from who attacks (or heals: green) to its target.

    Args:
        terrain: The ground.
        units: The units of one battle, arrays [1, U].
        targets: [U] unit that each one is about, -1 for none.
        n_agents: n, the first units are the allies.
        caption: One line of text above the picture.

    Returns:
        [508, 480, 3] uint8.
    """
    image, draw = blank(PICTURE_SIZE, PICTURE_SIZE, caption)
    scale = PICTURE_SIZE / max(terrain.map_x, terrain.map_y)
    font = pillow()[2].load_default(max(8, int(scale * 0.75)))

    def at(x: float, y: float) -> tuple[float, float]:
        return x * scale, CAPTION_HEIGHT + (terrain.map_y - y) * scale

    for x, y in np.argwhere(~np.asarray(terrain.pathing)):
        draw.rectangle((*at(x, y + 1), *at(x + 1, y)), fill=_WALL)
    for line in range(0, max(terrain.map_x, terrain.map_y) + 1, 4):
        draw.line((*at(line, 0), *at(line, terrain.map_y)), fill=GRID_LINE)
        draw.line((*at(0, line), *at(terrain.map_x, line)), fill=GRID_LINE)

    alive = units.health[0] > 0
    places = [at(float(x), float(y)) for x, y in zip(units.x[0], units.y[0])]
    for unit in np.flatnonzero(alive & (targets >= 0)):
        friend = (unit < n_agents) == (targets[unit] < n_agents)
        colour = GREEN if friend else BLUE if unit < n_agents else ORANGE
        draw.line((*places[unit], *places[targets[unit]]), fill=colour)
    # Those who fly, and Colossi, are drawn over the others.
    for unit in sorted(np.flatnonzero(alive), key=lambda u: int(TABLES.plane[units.kind[0, u]])):
        kind = int(units.kind[0, unit])
        (x, y), radius = places[unit], float(TABLES.radius[kind]) * scale
        colour = BLUE if unit < n_agents else ORANGE
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=INK)
        if TABLES.plane[kind] == FLYING:
            draw.ellipse((x - radius + 2, y - radius + 2, x + radius - 2, y + radius - 2), outline=INK)
        draw.text((x, y), LETTERS[kind], fill="white", font=font, anchor="mm")
    for unit in np.flatnonzero(alive):
        (x, y), radius = places[unit], float(TABLES.radius[units.kind[0, unit]]) * scale
        _bar(draw, x, y - radius - _BAR - 1, radius, float(units.health[0, unit] / units.health_max[0, unit]), GREEN)
        if units.shield_max[0, unit] > 0:
            share = float(units.shield[0, unit] / units.shield_max[0, unit])
            _bar(draw, x, y - radius - 2 * _BAR - 2, radius, share, _SHIELD)
    return as_array(image)


def _bar(draw: object, x: float, top: float, half: float, share: float, colour: tuple[int, int, int]) -> None:
    rectangle = draw.rectangle  # type: ignore[attr-defined]
    rectangle((x - half, top, x + half, top + _BAR - 1), fill=_EMPTY)
    if share > 0:
        rectangle((x - half, top, x - half + 2 * half * min(share, 1.0), top + _BAR - 1), fill=colour)
