"""Playing a team: games that fail are played again, not for ever, and leave nothing in a film."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.studies.invariance import play_episodes
from rllib_reborn.studies.trained_policy import TrainedPolicy
from tests.algorithms.helpers import WALK
from tests.policy.teams import build

GAMES = "tests.fakes.scripted_games"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def module():
    return build(env=f"{GAMES}:CountingGame")


def faulty(module, **options) -> TrainedPolicy:
    return TrainedPolicy(module, f"{GAMES}:FaultyGame", {"fault": "raise", **options})


@pytest.mark.parametrize("play", [TrainedPolicy.evaluate, play_episodes])
def test_one_game_that_always_fails_is_not_played_for_ever(play):
    team = TrainedPolicy(build(env=WALK), WALK, {"fault": "first_always_fails"})
    with pytest.raises(EnvContractError, match=r"game 0 of 3 of .* failed 10 times in 10 of its steps"):
        play(team, 3, 0)


@pytest.mark.parametrize("play", [TrainedPolicy.evaluate, play_episodes])
def test_games_that_always_fail_are_given_up(module, play):
    reason = r"failed 20 times in 20 env steps without .*, last with: .*the script says so at 1; run"
    with pytest.raises(EnvContractError, match=reason):
        play(faulty(module, at=1), 2, 0)


@pytest.mark.parametrize("play", [TrainedPolicy.evaluate, play_episodes])
def test_games_that_fail_now_and_then_are_played_to_the_end(module, play):
    seeds = RandomStreams(2, 0).bits(40) >> np.uint64(33)
    team = faulty(module, at=1, seeds=tuple(seeds.astype(int)[:, ::2].ravel().tolist()))
    played = play(team, 30, 0, num_envs=2) if play is TrainedPolicy.evaluate else play(team, 30, 0)
    assert len(played["lengths"] if isinstance(played, dict) else played.lengths) == 30


def test_a_film_has_nothing_of_an_episode_that_crashed(module):
    first = int(RandomStreams(1, 0).bits(1)[0, 0] >> np.uint64(33))
    outcomes = faulty(module, at=2, seeds=(first,)).evaluate(1, 0, record=True)
    assert [int(frame.flat[0]) for frame in outcomes.frames] == list(range(int(outcomes.lengths[0]) + 1))
