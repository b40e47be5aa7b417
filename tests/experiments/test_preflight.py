"""An environment that cannot be trained on is found out before training."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.preflight import check_env, check_env_name
from rllib_reborn.experiments.schema import Experiment

MODULE = '''
import numpy as np
from rllib_reborn.envs.matrix_games import TwoStepGame


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
