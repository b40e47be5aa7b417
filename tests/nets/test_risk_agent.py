"""Risk agents: unrolled equals stepped, chosen equals compared, the predictor learns, and what is refused."""

import functools
import json

import pytest
import torch

from rllib_reborn.nets import risk_agent
from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.cvar import cvar
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.risk_agent import RiskAgentNet, of_each_net, one_step_later
from rllib_reborn.plasticity.declared_layers import declared_layers

D, A, ATOMS = 5, 4, 9


def lively(net):
    """Give a net distributions and logits that differ from row to row, as after some training."""
    with torch.no_grad():
        net.head.bias.copy_(torch.randn_like(net.head.bias))
        net.head.weight.mul_(5)
        if net.predictor is not None:
            net.predictor.history.weight.mul_(10)
            net.predictor.history.bias.mul_(10)
    return net


def make(risk="dynamic", **settings):
    torch.manual_seed(4)
    return lively(RiskAgentNet(D, A, hidden_dim=6, atoms=ATOMS, risk=risk, **settings))


def make_team(net_of_agent=(0, 0, 0), **settings):
    torch.manual_seed(2)
    team = AgentTeam(
        net_of_agent, D, A, hidden_dim=6, make_net=functools.partial(RiskAgentNet, atoms=ATOMS, **settings)
    )
    for net in team.nets:
        lively(net)
    return team


@pytest.mark.parametrize("risk", ["dynamic", 0.35])
@pytest.mark.parametrize("net_of_agent", [(0, 0, 0), (1, 0, 1)])
@pytest.mark.parametrize("lengths", [(4, 2), (3, 3)])
def test_unroll_equals_stepping_one_step_at_a_time(risk, net_of_agent, lengths):
    team = make_team(net_of_agent, risk=risk)
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    x = torch.randn(sum(sizes), 3, D)
    with torch.no_grad():
        unrolled = team.unroll(x, sizes)
    hidden = torch.zeros(2, 3, team.state_dim)
    begin = 0
    for size in sizes:
        with torch.no_grad():
            q, hidden = team.step(x[begin : begin + size], hidden[:size])
        torch.testing.assert_close(unrolled[begin : begin + size], q, rtol=1e-5, atol=1e-5)
        begin += size


def test_the_predictor_remembers():
    """The same input at two steps, the same features' weights: only the predictor's state can tell the levels apart."""
    net = make()
    level = []
    for before in (torch.zeros(50, 6), torch.randn(50, 6)):
        level.append(net._levels(torch.cat([torch.ones(50, 6), before], dim=1))[0])
    assert len(level[0].unique()) == 1
    assert len(level[1].unique()) > 1


def test_rows_move_one_step_on():
    rows = torch.arange(1.0, 7.0).unsqueeze(1)
    assert one_step_later(rows, [3, 2, 1]).flatten().tolist() == [0, 0, 0, 1, 2, 4]
    assert one_step_later(rows, [2, 2, 2]).flatten().tolist() == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("risk", [0.1, 0.35, 1.0])
def test_values_are_the_cvar_of_the_atoms(risk):
    net = make(risk)
    features = torch.randn(7, 6)
    with torch.no_grad():
        torch.testing.assert_close(net.values(features), cvar(net.head(features).view(7, A, ATOMS), risk))


@pytest.mark.parametrize("risk", ["dynamic", 0.35, 1.0])
def test_chosen_with_gradient_and_without_agree(risk, monkeypatch):
    monkeypatch.setattr(risk_agent, "_BLOCK_ROWS", 16)
    net = make(risk)
    features = torch.randn(70, net.state_dim if risk == "dynamic" else 6)
    actions = torch.randint(0, A - 1, (70,))  # nobody chooses the last one
    with torch.no_grad():
        values = net.values(features)
    with_gradient = net.values(features)
    torch.testing.assert_close(with_gradient, values)
    chosen = net.chosen(features, actions)
    torch.testing.assert_close(chosen.value, values.gather(1, actions.unsqueeze(1)).squeeze(1))
    atoms = net.head(features[:, :6]).view(70, A, ATOMS)[torch.arange(70), actions]
    torch.testing.assert_close(chosen.atoms, atoms)
    if risk == "dynamic":
        assert len(chosen.level.unique()) > 2
    expected = torch.stack([cvar(row, level) for row, level in zip(atoms, chosen.level.tolist())])
    torch.testing.assert_close(chosen.value, expected)
    # The two ways to the same value have the same gradient.
    parameters = list(net.parameters())
    one = torch.autograd.grad(chosen.value.sum(), parameters, allow_unused=True, retain_graph=True)
    two = torch.autograd.grad(
        with_gradient.gather(1, actions.unsqueeze(1)).sum(), parameters, allow_unused=True, retain_graph=True
    )
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_predictor_gets_the_gradient_of_the_mean_over_levels():
    net = make(levels=4)
    features, actions = torch.randn(20, 12), torch.randint(0, A, (20,))
    predictor = list(net.predictor.parameters())
    used = [p for name, p in net.predictor.named_parameters() if name.startswith(("current", "history"))]
    gradient = torch.autograd.grad(net.chosen(features, actions).value.sum(), used)
    atoms = net.head(features[:, :6]).view(20, A, ATOMS)[torch.arange(20), actions].detach()
    of_levels = torch.stack([cvar(atoms, k / 4) for k in (1, 2, 3, 4)], dim=1)
    flat = net.head(features[:, :6]).detach()  # the embedding of the atoms themselves
    past = net.predictor.history(features[:, 6:]).view(20, 4, -1)
    logits = (past * net.predictor.current(flat).unsqueeze(1)).sum(2) / 16**0.5
    expected = torch.autograd.grad((logits.softmax(1) * of_levels).sum(), used)
    for a, b in zip(gradient, expected, strict=True):
        assert a.norm() > 0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert len(predictor) > len(used)


def test_every_parameter_learns_and_the_official_code_predictor_does_not():
    x, sizes = torch.randn(9, D), [3, 3, 3]
    for compat in (None, "official_code"):
        net = make(compat=compat, levels=4)
        value = net.chosen(net.unroll_features(x, sizes), torch.tensor([0, 1, 2, 3] * 2 + [0])).value
        for name, gradient in zip(
            [name for name, _ in net.named_parameters()],
            torch.autograd.grad(value.square().sum(), list(net.parameters())),
            strict=True,
        ):
            untrained = compat == "official_code" and name.startswith("predictor")
            assert (gradient.norm() == 0) == untrained, name


def test_no_gradient_goes_from_the_predictor_into_the_agent():
    net = make()
    x, sizes = torch.randn(6, D), [3, 3]
    own = [p for name, p in net.named_parameters() if not name.startswith("predictor")]
    features = net.unroll_features(x, sizes)
    _, chances = net._levels(features)
    gradients = torch.autograd.grad(chances.square().sum(), own, allow_unused=True)
    assert all(gradient is None or gradient.norm() == 0 for gradient in gradients)


def test_acting_does_not_depend_on_the_rows_beside():
    team = make_team()
    x, hidden = torch.randn(40, 3, D), torch.randn(40, 3, team.state_dim)
    with torch.no_grad():
        together, after = team.step(x, hidden)
        for row in (0, 17, 39):
            alone, after_alone = team.step(x[row : row + 1], hidden[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(after[row : row + 1], after_alone, rtol=1e-5, atol=1e-5)


def test_an_injected_head_is_applied_as_it_computes():
    net = make()
    net.head = InjectedLinear(net.head)
    with torch.no_grad():
        net.head.fresh_weight.normal_()
        net.head.fresh_bias.normal_()
    features, actions = torch.randn(20, 12), torch.randint(0, A, (20,))
    with torch.no_grad():
        values = net.values(features)
        torch.testing.assert_close(net.chosen(features, actions).value, values[torch.arange(20), actions])


def test_work_for_each_net_comes_back_in_the_agents_order():
    team = make_team((1, 0, 1))
    features, actions = torch.randn(4, 3, 12), torch.randint(0, A, (4, 3))
    value, atoms, _ = of_each_net(team, lambda net, f, a: net.chosen(f, a), features, actions)
    assert atoms.shape == (4, 3, ATOMS)
    for agent, number in enumerate((1, 0, 1)):
        torch.testing.assert_close(
            value[:, agent], team.nets[number].chosen(features[:, agent], actions[:, agent]).value
        )


def test_settings_make_the_same_net():
    net = make(levels=3, embedding_dim=2)
    again = RiskAgentNet(D, A, hidden_dim=6, **json.loads(json.dumps(net.settings)))
    again.load_state_dict(net.state_dict())
    x, hidden = torch.randn(3, D), torch.randn(3, net.state_dim)
    assert torch.equal(net.step(x, hidden)[0], again.step(x, hidden)[0])


def test_unit_layers():
    def names(net, choice):
        return [layer.name for layer in declared_layers("agent", net, choice)]

    net = make()
    assert names(net, "official_code") == ["encoder.0"]
    assert names(net, "editable") == ["encoder.0", "predictor.encoder.0"]
    assert names(net, "full") == ["encoder.0", "memory", "predictor.encoder.0", "predictor.memory"]
    assert names(make(0.5, recurrent=False), "editable") == ["encoder.0", "memory.0"]
    shapes = {}
    for layer in declared_layers("agent", net, "full"):
        layer.hook.attach(lambda h, key=layer.key: shapes.setdefault(key, []).append(h.shape))
    net.chosen(net.unroll_features(torch.randn(6, D), [3, 3]), torch.zeros(6, dtype=torch.int64))
    assert shapes == {f"agent/{name}": [(6, 6)] for name in names(net, "full")}  # each once, with every row


def test_refusals():
    for settings, message in (
        ({"risk": 0.0}, "risk is 0.0"),
        ({"risk": "high"}, "risk is 'high'"),
        ({"atoms": 0}, "atoms is 0"),
        ({"levels": 2.5}, "levels is 2.5"),
        ({"compat": "old"}, "compat is 'old'"),
        ({"recurrent": False}, "feed-forward"),
    ):
        with pytest.raises(ValueError, match=message):
            RiskAgentNet(D, A, **settings)
