"""The benchmarks' reference does the same sums as the product, and its batches are what the replay gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from benchmarks.pymarl_style import PyMARLStyleLearner
from benchmarks.shapes import Shape
from benchmarks.synthetic import packed, synthetic_batch
from rllib_reborn import QMIXConfig
from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.losses import masked_mean, td_targets
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from rllib_reborn.runtime.spaces import team_spaces
from tests.padded import learner_columns

GAMMA = 0.9
N, A, D, S = 3, 5, 7, 11
AGENT = {
    "encoder.weight": "encoder.0.weight",
    "encoder.bias": "encoder.0.bias",
    "memory.weight_ih": "memory.weight_ih_l0",
    "memory.weight_hh": "memory.weight_hh_l0",
    "memory.bias_ih": "memory.bias_ih_l0",
    "memory.bias_hh": "memory.bias_hh_l0",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
}


SIZES = {"n_agents": N, "n_actions": A, "obs_dim": D, "state_dim": S, "episode_limit": 30}


def module_of(config_class: type, **training) -> TeamRLModule:
    """Our module, its targets with weights of their own."""
    config = config_class().environment(f"{Shape.__module__}:Shape", env_config=SIZES).training(**training)
    torch.manual_seed(3)
    made = config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: team_spaces(config.team_spec)}).build()
    with torch.no_grad():
        for net in (made.target_agents, made.target_mixer):
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def our_batch(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Padded episodes as tensors, and as our learners take them."""
    batch = {name: torch.as_tensor(array) for name, array in arrays.items()}
    return batch, learner_columns(batch)


def with_weights_of(ours: TeamRLModule) -> PyMARLStyleLearner:
    # Nothing is clipped, so that the gradients left behind by an update can be compared.
    learner = PyMARLStyleLearner(N, A, D, S, gamma=GAMMA, max_grad_norm=1e9)
    for agent, team in ((learner.agent, ours.agents), (learner.target_agent, ours.target_agents)):
        weights = team.nets[0].state_dict()
        agent.load_state_dict({name: weights[source] for name, source in AGENT.items()})
    learner.mixer.load_state_dict(ours.mixer.state_dict())
    learner.target_mixer.load_state_dict(ours.target_mixer.state_dict())
    return learner


@pytest.mark.parametrize("lengths", ["full", "variable"])
@pytest.mark.parametrize("obs_dtype", ["uint8", "float32"])
def test_loss_and_gradients_equal_ours(lengths, obs_dtype):
    arrays = synthetic_batch(6, 30, N, A, D, S, lengths=lengths, obs_dtype=obs_dtype, seed=5)
    ours = module_of(QMIXConfig)
    theirs = with_weights_of(ours)
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
    pairs += [(p.grad, ours_by_name[name].grad) for name, p in theirs.mixer.named_parameters()]
    for of_theirs, of_ours in pairs:
        assert of_ours.norm() > 0
        assert (of_theirs - of_ours).norm() <= 1e-4 * of_ours.norm()


def test_an_update_trains_the_online_networks_alone():
    learner = PyMARLStyleLearner(N, A, D, S, lr=5e-3)
    batch = learner.prepare(synthetic_batch(4, 8, N, A, D, S))
    before = [p.clone() for p in (*learner.target_agent.parameters(), *learner.target_mixer.parameters())]
    losses = [learner.update(batch) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    after = [*learner.target_agent.parameters(), *learner.target_mixer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_padding_does_not_change_the_update():
    short = synthetic_batch(3, 6, N, A, D, S)
    padded = {
        name: array if name == "lengths" else np.pad(array, [(0, 0), (0, 4), *[(0, 0)] * (array.ndim - 2)])
        for name, array in short.items()
    }
    losses = []
    for batch in (short, padded):
        learner = PyMARLStyleLearner(N, A, D, S)
        losses.append(learner.update(learner.prepare(batch)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("lengths", ["full", "variable"])
def test_synthetic_batches_are_what_the_replay_gives(lengths):
    batch = synthetic_batch(9, 40, N, A, D, S, lengths=lengths, seed=1)
    length = batch["lengths"]
    steps = length.max()
    assert length.dtype == np.int32
    if lengths == "full":
        assert (length == 40).all()
    else:
        assert length.min() >= 20
        assert len(set(length.tolist())) > 1
        assert (np.diff(length) <= 0).all()
    layout = field_layout(N, A, D, S, "uint8", "float32")
    for name, (shape, dtype) in layout.items():
        rows = steps + (name in ("obs", "state", "action_mask"))
        assert batch[name].shape == (9, rows, *shape)
        assert batch[name].dtype == dtype
    for e, end in enumerate(length):
        mask, actions = batch["action_mask"][e], batch["actions"][e]
        assert mask[: end + 1].any(-1).all()
        assert np.take_along_axis(mask[:end], actions[:end, :, None].astype(int), -1).all()
        assert batch["terminated"][e].tolist() == [e % 2 == 0 and t == end - 1 for t in range(steps)]
        for name in layout:
            kept = end + (name in ("obs", "state", "action_mask"))
            assert not batch[name][e, kept:].any()
    assert set(np.unique(batch["obs"])) == {0, 1}
    block = packed(batch)
    np.testing.assert_array_equal(block.lengths, length)
    for e, (end, episode) in enumerate(zip(length, block.episodes(), strict=True)):
        for name in layout:
            np.testing.assert_array_equal(episode[name], batch[name][e, : end + (name in OBSERVATION_FIELDS)])
    again = synthetic_batch(9, 40, N, A, D, S, lengths=lengths, seed=1)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_synthetic_float_observations_and_short_horizons():
    batch = synthetic_batch(2, 5, N, A, D, S, lengths="variable", obs_dtype="float32", state_dtype="uint8")
    assert batch["lengths"].tolist() == [5, 5]
    assert batch["obs"].dtype == np.float32
    assert batch["state"].dtype == np.uint8
