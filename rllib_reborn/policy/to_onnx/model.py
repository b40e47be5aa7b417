"""The ONNX file of a policy: its graph, what its inputs and outputs are, and where it comes from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rllib_reborn._version import __version__
from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.to_onnx.agents import team_step
from rllib_reborn.policy.to_onnx.graph import OPSET, Graph
from rllib_reborn.policy.to_onnx.packages import package

#: Of the same age as the operators, so that runtimes of 2023 read it.
_IR_VERSION = 8
#: A protobuf message has less than 2 GiB; nodes and names take some.
_MOST_BYTES = 1_900_000_000

OBS, MASK, LAST, HIDDEN = "obs", "action_mask", "last_actions", "hidden"
VALUES, ACTIONS, NEXT_HIDDEN = "values", "actions", "next_hidden"


def onnx_model(spec: PolicySpec, team: AgentTeam, weights_sha256: str) -> bytes:
    """One step of a policy as the bytes of an ONNX file.

    Inputs: ``obs`` [B, n, d] float32, as the environment gives them; ``action_mask`` [B, n, A] bool; where agents see their
    last actions, ``last_actions`` [B, n] int64, -1 at the start of an episode; where they remember, ``hidden`` [B, n, h]
    float32, 0 at the start of an episode. Outputs: ``values`` [B, n, A] float32 of all actions; ``actions`` [B, n] int64,
    the allowed ones of highest value, -1 of an agent that may do nothing or whose numbers are not finite;
    ``next_hidden``, the next step's ``hidden``. B is open.

    Args:
        spec: Sizes and settings.
        team: The networks, of plain layers.
        weights_sha256: Of the plain policy's weights, to be noted.

    Raises:
        PolicyError: A package is missing, a layer or an encoder cannot be written, or the weights are too many.
    """
    onnx = package("onnx")
    size = sum(value.numel() * value.element_size() for value in team.state_dict().values())
    if size > _MOST_BYTES:
        raise PolicyError(
            f"its weights are {size:,} bytes, and one ONNX file holds at most {_MOST_BYTES:,}; export without --onnx."
        )
    helper, types = onnx.helper, onnx.TensorProto
    n, n_actions, h = spec.n_agents, spec.n_actions, team.state_dim
    graph = Graph()
    x = _input(graph, spec)
    values, hidden = team_step(graph, team, spec, x, HIDDEN)
    graph.add("Identity", values, out=VALUES)
    finite = _is_finite(graph, [x, VALUES, *([HIDDEN] if h else [])])
    _choose(graph, finite)
    if h:
        graph.add("Identity", hidden, out=NEXT_HIDDEN)

    def described(name: str, kind: int, *shape: int, text: str) -> Any:
        return helper.make_tensor_value_info(name, kind, ["B", n, *shape], text)

    inputs = [
        described(OBS, types.FLOAT, spec.obs_dim, text="observations, agents in the order of the metadata's agents"),
        described(MASK, types.BOOL, n_actions, text="True: the action is allowed"),
    ]
    outputs = [
        described(VALUES, types.FLOAT, n_actions, text="value of each action, forbidden ones too"),
        described(ACTIONS, types.INT64, text="the allowed action of highest value; -1: none is allowed, or not finite"),
    ]
    if spec.last_action:
        inputs.append(described(LAST, types.INT64, text="actions of the step before; -1 at the start of an episode"))
    if h:
        inputs.append(
            described(HIDDEN, types.FLOAT, h, text="next_hidden of the step before; 0 at the start of an episode")
        )
        outputs.append(described(NEXT_HIDDEN, types.FLOAT, h, text="hidden of the next step"))
    made = helper.make_graph(graph.nodes, "policy_step", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="rllib_reborn",
        producer_version=__version__,
        doc_string="One greedy step of a team; call it once a step with what it gave the step before.",
    )
    helper.set_model_props(model, _metadata(spec, h, weights_sha256))
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _metadata(spec: PolicySpec, state_dim: int, weights_sha256: str) -> dict[str, str]:
    facts: dict[str, Any] = {
        "algorithm": spec.algorithm,
        "env": spec.env,
        "agents": list(spec.agent_ids),
        "agent_groups": list(spec.agent_groups),
        "n_actions": spec.n_actions,
        "obs_dim": spec.obs_dim,
        "hidden_dim": state_dim,
        "rllib_reborn": __version__,
        "weights_sha256": weights_sha256,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def _input(graph: Graph, spec: PolicySpec) -> str:
    """The networks' input, [B, n, width], as :attr:`PolicySpec.inputs` puts it together."""
    scaled = spec.obs_scale != 1 and not spec.encoder  # encoders do it themselves
    parts = [graph.add("Mul", OBS, graph.constant(float(spec.obs_scale))) if scaled else OBS]
    if spec.last_action:
        # One-hot by comparison: -1 equals no action and leaves zeros.
        last = graph.add("Unsqueeze", LAST, graph.constant([2]))
        parts.append(graph.numbers(graph.add("Equal", last, graph.constant(np.arange(spec.n_actions)))))
    if spec.agent_id:
        n = spec.n_agents
        games = graph.add("Shape", OBS, start=0, end=1)
        shape = graph.add("Concat", games, graph.constant([n, n]), axis=0)
        parts.append(graph.add("Expand", graph.constant(np.eye(n, dtype=np.float32), "agent_ids"), shape))
    return graph.add("Concat", *parts, axis=2) if len(parts) > 1 else graph.add("Identity", OBS)


def _is_finite(graph: Graph, parts: list[str]) -> str:
    """[B, n] whether all numbers of an agent are: 0 times any other one is no 0."""
    together = graph.add("Concat", *parts, axis=2)
    zero = graph.summed(graph.add("Mul", together, graph.constant(0.0)), 2)
    return graph.add("Equal", zero, graph.constant(0.0))


def _choose(graph: Graph, finite: str) -> None:
    best = graph.add(
        "ArgMax",
        graph.add("Where", MASK, VALUES, graph.constant(-np.inf)),
        axis=2,
        keepdims=0,
    )
    allowed = graph.add("Greater", graph.summed(graph.numbers(MASK), 2), graph.constant(0.0))
    graph.add("Where", graph.add("And", allowed, finite), best, graph.constant(-1), out=ACTIONS)
