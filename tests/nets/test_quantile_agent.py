"""Agents with a quantile head: the formula written out, sums and means before the head, layers for plasticity."""

import copy
import math

import pytest
import torch
from torch import nn

from rllib_reborn.nets.agent_kinds import AGENT_KINDS, agent_maker, kind_of
from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.expandable_linear import InjectedLinear
from rllib_reborn.nets.quantile_agent import QuantileAgentNet, midpoints, team_quantiles
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions.whole_layers import chains
from rllib_reborn.plasticity.neuron_layers import Surgery

ROWS, N_AGENTS, D, A, H = 7, 3, 5, 4, 6


def make(**settings):
    torch.manual_seed(0)
    return QuantileAgentNet(D, A, hidden_dim=H, **({"acting_quantiles": 9, "cosines": 10} | settings))


def plain(net, h, tau):
    """All values of one row at one fraction, as IQN writes it: h [H] -> [A]."""
    cosines = torch.tensor([math.cos(math.pi * i * tau) for i in range(net.cosines)], dtype=h.dtype)
    phi = torch.relu(net.phi[0].weight @ cosines + net.phi[0].bias)
    return net.head.weight @ (h * phi) + net.head.bias


def test_acting_takes_the_mean_over_the_midpoints():
    net = make().double()
    h = torch.randn(ROWS, H, dtype=torch.float64)
    expected = torch.stack([sum(plain(net, row, (j + 0.5) / 9) for j in range(9)) / 9 for row in h])
    torch.testing.assert_close(net.values(h), expected)


@pytest.mark.parametrize("net_of_agent", [(0, 0, 0), (0, 1, 0), (0, 1, 2)])
def test_means_and_sums_equal_the_formula_written_out(net_of_agent):
    torch.manual_seed(3)
    team = AgentTeam(
        net_of_agent, D, A, hidden_dim=H, make_net=agent_maker("quantile", {"acting_quantiles": 9, "cosines": 10})
    ).double()
    h = torch.randn(ROWS, N_AGENTS, H, dtype=torch.float64)
    actions = torch.randint(A, (ROWS, N_AGENTS))
    fractions = torch.rand(ROWS, 5, dtype=torch.float64)
    z = torch.empty(ROWS, N_AGENTS, 5, dtype=torch.float64)
    for row in range(ROWS):
        for agent in range(N_AGENTS):
            for j in range(5):
                values = plain(team.nets[net_of_agent[agent]], h[row, agent], fractions[row, j].item())
                z[row, agent, j] = values[actions[row, agent]]
    means, sums = team_quantiles(team, h, actions, fractions)
    torch.testing.assert_close(means, z.mean(2))
    torch.testing.assert_close(sums, z.sum(1))
    # Everything is trained, whichever network an agent has.
    gradients = torch.autograd.grad((means**2).sum() + (sums**2).sum(), [p for n in team.nets for p in head_of(n)])
    assert all(gradient.norm() > 0 for gradient in gradients)


def head_of(net):
    return [*net.phi.parameters(), *net.head.parameters()]


def test_an_injected_head_is_the_one_that_it_applies():
    net = make()
    h, actions = torch.randn(ROWS, N_AGENTS, H), torch.randint(A, (ROWS, N_AGENTS))
    net.head = InjectedLinear(net.head)
    with torch.no_grad():
        net.head.fresh_weight.normal_()
        net.head.fresh_bias.normal_()
    phi = net.embedding(torch.rand(ROWS, 5, 10))
    by_hand = copy.deepcopy(net)
    by_hand.head = nn.Linear(H, A)
    by_hand.head.weight.data, by_hand.head.bias.data = (part.detach() for part in net.head.effective())
    for mine, expected in zip(net.quantiles(h, actions, phi), by_hand.quantiles(h, actions, phi)):
        torch.testing.assert_close(mine, expected)
    torch.testing.assert_close(net.values(h), by_hand.values(h))


def test_acting_depends_on_no_random_stream_and_not_on_the_batch():
    net = make()
    x, hidden = torch.randn(ROWS, D), torch.randn(ROWS, H)
    whole, _ = net.step(x, hidden)
    torch.rand(3)
    assert torch.equal(net.step(x, hidden)[0], whole)
    one, _ = net.step(x[2:3], hidden[2:3])
    torch.testing.assert_close(one, whole[2:3])


def test_midpoints_cut_in_equal_parts():
    assert midpoints(4).tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("recurrent", [True, False])
def test_layers_that_plasticity_sees(recurrent):
    net = make(recurrent=recurrent, fc_layers=2)
    names = {
        choice: [layer.name for layer in declared_layers("agent", net, choice)]
        for choice in ("official_code", "editable", "full")
    }
    memory = "memory" if recurrent else "memory.0"
    assert names["official_code"] == ["encoder.0"]
    assert names["editable"] == ["encoder.0", "encoder.2"]
    assert names["full"] == ["encoder.0", "encoder.2", memory, "phi.0"]
    assert [layer.surgery for layer in declared_layers("agent", net, "full")[2:]] == [Surgery.IMPOSSIBLE] * 2
    # The last layer is the head, behind the embedding.
    assert [chain[-2:] for chain in chains(net)] == [["phi.0", "head"]]


def test_the_memory_is_watched_itself_and_not_its_product():
    net = make()
    recorded = []
    declared_layers("agent", net, "full")[1].hook.attach(lambda h: recorded.append(h))
    features, _ = net.step_features(torch.randn(ROWS, D), torch.randn(ROWS, H))
    assert torch.equal(recorded[0], features)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="acting_quantiles is 0"):
        make(acting_quantiles=0)
    with pytest.raises(ValueError, match=r"cosines is 2\.0"):
        make(cosines=2.0)


def test_kinds():
    net = make()
    assert kind_of(net) == "quantile"
    assert net.settings == {"acting_quantiles": 9, "cosines": 10}
    assert (kind_of(AgentNet(D, A)), AgentNet(D, A).settings) == ("value", {})
    assert kind_of(type("Other", (AgentNet,), {})(D, A)) is None
    with pytest.raises(ValueError, match="agent is 'no'; expected one of value"):
        agent_maker("no", {})
    with pytest.raises(
        ValueError, match="agent_settings has 'hidden_dim'; a quantile agent has acting_quantiles, cosines"
    ):
        agent_maker("quantile", {"hidden_dim": 3})


@pytest.mark.parametrize("kind", AGENT_KINDS)
def test_every_kind_can_be_made_from_what_it_says(kind):
    net = agent_maker(kind, {})(D, A, hidden_dim=H)
    again = agent_maker(kind, net.settings)(D, A, hidden_dim=H)
    again.load_state_dict(net.state_dict())
    assert again.settings == net.settings
    x, hidden = torch.randn(ROWS, D), torch.randn(ROWS, net.state_dim)
    assert torch.equal(net.step(x, hidden)[0], again.step(x, hidden)[0])
