"""Opponents that are an exported team: they do what the policy says, as the team that it was trained as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_reborn.envs import make_team_env, team_spec
from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.policy import Policy
from rllib_reborn.studies.portable import policy_from_module
from tests.fakes.chase_game import LIMIT, ChaseGame
from tests.policy.teams import build

GAME = "tests.fakes.chase_game:ChaseGame"
PREDATORS = {"agents": "predator", "opponents": "tests.fakes.chase_game:prey", "state": "observations"}
SEEDS = (11, 5, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Predators with memory, last actions and ids, exported."""
    path = tmp_path_factory.mktemp("exported") / "predators"
    policy_from_module(build(env=GAME, env_config={"team": PREDATORS}, hidden_dim=8)).save(path)
    return path


def hunted(opponents, env: ChaseGame) -> PettingZooGame:
    return PettingZooGame(env, TeamOptions(agents="prey", opponents=opponents, state="observations"))


def played_by_prey(folder: Path, env: ChaseGame) -> list[dict[str, int]]:
    """All that was done in episodes with ``SEEDS``, the predators being the opponents."""
    team = hunted(f"policy:{folder}", env)
    for seed in SEEDS:
        obs = team.reset(seed)
        for _ in range(LIMIT):
            obs = team.step(np.array([np.flatnonzero(obs.action_mask[0])[-1]])).obs
    return env.received


def played_by_predators(folder: Path) -> list[dict[str, int]]:
    """The same, the predators being the team and their actions the policy's."""
    env, policy = ChaseGame(), Policy.load(folder)
    team = PettingZooGame(env, TeamOptions(**PREDATORS))
    for seed in SEEDS:
        obs, state = team.reset(seed), None
        for _ in range(LIMIT):
            actions, state = policy.act(obs.obs, obs.action_mask, state)
            obs = team.step(actions).obs
    return env.received


def test_they_do_what_the_policy_says_in_each_episode_anew(folder):
    received = played_by_prey(folder, ChaseGame())
    assert received == played_by_predators(folder)
    assert received[:LIMIT] == received[2 * LIMIT :]
    assert len({tuple(sorted(actions.items())) for actions in received}) > 6
    assert ["predator_1" in actions for actions in received[:LIMIT]] == [True] * 4 + [False] * 2


def test_they_are_in_the_order_of_the_policy_whatever_that_of_the_game(folder):
    env = ChaseGame(("prey_0", "predator_1", "predator_0"))
    assert played_by_prey(folder, env) == played_by_predators(folder)


def test_each_entry_is_a_team_of_its_own_whose_names_may_be_others(folder):
    names = ("prey_0", "hunter_0", "hunter_1", "predator_0", "predator_1")
    env = ChaseGame(names)
    team = hunted({"hunter": f"policy:{folder}", "predator": f"policy:{folder}"}, env)
    obs = team.reset(3)
    for _ in range(LIMIT):
        obs = team.step(np.array([np.flatnonzero(obs.action_mask[0])[-1]])).obs
    assert set(env.received[0]) == set(names)
    assert set(env.received[-1]) == {name for name in names if not name.endswith("_1")}
    mixed = hunted({"hunter": f"policy:{folder}", "predator": "tests.fakes.chase_game:prey"}, ChaseGame(names))
    mixed.reset(3)


def test_they_take_one_thread_of_torch_and_leave_the_others_as_they_were(folder, monkeypatch):
    team, threads, before = hunted(f"policy:{folder}", ChaseGame()), [], torch.get_num_threads()
    act = Policy.act
    monkeypatch.setattr(Policy, "act", lambda *args: threads.append(torch.get_num_threads()) or act(*args))
    allowed = team.reset(0).action_mask
    try:
        torch.set_num_threads(3)
        team.step(allowed.argmax(-1))
        assert (threads, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.timeout(120)
def test_they_play_wherever_games_are_stepped(folder):
    paths = []
    for workers in ("inline", "threads", "processes"):
        team = {"agents": "prey", "opponents": f"policy:{folder}", "state": "observations", "workers": workers}
        env = make_team_env(GAME, 2, team=team)
        obs = env.reset(seed=4)
        path = [obs.obs.copy()]
        for _ in range(LIMIT):
            step = env.step(obs.action_mask.argmax(-1))
            assert not step.info["failed"].any()
            obs = step.obs
            path.append(obs.obs.copy())
        env.close()
        paths.append(path)
    np.testing.assert_array_equal(paths[0], paths[1])
    np.testing.assert_array_equal(paths[0], paths[2])


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ("predator_0", {}, r"a policy of 2 agents, to play predator_0 of chase_v0, with 1 agents; expected"),
        ("predator", {"sizes": (5, 2)}, "a policy of 5 numbers in an observation, .* with 7 numbers"),
        ("predator", {"actions": 6}, "a policy of 4 actions, to play predator_0, predator_1 .* with 6 actions"),
    ],
)
def test_another_size_is_refused_before_anything_is_played(folder, entry, options, message):
    opponents = {"predator": "tests.fakes.chase_game:prey", entry: f"policy:{folder}"}
    team = {"agents": "prey", "opponents": opponents, "state": "observations"}
    with pytest.raises(ValueError, match=message):
        team_spec(GAME, team=team, **options)


def test_a_folder_without_a_policy_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        message = rf"'policy:{path}', but {path} holds no usable policy: .*'rllib-reborn export'.* whole path"
        with pytest.raises(ValueError, match=message):
            hunted(f"policy:{path}", ChaseGame())
