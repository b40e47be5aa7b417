"""Plasticity injection: the function is kept to the bit, what is frozen stays, and copies, targets and dry runs do too."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.mixers import QMixer, VDNMixer
from rllib_reborn.plasticity.interventions import Injection, Plan, SurgeryRefused
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from tests.plasticity.test_reset import context_of


def prepared(**settings) -> dict[str, nn.Module]:
    torch.manual_seed(3)
    nets = {"agent": AgentTeam((0, 0, 0), 5, 4, hidden_dim=6), "mixer": QMixer(3, 7, embed_dim=4, hypernet_dim=6)}
    Injection(**({"scope": "all"} | settings)).prepare(nets)
    return nets


def outputs(nets: dict[str, nn.Module], seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    agents, mixer = nets["agent"], nets["mixer"]
    q, _ = agents.step(torch.randn(9, 3, 5, generator=g), torch.zeros(9, 3, agents.state_dim))
    return mixer(q.max(2).values, torch.randn(9, 7, generator=g))


def inject(nets, seed=0, **model_view):
    settings = model_view.pop("settings", {})
    return apply_intervention(
        Injection(scope="all", **settings),
        ModelView(nets=nets, layers=[], **model_view),
        generator=torch.Generator().manual_seed(seed),
    )


def train(nets, optimizer, steps: int, seed: int = 0) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        (outputs(nets, seed + step) - 3.0).square().mean().backward()
        optimizer.step()


def parameters(nets) -> list[nn.Parameter]:
    return [p for net in nets.values() for p in net.parameters()]


def injected(nets) -> dict[str, InjectedLinear]:
    return {
        f"{net}/{path}": module
        for net, network in nets.items()
        for path, module in network.named_modules()
        if isinstance(module, InjectedLinear)
    }


OPTIMIZERS = [
    lambda p: torch.optim.Adam(p, lr=1e-2),
    lambda p: torch.optim.RMSprop(p, lr=1e-2, momentum=0.9),
]


def test_preparing_changes_nothing_and_draws_nothing():
    torch.manual_seed(3)
    nets = {"agent": AgentTeam((0, 0, 0), 5, 4, hidden_dim=6), "mixer": QMixer(3, 7, embed_dim=4, hypernet_dim=6)}
    before, kept = outputs(nets), [id(p) for p in parameters(nets)]
    stream = torch.get_rng_state()
    Injection(scope="all").prepare(nets)
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.equal(outputs(nets), before)
    assert set(kept) <= {id(p) for p in parameters(nets)}
    # hyper_b_1 is a Linear whose weight the mixer reads itself: it has to stay as it is.
    assert set(injected(nets)) == {"agent/nets.0.head", "mixer/hyper_w_1.2", "mixer/hyper_w_final.2", "mixer/V.2"}


def test_a_prepared_layer_is_a_linear_still():
    layer = InjectedLinear(nn.Linear(3, 2))
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features, layer.weight.shape, layer.bias.shape) == (3, 2, (2, 3), (2,))
    unbiased = InjectedLinear(nn.Linear(3, 2, bias=False))
    assert unbiased.bias is None
    assert unbiased(torch.ones(1, 3)).shape == (1, 2)
    assert [name for name, _ in unbiased.named_parameters()] == ["weight", "fresh_weight"]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_injection_keeps_the_function_to_the_bit_again_and_again_and_freezes_the_old_weights(make):
    nets = prepared()
    optimizer = make(parameters(nets))
    for round_ in range(3):
        train(nets, optimizer, 5, seed=10 * round_)
        layers = injected(nets)
        effective = {name: layer.effective()[0].detach().clone() for name, layer in layers.items()}
        before = outputs(nets)
        report = inject(nets, seed=round_, optimizer=optimizer)
        assert torch.equal(outputs(nets), before)
        assert report.neurons == 4 + 12 + 4 + 1  # actions; 3 agents x 4; 4; 1
        for name, layer in layers.items():
            # Everything learnt is in W; N is new and the same as C.
            assert torch.equal(layer.weight, effective[name])
            assert torch.equal(layer.fresh_weight, layer.frozen_weight)
            assert torch.equal(layer.fresh_bias, layer.frozen_bias)
            assert layer.fresh_weight.abs().min() > 0
        frozen = {n: (layer.weight.detach().clone(), layer.bias.detach().clone()) for n, layer in layers.items()}
        train(nets, optimizer, 5, seed=100)
        for name, layer in layers.items():
            assert torch.equal(layer.weight, frozen[name][0])
            assert torch.equal(layer.bias, frozen[name][1])
            assert not torch.equal(layer.fresh_weight, layer.frozen_weight)
            assert layer.fresh_weight.grad is not None
            assert not layer.weight.grad.any()


def test_before_the_first_injection_it_learns_as_the_plain_layer_does():
    torch.manual_seed(3)
    plain = {"agent": AgentTeam((0, 0, 0), 5, 4, hidden_dim=6), "mixer": QMixer(3, 7, embed_dim=4, hypernet_dim=6)}
    slotted = prepared()
    for nets in (plain, slotted):
        train(nets, torch.optim.Adam(parameters(nets), lr=1e-2), 5)
    assert torch.equal(outputs(plain), outputs(slotted))
    for layer in injected(slotted).values():
        assert not layer.fresh_weight.any()
        assert not layer.frozen_weight.any()


def test_fresh_weights_are_in_range_and_the_initialiser_is_the_one_asked_for():
    nets = prepared()
    inject(nets, settings={"initializer": "xavier"})
    layer = injected(nets)["mixer/V.2"]
    assert float(layer.fresh_weight.detach().abs().max()) <= (6 / (4 + 1)) ** 0.5
    assert not layer.fresh_bias.any()
    nets = prepared()
    inject(nets)
    layer = injected(nets)["mixer/V.2"]
    assert float(layer.fresh_weight.detach().abs().max()) <= 0.5
    assert layer.fresh_bias.any()


def test_a_mirrored_target_keeps_its_own_function_at_every_injection():
    nets = prepared()
    targets = copy.deepcopy(nets)
    for target in targets.values():
        target.requires_grad_(False)
    optimizer = torch.optim.Adam(parameters(nets), lr=1e-2)
    for round_ in range(3):
        train(nets, optimizer, 5, seed=round_)
        before = outputs(targets)
        inject(nets, seed=round_, optimizer=optimizer, target_nets=targets)
        torch.testing.assert_close(outputs(targets), before, rtol=0, atol=1e-5)
        # Halfway: the target catches up in N alone, which is all that learns in these layers.
        train(nets, optimizer, 3, seed=round_)
        assert float((outputs(nets) - outputs(targets)).detach().abs().max()) > 1e-3
        for target, online in zip(targets.values(), nets.values(), strict=True):
            target.load_state_dict(online.state_dict())


def test_dry_run_restores_everything_to_the_bit():
    nets = prepared()
    targets = copy.deepcopy(nets)
    optimizer = torch.optim.Adam(parameters(nets), lr=1e-2)
    train(nets, optimizer, 3)
    everything = [*nets.values(), *targets.values()]
    before = [copy.deepcopy(net.state_dict()) for net in everything]
    averages = copy.deepcopy(optimizer.state_dict())
    report = inject(nets, optimizer=optimizer, target_nets=targets, settings={"dry_run": True})
    assert report.neurons == 21
    for net, values in zip(everything, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())
    for number, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["exp_avg"], averages["state"][number]["exp_avg"])


def test_checkpoints_copies_and_pickles_stay_frozen():
    nets = prepared()
    inject(nets)
    restored = prepared()
    for name, net in restored.items():
        net.load_state_dict(nets[name].state_dict())
    copies = [restored, copy.deepcopy(nets), pickle.loads(pickle.dumps(nets))]
    for other in copies:
        assert torch.equal(outputs(other), outputs(nets))
        kept = {name: layer.weight.detach().clone() for name, layer in injected(other).items()}
        train(other, torch.optim.Adam(parameters(other), lr=1e-2), 3)
        for name, layer in injected(other).items():
            assert torch.equal(layer.weight, kept[name])
            assert not torch.equal(layer.fresh_weight, layer.frozen_weight)
    # The copies' masks are their own: the original can be trained all the same, and thaws alone.
    for layer in injected(nets).values():
        layer.injected.fill_(False)
    train(nets, torch.optim.Adam(parameters(nets), lr=1e-2), 1)
    assert injected(nets)["mixer/V.2"].weight.grad.any()
    train(copies[1], torch.optim.Adam(parameters(copies[1]), lr=1e-2), 1)
    assert not injected(copies[1])["mixer/V.2"].weight.grad.any()


def test_a_move_to_another_device_keeps_the_masks():
    """``.to(device)`` puts other buffers in place and keeps the Parameter objects; ``_apply`` is its inner part."""
    nets = prepared()
    layer = injected(nets)["mixer/V.2"]
    weight, flag = layer.weight, layer.injected
    for net in nets.values():
        net._apply(torch.clone)
    assert layer.weight is weight
    assert layer.injected is not flag
    inject(nets)
    kept = layer.weight.detach().clone()
    train(nets, torch.optim.Adam(parameters(nets), lr=1e-2), 3)
    assert torch.equal(layer.weight, kept)
    assert not torch.equal(layer.fresh_weight, layer.frozen_weight)


def test_explicit_layers_and_scope():
    assert set(injected(prepared(parameters=("V.2",), scope="mixer"))) == {"mixer/V.2"}
    assert set(injected(prepared(scope="agent"))) == {"agent/nets.0.head"}


def test_nothing_to_inject_and_mistakes():
    Injection().prepare({"mixer": VDNMixer()})
    assert Injection().plan(context_of({"mixer": VDNMixer()})) == Plan()
    with pytest.raises(SurgeryRefused, match=r"call prepare\(nets\)"):
        Injection().plan(context_of({"mixer": QMixer(2, 3)}))
    with pytest.raises(ValueError, match=r"'hyper_w', which is not there"):
        prepared(parameters=("hyper_w",), scope="mixer")
    with pytest.raises(ValueError, match="prepared by another method"):
        Injection().prepare({"mixer": prepared()["mixer"]})
    with pytest.raises(ValueError, match="name the layers to inject in 'parameters'"):
        Injection().prepare({"mixer": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="no last Linear behind a hidden layer"):
        Injection().prepare({"mixer": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    with pytest.raises(ValueError, match="optimizer is 'keep'; injection freezes weights"):
        Injection(optimizer="keep")
