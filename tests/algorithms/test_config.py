"""Settings: every mistake gets one sentence that names the value and the remedy, before anything is built."""

import pytest

from rllib_reborn import QMIXConfig, VDNConfig
from tests.algorithms.helpers import WALK, quick


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"batch_episodes": 65}, r"batch_episodes is 65, more than buffer_episodes \(64\)"),
        ({"learning_starts_episodes": 100}, "learning_starts_episodes is 100, more than buffer_episodes"),
        ({"batch_episodes": 0}, "batch_episodes is 0; expected a whole number >= 1"),
        ({"batch_episodes": 2.5}, r"batch_episodes is 2\.5"),
        ({"updates_per_episode": 0}, "updates_per_episode is 0"),
        ({"n_step": 0}, "n_step is 0"),
        ({"td_lambda": 2}, "td_lambda is 2"),
        ({"td_lambda": 0.5, "n_step": 3}, "use one of them"),
        ({"target_update": {"every": 0}}, "target_update.every is 0"),
        ({"target_update": {"evry": 5}}, "unknown key 'target_update.evry'. Did you mean 'every'"),
        ({"epsilon": {"start": 2.0}}, r"epsilon.start is 2\.0"),
        ({"optimizer": {"kind": "sgd"}}, "optimizer.kind is 'sgd'"),
        ({"model": {"hidden_dim": -1}}, "model.hidden_dim is -1"),
        ({"mixer": {"embed_dim": 0}}, "mixer.embed_dim is 0"),
        ({"mixer": 3}, "mixer is 3; expected a dict"),
        ({"mixer": {"embed_dim": "32"}}, "mixer.embed_dim is '32'"),
        ({"model": {"recurrent": 1}}, "model.recurrent is 1"),
        ({"reward": {"scale": 0}}, "reward.scale is 0"),
        ({"sampling": "sometimes"}, "sampling is 'sometimes'"),
        ({"sampling": "async"}, "set num_env_runners to at least 1"),
        ({"nonfinite_patience": 0}, "nonfinite_patience is 0"),
        ({"episodes_per_sample": 0}, "episodes_per_sample is 0"),
        ({"gamma": 1.5}, r"gamma is 1\.5"),
        ({"gamma": "0.9"}, "gamma is '0.9'"),
        ({"updates_per_episode": float("inf")}, "updates_per_episode is inf"),
        ({"episodes_per_sample": 2.5}, r"episodes_per_sample is 2\.5"),
        ({"lr": 0.0}, r"lr is 0\.0"),
        ({"grad_clip": -1.0}, r"grad_clip is -1\.0"),
        ({"grad_clip_by": "value"}, "only 'global_norm'"),
        ({"double_q": "no"}, "double_q is 'no'; expected True or False"),
        ({"double_q": None}, "double_q is None"),
        ({"bootstrap_at_limit": 1}, "bootstrap_at_limit is 1; expected True or False"),
        ({"lr": None}, "lr is None; expected a number > 0, or a schedule such as"),
        ({"lr": "fast"}, "lr is 'fast'; expected a number > 0"),
        ({"lr": [[0, -1.0], [10, 1.0]]}, r"lr\[0\], the value, is -1.0; expected a number >= 0"),
        ({"lr": [[0, 1.0], [10, "1"]]}, r"lr\[1\], the value, is '1'"),
        ({"lr": [[5, 1.0], [10, 1.0]]}, r"lr has the env steps \[5, 10\]; expected 0 first"),
        ({"lr": [[0, 1.0], [10, 1.0], [10, 0.5]]}, r"env steps \[0, 10, 10\]; expected .* each larger"),
        ({"lr": [[0, 1.0]]}, r"lr is \[\[0, 1.0\]\]; expected a number, or two or more pairs"),
        ({"lr": [0, 1.0]}, "expected a number, or two or more pairs"),
        ({"num_epochs": 10}, "num_epochs is 10, but nothing here uses it; leave it out: set updates_per_episode"),
        ({"minibatch_size": 10}, "minibatch_size is 10, but nothing here uses it; leave it out: set batch_episodes"),
        ({"train_batch_size": 10}, "train_batch_size is 10, but nothing"),
        ({"train_batch_size_per_learner": 10}, "train_batch_size_per_learner is 10, but nothing"),
        ({"target_update": {"every": 5, "tau": 0.1}}, "target_update: every is 5 episodes and tau 0.1; expected one"),
        ({"target_update": {"unit": "updates", "tau": 0.1}}, "target_update: every is 200 updates and tau 0.1"),
    ],
)
def test_a_bad_training_setting_is_named(training, message):
    with pytest.raises(ValueError, match=message):
        quick(**training).validate()


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        ("env_runners", {"num_env_runners": -1}, "num_env_runners is -1; expected a whole number >= 0"),
        ("env_runners", {"num_env_runners": "2"}, "num_env_runners is '2'; expected a whole number >= 0"),
        ("env_runners", {"batch_mode": "truncate_episodes"}, "batch_mode is 'truncate_episodes'; only 'complete_episo"),
        ("learners", {"num_learners": -1}, "num_learners is -1; expected a whole number >= 0"),
        ("learners", {"num_learners": "2"}, "num_learners is '2'; expected a whole number >= 0"),
        ("evaluation", {"evaluation_num_env_runners": "1"}, "evaluation_num_env_runners is '1'"),
        (
            "evaluation",
            {"interval_env_steps": True},
            "interval_env_steps is True; expected a whole number >= 1, or None",
        ),
        ("evaluation", {"interval_env_steps": 10.5}, r"interval_env_steps is 10\.5"),
        (
            "evaluation",
            {"evaluation_config": {"explore": True}},
            "evaluation_config: explore is True, .*evaluation is greedy",
        ),
    ],
)
def test_a_bad_setting_of_rllibs_is_named(method, setting, message):
    config = quick()
    getattr(config, method)(**setting)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_good_settings_of_the_same_kinds_are_taken():
    config = quick(
        lr=[[0, 1e-3], [10, 0.0]], double_q=False, target_update={"every": 200, "unit": "episodes", "tau": 0.1}
    )
    config.evaluation(interval_env_steps=10, evaluation_config={"explore": False})
    config.validate()
    config.validate()
    QMIXConfig().update_from_dict(config.to_dict()).validate()


def test_an_unknown_argument_of_training_is_named():
    with pytest.raises(
        TypeError, match=r"training\(\) has no argument 'batch_episode'\. Did you mean 'batch_episodes'"
    ):
        quick(batch_episode=3)
    with pytest.raises(TypeError, match=r"'gama'\. Did you mean 'gamma'"):
        quick(gama=0.9)
    with pytest.raises(TypeError, match="has no argument 'kwargs'"):
        quick(kwargs=1)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        quick(seed=-1).validate()


def test_learners_must_share_the_batch_equally():
    with pytest.raises(ValueError, match="batch_episodes is 8, which 3 learners"):
        quick().learners(num_learners=3).validate()


def test_a_mixer_without_state_is_refused_and_vdn_is_not():
    with pytest.raises(ValueError, match="needs a global state"):
        quick().environment(WALK, env_config={"state_dim": 0}).validate()
    quick(VDNConfig).environment(WALK, env_config={"state_dim": 0}).validate()


def test_unknown_env_and_env_config_are_named():
    with pytest.raises(ValueError, match="predator_prey/small"):
        QMIXConfig().environment("predator_prey/smal").validate()
    with pytest.raises(ValueError, match="obs_radius"):
        QMIXConfig().environment("predator_prey/small", env_config={"obs_radus": 1}).validate()
    with pytest.raises(ValueError, match="no environment is set"):
        QMIXConfig().validate()


def test_evaluation_and_checkpoint_settings_are_checked():
    with pytest.raises(ValueError, match="interval_env_steps is 0"):
        quick().evaluation(interval_env_steps=0).validate()
    with pytest.raises(ValueError, match="evaluation_duration is 'auto'"):
        quick().evaluation(
            evaluation_duration="auto", evaluation_parallel_to_training=True, evaluation_num_env_runners=1
        ).validate()
    with pytest.raises(ValueError, match="'full' or 'none'"):
        quick().checkpointing(replay="half").validate()


def test_a_lambda_env_is_refused():
    with pytest.raises(ValueError, match="top level of an importable module"):
        QMIXConfig().environment(lambda **_: None)


def test_the_class_itself_may_be_given():
    from tests.fakes.envs import MaskedWalk

    assert QMIXConfig().environment(MaskedWalk).team_spec.n_agents == 2


def test_settings_survive_the_round_trip_that_tune_makes():
    config = quick(model={"hidden_dim": 24}, optimizer={"kind": "adam"}, mixer={"embed_dim": 5})
    again = QMIXConfig().update_from_dict(config.to_dict())
    assert again.team_model == {"hidden_dim": 24}
    assert again.team_optimizer == {"kind": "adam"}
    assert again.mixer == {"embed_dim": 5}
    short = QMIXConfig().update_from_dict({"model": {"hidden_dim": 9}, "env": "matrix/two_step"})
    assert short.team_model == {"hidden_dim": 9}


def test_defaults_are_pymarls():
    config = QMIXConfig()
    assert (config.lr, config.gamma, config.grad_clip, config.batch_episodes) == (5e-4, 0.99, 10.0, 32)
    assert (config.buffer_episodes, config.updates_per_episode, config.double_q) == (5_000, 1.0, True)
