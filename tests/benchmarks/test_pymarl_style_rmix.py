"""The benchmark's reference for RMIX does the same sums as the product."""

import pytest
import torch

from benchmarks.pymarl_style_rmix import PyMARLStyleRMIX
from benchmarks.synthetic import synthetic_batch
from rllib_reborn import RMIXConfig
from rllib_reborn.algorithms.rmix import RMIXModule
from rllib_reborn.losses import masked_mean, td_targets
from rllib_reborn.losses.risk import local_distribution_loss, local_targets
from tests.benchmarks.test_pymarl_style import GAMMA, A, D, N, S, module_of, our_batch

WEIGHT = 0.02
SIZES = {"atoms": 13, "levels": 4, "embedding_dim": 6}
AGENT = {
    "encoder.weight": "encoder.0.weight",
    "encoder.bias": "encoder.0.bias",
    "memory.weight_ih": "memory.weight_ih_l0",
    "memory.weight_hh": "memory.weight_hh_l0",
    "memory.bias_ih": "memory.bias_ih_l0",
    "memory.bias_hh": "memory.bias_hh_l0",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
    "risk_encoder.weight": "predictor.encoder.0.weight",
    "risk_encoder.bias": "predictor.encoder.0.bias",
    "risk_memory.weight_ih": "predictor.memory.weight_ih_l0",
    "risk_memory.weight_hh": "predictor.memory.weight_hh_l0",
    "risk_memory.bias_ih": "predictor.memory.bias_ih_l0",
    "risk_memory.bias_hh": "predictor.memory.bias_hh_l0",
    "history.weight": "predictor.history.weight",
    "history.bias": "predictor.history.bias",
    "current.weight": "predictor.current.0.weight",
    "current.bias": "predictor.current.0.bias",
}


def module() -> RMIXModule:
    """Our module, its targets with weights of their own, and a predictor that uses several levels."""
    made = module_of(RMIXConfig, algorithm_settings=SIZES, mixer={"embed_dim": 48})
    with torch.no_grad():
        for net in made.agents.nets:
            net.head.bias.add_(torch.randn_like(net.head.bias))
            net.predictor.history.weight.mul_(8)
            net.predictor.history.bias.mul_(8)
        made.target_agents.load_state_dict(made.agents.state_dict())
        for net in (made.target_agents, made.target_mixer):
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def with_weights_of(ours: RMIXModule) -> PyMARLStyleRMIX:
    # Nothing is clipped, so that the gradients left behind by an update can be compared.
    learner = PyMARLStyleRMIX(N, A, D, S, gamma=GAMMA, max_grad_norm=1e9, local_weight=WEIGHT, **SIZES)
    for agent, team in ((learner.risk_agent, ours.agents), (learner.target_risk_agent, ours.target_agents)):
        weights = team.nets[0].state_dict()
        agent.load_state_dict({name: weights[source] for name, source in AGENT.items()} | {"weights": agent.weights})
    learner.mixer.load_state_dict(ours.mixer.state_dict())
    learner.target_mixer.load_state_dict(ours.target_mixer.state_dict())
    return learner


@pytest.mark.parametrize("lengths", ["full", "variable"])
@pytest.mark.parametrize("local_loss", [False, True])
def test_loss_and_gradients_equal_ours(lengths, local_loss):
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, obs_dtype="float32", seed=5)
    ours = module()
    theirs = with_weights_of(ours)
    loss_of_theirs = theirs.update(theirs.prepare(arrays), local_loss=local_loss)

    ours.local_loss_due = local_loss
    batch, packed_batch = our_batch(arrays)
    out = ours.forward_train(packed_batch)
    mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
    assert len(out["risk_level"][mask > 0].unique()) > 1
    target = td_targets(batch["reward"], out["next_q_tot"], batch["terminated"], mask, gamma=GAMMA)
    loss = masked_mean((out["q_tot"] - target).square(), mask, mask.sum())
    if local_loss:
        real = mask.bool()
        wanted = local_targets(out["value"][real], out["next_atoms"][real], batch["terminated"][real], gamma=GAMMA)
        loss = loss + WEIGHT * local_distribution_loss(out["atoms"][real], wanted).mean()
    loss.backward()

    assert loss_of_theirs == pytest.approx(loss.item(), rel=1e-5)
    ours_by_name = dict(ours.agents.nets[0].named_parameters())
    pairs = [(name, p.grad, ours_by_name[AGENT[name]].grad) for name, p in theirs.risk_agent.named_parameters()]
    ours_by_name = dict(ours.mixer.named_parameters())
    pairs += [(name, p.grad, ours_by_name[name].grad) for name, p in theirs.mixer.named_parameters()]
    for name, of_theirs, of_ours in pairs:
        assert of_ours.norm() > 0, name
        assert (of_theirs - of_ours).norm() <= 2e-4 * of_ours.norm(), name


def test_an_update_trains_the_online_networks_alone():
    learner = PyMARLStyleRMIX(N, A, D, S, lr=5e-3, **SIZES)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    before = [p.clone() for p in (*learner.target_risk_agent.parameters(), *learner.target_mixer.parameters())]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    after = [*learner.target_risk_agent.parameters(), *learner.target_mixer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
