"""Nothing that RLlib's config accepts is ignored: a setting is read, or refused with what to set in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_reborn import ReBornCallback
from rllib_reborn.algorithms.value_factorization import rllib_settings
from rllib_reborn.runtime import ray_internals
from tests.algorithms.helpers import quick

NAMES = sorted(ray_internals.settings(AlgorithmConfig()))
REFUSED = [name for name in NAMES if rllib_settings.instead_of(name) is not None]


class Other:
    """Equal to nothing."""

    __name__ = "other"

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def attribute(name: str) -> str:
    """How RLlib's config keeps a setting."""
    return name if name in vars(AlgorithmConfig()) else f"_{name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_been_looked_at(name: str) -> None:
    kinds = [
        name in rllib_settings.READ,
        name in rllib_settings.BOOKKEEPING,
        rllib_settings.instead_of(name) is not None,
    ]
    assert sum(kinds) == 1
    assert rllib_settings.is_classified(name), f"{name} is new in this Ray: is it read, or what is set in its place?"


def test_the_tables_name_nothing_that_is_not_there() -> None:
    tables = {*rllib_settings.READ, *rllib_settings.BOOKKEEPING, *rllib_settings.REFUSED}
    assert tables - {*NAMES} == set()
    assert {*rllib_settings.hooks()} >= rllib_settings.CALLED_HOOKS


@pytest.mark.parametrize("name", REFUSED)
def test_what_nothing_reads_is_refused_by_name(name: str) -> None:
    config = quick()
    setattr(config, attribute(name), Other())
    with pytest.raises(ValueError, match=rf"^{name} is .*, but nothing here uses it; leave it out: .+\.$"):
        config.validate()


def test_a_setting_that_a_new_ray_brings_is_refused_once_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    init = AlgorithmConfig.__init__

    def newer(self: AlgorithmConfig, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.number_of_moons = 1

    monkeypatch.setattr(AlgorithmConfig, "__init__", newer)
    config = quick()
    config.validate()
    config.number_of_moons = 2
    with pytest.raises(ValueError, match=r"number_of_moons is 2, .* this version of rllib_reborn does not know it"):
        config.validate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.evaluation(custom_evaluation_function=len),
            "custom_evaluation_function is len, .*on_evaluate_end",
        ),
        (lambda c: c.env_runners(env_to_module_connector=len), "env_to_module_connector is len, .*environment"),
        (lambda c: c.training(learner_connector=len), "learner_connector is len"),
        (lambda c: c.rl_module(model_config={"fcnet_hiddens": [32]}), r"model_config is .*training\(model="),
        (lambda c: c.env_runners(observation_filter="MeanStdFilter"), "observation_filter is 'MeanStdFilter'"),
        (lambda c: c.env_runners(gym_env_vectorize_mode="async"), "gym_env_vectorize_mode is"),
        (lambda c: c.env_runners(explore=False), "explore is False, .*epsilon"),
        (lambda c: c.resources(num_gpus=1), "num_gpus is 1, .*num_gpus_per_learner"),
        (lambda c: c.environment(render_env=True), "render_env is True, .*--video"),
        (lambda c: c.offline_data(output="somewhere"), "output is 'somewhere', .*offline"),
        (lambda c: c.reporting(log_gradients=True), "log_gradients is True, .*train/grad_norm"),
        (
            lambda c: c.framework(torch_skip_nan_gradients=True),
            "torch_skip_nan_gradients is True, .*nonfinite_patience",
        ),
        (lambda c: c.reporting(keep_per_episode_custom_metrics=True), "keep_per_episode_custom_metrics is True"),
        (
            lambda c: c.evaluation(evaluation_config={"observation_filter": "MeanStdFilter"}),
            "evaluation_config: observation_filter is 'MeanStdFilter'",
        ),
    ],
)
def test_what_users_set_is_refused_with_what_to_do(change: Callable[[Any], Any], message: str) -> None:
    config = quick()
    change(config)
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.env_runners(env_runner_cls=SingleAgentEnvRunner),
            "env_runner_cls is SingleAgentEnvRunner; .*TeamEnvR",
        ),
        (
            lambda c: c.learners(learner_class=TorchLearner),
            "learner_class is TorchLearner; .*ValueFactorizationLearner",
        ),
    ],
)
def test_classes_that_this_loop_cannot_call_are_refused(change: Callable[[Any], Any], message: str) -> None:
    config = quick()
    change(config)
    with pytest.raises(ValueError, match=message):
        config.validate()


class OfEpisodes(RLlibCallback):
    def on_episode_end(self, **kwargs: Any) -> None:
        pass


class OfTheOldStack(RLlibCallback):
    def on_postprocess_trajectory(self, **kwargs: Any) -> None:
        pass


class Called(RLlibCallback):
    def __init__(self) -> None:
        super().__init__()
        self.episodes = 0

    def on_sample_end(self, *, samples: Any, **kwargs: Any) -> None:
        type(self).count += sum(len(block) for block in samples)

    count = 0


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ({"callbacks_class": OfEpisodes}, "OfEpisodes.on_episode_end would never be called; .*on_sample_end"),
        ({"callbacks_class": [ReBornCallback, OfEpisodes]}, "OfEpisodes.on_episode_end would never be called"),
        ({"callbacks_class": partial(OfEpisodes)}, "OfEpisodes.on_episode_end would never be called"),
        ({"callbacks_class": OfTheOldStack}, "OfTheOldStack.on_postprocess_trajectory would never be called"),
        ({"on_episode_start": len}, "callbacks_on_episode_start is len, .*on_sample_end"),
        ({"on_episode_step": len}, "callbacks_on_episode_step is len"),
    ],
)
def test_a_callback_that_would_never_be_called_is_refused(callbacks: dict[str, Any], message: str) -> None:
    config = quick().callbacks(**callbacks)
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.usefixtures("ray_session")
def test_so_is_one_that_only_a_factory_makes() -> None:
    config = quick().callbacks(lambda: OfEpisodes())
    with pytest.raises(ValueError, match=r"OfEpisodes\.on_episode_end would never be called"):
        config.build_algo()


@pytest.mark.usefixtures("ray_session")
def test_whole_episodes_are_given_to_on_sample_end() -> None:
    algorithm = quick().callbacks(Called).build_algo()
    try:
        assert algorithm.train()["team"]["episodes"] == Called.count > 0
    finally:
        algorithm.stop()
