"""Seeds of remote runners are hashes: no two runs, roles or runners meet. The local runner keeps the run's own seed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rllib_reborn.envs.rollout import EpisodeOutcome
from rllib_reborn.runtime import runner_pool
from rllib_reborn.runtime.results import Evaluated
from rllib_reborn.runtime.runner_pool import RunnerPool, Weights
from rllib_reborn.runtime.running_games import FailureCounts
from rllib_reborn.runtime.seeds import remote_seed


def test_every_remote_runner_has_a_seed_of_its_own():
    found = {
        remote_seed(seed, role, worker_index, part)
        for seed in (0, 1, 2, 1_000, 1_000_000, 100_001)
        for role in ("training", "evaluation")
        for worker_index in (1, 2, 3, 100)
        for part in range(4)
    }
    assert len(found) == 6 * 2 * 4 * 4
    assert all(0 <= seed < 2**31 for seed in found)


class Runner:
    def __init__(self, worker_index: int, lost: bool = False) -> None:
        self.worker_index, self.lost = worker_index, lost
        self.seeds: list[int] = []
        self.games = SimpleNamespace(counts=FailureCounts())

    def overwrite_weights(self, weights, seq_no, env_steps):
        pass

    def evaluate(self, num_episodes, seed):
        self.seeds.append(seed)
        return [EpisodeOutcome(0.0, 1, None)] * num_episodes

    def evaluate_remote(self, num_episodes, seed):
        outcomes, self.lost = self.evaluate(num_episodes, seed)[self.lost :], False
        return Evaluated(self.worker_index, outcomes)


class Group:
    def __init__(self, members: list[Runner]) -> None:
        self.members = members

    def num_remote_env_runners(self):
        return len(self.members)

    def healthy_env_runner_ids(self):
        return [member.worker_index for member in self.members]

    def foreach_env_runner(self, func, *, remote_worker_ids, **kwargs):
        return [func(member) for member in self.members if member.worker_index in remote_worker_ids]


def seeds_of_evaluation(seed: int | None, group: Group | None, local: Runner | None = None) -> list[int]:
    config = SimpleNamespace(seed=seed, evaluation_duration=4, evaluation_sample_timeout_s=1.0)
    pool = RunnerPool(config, None, group, learners=None, make_local_evaluation_runner=lambda: local)
    evaluated = pool.evaluate_greedy(Weights({}, 0), env_steps=0, restore=lambda group: [])
    assert len(evaluated.outcomes) == 4
    members = [local] if group is None else group.members
    return [seed for member in members for seed in member.seeds]


def test_evaluations_of_different_seeds_play_different_games(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner_pool, "ray", SimpleNamespace(put=lambda value: value, get=lambda value: value))
    # Runner 1 loses an episode, so that there is a second round.
    found = [
        seeds_of_evaluation(seed, Group([Runner(1, lost=True), Runner(2)])) for seed in (0, 1, 1_000, 2_000, 100_000)
    ]
    flat = [seed for seeds in found for seed in seeds]
    assert len(flat) == 5 * 3
    assert len(set(flat)) == len(flat)
    assert found[0] == seeds_of_evaluation(None, Group([Runner(1, lost=True), Runner(2)]))


def test_the_local_evaluation_keeps_its_seed():
    assert seeds_of_evaluation(3, None, Runner(0)) == [1_000_003]
    assert seeds_of_evaluation(None, None, Runner(0)) == [1_000_000]
