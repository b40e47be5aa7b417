"""The agents' network and its inputs: observations to one value per action, recurrent or feed-forward, shared or not.

All networks work on *packed* rows (see :mod:`rllib_reborn.nets.sequence`): one row per (time, episode, agent), no
padding.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import DenseStack, Linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.sequence import gru_sequence

#: Why the neurons of a GRU can be scored and not edited.
GRU_SCORE_ONLY = "a GRU's neurons feed back into themselves through gates, so their weights cannot be shared out"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentInputs:
    """How the input of the agents' network is put together, in training as in play.

    Attributes:
        n_agents, n_actions, obs_dim: Sizes of the team: ``n``, ``A``, ``d``.
        last_action: Whether an agent's last action follows the observation, one-hot.
        agent_id: Whether the agent's number comes last, one-hot.
        obs_scale: What observations are multiplied by: :attr:`~rllib_reborn.envs.team_env.TeamSpec.obs_scale`.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    last_action: bool
    agent_id: bool
    obs_scale: float = 1.0

    @property
    def width(self) -> int:
        """``input_dim`` of the network."""
        return self.obs_dim + self.last_action * self.n_actions + self.agent_id * self.n_agents

    def __call__(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """The input of one step.

        Args:
            obs: [B, n, d], any storage dtype.
            last_actions: [B, n] int64; -1 where there is none yet.

        Returns:
            [B, n, width] float32.
        """
        rows, n = obs.shape[:2]
        x = torch.empty(rows, n, self.width, device=obs.device)
        x[..., : self.obs_dim] = obs
        if self.obs_scale != 1:
            x[..., : self.obs_dim] *= self.obs_scale
        at = self.obs_dim
        if self.last_action:
            # One-hot by comparison: the "none yet" of -1 equals no action and leaves zeros.
            every_action = torch.arange(self.n_actions, device=obs.device)
            x[..., at : at + self.n_actions] = last_actions.unsqueeze(2) == every_action
            at += self.n_actions
        if self.agent_id:
            x[..., at:] = torch.eye(n, device=obs.device)
        return x

    def scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        """``x`` [rows, n, width], perhaps written to, with the observations of each row times ``factor`` [rows]."""
        x[..., : self.obs_dim] *= factor.view(-1, 1, 1)
        return x


class AgentNet(nn.Module):
    """Linear-ReLU ``fc_layers`` times, then GRU (or one more Linear-ReLU), then Linear: [rows, input_dim] -> [rows, A].

    PyMARL's RNN agent for ``fc_layers=1``; the official ReBorn code has two (docs/method.md 7.1, D22).

    Args:
        input_dim: Width of the input (observation, last action, agent id).
        n_actions: ``A``.
        hidden_dim: Width of every hidden layer, 64 in PyMARL.
        fc_layers: Linear-ReLU layers in front of the GRU, >= 1.
        recurrent: False puts a Linear-ReLU in place of the GRU.
    """

    def __init__(
        self, input_dim: int, n_actions: int, *, hidden_dim: int = 64, fc_layers: int = 1, recurrent: bool = True
    ) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * fc_layers
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            layers += [Linear(width_in, width_out), nn.ReLU()]
        self.encoder = DenseStack(*layers)
        self.hidden_dim = hidden_dim
        self.recurrent = recurrent
        self.memory: nn.GRU | nn.Sequential
        if recurrent:
            self.memory = nn.GRU(hidden_dim, hidden_dim)
        else:
            self.memory = DenseStack(Linear(hidden_dim, hidden_dim), nn.ReLU())
        self.head = Linear(hidden_dim, n_actions)

    @property
    def settings(self) -> dict[str, Any]:
        """What the constructor takes beyond the arguments of :class:`AgentNet`, as plain JSON data."""
        return {}

    @property
    def state_dim(self) -> int:
        """Width of the hidden state that acting carries from step to step; 0 for a feed-forward agent."""
        return self.hidden_dim if self.recurrent else 0

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One time step for acting: ``x`` [rows, input_dim], ``hidden`` [rows, state_dim] -> values [rows, A],
        hidden."""
        features, hidden = self.step_features(x, hidden)
        return self.values(features), hidden

    def step_features(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`step` up to what the head reads: features [rows, hidden_dim], hidden."""
        encoded = self.encoder(x)
        if isinstance(self.memory, nn.GRU):
            hidden = torch.gru_cell(encoded, hidden, *self.memory.parameters())
            return hidden, hidden
        return self.memory(encoded), hidden

    def unroll(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Whole sequences from a zero hidden state.

        Args:
            x: [sum(batch_sizes), input_dim], packed time-major.
            batch_sizes: Rows of each time step, never increasing.

        Returns:
            Values [sum(batch_sizes), A].
        """
        return self.values(self.unroll_features(x, batch_sizes))

    def unroll_features(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """:meth:`unroll` up to what the head reads: [sum(batch_sizes), hidden_dim]."""
        encoded = self.encoder(x)
        if isinstance(self.memory, nn.GRU):
            return gru_sequence(self.memory, encoded, batch_sizes)
        features: Tensor = self.memory(encoded)
        return features

    def values(self, features: Tensor) -> Tensor:
        """What acting compares: ``features`` [rows, hidden_dim] -> one value per action [rows, A]."""
        values: Tensor = self.head(features)
        return values

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """Every hidden layer; the GRU's neurons can be scored only.

        Args:
            prefix: In front of the names, where there are several networks.
        """
        linears = [module for module in self.encoder if isinstance(module, nn.Linear)]
        activations = [module for module in self.encoder if not isinstance(module, nn.Linear)]
        first_of_memory = self.memory if isinstance(self.memory, nn.GRU) else self.memory[0]
        readers = [*linears[1:], first_of_memory]
        layers = [
            HiddenLayer(f"{prefix}encoder.{2 * at}", source, activation, reader)
            for at, (source, activation, reader) in enumerate(zip(linears, activations, readers, strict=True))
        ]
        if isinstance(self.memory, nn.GRU):
            # Read in front of the head: training runs the GRU without calling it as a module.
            memory = HiddenLayer(
                f"{prefix}memory", self.memory, self.memory, self.head, read_at=self.head, score_only=GRU_SCORE_ONLY
            )
        else:
            memory = HiddenLayer(f"{prefix}memory.0", self.memory[0], self.memory[1], self.head)
        return [*layers, memory]


#: Makes one network of agents from the arguments of :class:`AgentNet`.
MakeAgentNet = Callable[..., AgentNet]


@functools.cache  # while a GPU captures an update, nothing can be copied to it
def _numbers(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return torch.tensor(numbers, device=device)


class AgentTeam(nn.Module):
    """The networks of all agents: one for all, one per group or one per agent.

    Args:
        net_of_agent: For each agent the number of its network, ``0..max``; ``(0,) * n`` shares one network.
        input_dim, n_actions, hidden_dim, fc_layers, recurrent: As in :class:`AgentNet`.
        make_net: Makes one network from these: :class:`AgentNet`, or a subclass with its own settings given.
    """

    def __init__(
        self,
        net_of_agent: Sequence[int],
        input_dim: int,
        n_actions: int,
        *,
        hidden_dim: int = 64,
        fc_layers: int = 1,
        recurrent: bool = True,
        make_net: MakeAgentNet = AgentNet,
    ) -> None:
        super().__init__()
        self.n_agents = len(net_of_agent)
        self.n_actions = n_actions
        self.members = [
            [agent for agent, net in enumerate(net_of_agent) if net == k] for k in range(max(net_of_agent) + 1)
        ]
        if not all(self.members):
            raise ValueError(f"net_of_agent is {tuple(net_of_agent)}; every number from 0 to the largest must occur.")
        self.nets = nn.ModuleList(
            make_net(input_dim, n_actions, hidden_dim=hidden_dim, fc_layers=fc_layers, recurrent=recurrent)
            for _ in self.members
        )

    def _net(self, number: int) -> AgentNet:
        return cast(AgentNet, self.nets[number])

    @property
    def state_dim(self) -> int:
        """Width of the hidden state per agent; 0 for feed-forward agents."""
        return self._net(0).state_dim

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [B, n, input_dim], ``hidden`` [B, n, state_dim] -> values [B, n, A], hidden."""
        batch = x.shape[0]
        if len(self.nets) == 1:
            q, h = self._net(0).step(x.flatten(0, 1), hidden.flatten(0, 1))
            return q.view(batch, self.n_agents, -1), h.view(batch, self.n_agents, -1)
        q = x.new_empty(batch, self.n_agents, self.n_actions)
        new_hidden = torch.empty_like(hidden)
        for number, agents in enumerate(self.members):
            q_part, h_part = self._net(number).step(x[:, agents].flatten(0, 1), hidden[:, agents].flatten(0, 1))
            q[:, agents] = q_part.view(batch, len(agents), -1)
            new_hidden[:, agents] = h_part.view(batch, len(agents), -1)
        return q, new_hidden

    def unroll(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """``x`` [rows, n, input_dim] with ``batch_sizes`` episodes per time step -> values [rows, n, A]."""
        return self.each(lambda net, of_net, sizes: net.unroll(of_net, sizes), x, batch_sizes)

    def unroll_features(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """:meth:`unroll` up to what the heads read: [rows, n, hidden_dim]."""
        return self.each(lambda net, of_net, sizes: net.unroll_features(of_net, sizes), x, batch_sizes)

    def each(
        self, work: Callable[[AgentNet, Tensor, Sequence[int]], Tensor], x: Tensor, batch_sizes: Sequence[int]
    ) -> Tensor:
        """Let every network do ``work`` on the rows of its agents.

        Args:
            work: Called with a network, the rows [r, input_dim] of its agents and their number at each time step, whose
                sum is r; returns [r, ...].
            x: [rows, n, input_dim].
            batch_sizes: Episodes per time step.

        Returns:
            [rows, n, ...].
        """
        rows = x.shape[0]

        def of_net(number: int, part: Tensor) -> Tensor:
            agents = part.shape[1]
            done = work(self._net(number), part.flatten(0, 1), [size * agents for size in batch_sizes])
            return done.view(rows, agents, *done.shape[1:])

        if len(self.nets) == 1:
            return of_net(0, x)
        parts = [of_net(number, x[:, agents]) for number, agents in enumerate(self.places(x.device))]
        return torch.cat(parts, dim=1).index_select(1, self.order(x.device))

    def places(self, device: torch.device) -> list[Tensor]:
        """For each network the numbers of its agents."""
        return [_numbers(tuple(agents), device) for agents in self.members]

    def order(self, device: torch.device) -> Tensor:
        """[n] where each agent stands when those of every network stand together, one network after the other."""
        together = [agent for agents in self.members for agent in agents]
        return _numbers(tuple(sorted(range(len(together)), key=together.__getitem__)), device)

    def hidden_layers_by_net(self, *, prefix: str = "") -> list[list[HiddenLayer]]:
        """Hidden layers of each network; names begin with ``nets.k.`` where there are several.

        Args:
            prefix: In front of all names.
        """
        several = len(self.nets) > 1
        return [
            self._net(number).hidden_layers(prefix=f"{prefix}nets.{number}." if several else prefix)
            for number in range(len(self.nets))
        ]

    def hidden_layers(self) -> list[HiddenLayer]:
        """Hidden layers of all networks."""
        return [layer for layers in self.hidden_layers_by_net() for layer in layers]
