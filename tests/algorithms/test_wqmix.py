"""WQMIX: targets, weights and loss against hand numbers, its settings, and the game that QMIX cannot learn."""

import pytest
import torch

from rllib_reborn import WQMIXConfig
from rllib_reborn.algorithms.value_factorization.settings import MixerSettings
from rllib_reborn.algorithms.wqmix import CENTRAL_TD_ERROR_ABS, WEIGHT_MEAN, CentralMixerSettings
from tests.algorithms.critic_learners import learn_matrix_game, make_learner
from tests.algorithms.helpers import quick

#: One episode of two steps; discount 0.5. The targets are 1 + 0.5 * 4 = 3 and 2.
BATCH = {"reward": torch.tensor([[1.0, 2.0]]), "terminated": torch.tensor([[False, True]])}
SAID = {
    "q_tot": torch.tensor([[5.0, 1.0]]),
    "q_central": torch.tensor([[3.0, 3.0]]),
    "next_q_tot": torch.tensor([[4.0, 8.0]]),
    "greedy_q_central": torch.tensor([[2.5, 10.0]]),
    "is_greedy": torch.tensor([[False, False]]),
}


def loss(weighting, *, outputs=SAID, **training):
    learner = make_learner("cw", algorithm_settings={"weighting": weighting, "alpha": 0.1}, gamma=0.5, **training)
    found, metrics = learner.team_loss(learner.config, BATCH, outputs, torch.ones(1, 2), torch.tensor(2.0))
    return found.item(), {name: value.item() for name, value in metrics.items()}


def test_centrally_weighted_loss_by_hand():
    """Errors 2 and -1; the first target is above the critic's greedy value 2.5, the second below its 10."""
    found, metrics = loss("cw")
    assert found == pytest.approx((1 * 4 + 0.1 * 1 + 0 + 1) / 2)
    assert metrics == pytest.approx(
        {"td_error_abs": 1.5, "q_tot_mean": 3.0, CENTRAL_TD_ERROR_ABS: 0.5, WEIGHT_MEAN: 0.55}
    )


def test_the_greedy_joint_action_has_full_weight_whatever_its_target():
    found, _ = loss("cw", outputs=SAID | {"is_greedy": torch.tensor([[False, True]])})
    assert found == pytest.approx((4 + 1 + 1) / 2)


def test_optimistically_weighted_loss_by_hand():
    """Q_tot 5 is above its target 3, 1 is below its target 2."""
    assert loss("ow")[0] == pytest.approx((0.1 * 4 + 1 * 1 + 0 + 1) / 2)


def test_td_lambda_changes_the_targets_of_both_functions():
    """y_2 = 2, y_1 = 1 + 0.5 * (0.5 * 4 + 0.5 * 2) = 2.5: errors 2.5 and -1, central 0.5 and 1; 2.5 is not above 2.5."""
    assert loss("cw", td_lambda=0.5)[0] == pytest.approx((0.1 * 6.25 + 0.1 * 1 + 0.25 + 1) / 2)
    assert loss("ow", td_lambda=0.5)[0] == pytest.approx((0.1 * 6.25 + 1 + 0.25 + 1) / 2)


def test_no_gradient_flows_through_targets_and_weights():
    outputs = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in SAID.items()}
    learner = make_learner("cw")
    found, _ = learner.team_loss(learner.config, BATCH, outputs, torch.ones(1, 2), torch.tensor(2.0))
    found.backward()
    assert outputs["q_tot"].grad is not None
    assert outputs["q_central"].grad is not None
    assert outputs["next_q_tot"].grad is None
    assert outputs["greedy_q_central"].grad is None


# ---------------------------------------------------------------------- settings


def test_defaults_are_those_of_the_official_code():
    config = WQMIXConfig()
    assert config.parse_algorithm_settings().model_dump() == {"weighting": "cw", "alpha": 0.1}
    assert config.parse_mixer().model_dump() == MixerSettings().model_dump() | {"central_embed_dim": 256}
    assert (config.lr, config.td_lambda, config.n_step, config.double_q) == (5e-4, None, 1, True)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"algorithm_settings": {"weighting": "hysteretic"}}, "algorithm_settings.weighting is 'hysteretic'"),
        ({"algorithm_settings": {"alpha": 0.0}}, "algorithm_settings.alpha is 0.0"),
        ({"algorithm_settings": {"alpha": 1.5}}, "algorithm_settings.alpha is 1.5"),
        ({"algorithm_settings": {"w": 0.1}}, "unknown key 'algorithm_settings.w'"),
        ({"mixer": {"central_embed_dim": 0}}, "mixer.central_embed_dim is 0"),
    ],
)
def test_wrong_settings_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        quick(WQMIXConfig, **training).validate()


def test_a_task_without_a_state_is_refused():
    config = quick(WQMIXConfig, "tests.fakes.envs:MaskedWalk").environment(env_config={"state_dim": 0})
    with pytest.raises(ValueError, match="WQMIX's mixer needs a global state"):
        config.validate()


def test_the_critic_is_as_wide_and_as_deep_as_asked_for():
    mixer = {"central_embed_dim": 24, "embed_dim": 6}
    module = make_learner("cw", mixer=mixer, model={"hidden_dim": 10, "fc_layers": 2}).module["default_policy"]
    critic = module.mixer.central
    assert critic.mixer.net[2].weight.shape == (24, 24)
    assert module.mixer.embed_dim == 6
    assert critic.agents.nets[0].encoder[2].weight.shape == (10, 10)
    assert CentralMixerSettings().central_embed_dim == 256


# ---------------------------------------------------------------------- learning


@pytest.mark.slow
@pytest.mark.parametrize(("weighting", "alpha"), [("cw", 0.1), ("ow", 0.1)])
def test_with_a_small_alpha_it_finds_the_optimum_that_no_monotonic_mixing_can_show(weighting, alpha):
    for seed in (1, 2, 3):
        settings = {"weighting": weighting, "alpha": alpha}
        assert (
            learn_matrix_game("matrix/nonmonotonic", WQMIXConfig, seed, updates=100, algorithm_settings=settings)[0]
            == 8.0
        )


@pytest.mark.slow
def test_with_alpha_1_it_is_qmix_and_settles_for_0():
    assert (
        learn_matrix_game("matrix/nonmonotonic", WQMIXConfig, 1, updates=100, algorithm_settings={"alpha": 1.0})[0]
        == 0.0
    )
