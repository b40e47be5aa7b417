"""ResQ: the loss against hand numbers, its settings, and the game that QMIX cannot learn."""

import pytest
import torch

from rllib_reborn import QMIXConfig, ResQConfig, VDNConfig
from rllib_reborn.algorithms.resq import RESIDUAL_MEAN
from rllib_reborn.algorithms.value_factorization.settings import MixerSettings
from rllib_reborn.algorithms.wqmix import CENTRAL_TD_ERROR_ABS
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.critic_learners import batch_with_every_case, every_joint_action, learn_matrix_game, make_learner
from tests.algorithms.helpers import quick
from tests.algorithms.test_learner import module_of
from tests.padded import columns, padded_episodes

BATCH = {"reward": torch.tensor([[1.0, 2.0]]), "terminated": torch.tensor([[False, True]])}
SAID = {
    "q_tot": torch.tensor([[5.0, 1.0]]),
    "residual": torch.tensor([[-4.0, 0.0]]),
    "q_central": torch.tensor([[3.0, 3.0]]),
    "next_q_tot": torch.tensor([[4.0, 8.0]]),
}


def loss(**training):
    learner = make_learner("resq", gamma=0.5, **training)
    found, metrics = learner.team_loss(learner.config, BATCH, SAID, torch.ones(1, 2), torch.tensor(2.0))
    return found.item(), {name: value.item() for name, value in metrics.items()}


def test_the_loss_by_hand():
    """Targets 1 + 0.5 * 4 = 3 and 2; Q_jt is 5 - 4 = 1 and 1, so its errors are -2 and -1; Q*'s are 0 and 1."""
    found, metrics = loss()
    assert found == pytest.approx((4 + 1 + 0 + 1) / 2)
    expected = {"td_error_abs": 1.5, "q_tot_mean": 3.0, CENTRAL_TD_ERROR_ABS: 0.5, RESIDUAL_MEAN: -2.0}
    assert metrics == pytest.approx(expected)


def test_td_lambda_by_hand():
    """y_1 = 1 + 0.5 * (0.4 * 4 + 0.6 * 2) = 2.4."""
    assert loss(td_lambda=0.6)[0] == pytest.approx((1.4**2 + 1 + 0.6**2 + 1) / 2)


def test_the_module_masks_the_residual_at_greedy_actions_alone():
    learner = make_learner("resq")
    module = module_of(learner)
    batch = batch_with_every_case(learner)
    packed = module.packed_episodes(columns(batch))
    with torch.no_grad():
        greedy = module.observe(columns(batch))["greedy"]
        residual = module.step_values(packed)["residual"]
    at_greedy = (packed.now(greedy) == packed.taken).all(1)
    assert 3 <= int(at_greedy.sum()) < len(at_greedy) - 3
    assert (residual[at_greedy] == 0).all()
    assert (residual[~at_greedy] < 0).all()


def test_the_residuals_agents_begin_as_a_copy_and_go_their_own_way():
    config = quick(ResQConfig)
    torch.manual_seed(0)
    module = config.get_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)}).build()
    acting, residual = module.agents.state_dict(), module.mixer.residual.agents.state_dict()
    assert all(torch.equal(value, acting[name]) for name, value in residual.items())
    assert not {id(p) for p in module.agents.parameters()} & {id(p) for p in module.mixer.parameters()}
    central = module.mixer.central.agents.state_dict()
    assert any(not torch.equal(value, acting[name]) for name, value in central.items())


# ---------------------------------------------------------------------- settings


def test_defaults_are_those_of_the_official_code():
    config = ResQConfig()
    assert (config.lr, config.td_lambda, config.double_q) == (1e-3, 0.6, True)
    assert config.epsilon == {"anneal_env_steps": 100_000}
    assert config.parse_mixer().model_dump() == MixerSettings().model_dump() | {"central_embed_dim": 128}


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"algorithm_settings": {"alpha": 0.1}}, "unknown key 'algorithm_settings.alpha'"),
        ({"n_step": 3}, "n_step is 3 and td_lambda 0.6; use one of them"),
        ({"mixer": {"central_embed_dim": 5000}}, "mixer.central_embed_dim is 5000"),
    ],
)
def test_wrong_settings_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        quick(ResQConfig, **training).validate()


def test_n_step_targets_are_there_without_td_lambda():
    quick(ResQConfig, n_step=3, td_lambda=None).validate()


# ---------------------------------------------------------------------- learning


@pytest.mark.slow
def test_it_finds_the_optimum_and_represents_every_payoff():
    sample, payoffs = every_joint_action("matrix/nonmonotonic")
    for seed in (2, 3):
        assert learn_matrix_game("matrix/nonmonotonic", ResQConfig, seed)[0] == 8.0
    found, module = learn_matrix_game("matrix/nonmonotonic", ResQConfig, 1, updates=300)
    assert found == payoffs.max() == 8.0
    with torch.no_grad():
        outputs = module.step_values(module.packed_episodes(columns(padded_episodes(sample))))
    joined = outputs["q_tot"] + outputs["residual"]
    torch.testing.assert_close(joined, torch.as_tensor(payoffs).flatten(), rtol=0, atol=2.0)
    assert joined.argmax() == outputs["q_tot"].argmax() == 0


@pytest.mark.slow
@pytest.mark.parametrize("config_class", [QMIXConfig, VDNConfig])
def test_where_others_settle_for_0(config_class):
    for seed in (1, 2, 3):
        assert learn_matrix_game("matrix/nonmonotonic", config_class, seed, updates=100)[0] == 0.0
