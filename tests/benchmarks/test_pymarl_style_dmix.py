"""The benchmark's reference for DMIX does the same sums as the product."""

import pytest
import torch

from benchmarks.pymarl_style_dmix import PyMARLStyleDMIX
from benchmarks.synthetic import synthetic_batch
from rllib_reborn import DMIXConfig
from rllib_reborn.algorithms.dmix import FRACTIONS
from rllib_reborn.losses import masked_mean, quantile_huber, td_targets
from rllib_reborn.nets.quantile_agent import midpoints
from tests.benchmarks.test_pymarl_style import GAMMA, A, D, N, S, module_of
from tests.padded import learner_columns

QUANTILES, TARGET_QUANTILES = 5, 4
AGENT = {
    "encoder.weight": "encoder.0.weight",
    "encoder.bias": "encoder.0.bias",
    "memory.weight_ih": "memory.weight_ih_l0",
    "memory.weight_hh": "memory.weight_hh_l0",
    "memory.bias_ih": "memory.bias_ih_l0",
    "memory.bias_hh": "memory.bias_hh_l0",
    "phi.weight": "phi.0.weight",
    "phi.bias": "phi.0.bias",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
}


@pytest.mark.parametrize("lengths", ["full", "variable"])
def test_loss_and_gradients_equal_ours(lengths):
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, seed=5)
    settings = {"quantiles": QUANTILES, "target_quantiles": TARGET_QUANTILES, "acting_quantiles": TARGET_QUANTILES}
    ours = module_of(DMIXConfig, algorithm_settings=settings, double_q=False)
    # Nothing is clipped, so that the gradients left behind by an update can be compared.
    theirs = PyMARLStyleDMIX(
        N, A, D, S, quantiles=QUANTILES, target_quantiles=TARGET_QUANTILES, gamma=GAMMA, max_grad_norm=1e9
    )
    for agent, team in (
        (theirs.quantile_agent, ours.agents),
        (theirs.target_quantile_agent, ours.target_agents),
    ):
        weights = team.nets[0].state_dict()
        agent.load_state_dict({name: weights[source] for name, source in AGENT.items()})
    theirs.mixer.load_state_dict(ours.mixer.state_dict())
    theirs.target_mixer.load_state_dict(ours.target_mixer.state_dict())

    batch = {name: torch.as_tensor(array) for name, array in arrays.items()}
    episodes, horizon = batch["reward"].shape
    # The reference chooses the target's actions by the fractions drawn, we by those of acting: let these be the same.
    of_target = midpoints(TARGET_QUANTILES).expand(episodes, -1)
    mine = [torch.rand(episodes, QUANTILES) for _ in range(horizon + 1)]
    batch[FRACTIONS] = torch.stack([torch.cat([one, of_target], dim=1) for one in mine[:-1]], dim=1)
    loss_of_theirs = theirs.update(theirs.prepare(arrays), (mine, [of_target] * (horizon + 1)))

    out = ours.forward_train(learner_columns(batch))
    mask = (torch.arange(horizon) < batch["lengths"].unsqueeze(1)).float()
    target = td_targets(batch["reward"], out["next_quantiles"], batch["terminated"], mask, gamma=GAMMA)
    loss = masked_mean(quantile_huber(out["quantiles"], target, out["fractions"]), mask, mask.sum())
    loss.backward()

    assert loss_of_theirs == pytest.approx(loss.item(), rel=1e-5)
    ours_by_name = dict(ours.agents.nets[0].named_parameters())
    pairs = [(p.grad, ours_by_name[AGENT[name]].grad) for name, p in theirs.quantile_agent.named_parameters()]
    ours_by_name = dict(ours.mixer.named_parameters())
    pairs += [(p.grad, ours_by_name[name].grad) for name, p in theirs.mixer.named_parameters()]
    assert len(pairs) == len(theirs.parameters)
    for of_theirs, of_ours in pairs:
        assert of_ours.norm() > 0
        assert (of_theirs - of_ours).norm() <= 1e-4 * of_ours.norm()


def test_an_update_trains_the_online_networks_alone():
    learner = PyMARLStyleDMIX(N, A, D, S, lr=5e-3)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    targets = (learner.target_quantile_agent, learner.target_mixer)
    before = [p.clone() for net in targets for p in net.parameters()]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, [p for net in targets for p in net.parameters()], strict=True))
