"""KNIFE's neurons: the function is kept, what is frozen stays, spare places stay empty; two ranks with injection beside
it."""

from __future__ import annotations

import copy
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.expandable_linear import SlottedLinear
from rllib_reborn.nets.mixers import QMixer, VDNMixer
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import Injection, Knife, SurgeryRefused
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.knife import add_slots
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, declare_neurons
from rllib_reborn.plasticity.scores import update_activity

H, S = 8, 2  # neurons of hyper_w_final and V; places for two treated neurons


def prepared(slots: int | None = S) -> QMixer:
    torch.manual_seed(4)
    mixer = QMixer(3, 7, embed_dim=H, hypernet_dim=H)
    Knife(slots=slots).prepare({"mixer": mixer})
    return mixer


def outputs(mixer: nn.Module, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return mixer(torch.randn(20, 3, generator=g), torch.randn(20, 7, generator=g))


def train(mixer: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        (outputs(mixer, seed + step) - 3.0).square().mean().backward()
        optimizer.step()


def activity(mixer: QMixer, **stagnant: list[int]) -> dict[str, Tensor]:
    """Every neuron that can move is updated equally, ``stagnant`` ones (by layer) 0.01 times that."""
    found = {}
    for name in ("hyper_w_final", "V"):
        ua = mixer.get_submodule(name)[0].trainable.float()
        ua[stagnant.get(name, [])] = 0.01
        found[f"mixer/{name}"] = ua
    return found


def cut(mixer: QMixer, ua: dict[str, Tensor], *, seed: int = 0, intervention: Knife | None = None, **model_view):
    return apply_intervention(
        intervention or Knife(),
        ModelView(nets={"mixer": mixer}, layers=declared_layers("mixer", mixer), **model_view),
        generator=torch.Generator().manual_seed(seed),
        update_activity=ua,
    )


def active(mixer: QMixer, name: str) -> list[int]:
    return mixer.get_submodule(name)[0].active.nonzero().flatten().tolist()


def test_preparing_changes_nothing_and_draws_nothing():
    torch.manual_seed(4)
    plain = QMixer(3, 7, embed_dim=H, hypernet_dim=H)
    stream = torch.get_rng_state()
    slotted = copy.deepcopy(plain)
    Knife(slots=S).prepare({"mixer": slotted})
    assert torch.equal(torch.get_rng_state(), stream)
    torch.testing.assert_close(outputs(slotted), outputs(plain), rtol=0, atol=1e-6)
    for name in ("hyper_w_final", "V"):
        source, _, reader = slotted.get_submodule(name)
        assert (source.out_features, reader.in_features) == (H + 2 * S, H + 2 * S)
        assert torch.equal(source.weight[:H], plain.get_submodule(name)[0].weight)
        assert torch.equal(reader.weight[:, :H], plain.get_submodule(name)[2].weight)
        assert not source.weight[H:].any()
        assert not source.bias[H:].any()
        assert not reader.weight[:, H:].any()
    assert not isinstance(slotted.hyper_w_1[0], SlottedLinear)
    # Neurons as the rest of the package sees them: the spare ones do not take part.
    assert [layer.active_mask().tolist() for layer in declared_layers("mixer", slotted)] == [
        [True] * H + [False] * 2 * S
    ] * 2
    # A quarter of the neurons by default.
    assert prepared(None).V[0].out_features == H + 2 * (H // 4)


def test_spare_places_stay_empty_while_the_rest_learns():
    torch.manual_seed(4)
    plain, slotted = QMixer(3, 7, embed_dim=H, hypernet_dim=H), prepared()
    for net in (plain, slotted):
        train(net, torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=0.1), 10)
    for name in ("hyper_w_final", "V"):
        source, _, reader = slotted.get_submodule(name)
        assert not source.weight[H:].any()
        assert not source.bias[H:].any()
        assert not reader.weight[:, H:].any()
    # Where nothing was treated, learning is that of the plain mixer.
    torch.testing.assert_close(outputs(slotted), outputs(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("initializer", ["kaiming", "xavier"])
def test_a_stagnant_unit_becomes_three_and_the_function_stays(initializer):
    mixer = prepared()
    source, _, reader = mixer.V
    old = source.weight[5].detach().clone(), source.bias[5].detach().clone(), reader.weight[:, 5].detach().clone()
    others = [neuron for neuron in range(H) if neuron != 5]
    rest = source.weight[others].detach().clone(), reader.weight[:, others].detach().clone()
    before = outputs(mixer)
    report = cut(mixer, activity(mixer, V=[5]), intervention=Knife(initializer=initializer))
    torch.testing.assert_close(outputs(mixer), before, rtol=0, atol=1e-6)
    # Knowledge at 8, active in the old place 5, compensation at 9.
    assert torch.equal(source.weight[H], old[0])
    assert torch.equal(source.bias[H], old[1])
    assert torch.equal(reader.weight[:, H], old[2])
    assert torch.equal(source.weight[5], source.weight[H + 1])
    assert torch.equal(source.bias[5], source.bias[H + 1])
    assert torch.equal(reader.weight[:, 5], -reader.weight[:, H + 1])
    assert reader.weight[:, 5].abs().min() > 0
    assert source.weight[5].abs().min() > 0
    assert not torch.equal(source.weight[5], old[0])
    assert torch.equal(source.weight[others], rest[0])
    assert torch.equal(reader.weight[:, others], rest[1])
    assert active(mixer, "V") == list(range(H + 2))
    assert active(mixer, "hyper_w_final") == list(range(H))
    by_layer = {change.layer: change for change in report.changes}
    # The active neuron is what is watched for becoming dormant again: it is no donor, and the frozen ones are not told
    # of.
    assert (by_layer["mixer/V"].neurons, by_layer["mixer/V"].donors) == ((5,), ())
    assert by_layer["mixer/V"].reinitialised == (5,)
    assert by_layer["mixer/V"].dormant == 1
    assert by_layer["mixer/hyper_w_final"].neurons == ()


@pytest.mark.parametrize(
    "make",
    [lambda p: torch.optim.Adam(p, lr=1e-2), lambda p: torch.optim.RMSprop(p, lr=1e-2, momentum=0.9)],
)
def test_knowledge_and_compensation_are_frozen_and_the_active_unit_learns(make):
    mixer = prepared()
    optimizer = make(mixer.parameters())
    train(mixer, optimizer, 5)
    cut(mixer, activity(mixer, V=[5], hyper_w_final=[0, 7]), optimizer=optimizer)
    before = copy.deepcopy(mixer.state_dict())
    train(mixer, optimizer, 10)
    after = mixer.state_dict()
    for name in ("V", "hyper_w_final"):
        for part in (f"{name}.0.weight", f"{name}.0.bias"):
            assert torch.equal(after[part][H:], before[part][H:])
            assert not torch.equal(after[part][:H], before[part][:H])
        assert torch.equal(after[f"{name}.2.weight"][:, H:], before[f"{name}.2.weight"][:, H:])
    assert not torch.equal(after["V.2.weight"][:, 5], before["V.2.weight"][:, 5])
    assert all(p.grad is not None for p in mixer.parameters())


def test_most_stagnant_first_until_the_places_are_used_up_and_nothing_twice():
    mixer = prepared()
    ua = activity(mixer, V=[1, 2, 4])
    ua["mixer/V"][2] = 0.005
    first = cut(mixer, ua).changes[0]
    assert first.layer == "mixer/V"
    # RUA of 4 and 1 are equal: the first of the layer goes first. Neuron 4 finds no place.
    assert (first.dormant, first.reinitialised, first.neurons) == (3, (1, 2), (1, 2))
    before = outputs(mixer)
    second = cut(mixer, activity(mixer, V=[1, 2, 4])).changes[0]
    assert (second.dormant, second.reinitialised, second.neurons) == (1, (), ())
    assert torch.equal(outputs(mixer), before)

    mixer = prepared()
    cut(mixer, activity(mixer, V=[1]))
    before = outputs(mixer)
    again = cut(mixer, activity(mixer, V=[1, 6]), seed=1).changes[0]
    assert (again.dormant, again.reinitialised, again.neurons) == (1, (6,), (6,))
    torch.testing.assert_close(outputs(mixer), before, rtol=0, atol=1e-6)


def test_the_threshold_is_relative_to_neurons_that_can_move():
    mixer = prepared()
    ua = activity(mixer)
    # Mean over the 8 neurons that can move: (7 + 0.2) / 8 = 0.9; 0.2 / 0.9 = 0.22 < 0.25. With the 4 spare ones in the
    # mean (0.6) it would be 0.33 and not be stagnant.
    ua["mixer/V"][3] = 0.2
    assert cut(mixer, ua).changes[0].reinitialised == (3,)
    assert cut(prepared(), ua, intervention=Knife(stagnant_below=0.2)).changes[0].reinitialised == ()


def test_mirror_keeps_the_targets_function_and_sync_copies():
    mixer = prepared()
    target = copy.deepcopy(mixer).requires_grad_(False)
    train(mixer, torch.optim.Adam(mixer.parameters(), lr=1e-2), 5)
    before = outputs(target)
    links = {"target_nets": {"mixer": target}, "target_layers": declared_layers("mixer", target)}
    cut(mixer, activity(mixer, V=[5]), **links)
    torch.testing.assert_close(outputs(target), before, rtol=0, atol=1e-6)
    assert active(target, "V") == list(range(H + 2))
    cut(mixer, activity(mixer, V=[6]), intervention=Knife(target_networks="sync"), **links)
    assert torch.equal(outputs(target), outputs(mixer))


def test_dry_run_restores_everything_to_the_bit():
    mixer = prepared()
    target = copy.deepcopy(mixer)
    before = [copy.deepcopy(net.state_dict()) for net in (mixer, target)]
    links = {"target_nets": {"mixer": target}, "target_layers": declared_layers("mixer", target)}
    report = cut(mixer, activity(mixer, V=[5]), intervention=Knife(dry_run=True), **links)
    assert report.neurons == 1
    for net, values in zip((mixer, target), before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())


def test_a_restored_checkpoint_goes_on_where_it_was():
    mixer, restored = prepared(), prepared()
    cut(mixer, activity(mixer, V=[5]))
    restored.load_state_dict(mixer.state_dict())
    for net in (mixer, restored):
        train(net, torch.optim.Adam(net.parameters(), lr=1e-2), 3)
        cut(net, activity(net, V=[5, 6]), seed=7)
    for name, value in mixer.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name])
    assert active(restored, "V") == list(range(H + 4))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU()])
def test_a_chain_of_layers_with_any_activation(activation):
    """Spare places of a layer meet those of the next: the middle weight has spare rows and columns."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 6), activation, nn.Linear(6, 6), copy.deepcopy(activation), nn.Linear(6, 2)
    ).double()
    x = torch.randn(50, 3, dtype=torch.float64)

    def layers() -> list[NeuronLayer]:
        return [declare_neurons("net", f"{at}", net[at], net[at + 1], net[at + 2]) for at in (0, 2)]

    before = net(x)
    add_slots(net, layers(), 3)
    torch.testing.assert_close(net(x), before, rtol=0, atol=1e-12)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for at, neurons in enumerate(([0, 5], [1])):
        for _ in range(3):
            optimizer.zero_grad()
            (net(x) - 1).square().sum().backward()
            optimizer.step()
        ua = {f"net/{at}": net[at].trainable.float() for at in (0, 2)}
        for value in ua.values():
            value[neurons] = 0.0
        before = net(x)
        model_view = ModelView(nets={"net": net}, layers=layers(), optimizer=optimizer)
        # The scope of a library user's network: "all".
        knife = Knife(scope="all")
        report = apply_intervention(knife, model_view, generator=torch.Generator().manual_seed(at), update_activity=ua)
        assert [change.reinitialised for change in report.changes] == [tuple(neurons)] * 2
        torch.testing.assert_close(net(x), before, rtol=0, atol=1e-6)  # fresh weights are float32
    assert net[2].active.all()
    frozen = net[2].weight.detach().clone()
    (net(x) - 1).square().sum().backward()
    optimizer.step()
    assert torch.equal(net[2].weight[6:], frozen[6:])
    assert torch.equal(net[2].weight[:, 6:], frozen[:, 6:])


def test_mistakes():
    Knife().prepare({"mixer": VDNMixer()})
    with pytest.raises(SurgeryRefused, match=r"mixer/V has no spare neurons; call prepare\(nets\)"):
        cut(QMixer(3, 7, embed_dim=H), {"mixer/V": torch.ones(H), "mixer/hyper_w_final": torch.ones(64)})
    with pytest.raises(SurgeryRefused, match="mixer/V: no update activity was measured"):
        cut(prepared(), {})
    with pytest.raises(ValueError, match="is a GRU; KNIFE widens Linear layers only"):
        Knife(scope="agent").prepare({"agent": AgentTeam((0, 0), 5, 4)})
    with pytest.raises(ValueError, match=r"hypernetworks, one set for every state\. Choose layers='editable'"):
        Knife(layers="full").prepare({"mixer": QMixer(3, 7)})
    every = QMixer(3, 7)
    Knife(layers="editable").prepare({"mixer": every})
    assert isinstance(every.hyper_w_1[0], SlottedLinear)
    with pytest.raises(ValueError, match="prepared by another method"):
        Knife().prepare({"mixer": prepared()})
    with pytest.raises(ValueError, match=r"does not declare its hidden layers.*add_slots"):
        Knife().prepare({"mixer": nn.Sequential(nn.Linear(2, 2))})
    with pytest.raises(ValueError, match="slots is 0"):
        Knife(slots=0)
    with pytest.raises(ValueError, match="stagnant_below is 0"):
        Knife(stagnant_below=0)


# ------------------------------------------------------------------------------------------------ two ranks


class TreatedTeam(nn.Module):
    """Agents with injection and a mixer with KNIFE, in one module as our algorithms have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.agents = AgentTeam((0, 0, 0), 5, 4, hidden_dim=6)
        self.mixer = QMixer(3, 7, embed_dim=H, hypernet_dim=H)
        for intervention in (Injection(scope="agent"), Knife(slots=S)):
            intervention.prepare(self.nets)

    @property
    def nets(self) -> dict[str, nn.Module]:
        return {"agent": self.agents, "mixer": self.mixer}

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        q, _ = self.agents.step(x, torch.zeros(len(x), 3, self.agents.state_dim))
        return self.mixer(q.max(2).values, state)


def rank_main(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    team = TreatedTeam()
    model = DistributedDataParallel(team)  # find_unused_parameters is off: every parameter needs a gradient
    optimizer = torch.optim.Adam(team.parameters(), lr=1e-2)
    data = torch.Generator().manual_seed(100 + rank)  # each rank sees other data
    saved = []
    for application in range(3):
        sums: dict[str, Tensor] = {}
        for _ in range(4):
            optimizer.zero_grad()
            x, state = torch.randn(8, 3, 5, generator=data), torch.randn(8, 7, generator=data)
            (model(x, state) - 3.0).square().mean().backward()
            for layer in declared_layers("mixer", team.mixer):
                assert layer.input_weight is not None
                assert layer.input_weight.grad is not None
                found = update_activity(layer.input_weight, layer.input_weight.grad)
                sums[layer.key] = sums[layer.key] + found if layer.key in sums else found
            optimizer.step()
        saved.append(copy.deepcopy(team.state_dict()))
        for kind in (Injection(scope="agent"), Knife(stagnant_below=0.9)):
            apply_intervention(
                kind,
                ModelView(nets=team.nets, layers=declared_layers("mixer", team.mixer), optimizer=optimizer),
                generator=torch.Generator().manual_seed(application),
                update_activity=sums,
            )
        saved.append(copy.deepcopy(team.state_dict()))
    states = {name: optimizer.state[p] for name, p in team.named_parameters()}
    torch.save({"saved": saved, "optimizer": states}, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_stay_equal_to_the_bit(tmp_path):
    with socket.socket() as request:
        request.bind(("127.0.0.1", 0))
        port = request.getsockname()[1]
    mp.spawn(rank_main, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert len(first["saved"]) == 6
    for one, other in zip(first["saved"], second["saved"], strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    for name, one in first["optimizer"].items():
        assert all(torch.equal(value, second["optimizer"][name][key]) for key, value in one.items())
    # Both did something, and what they froze stayed while the rest was trained on two ranks.
    _, after, trained, *_, last = first["saved"]
    assert int(last["mixer.V.0.active"].sum()) > H
    assert bool(last["agents.nets.0.head.injected"])
    assert torch.equal(after["agents.nets.0.head.weight"], trained["agents.nets.0.head.weight"])
    assert not torch.equal(after["agents.nets.0.head.fresh_weight"], trained["agents.nets.0.head.fresh_weight"])
    for name in ("mixer.V.0.weight", "mixer.V.0.bias"):
        assert torch.equal(after[name][H:], trained[name][H:])
        assert not torch.equal(after[name][:H], trained[name][:H])
