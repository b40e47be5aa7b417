"""The benchmark's reference for QPLEX does the same sums as the product."""

import pytest
import torch

from benchmarks.pymarl_style_qplex import PyMARLStyleQPLEX
from benchmarks.synthetic import synthetic_batch
from rllib_reborn import QPLEXConfig
from rllib_reborn.losses import masked_mean, td_targets
from tests.benchmarks.test_pymarl_style import AGENT, GAMMA, A, D, N, S, module_of, our_batch


@pytest.mark.parametrize("lengths", ["full", "variable"])
@pytest.mark.parametrize("layers", [1, 2])
def test_loss_and_gradients_equal_ours(lengths, layers):
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, seed=5)
    ours = module_of(QPLEXConfig, mixer={"adv_hypernet_layers": layers, "n_head": 3})
    # Nothing is clipped, so that the gradients left behind by an update can be compared.
    theirs = PyMARLStyleQPLEX(N, A, D, S, adv_layers=layers, heads=3, gamma=GAMMA, max_grad_norm=1e9)
    for agent, team in ((theirs.agent, ours.agents), (theirs.target_agent, ours.target_agents)):
        weights = team.nets[0].state_dict()
        agent.load_state_dict({name: weights[source] for name, source in AGENT.items()})
    theirs.duplex.load_state_dict(ours.mixer.state_dict())
    theirs.target_duplex.load_state_dict(ours.target_mixer.state_dict())
    loss_of_theirs = theirs.update(theirs.prepare(arrays))

    batch, packed_batch = our_batch(arrays)
    out = ours.forward_train(packed_batch)
    mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
    target = td_targets(batch["reward"], out["next_q_tot"], batch["terminated"], mask, gamma=GAMMA)
    loss = masked_mean((out["q_tot"] - target).square(), mask, mask.sum())
    loss.backward()

    assert loss_of_theirs == pytest.approx(loss.item(), rel=1e-5)
    ours_by_name = dict(ours.agents.nets[0].named_parameters())
    pairs = [(p.grad, ours_by_name[AGENT[name]].grad) for name, p in theirs.agent.named_parameters()]
    ours_by_name = dict(ours.mixer.named_parameters())
    pairs += [(p.grad, ours_by_name[name].grad) for name, p in theirs.duplex.named_parameters()]
    assert len(pairs) == 8 + 8 + 3 * 3 * 2 * layers
    for of_theirs, of_ours in pairs:
        assert of_ours.norm() > 0
        assert (of_theirs - of_ours).norm() <= 1e-4 * of_ours.norm()


def test_an_update_trains_the_online_networks_alone():
    learner = PyMARLStyleQPLEX(N, A, D, S, lr=5e-3)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    targets = (*learner.target_agent.parameters(), *learner.target_duplex.parameters())
    before = [p.clone() for p in targets]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, targets, strict=True))
