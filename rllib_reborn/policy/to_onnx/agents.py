"""One step of the agents' networks as nodes of ONNX, for each kind of network the values that acting compares."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.cvar import tail_weights
from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, input_encoder
from rllib_reborn.nets.quantile_agent import QuantileAgentNet, midpoint_cosines
from rllib_reborn.nets.risk_agent import RiskAgentNet, RiskLevelPredictor, applied
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.to_onnx.encoders import encoder
from rllib_reborn.policy.to_onnx.graph import Graph
from rllib_reborn.policy.to_onnx.layers import gru_step, layer


def team_step(graph: Graph, team: AgentTeam, spec: PolicySpec, x: str, hidden: str) -> tuple[str, str]:
    """:meth:`AgentTeam.step`.

    Args:
        graph: Is added to.
        team: The networks.
        spec: Of the policy.
        x: [B, n, width], the networks' input (:attr:`PolicySpec.inputs`).
        hidden: [B, n, h]; of feed-forward agents never read.

    Returns:
        Values [B, n, A] and the next hidden state [B, n, h] (empty text: of feed-forward agents).
    """
    values, states = [], []
    alone = len(team.nets) == 1
    for number, agents in enumerate(team.members):
        net = cast(AgentNet, team.nets[number])
        places = graph.constant(agents)
        own, memory = (
            part if alone or not part else graph.add("Gather", part, places, axis=1)
            for part in (x, hidden if team.state_dim else "")
        )
        rows = graph.reshaped(own, -1, spec.inputs.width)
        path = f"nets.{number}"
        if isinstance(team, EncodedAgentTeam):
            rows = _encoded(graph, net, spec, rows, f"{path}.{_path_in(net, input_encoder(net))}")
        value, state = _net_step(graph, net, rows, graph.reshaped(memory, -1, team.state_dim) if memory else "", path)
        values.append(graph.reshaped(value, -1, len(agents), team.n_actions))
        states.append(graph.reshaped(state, -1, len(agents), team.state_dim) if state else "")
    if alone:
        return values[0], states[0]
    order = graph.constant(torch.tensor([agent for agents in team.members for agent in agents]).argsort())
    together = [
        graph.add("Gather", graph.add("Concat", *parts, axis=1), order, axis=1) if all(parts) else ""
        for parts in (values, states)
    ]
    return together[0], together[1]


def _encoded(graph: Graph, net: AgentNet, spec: PolicySpec, x: str, path: str) -> str:
    """Through the encoder, and past it what is not of the observation."""
    d, width = spec.obs_dim, spec.inputs.width
    own = input_encoder(net)[0]
    features = encoder(graph, own, graph.columns(x, 0, d, 1), f"{path}.0", d, spec.encoder)
    return graph.add("Concat", features, graph.columns(x, d, width, 1), axis=1) if width > d else features


def _path_in(net: nn.Module, part: nn.Module) -> str:
    return next(path for path, module in net.named_modules() if module is part)


def _net_step(graph: Graph, net: AgentNet, x: str, hidden: str, path: str) -> tuple[str, str]:
    """:meth:`AgentNet.step`: ``x`` [rows, width], ``hidden`` [rows, h] -> values [rows, A], hidden."""
    past = ""
    if isinstance(net, RiskAgentNet) and net.predictor is not None:
        own = graph.columns(hidden, 0, net.hidden_dim, 1)
        hidden, past = own, graph.columns(hidden, net.hidden_dim, 2 * net.hidden_dim, 1)
    read = layer(graph, net.encoder, x, f"{path}.encoder")
    if isinstance(net.memory, nn.GRU):
        features = after = gru_step(graph, net.memory, read, hidden, f"{path}.memory")
    else:
        features, after = layer(graph, net.memory, read, f"{path}.memory"), ""
    if isinstance(net, QuantileAgentNet):
        return _mean_of_quantiles(graph, net, features, path), after
    if not isinstance(net, RiskAgentNet):
        return layer(graph, net.head, features, f"{path}.head"), after
    if net.predictor is None:
        return _cvar(graph, net, features, "", path), after
    level = _level(graph, net, net.predictor, features, past, path)
    predictor = f"{path}.predictor"
    own_read = layer(graph, net.predictor.encoder, x, f"{predictor}.encoder")
    then = gru_step(graph, net.predictor.memory, own_read, past, f"{predictor}.memory")
    return _cvar(graph, net, features, level, path), graph.add("Concat", after, then, axis=1)


def _mean_of_quantiles(graph: Graph, net: QuantileAgentNet, features: str, path: str) -> str:
    """The embedding of the fixed fractions does not depend on the observation: its mean is one constant."""
    with torch.no_grad():
        head = cast(nn.Linear, net.head)
        phi = net.phi(midpoint_cosines(net.acting_quantiles, net.cosines, head.weight.device, head.weight.dtype))
        mean = phi.mean(0)
    weighted = graph.add("Mul", features, graph.constant(mean, f"{path}.mean_phi"))
    return layer(graph, net.head, weighted, f"{path}.head")


def _cvar(graph: Graph, net: RiskAgentNet, features: str, level: str, path: str) -> str:
    """CVaR of every action, [rows, A]; ``level`` [rows, 1] int64, or nothing where there is one for all."""
    atoms = graph.reshaped(layer(graph, net.head, features, f"{path}.head"), -1, net.atoms)
    official = net.compat == "official_code"
    weights = tail_weights(net.level_values, net.atoms, official_code=official).to(torch.float32)
    if len(weights) == 1 and bool((weights == weights[:, :1]).all()):  # their mean
        return graph.reshaped(graph.add("ReduceMean", atoms, graph.constant([1]), keepdims=0), -1, net.n_actions)
    of_levels = graph.add(
        "MatMul", graph.ascending(atoms, net.atoms), graph.constant(weights.t().contiguous(), f"{path}.tail_weights")
    )
    if not level:
        return graph.reshaped(of_levels, -1, net.n_actions)
    levels = len(net.level_values)
    chosen = graph.add("Equal", level, graph.constant([list(range(levels))]))  # [rows, K]
    as_numbers = graph.add("Unsqueeze", graph.numbers(chosen), graph.constant([1]))
    return graph.summed(graph.add("Mul", graph.reshaped(of_levels, -1, net.n_actions, levels), as_numbers), 2)


def _level(graph: Graph, net: RiskAgentNet, predictor: RiskLevelPredictor, features: str, past: str, path: str) -> str:
    """The number of the likeliest risk level, [rows, 1]: :meth:`RiskLevelPredictor.logits`."""
    weight, bias = (part.detach() for part in applied(net.head))
    of_atoms, of_bias = (part.detach() for part in applied(predictor.current[0]))
    name = f"{path}.predictor"
    folded: tuple[Tensor, Tensor] = (of_atoms @ weight, of_bias + of_atoms @ bias)
    current = graph.linear(
        features, *folded, (f"{name}.current_of_features.weight", f"{name}.current_of_features.bias")
    )
    history = layer(graph, predictor.history, past, f"{name}.history")
    embeddings = graph.reshaped(history, -1, predictor.levels, predictor.embedding_dim)
    products = graph.add("Mul", embeddings, graph.add("Unsqueeze", current, graph.constant([1])))
    logits = graph.add("Div", graph.summed(products, 2), graph.constant(math.sqrt(predictor.embedding_dim)))
    return graph.add("ArgMax", logits, axis=1, keepdims=1)
