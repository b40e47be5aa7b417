"""Our rules against arrays that oxwhirl's SMAC and SMACv2 gave for the same units: see ``golden/record.py``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.smac.capabilities import Capabilities
from rllib_reborn.envs.smac.compat import SMACV2, CompatFlags
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SMAC_SCENARIOS, Scenario, scenario
from rllib_reborn.envs.smac.smac_rules import SmacRules
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.units import FIELDS, Units

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(path.name for path in FOLDER.glob("*.npz"))
TOLERANCE = 1e-6
#: The eight maps that are asked for at least, in their standard form.
NAMED = {"3m", "2s3z", "MMM2", "3s_vs_5z", "3s5z_vs_3s6z", "1c3s5z", "10m_vs_11m", "27m_vs_30m"}

Arrays = Mapping[str, Any]


def load(file: str) -> tuple[Mapping[str, Any], Arrays]:
    """What was played, and the arrays."""
    with np.load(FOLDER / file) as arrays:
        return json.loads(str(arrays["about"])), {key: arrays[key] for key in arrays.files if key != "about"}


def units_at(arrays: Arrays, row: int) -> Units:
    """One recorded row as one battle."""
    dtypes = {"kind": np.int64}
    return Units(**{field: arrays[field][row][None].astype(dtypes.get(field, np.float32)) for field in FIELDS})


def terrain_of(arrays: Arrays) -> Terrain:
    map_x, map_y, width, height = (int(size) for size in arrays["size"][0])
    pathing = np.unpackbits(arrays["pathing"][0])[: map_x * map_y].reshape(map_x, map_y).astype(bool)
    heights = arrays["heights"][0].astype(np.float32) / np.float32(255)
    return Terrain(map_x=map_x, map_y=map_y, width=width, height=height, pathing=pathing, terrain_height=heights)


def options_of(about: Mapping[str, Any], played: Scenario, monkeypatch: pytest.MonkeyPatch) -> SmacOptions:
    """SMAC: as it is. SMACv2: the scale of the first episode in all later ones, and all deviations but the one by
    which observations depend on chance, which the recorder has switched off."""
    if played.family == "smac":
        return SmacOptions.for_scenario(played, compat="smac", **about["options"])

    def compat_flags(self: SmacOptions, scenario: Scenario) -> CompatFlags:
        return dataclasses.replace(SMACV2, unspotted_wipe=False)

    monkeypatch.setattr(SmacOptions, "compat_flags", compat_flags)
    return SmacOptions.for_scenario(
        played, compat="smacv2", reward_scale="smacv2", **about["options"], **about["skills"]
    )


def capabilities_of(arrays: Arrays, units: Units, played: Scenario, episode: int) -> Capabilities:
    n, places = played.n_agents, np.stack([units.x[0], units.y[0]], axis=1)
    drawn = {name: arrays[name][episode] for name in ("attack_probability", "health_level") if name in arrays}
    skills: dict[str, Any] = {name: value.astype(np.float32) for name, value in drawn.items()}
    if "enemy_mask" in arrays:
        skills["enemy_mask"] = arrays["enemy_mask"][episode].astype(bool)
    return Capabilities(
        ally_kinds=units.kind[0, :n],
        enemy_kinds=units.kind[0, n:],
        ally_xy=places[:n],
        enemy_xy=places[n:],
        **skills,
    )


def assert_observed(rules: SmacRules, arrays: Arrays, row: int) -> None:
    where = np.flatnonzero(arrays["seen_at"] == row)
    if not where.size:
        return
    obs = rules.team_obs
    mask = np.unpackbits(arrays["mask"][where[0]], axis=-1)[:, : obs.action_mask.shape[2]].astype(bool)
    np.testing.assert_array_equal(obs.action_mask[0], mask)
    np.testing.assert_allclose(obs.obs[0], arrays["obs"][where[0]], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(obs.state[0], arrays["state"][where[0]], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("file", FILES)
def test_every_step_is_as_the_original_has_it(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    about, arrays = load(file)
    played = scenario(about["scenario"])
    rules = SmacRules(played, options_of(about, played, monkeypatch), 1, terrain_of(arrays))
    episode = step = -1
    for row, is_first in enumerate(arrays["is_first"]):
        units = units_at(arrays, row)
        if is_first:
            episode += 1
            rules.begin([0], units, [capabilities_of(arrays, units, played, episode)], [0])
        else:
            step += 1
            actions = arrays["actions"][step].astype(np.int64)[None]
            assert np.take_along_axis(rules.team_obs.action_mask, actions[..., None], axis=2).all()
            rules.orders(actions)
            outcome = rules.score(units)
            at_limit = bool(arrays["at_limit"][step])
            assert outcome.reward[0] == pytest.approx(arrays["reward"][step], abs=TOLERANCE)
            assert outcome.truncated[0] == at_limit
            assert outcome.terminated[0] == (arrays["terminated"][step] and not at_limit)
            assert outcome.info["won"][0] == arrays["won"][step]
        assert_observed(rules, arrays, row)
    assert episode == 1
    assert step + 1 == len(arrays["reward"]) > 10


class TestWhatIsRecorded:
    """Agreement says something only where something happens."""

    def test_maps_and_size(self) -> None:
        assert {f"{name}.npz" for name in NAMED} <= set(FILES)
        played = {load(file)[0]["scenario"] for file in FILES}
        assert len(played - set(SMAC_SCENARIOS)) >= 2
        assert sum((FOLDER / file).stat().st_size for file in FILES) < 1.5e6

    def test_wins_defeats_and_the_dead(self) -> None:
        wins = defeats = 0
        for file in FILES:
            about, arrays = load(file)
            assert (arrays["health"] == 0).any(), file
            wins += about["scenario"] in SMAC_SCENARIOS and int(arrays["won"].sum())
            defeats += int((arrays["terminated"] & ~arrays["won"] & ~arrays["at_limit"]).sum())
        assert wins >= 5
        assert defeats >= 5
