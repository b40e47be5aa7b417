"""Counters: updates are paid for by episodes, warm-up episodes pay for none."""

import pytest

from rllib_reborn.algorithms.value_factorization.metrics_row import Progress
from rllib_reborn.algorithms.value_factorization.team_env_runner import Collected


def feed(progress: Progress, episodes: int, ratio: float, warm_up: int) -> int:
    progress.episodes_since_empty += episodes
    progress._new_episodes += episodes
    return progress.updates_due(ratio, warm_up)


def test_one_update_per_episode_after_the_warm_up_by_hand():
    progress = Progress()
    # The 32nd episode completes the warm-up and pays for the first update.
    assert [feed(progress, 8, 1.0, 32) for _ in range(6)] == [0, 0, 0, 1, 8, 8]


def test_single_episodes():
    progress = Progress()
    assert [feed(progress, 1, 1.0, 3) for _ in range(5)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("ratio", "expected"), [(0.1, 10), (0.25, 25), (3.0, 300), (1 / 3, 33)])
def test_fractions_add_up(ratio, expected):
    progress = Progress()
    assert sum(feed(progress, 1, ratio, 1) for _ in range(100)) == expected


def test_a_lost_replay_warms_up_again():
    progress = Progress()
    feed(progress, 40, 1.0, 32)
    progress.replay_lost()
    assert feed(progress, 31, 1.0, 32) == 0
    assert feed(progress, 1, 1.0, 32) == 1


def test_versions_of_the_game_are_collected_and_survive_a_restore():
    def answer(**provenance: str) -> Collected:
        return Collected(1, [], [], 10, 0, 0, None, provenance=provenance)

    progress = Progress()
    for versions in ("", "4.10", "4.10, 4.6"):
        progress.add(answer(game_version=versions))
    progress.add(answer())
    assert progress.game_versions == ["4.10", "4.6"]
    again = Progress()
    again.set_state(progress.get_state())
    assert again.game_versions == ["4.10", "4.6"]


def test_a_checkpoint_from_before_a_counter_was_there():
    state = Progress().get_state()
    del state["game_versions"]
    progress = Progress()
    progress.set_state(state | {"updates": 7})
    assert (progress.updates, progress.game_versions) == (7, [])


def test_state_round_trip():
    progress = Progress()
    feed(progress, 5, 0.3, 2)
    progress.env_steps = 77
    again = Progress()
    again.set_state(progress.get_state())
    assert (again.env_steps, again.update_budget) == (77, progress.update_budget)
    assert again.seconds() >= progress.seconds_before
