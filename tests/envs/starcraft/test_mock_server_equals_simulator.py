"""The client on the mock server and the simulator as an environment: one battle, two ways to it, equal numbers.

What lies between them is all that a real game would meet: the process, the websocket, the protocol, tags, sorting, the
maps' way of starting again, commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv, episode_seed
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS, scenario
from rllib_reborn.envs.starcraft.game import StarCraftGame
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.envs.team_env import TeamObs
from rllib_reborn.envs.team_game import GameObs

pytest.importorskip("websocket", reason="websocket-client (extra 'starcraft') is not installed")
pytest.importorskip("s2clientprotocol", reason="pys2clientprotocol (extra 'starcraft') is not installed")

SEED = 11
TOLERANCE = 1e-6
WHOLE = 10**6
#: These are played in every run of the tests; all the others are long.
QUICK = {"3m", "2s3z", "MMM2", "2m_vs_1z", "terran_5_vs_5"}
SKILLS: dict[str, dict[str, Any]] = {
    "attack": {"dist_type": "per_agent_uniform", "lower_bound": 0.3, "upper_bound": 0.9, "observe": True},
    "health": {"dist_type": "per_agent_uniform", "lower_bound": 0.2, "upper_bound": 0.6, "observe": True},
}


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = make_mock_install(tmp_path_factory.mktemp("sc2"))
    yield folder
    assert running_servers(folder) == []


def assert_same(game: GameObs, simulator: TeamObs) -> None:
    np.testing.assert_array_equal(game.action_mask, simulator.action_mask[0])
    np.testing.assert_allclose(game.obs, simulator.obs[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(game.state, simulator.state[0], rtol=0, atol=TOLERANCE)


def choose(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] available actions, attacks and heals more often than the rest."""
    weight = mask * np.where(np.arange(mask.shape[1]) >= 6, 3.0, 1.0)
    return np.array([rng.choice(mask.shape[1], p=row / row.sum()) for row in weight])


def play_both(install: Path, name: str, *lengths: int, **options: Any) -> dict[str, int]:
    """Play the same episodes on both, with the same actions, so many steps of each at most; returns how often what
    happened."""
    played = scenario(name)
    chosen = SmacOptions.for_scenario(played, **options)
    simulator = BattleTeamEnv(name, 1, options=chosen, backend="numpy")
    game = StarCraftGame(played, chosen, GameSettings(sc2_path=str(install), seed=SEED))
    rng = np.random.default_rng(SEED)
    happened = {"steps": 0, "ends": 0, "rewards": 0}
    try:
        for episode, steps in enumerate(lengths):
            obs = simulator.reset(seed=[SEED] if episode == 0 else None)
            assert_same(game.reset(episode_seed(SEED, episode)), obs)
            for _ in range(steps):
                actions = choose(obs.action_mask[0], rng)
                theirs, ours = game.step(actions), simulator.step(actions[None])
                obs = ours.obs
                assert_same(theirs.obs, obs)
                assert theirs.reward == pytest.approx(float(ours.reward[0]), abs=TOLERANCE)
                ends = (bool(ours.terminated[0]), bool(ours.truncated[0]), bool(ours.info["won"][0]))
                assert (theirs.terminated, theirs.truncated, theirs.won) == ends
                happened["steps"] += 1
                happened["rewards"] += theirs.reward > 0
                if theirs.terminated or theirs.truncated:
                    happened["ends"] += 1
                    break
    finally:
        game.close()
    return happened


def marked(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in names]


@pytest.mark.parametrize("name", marked(list(SCENARIOS)))
def test_a_whole_episode_and_the_start_of_the_next(install: Path, name: str) -> None:
    """Every scenario; the second episode begins as the first one did not, by killing everybody."""
    happened = play_both(install, name, WHOLE, 3)
    assert happened["ends"] >= 1
    assert happened["rewards"] >= 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("3m", {}),
        ("MMM", {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True}),
        pytest.param("2s3z", {"state_timestep_number": True, "reward_only_positive": False}, marks=pytest.mark.slow),
        pytest.param("bane_vs_bane", {}, marks=pytest.mark.slow),
        pytest.param(
            "so_many_baneling", {"obs_pathing_grid": True, "obs_terrain_height": True}, marks=pytest.mark.slow
        ),
        pytest.param("terran_5_vs_5", {}, marks=pytest.mark.slow),
        pytest.param("zerg_5_vs_5", {"conic_fov": True, "prob_obs_enemy": 0.5}, marks=pytest.mark.slow),
        pytest.param("protoss_5_vs_5", SKILLS, marks=pytest.mark.slow),
    ],
)
def test_two_whole_episodes_with_options(install: Path, name: str, options: dict[str, Any]) -> None:
    happened = play_both(install, name, WHOLE, WHOLE, **options)
    assert happened["ends"] == 2
    assert happened["rewards"] >= 3
