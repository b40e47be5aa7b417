"""A sound learner is saved before an error ends a run, and games that fail in one step of a hundred end none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.runtime.results import Collected, RunnerError
from tests.algorithms.helpers import WALK, equal, learner_weights, quick
from tests.fakes.envs import MaskedWalk
from tests.runtime.test_env_runner import runner


class FailsNowAndThen(MaskedWalk):
    """Episodes of a hundred steps; a hundredth of the steps raises, for all games at once."""

    chance = np.random.default_rng(0)

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs, limit=100)

    def step(self, actions: Any) -> Any:
        if FailsNowAndThen.chance.random() < 0.01:
            raise RuntimeError("now and then")
        step = super().step(actions)
        step.terminated[:] = False
        step.info["won"][:] = False
        return step


#: Beyond the steps of the checks before training, and of the first row.
BREAKS_AT = 1500


class BreaksLater(MaskedWalk):
    """Its observations become no numbers, once and for all."""

    steps = 0

    def step(self, actions: Any) -> Any:
        step = super().step(actions)
        step.info["failed"] = np.zeros(self.num_envs, bool)
        BreaksLater.steps += 1
        if BreaksLater.steps == BREAKS_AT:
            step.obs.obs[0, 0, 0] = np.nan
        return step

    def get_state(self) -> dict[str, Any]:
        if BreaksLater.steps == BREAKS_AT:
            raise RuntimeError("nor can it be saved")
        return super().get_state()


def test_a_batch_that_raises_in_one_step_of_a_hundred_goes_on():
    made = runner(f"{__name__}:FailsNowAndThen")
    made.env.close = lambda: 1 / 0  # nor does it close
    answer = made.collect(20)
    assert answer.error is None
    assert sum(len(block) for block in answer.blocks) >= 20
    assert answer.env_failures > 3
    assert answer.dropped_episodes >= 4 * (answer.env_failures - 2)


def test_a_final_evaluation_of_such_a_batch_goes_on_too():
    from rllib_reborn.studies.trained_policy import TrainedPolicy
    from tests.studies.test_trained_policy import build

    name = f"{__name__}:FailsNowAndThen"
    assert len(TrainedPolicy(build(env=name), name, {}).evaluate(12, 0, num_envs=4).returns) == 12


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_what_sound_runners_have_collected_is_taken_in_before_the_error_of_another():
    algorithm = quick(env=WALK).build_algo()
    block: list[EpisodeBlock] = algorithm.env_runner.collect(4).blocks
    sound = algorithm.env_runner.collect(4)
    broken = Collected(2, [], [], 0, 3, 1, sound.metrics, RunnerError("it is broken", env_is_broken=True))
    assert block
    with pytest.raises(EnvContractError, match="it is broken"):
        algorithm.receive([broken, sound])
    assert algorithm.counters.episodes == sum(len(one) for one in sound.blocks) == len(algorithm.replay)
    assert (algorithm.counters.episodes_dropped, algorithm.counters.env_failures) == (3, 1)
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_an_iteration_that_an_error_has_broken_off_is_whole_unless_learners_did_it(monkeypatch, tmp_path):
    algorithm = quick(env=WALK).build_algo()
    algorithm.train()
    before = algorithm.counters.env_steps
    monkeypatch.setattr(algorithm.runners, "collect", lambda env_steps: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        algorithm.train()
    assert algorithm.whole_env_steps == 0
    algorithm.save_to_path(tmp_path)
    monkeypatch.undo()
    weights = learner_weights(algorithm)
    again = quick(env=WALK).build_algo()
    again.restore_from_path(tmp_path)
    assert equal(weights, learner_weights(again))
    assert again.counters.env_steps == before
    assert again.train()["team"]["env_steps"] > before
    monkeypatch.setattr(again.learner_group, "update", lambda **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        again.train()
    assert again.whole_env_steps is None
    algorithm.stop()
    again.stop()


@pytest.mark.slow
def test_a_run_that_its_environment_ends_has_saved_all_and_goes_on(tmp_path: Path, capsys):
    BreaksLater.steps = 0
    folder = tmp_path / "run"
    argv = ["train", "--env", f"{__name__}:BreaksLater", "--algorithm", "qmix", "--out", str(folder), "--quiet"]
    argv += ["stop.env_steps=6000", "training.batch_episodes=8", "training.learning_starts_episodes=8"]
    argv += ["resources.num_envs_per_env_runner=4", "logging.report_interval_env_steps=200", "seed=1"]
    argv += ["training.updates_per_episode=0.1", "evaluation.interval_env_steps=null", "evaluation.final_episodes=2"]
    assert main(argv) == 2
    printed = capsys.readouterr().err
    assert "what was trained is saved" in printed
    assert f"--resume {folder}" in printed
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (newest,) = (folder / "checkpoints").iterdir()
    manifest = json.loads((newest / "manifest.json").read_text())
    assert manifest["iteration"] == rows[-1]["iteration"]
    assert manifest["env_steps"] == rows[-1]["env_steps"] > 0
    assert main([*argv, "--resume", "auto"]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert 0 < rows[-1]["faults/episodes_dropped"] <= 4, "those that had begun"
