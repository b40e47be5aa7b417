"""Counters: updates are paid for by episodes, warm-up episodes pay for none."""

from types import SimpleNamespace

import pytest

from rllib_reborn.algorithms.value_factorization.checkpointing import CheckpointedAlgorithm
from rllib_reborn.algorithms.value_factorization.counters import TrainingCounters
from rllib_reborn.runtime.remote_processes import Losses
from rllib_reborn.runtime.results import Collected


def feed(counters: TrainingCounters, episodes: int, ratio: float, warm_up: int) -> int:
    counters.episodes_since_empty += episodes
    counters.new_episodes += episodes
    return counters.updates_due(ratio, warm_up)


def test_one_update_per_episode_after_the_warm_up_by_hand():
    counters = TrainingCounters()
    # The 32nd episode completes the warm-up and pays for the first update.
    assert [feed(counters, 8, 1.0, 32) for _ in range(6)] == [0, 0, 0, 1, 8, 8]


def test_single_episodes():
    counters = TrainingCounters()
    assert [feed(counters, 1, 1.0, 3) for _ in range(5)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(("ratio", "expected"), [(0.1, 10), (0.25, 25), (3.0, 300), (1 / 3, 33)])
def test_fractions_add_up(ratio, expected):
    counters = TrainingCounters()
    assert sum(feed(counters, 1, ratio, 1) for _ in range(100)) == expected


def test_a_lost_replay_warms_up_again():
    counters = TrainingCounters()
    feed(counters, 40, 1.0, 32)
    counters.replay_lost()
    assert feed(counters, 31, 1.0, 32) == 0
    assert feed(counters, 1, 1.0, 32) == 1


def test_versions_of_the_game_are_collected_and_survive_a_restore():
    def answer(**provenance: str) -> Collected:
        return Collected(1, [], [], 10, 0, 0, None, provenance=provenance)

    counters = TrainingCounters()
    for versions in ("", "4.10", "4.10, 4.6"):
        counters.add(answer(game_version=versions))
    counters.add(answer())
    assert counters.game_versions == ["4.10", "4.6"]
    again = TrainingCounters()
    again.set_state(counters.get_state())
    assert again.game_versions == ["4.10", "4.6"]


def test_a_checkpoint_from_before_a_counter_was_there():
    state = TrainingCounters().get_state()
    del state["game_versions"]
    counters = TrainingCounters()
    counters.set_state(state | {"updates": 7})
    assert (counters.updates, counters.game_versions) == (7, [])


def test_state_round_trip():
    counters = TrainingCounters()
    feed(counters, 5, 0.3, 2)
    counters.env_steps = 77
    again = TrainingCounters()
    again.set_state(counters.get_state())
    assert (again.env_steps, again.update_budget) == (77, counters.update_budget)
    assert again.seconds() >= counters.seconds_before


class Processes:
    """Of a kind, of which some are lost."""

    def __init__(self) -> None:
        self.losses = Losses()

    def take_losses(self) -> Losses:
        taken, self.losses = self.losses, Losses()
        return taken


def test_lost_processes_add_up_and_survive_a_restore():
    algorithm = SimpleNamespace(
        processes={"runners": Processes(), "evaluation": Processes()},
        counters=TrainingCounters(),
        config=SimpleNamespace(num_envs_per_env_runner=4),
    )

    def lose(kind: str, lost: int, hung: int) -> None:
        algorithm.processes[kind].losses = Losses(lost, hung)
        CheckpointedAlgorithm.count_losses(algorithm)  # type: ignore[arg-type]

    lose("runners", 2, 1)
    lose("evaluation", 1, 1)
    lose("runners", 0, 0)
    algorithm.counters.runner_restarts = 2
    saved = algorithm.counters.get_state()
    for _ in range(2):  # what is saved does not change with who has taken it up
        algorithm.counters = TrainingCounters()
        algorithm.counters.set_state(saved)
        lose("runners", 1, 0)
        counters = algorithm.counters
        assert counters.processes_lost == {"runners": 3, "runners_hung": 1, "evaluation": 1, "evaluation_hung": 1}
        assert (counters.runner_restarts, counters.episodes_dropped) == (2, 12), (
            "games of evaluations are not training's"
        )
