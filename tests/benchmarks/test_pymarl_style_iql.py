"""The benchmark's references for IQL and VDN do the same sums as the product."""

import pytest
import torch

from benchmarks.pymarl_style_iql import PyMARLStyleIQL
from benchmarks.pymarl_style_vdn import PyMARLStyleVDN
from benchmarks.synthetic import synthetic_batch
from rllib_reborn import IQLConfig, VDNConfig
from rllib_reborn.losses import masked_mean, td_targets
from tests.benchmarks.test_pymarl_style import AGENT, GAMMA, A, D, N, S, module_of, our_batch


@pytest.mark.parametrize("lengths", ["full", "variable"])
@pytest.mark.parametrize(
    ("config_class", "reference", "value", "following"),
    [(IQLConfig, PyMARLStyleIQL, "q", "next_q"), (VDNConfig, PyMARLStyleVDN, "q_tot", "next_q_tot")],
)
def test_loss_and_gradients_equal_ours(lengths, config_class, reference, value, following):
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, seed=5)
    ours = module_of(config_class)
    # Nothing is clipped, so that the gradients left behind by an update can be compared.
    theirs = reference(N, A, D, S, gamma=GAMMA, max_grad_norm=1e9)
    for agent, team in ((theirs.agent, ours.agents), (theirs.target_agent, ours.target_agents)):
        weights = team.nets[0].state_dict()
        agent.load_state_dict({name: weights[source] for name, source in AGENT.items()})
    loss_of_theirs = theirs.update(theirs.prepare(arrays))

    batch, packed_batch = our_batch(arrays)
    out = ours.forward_train(packed_batch)
    mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
    target = td_targets(batch["reward"], out[following], batch["terminated"], mask, gamma=GAMMA)
    squared = (out[value] - target).square()
    loss = masked_mean(squared.mean(-1) if squared.dim() == 3 else squared, mask, mask.sum())
    loss.backward()

    assert loss_of_theirs == pytest.approx(loss.item(), rel=1e-5)
    ours_by_name = dict(ours.agents.nets[0].named_parameters())
    for name, parameter in theirs.agent.named_parameters():
        of_ours = ours_by_name[AGENT[name]].grad
        assert of_ours.norm() > 0
        assert (parameter.grad - of_ours).norm() <= 1e-4 * of_ours.norm()


@pytest.mark.parametrize("reference", [PyMARLStyleIQL, PyMARLStyleVDN])
def test_an_update_trains_the_online_networks_alone(reference):
    learner = reference(N, A, D, S, lr=5e-3)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    before = [p.clone() for p in learner.target_agent.parameters()]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, learner.target_agent.parameters(), strict=True))
