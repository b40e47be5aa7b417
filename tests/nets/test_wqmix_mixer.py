"""WQMIX's networks: the formulas, monotonicity, IGM by enumeration, and the declared layers."""

import copy

import pytest
import torch
from torch.nn.functional import relu

from rllib_reborn.nets.mixers import FeedForwardMixer, QMixer
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import ReBorn
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.statistics import measure
from tests.nets.central_mixers import A, D, N, S, critic, joint_actions, resq_mixer, wqmixer

MIXERS = [wqmixer, resq_mixer]


def test_the_feed_forward_mixer_equals_its_formula():
    torch.manual_seed(0)
    mixer = FeedForwardMixer(N, S, embed_dim=9)
    q, state = torch.randn(20, N, requires_grad=True), torch.randn(20, S)
    hidden = torch.cat([state, q], dim=1)
    for at in (0, 2, 4):
        hidden = relu(mixer.net[at](hidden))
    value = mixer.V[2](relu(mixer.V[0](state)))
    expected = (mixer.net[6](hidden) + value).squeeze(1)
    values_before = mixer(q, state)
    torch.testing.assert_close(values_before, expected)
    for of_ours, of_formula in zip(
        torch.autograd.grad(values_before.square().sum(), [q, *mixer.parameters()]),
        torch.autograd.grad(expected.square().sum(), [q, *mixer.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(of_ours, of_formula, rtol=1e-4, atol=1e-5)


def test_it_is_not_monotonic():
    torch.manual_seed(0)
    q = torch.randn(500, N, requires_grad=True)
    (gradient,) = torch.autograd.grad(FeedForwardMixer(N, S)(q, torch.randn(500, S)).sum(), q)
    assert (gradient < 0).any()
    assert (gradient > 0).any()


def test_without_a_state_it_refuses():
    with pytest.raises(ValueError, match="global state; state_dim is 0"):
        FeedForwardMixer(2, 0)


def test_the_critic_mixes_the_values_that_its_own_agents_give_the_actions():
    torch.manual_seed(0)
    made = critic()
    x, state, actions = torch.randn(7, N, D), torch.randn(7, S), torch.randint(A, (7, N))
    q = made.unroll(x, [4, 3])
    torch.testing.assert_close(q, made.agents.unroll(x, [4, 3]))
    expected = [made.mixer(q[r, range(N), actions[r]].unsqueeze(0), state[r : r + 1]).item() for r in range(7)]
    torch.testing.assert_close(made.of_actions(q, actions, state), torch.tensor(expected))


@pytest.mark.parametrize("make", MIXERS)
def test_the_main_mixer_is_qmix_and_the_critics_have_no_say_in_it(make):
    mixer = make()
    plain = QMixer(N, S, embed_dim=4, hypernet_dim=7)
    weights = mixer.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    q, state, actions = torch.randn(50, N, A), torch.randn(50, S), torch.randint(A, (50, N))
    mask = torch.ones(50, N, A, dtype=torch.bool)
    before = mixer.of_actions(q, actions, mask, state)
    torch.testing.assert_close(before, plain.of_actions(q, actions, mask, state), rtol=0, atol=0)
    with torch.no_grad():
        for made in mixer.critics.values():
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter))
    torch.testing.assert_close(before, mixer.of_actions(q, actions, mask, state), rtol=0, atol=0)


@pytest.mark.parametrize("make", MIXERS)
def test_the_main_mixer_is_monotonic_in_every_agent(make):
    mixer = make()
    q = 10 * torch.randn(500, N)
    q.requires_grad_()
    (gradient,) = torch.autograd.grad(mixer(q, 5 * torch.randn(500, S)).sum(), q)
    assert (gradient >= 0).all()
    assert (gradient > 0).any()


@pytest.mark.parametrize("make", MIXERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_greedy_joint_action_is_a_maximum_of_q_tot(make, dtype):
    """IGM by enumeration; the float64 copy is what plasticity's invariance study asks."""
    joint = joint_actions()
    for seed in range(20):
        mixer = copy.deepcopy(make(seed)).to(dtype)
        q, state = 3 * torch.randn(1, N, A, dtype=dtype), torch.randn(1, S, dtype=dtype)
        every = mixer.of_actions(
            q.expand(len(joint), -1, -1),
            joint,
            torch.ones(len(joint), N, A, dtype=torch.bool),
            state.expand(len(joint), -1),
        )
        greedy = mixer(q.amax(-1), state)
        assert every.dtype == dtype
        assert greedy.item() >= every.max().item() - 1e-6


def names(layers):
    return [layer.key for layer in layers]


QMIX_RELEASED = ["mixer/hyper_w_final", "mixer/V"]
QMIX_FULL = ["mixer/hyper_w_1", "mixer/hyper_w_final", "mixer/V", "mixer/mixing"]


def of_mixer(name):
    return [f"mixer/{name}.mixer.{layer}" for layer in ("net.0", "net.2", "net.4", "V")]


@pytest.mark.parametrize(("make", "critics"), [(wqmixer, ["central"]), (resq_mixer, ["central", "residual"])])
def test_declared_layers(make, critics):
    mixer = make()
    official_code, editable, full = (
        names(declared_layers("mixer", mixer, choice)) for choice in ("official_code", "editable", "full")
    )
    agents = {name: [f"mixer/{name}.agents.encoder.0"] for name in critics}
    assert official_code == QMIX_RELEASED + [key for name in critics for key in of_mixer(name)]
    assert editable == QMIX_FULL[:3] + [key for name in critics for key in agents[name] + of_mixer(name)]
    memory = {name: [f"mixer/{name}.agents.memory"] for name in critics}
    assert full == QMIX_FULL + [key for name in critics for key in agents[name] + memory[name] + of_mixer(name)]
    weights = {id(parameter) for parameter in mixer.parameters()}
    assert all(id(layer.input_weight) in weights for layer in declared_layers("mixer", mixer, "editable"))


def test_reborn_finds_and_treats_the_critics_layers_and_keeps_what_they_compute():
    torch.manual_seed(2)
    mixer = FeedForwardMixer(N, S, embed_dim=32).double()
    q, state = torch.randn(200, N, dtype=torch.float64), torch.randn(200, S, dtype=torch.float64)
    with torch.no_grad():
        for first in (mixer.net[0], mixer.net[2], mixer.net[4], mixer.V[0]):
            first.weight[:12], first.bias[:12] = 0.0, -1.0
            first.weight[12:14] *= 15.0
    values_before = mixer(q, state)
    model_view = ModelView(
        nets={"mixer": mixer},
        layers=declared_layers("mixer", mixer),
        measure=lambda layers: measure(layers, lambda: mixer(q, state)),
    )
    report = apply_intervention(ReBorn(alpha=1e-6), model_view, generator=torch.Generator().manual_seed(0))
    treated = {change.layer: len(change.neurons) for change in report.changes}
    assert set(treated) == {"mixer/net.0", "mixer/net.2", "mixer/net.4", "mixer/V"}
    assert min(treated.values()) >= 12
    torch.testing.assert_close(mixer(q, state), values_before, rtol=1e-5, atol=1e-5)
