"""QPLEX's mixer: the formula row by row, individual-global-max whatever the weights, and where gradients go."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.mixers import QPLEXMixer
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import Injection, ReBorn
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.statistics import measure

OPTIONS = [
    {},
    {"adv_hypernet_layers": 2, "adv_hypernet_dim": 5},
    {"adv_hypernet_layers": 3, "adv_hypernet_dim": 5, "n_head": 1},
    {"is_minus_one": False, "n_head": 3},
    {"weighted_head": False},
    {"stop_gradient": False, "adv_hypernet_layers": 2},
    {"stop_gradient": False, "weighted_head": False, "is_minus_one": False},
]


def made(seed: int = 0, n: int = 3, actions: int = 4, state: int = 5, scale: float = 1.0, **options) -> QPLEXMixer:
    torch.manual_seed(seed)
    mixer = QPLEXMixer(n, actions, state, hypernet_dim=6, **options).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.mul_(scale)
    return mixer


def drawn(rows: int, n: int = 3, actions: int = 4, state: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values, allowed actions, which are allowed (one at least), and states."""
    q = 3 * torch.randn(rows, n, actions, dtype=torch.float64)
    mask = torch.rand(rows, n, actions) < 0.6
    mask.scatter_(2, torch.randint(actions, (rows, n, 1)), True)
    taken = torch.where(mask, torch.rand(mask.shape), -1.0).argmax(2)
    return q, taken, mask, torch.randn(rows, state, dtype=torch.float64)


def of_one_row(mixer: QPLEXMixer, q: Tensor, taken: Tensor, mask: Tensor, state: Tensor) -> Tensor:
    """The formula of docs/method.md 7.4 with plain loops: ``q`` [n, A], ``taken`` [n], ``mask`` [n, A], ``state`` [s]."""
    n, actions = q.shape
    joint = torch.zeros(n * actions, dtype=q.dtype)
    for i in range(n):
        joint[i * actions + taken[i]] = 1.0
    total = torch.zeros((), dtype=q.dtype)
    for i in range(n):
        w, b = torch.ones((), dtype=q.dtype), torch.zeros((), dtype=q.dtype)
        if mixer.weighted_head:
            w, b = mixer.hyper_w_final(state)[i].abs() + 1e-10, mixer.V(state)[i]
        value = w * q[i, taken[i]] + b
        best = max(w * q[i, a] + b for a in range(actions) if mask[i, a])
        weight = torch.zeros((), dtype=q.dtype)
        for key, agents, action in zip(
            mixer.key_extractors, mixer.agents_extractors, mixer.action_extractors, strict=True
        ):
            gate = torch.sigmoid(agents(state)[i]) * torch.sigmoid(action(torch.cat([state, joint]))[i])
            weight = weight + (key(state)[0].abs() + 1e-10) * gate
        advantage = (value - best).detach() if mixer.stop_gradient else value - best
        total = total + value + (weight - 1 if mixer.is_minus_one else weight) * advantage
    return total


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_gradients_equal_a_loop_over_rows_and_agents(options):
    mixer = made(**options)
    q, taken, mask, state = drawn(30)
    q.requires_grad_()
    results = []
    for rows in (
        mixer.of_actions(q, taken, mask, state),
        torch.stack([of_one_row(mixer, *row) for row in zip(q, taken, mask, state, strict=True)]),
    ):
        found = torch.autograd.grad(rows.square().sum(), [q, *mixer.parameters()])
        results.append([rows.detach(), *found])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("n", "actions"), [(3, 4), (2, 9)])
def test_no_joint_action_beats_the_greedy_one(options, n, actions):
    """Individual-global-max by trying all joint actions, in float64, with weights from small to extreme."""
    joint = torch.tensor(list(itertools.product(range(actions), repeat=n)))
    for seed, scale in enumerate((0.1, 1.0, 4.0, 20.0)):
        mixer = made(seed, n, actions, scale=scale, **options)
        q, _, mask, state = drawn(12, n, actions)
        best = mixer.of_actions(q, greedy_actions(q, mask), mask, state).repeat_interleave(len(joint))
        of_all = [tensor.repeat_interleave(len(joint), 0) for tensor in (q, mask, state)]
        taken = joint.repeat(12, 1)
        allowed = of_all[1].gather(2, taken.unsqueeze(2)).all(2).all(1)
        other = mixer.of_actions(of_all[0], taken, *of_all[1:])
        assert (other <= best + 1e-12 * (1 + best.abs()))[allowed].all()


def test_the_greedy_joint_action_is_worth_the_sum_of_the_best_values_whatever_lambda_is():
    q, _, mask, state = drawn(20)
    values = []
    for is_minus_one in (True, False):
        mixer = made(is_minus_one=is_minus_one)
        values.append(mixer.of_actions(q, greedy_actions(q, mask), mask, state))
        w, b = mixer.hyper_w_final(state).abs() + 1e-10, mixer.V(state)
        best = (w * q.masked_fill(~mask, -torch.inf).amax(2) + b).sum(1)
        torch.testing.assert_close(values[-1], best)
    assert torch.equal(*values)


def test_lambda_reads_what_the_others_do():
    """With additive values alone the gain of an action would not depend on the other agents' (VDN)."""
    mixer = made(scale=3.0)
    q, mask, state = torch.zeros(4, 3, 4), torch.ones(4, 3, 4, dtype=torch.bool), torch.zeros(4, 5)
    q[:, :, 1] = 1.0
    taken = torch.tensor([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
    a, b, c, d = mixer.of_actions(q.double(), taken, mask, state.double()).tolist()
    assert abs((b - a) - (d - c)) > 1e-3


def test_a_forbidden_action_does_not_count_as_the_best():
    mixer = made()
    q, taken, mask, state = drawn(20)
    before = mixer.of_actions(q, taken, mask, state)
    assert torch.equal(mixer.of_actions(q.masked_fill(~mask, 1e6), taken, mask, state), before)
    assert not torch.equal(mixer.of_actions(q, taken, torch.ones_like(mask), state), before)


def test_weights_of_values_are_positive_even_where_their_net_says_0():
    mixer = made()
    with torch.no_grad():
        for parameter in mixer.hyper_w_final.parameters():
            parameter.zero_()
    q, taken, mask, state = drawn(7)
    (gradient,) = torch.autograd.grad(mixer.of_actions(q.requires_grad_(), taken, mask, state).sum(), q)
    assert gradient.gather(2, taken.unsqueeze(2)).squeeze(2).flatten().tolist() == [1e-10] * 21


@pytest.mark.parametrize("actions", [1, 2, 33])
def test_any_number_of_actions(actions):
    mixer = QPLEXMixer(2, actions, 3)
    q, taken, mask, state = drawn(6, 2, actions, 3)
    assert mixer.of_actions(q.float(), taken, mask, state.float()).shape == (6,)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_gets_a_gradient_also_where_all_is_greedy(options):
    """DistributedDataParallel waits for every one of them."""
    mixer = made(**options)
    q, _, mask, state = drawn(5)
    mixer.of_actions(q.requires_grad_(), greedy_actions(q, mask), mask, state).sum().backward()
    assert [name for name, parameter in mixer.named_parameters() if parameter.grad is None] == []
    assert q.grad is not None


@pytest.mark.parametrize("stop", [True, False])
def test_where_the_gradient_of_the_values_goes(stop):
    mixer = made(stop_gradient=stop)
    q, taken, mask, state = drawn(40)
    (gradient,) = torch.autograd.grad(mixer.of_actions(q.requires_grad_(), taken, mask, state).sum(), q)
    w = mixer.hyper_w_final(state).abs() + 1e-10
    chosen = torch.zeros_like(q).scatter(2, taken.unsqueeze(2), w.unsqueeze(2))
    if stop:  # as in VDN with weights: lambda plays no part
        torch.testing.assert_close(gradient, chosen)
    else:  # moved to the best action as far as lambda - 1 says; all of an agent's together are w as before
        assert not torch.allclose(gradient, chosen)
        torch.testing.assert_close(gradient.sum(2), w)


def test_layers_for_plasticity():
    def names(choice, **options):
        return [layer.key for layer in declared_layers("mixer", made(**options), choice)]

    head = ["mixer/hyper_w_final", "mixer/V"]
    assert names("official_code", adv_hypernet_layers=2) == head
    for choice in ("editable", "full"):
        assert names(choice) == head  # nets of one layer have no hidden neurons
        assert names(choice, adv_hypernet_layers=2, n_head=2) == [
            *head,
            *(f"mixer/{net}_extractors.{k}.0" for net in ("key", "agents", "action") for k in (0, 1)),
        ]
        assert names(choice, adv_hypernet_layers=3, n_head=1, weighted_head=False) == [
            f"mixer/{net}_extractors.0.{at}" for net in ("key", "agents", "action") for at in (0, 2)
        ]
    assert names("official_code", weighted_head=False) == []
    # Declared hooks see what the layers do, and the mixer itself can be hooked, though layers are computed together.
    mixer = made(adv_hypernet_layers=2)
    called: list[str] = []
    mixer.register_forward_hook(lambda *_: called.append("mixer"))
    layers = declared_layers("mixer", mixer, "full")
    inputs = drawn(9)
    found = measure(layers, lambda: mixer.of_actions(*inputs))
    assert called == ["mixer"]
    assert {one.rows for one in found.values()} == {9}
    assert len(found) == 2 + 3 * 4
    torch.testing.assert_close(found["mixer/V"].mean_abs, mixer.V[:2](inputs[3]).mean(0).detach())


@pytest.mark.parametrize("choice", ["official_code", "editable"])
def test_reborn_keeps_the_function(choice):
    torch.manual_seed(3)
    mixer = QPLEXMixer(3, 4, 10, adv_hypernet_layers=2).double()
    inputs = drawn(200, state=10)
    with torch.no_grad():
        for net in [module for module in mixer.modules() if isinstance(module, nn.Sequential)]:
            net[0].weight[:12], net[0].bias[:12] = 0.0, -1.0
            net[0].weight[12:14] *= 15.0
    values_before = mixer.of_actions(*inputs)
    layers = declared_layers("mixer", mixer, choice)
    model_view = ModelView(
        nets={"mixer": mixer},
        layers=layers,
        measure=lambda which: measure(which, lambda: mixer.of_actions(*inputs)),
    )
    # At so low a threshold the dormant neurons are the dead ones, which the function does not miss.
    intervention = ReBorn(layers=choice, alpha=1e-9)
    report = apply_intervention(intervention, model_view, generator=torch.Generator().manual_seed(0))
    assert {change.layer: len(change.neurons) >= 12 for change in report.changes} == {
        layer.key: True for layer in layers
    }
    torch.testing.assert_close(mixer.of_actions(*inputs), values_before, rtol=1e-9, atol=1e-9)


def test_a_first_layer_that_plasticity_was_injected_into_is_read_as_it_applies():
    mixer = made()
    inputs = drawn(8)
    values_before = mixer.of_actions(*inputs)
    Injection(parameters=("V.0", "action_extractors.1")).prepare({"mixer": mixer})
    layer = mixer.action_extractors[1][0]
    assert isinstance(layer, InjectedLinear)
    assert torch.equal(mixer.of_actions(*inputs), values_before)
    with torch.no_grad():
        layer.fresh_weight.normal_()
    changed = mixer.of_actions(*inputs)
    assert not torch.allclose(changed, values_before)
    torch.testing.assert_close(
        changed, torch.stack([of_one_row(mixer, *row) for row in zip(*inputs, strict=True)]), rtol=1e-10, atol=1e-11
    )


def test_what_it_refuses():
    with pytest.raises(ValueError, match="global state; state_dim is 0"):
        QPLEXMixer(2, 3, 0)
    with pytest.raises(ValueError, match="adv_hypernet_layers is 4; expected 1, 2 or 3"):
        QPLEXMixer(2, 3, 4, adv_hypernet_layers=4)
    with pytest.raises(ValueError, match="n_head is 0"):
        QPLEXMixer(2, 3, 4, n_head=0)
