"""An environment that hangs before training, in whatever it is asked and however, is a sentence in bounded time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.random_baseline import random_policy_returns
from rllib_reborn.envs.team_env import TeamObs, TeamStep
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.preflight import check_env
from rllib_reborn.runtime import standstill
from rllib_reborn.runtime.hung_call import HungCallError
from tests.fakes.envs import MaskedWalk

WALK = f"{__name__}:Walk"


class Walk(MaskedWalk):
    """Hangs in ``where``: asleep, or in a loop of Python."""

    def __init__(self, num_envs: int = 1, where: str = "", spins: bool = False) -> None:
        self._where, self._spins = where, spins
        super().__init__(num_envs)
        self._perhaps("init")

    def _perhaps(self, where: str) -> None:
        while where == self._where:
            if not self._spins:
                time.sleep(3600)

    def reset(self, **kwargs: Any) -> TeamObs:
        self._perhaps("reset")
        return super().reset(**kwargs)

    def step(self, actions: np.ndarray) -> TeamStep:
        self._perhaps("step")
        step = super().step(actions)
        step.info.setdefault("failed", np.zeros(self.num_envs, bool))
        return step

    def get_state(self) -> dict[str, Any]:
        self._perhaps("get_state")
        return super().get_state()

    def close(self) -> None:
        self._perhaps("close")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "LOOK_EVERY_S", 0.02)


def check(**env_config: object) -> None:
    check_env(
        experiment_from_dict(
            {
                "algorithm": "VDN",
                "env": WALK,
                "env_config": env_config,
                "resources": {"sample_timeout_s": 0.2},
                "stop": {"iterations": 1},
            }
        )
    )


@pytest.mark.parametrize("spins", [False, True])
@pytest.mark.parametrize("where", ["init", "reset", "step"])
def test_it_is_refused(where: str, spins: bool) -> None:
    with pytest.raises(ExperimentError, match=r"did not return within 0\.2 s and was interrupted"):
        check(where=where, spins=spins)


def test_once_is_enough() -> None:
    begun = []

    class Hanging(Walk):
        def reset(self, **kwargs: Any) -> TeamObs:
            begun.append(1)
            return super().reset(**kwargs)

    with standstill.games_answer_within(0.2):
        results = check_team_env(Hanging(2, "reset"), patience_s=0.2)
    assert len(begun) == 1
    assert [result.ok for result in results] == [False] + [None] * 9
    assert {result.same_as for result in results[1:]} == {"no_failures"}


@pytest.mark.parametrize("where", ["reset", "step"])
def test_whoever_plays_without_a_look_at_the_contract(where: str) -> None:
    """As the random policy's episodes that a final evaluation compares with."""
    with standstill.games_answer_within(0.2), pytest.raises(HungCallError):
        random_policy_returns(WALK, 4, seed=0, num_envs=2, where=where)


@pytest.mark.parametrize("where", ["get_state", "close"])
def test_it_is_warned_of_where_it_can_be_trained_on(where: str, caplog: pytest.LogCaptureFixture) -> None:
    check(where=where)
    assert "did not return within 0.2 s and was interrupted" in caplog.text


def test_commands_that_play_end_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("rllib_reborn.cli.main.SAMPLE_S", 0.2)
    assert main(["envs", WALK, "where=init"]) == 2
    assert "did not return within 0.2 s and was interrupted" in capsys.readouterr().err


def test_lines_come_before_training_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(standstill, "FIRST_LINE_S", 0.05)
    monkeypatch.setattr("rllib_reborn.cli.main.SAMPLE_S", 0.5)
    assert main(["envs", WALK, "where=init"]) == 2
    assert "nothing has moved for 0 s: waiting for an environment to be built" in caplog.text
