"""An environment that cannot be trained on is found out before training."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from rllib_reborn.envs.registry import ENVS
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.preflight import check_driver_starts_no_program, check_env, check_env_name
from rllib_reborn.experiments.run import final_resource_request
from rllib_reborn.experiments.schema import Experiment, ResourcesSection
from tests.fakes import teams_by_process

MODULE = '''
import numpy as np
from rllib_reborn.envs.matrix_games import TwoStepGame
from rllib_reborn.envs.team_game import GameUnavailableError


class NanReward(TwoStepGame):
    def step(self, actions):
        step = super().step(actions)
        return step._replace(reward=np.full_like(step.reward, np.nan))


class WrongShape(TwoStepGame):
    def step(self, actions):
        step = super().step(actions)
        return step._replace(obs=step.obs._replace(obs=step.obs.obs[:, :, :-1]))


class NoAction(TwoStepGame):
    def reset(self, *, seed=None, mask=None):
        obs = super().reset(seed=seed, mask=mask)
        return obs._replace(action_mask=np.zeros_like(obs.action_mask))


class Absent(TwoStepGame):
    def reset(self, *, seed=None, mask=None):
        raise GameUnavailableError("the game is not installed")


class Forgetful(TwoStepGame):
    """Sound to train on, but with a draw of its own that no seed decides."""

    def step(self, actions):
        step = super().step(actions)
        noise = np.random.default_rng().random(step.reward.shape, np.float32)
        return step._replace(reward=step.reward + noise)
'''


def experiment(env: str, **env_config: object) -> Experiment:
    return experiment_from_dict({"algorithm": "VDN", "env": env, "env_config": env_config, "stop": {"iterations": 1}})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "preflight_envs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "preflight_envs"


@pytest.mark.parametrize("name", ["NanReward", "WrongShape", "NoAction"])
def test_what_cannot_be_learnt_from_is_refused_in_one_sentence(module: str, name: str) -> None:
    with pytest.raises(ExperimentError, match="cannot be trained on") as caught:
        check_env(experiment(f"{module}:{name}"))
    assert f"{module}:{name}" in str(caught.value)


def test_an_environment_whose_games_fail_is_refused_with_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")
    with pytest.raises(
        ExperimentError, match=r"cannot be trained on: game 0 .* wrong_v0: reset\(\) returned a dict with"
    ):
        check_env(experiment("tests.envs.adapters.test_wrong_returns:old_reset", team={"state": "observations"}))
    assert not any(
        "environment tests" in record.getMessage() for record in caplog.records
    )  # it is not warned of as well


def test_what_only_spoils_exact_repetition_is_warned_of(module: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_env(experiment(f"{module}:Forgetful"))
    assert f"{module}:Forgetful" in caplog.text


def test_a_sound_environment_passes_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    check_env_name(experiment("predator_prey/small", obs_radius=1))
    check_env(experiment("predator_prey/small", obs_radius=1))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("env", "config", "words"),
    [
        ("predator_prey/smal", {}, "predator_prey/small"),
        ("predator_prey/small", {"radius": 1}, "radius"),
        ("no_such_module:make", {}, "no module 'no_such_module'"),
    ],
)
def test_unknown_names_and_arguments(env: str, config: dict[str, object], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        check_env_name(experiment(env, **config))


@pytest.mark.parametrize(
    ("resources", "evaluation", "message"),
    [
        (0, {"num_env_runners": 1}, r"resources.num_env_runners is 0, .* sample .* of 'smac/3m' .*=1\."),
        (1, {}, r"evaluation.num_env_runners is 0, .* evaluate .*=1, or evaluation.interval_env_steps=null\."),
        (1, {"interval_env_steps": None}, None),
        (1, {"num_env_runners": 1}, None),
    ],
)
def test_the_driver_starts_no_game(resources: int, evaluation: dict[str, object], message: str | None) -> None:
    run = {"algorithm": "VDN", "stop": {"iterations": 1}, "evaluation": evaluation}
    run["resources"] = {"num_env_runners": resources}
    check_driver_starts_no_program(experiment_from_dict({**run, "env": "battle/3m"}))
    played = experiment_from_dict({**run, "env": "smac/3m"})
    if message is None:
        check_driver_starts_no_program(played)
    else:
        with pytest.raises(ExperimentError, match=message):
            check_driver_starts_no_program(played)


def test_nor_does_it_for_the_final_evaluation() -> None:
    assert final_resource_request(experiment("battle/3m")) is None
    assert final_resource_request(experiment("smac/3m")) == {"num_cpus": 1.0, "resources": {}}


class TestGamesThatArePrograms:
    """They are not started to look at them; whether they could be is looked up."""

    @pytest.fixture
    def looked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
        calls: list[dict[str, object]] = []

        def check(**options: object) -> None:
            calls.append(options)
            if options.get("seed") == 13:
                raise GameUnavailableError("there is no StarCraft II; install it")

        def make(**options: object) -> None:
            raise AssertionError("a game was started")

        entry = dataclasses.replace(ENVS["smac/3m"], make=make, check=check)
        monkeypatch.setattr("rllib_reborn.experiments.preflight.ENVS", {**ENVS, "smac/3m": entry})
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        return calls

    def test_one_that_can_be_played(self, looked: list[dict[str, object]]) -> None:
        check_env(experiment("smac/3m", seed=12))
        assert looked == [{"seed": 12}]

    def test_one_that_cannot(self, looked: list[dict[str, object]]) -> None:
        with pytest.raises(
            ExperimentError, match="'smac/3m' cannot be played here: there is no StarCraft II; install it"
        ):
            check_env(experiment("smac/3m", seed=13))

    def test_on_a_cluster_it_is_the_runners_that_play(
        self, looked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
        remote = experiment("smac/3m", seed=13).model_copy(update={"resources": ResourcesSection(num_env_runners=1)})
        check_env(remote)
        assert looked == []
        with pytest.raises(ExperimentError, match="cannot be played here"):
            check_env(experiment("smac/3m", seed=13))


def test_a_game_of_ones_own_that_cannot_be_played_here(module: str) -> None:
    with pytest.raises(ExperimentError, match="cannot be played here: the game is not installed"):
        check_env(experiment(f"{module}:Absent"))


def test_what_is_played_before_training_is_built_once(monkeypatch, tmp_path):
    monkeypatch.setenv(teams_by_process.BUILDS, str(tmp_path / "builds"))
    name = "tests.fakes.teams_by_process:Named"
    asked = experiment(name, team={"state": "observations"})
    team = check_env(asked)
    assert len((tmp_path / "builds").read_text().split()) == 1
    assert team == check_env_name(asked)
