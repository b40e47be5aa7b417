"""The references for WQMIX and ResQ do the same sums as the product."""

import pytest
import torch

from benchmarks.pymarl_style_resq import PyMARLStyleResQ
from benchmarks.pymarl_style_wqmix import PyMARLStyleWQMIX
from benchmarks.shapes import Shape
from benchmarks.synthetic import synthetic_batch
from rllib_reborn import ResQConfig, WQMIXConfig
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.runtime.spaces import team_spaces
from tests.benchmarks.test_pymarl_style import AGENT, GAMMA, SIZES, A, D, N, S
from tests.padded import columns, learner_columns


def learner_of(config_class, **training):
    """Our learner, its targets with weights of their own."""
    config = config_class().environment(f"{Shape.__module__}:Shape", env_config=SIZES)
    config.training(gamma=GAMMA, mixer={"central_embed_dim": 24}, **training)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(3)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    module = learner.module["default_policy"].unwrapped()
    with torch.no_grad():
        for net in (module.target_agents, module.target_mixer, module.mixer):
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return learner, module


def pairs(theirs, ours):
    """Their networks, and ours with the names of their parameters."""
    found = [(theirs.agent, ours.agents.nets[0], AGENT), (theirs.mixer, ours.mixer, None)]
    for name, critic in ours.mixer.critics.items():
        found.append((getattr(theirs, f"{name}_agent"), critic.agents.nets[0], AGENT))
        found.append((getattr(theirs, f"{name}_mixer"), critic.mixer, None))
    return found


def copy_weights(theirs, ours):
    target = ours.target_mixer.central
    targets = [
        (theirs.target_agent, ours.target_agents.nets[0], AGENT),
        (theirs.target_central_agent, target.agents.nets[0], AGENT),
        (theirs.target_central_mixer, target.mixer, None),
    ]
    for net, source, names in [*pairs(theirs, ours), *targets]:
        weights = source.state_dict()
        net.load_state_dict({name: weights[names[name] if names else name] for name in net.state_dict()})


@pytest.mark.parametrize("lengths", ["full", "variable"])
@pytest.mark.parametrize("algorithm", ["cw", "ow", "resq"])
def test_loss_and_gradients_equal_ours(algorithm, lengths):
    settings = {"gamma": GAMMA, "max_grad_norm": 1e9, "central_embed_dim": 24}  # nothing is clipped
    if algorithm == "resq":
        learner, ours = learner_of(ResQConfig)
        theirs = PyMARLStyleResQ(N, A, D, S, **settings)
    else:
        learner, ours = learner_of(WQMIXConfig, algorithm_settings={"weighting": algorithm})
        theirs = PyMARLStyleWQMIX(N, A, D, S, weighting=algorithm, **settings)
    copy_weights(theirs, ours)
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, obs_dtype="float32", seed=5)
    batch = {name: torch.as_tensor(array) for name, array in arrays.items()}
    # Every second episode begins with the greedy joint action, else there would be none.
    packed = ours.packed_episodes(columns(batch))
    greedy = greedy_actions(ours.agents.unroll(packed.x, packed.layout.obs_sizes), packed.action_mask)
    batch["actions"][::2, 0] = packed.dense(packed.now(greedy))[::2, 0].to(batch["actions"].dtype)
    loss_of_theirs = theirs.update(theirs.prepare(batch))

    out = ours.forward_train(learner_columns(batch))
    mask = (torch.arange(batch["reward"].shape[1]) < batch["lengths"].unsqueeze(1)).float()
    loss, _ = learner.team_loss(learner.config, batch, out, mask, mask.sum())
    loss.backward()
    assert loss_of_theirs == pytest.approx(loss.item(), rel=1e-5)
    for net, source, names in pairs(theirs, ours):
        by_name = dict(source.named_parameters())
        for name, parameter in net.named_parameters():
            of_ours = by_name[names[name] if names else name].grad
            assert of_ours.norm() > 0
            assert (parameter.grad - of_ours).norm() <= 1e-4 * of_ours.norm()


@pytest.mark.parametrize("make", [PyMARLStyleWQMIX, PyMARLStyleResQ])
def test_an_update_trains_the_online_networks_alone(make):
    learner = make(N, A, D, S, lr=5e-3)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    targets = [learner.target_agent, learner.target_central_agent, learner.target_central_mixer]
    before = [p.clone() for net in targets for p in net.parameters()]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, (p for net in targets for p in net.parameters()), strict=True))
