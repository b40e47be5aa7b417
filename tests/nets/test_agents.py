"""Agents: unrolled equals stepped, sharing, and networks of unlike agents."""

import pytest
import torch

from rllib_reborn.nets.agents import AgentTeam


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("net_of_agent", [(0, 0, 0), (0, 1, 0), (0, 1, 2), (1, 0, 0)])
def test_unroll_equals_stepping_one_step_at_a_time(recurrent, net_of_agent):
    torch.manual_seed(2)
    team = AgentTeam(net_of_agent, 5, 4, hidden_dim=6, fc_layers=2, recurrent=recurrent)
    lengths = [4, 2]  # observations of two episodes
    sizes = [sum(length > t for length in lengths) for t in range(4)]
    x = torch.randn(sum(sizes), 3, 5)
    unrolled = team.unroll(x, sizes)
    hidden = torch.zeros(2, 3, team.state_dim)
    begin = 0
    for size in sizes:
        q, hidden = team.step(x[begin : begin + size], hidden[:size])
        torch.testing.assert_close(unrolled[begin : begin + size], q, rtol=1e-5, atol=1e-6)
        begin += size


def test_agents_share_exactly_the_networks_asked_for():
    torch.manual_seed(0)
    team = AgentTeam((0, 1, 0), 3, 2)
    x = torch.randn(1, 1, 3).expand(1, 3, 3)
    q, _ = team.step(x, torch.zeros(1, 3, team.state_dim))
    torch.testing.assert_close(q[0, 0], q[0, 2])
    assert not torch.allclose(q[0, 0], q[0, 1])


def test_numbers_of_networks_must_be_complete():
    with pytest.raises(ValueError, match="every number"):
        AgentTeam((0, 2), 3, 2)
