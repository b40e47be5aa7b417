"""Encoders of observations as nodes of ONNX: the shipped ones layer by layer, others as torch traces them."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.encoders.cnn import CNN
from rllib_reborn.nets.encoders.convolutions import PictureNet
from rllib_reborn.nets.encoders.per_field import PerField, VectorNet
from rllib_reborn.obs_parts import ObsLayout
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.to_onnx.graph import OPSET, Graph
from rllib_reborn.policy.to_onnx.layers import layer
from rllib_reborn.policy.to_onnx.packages import TRACING, package

_MOST_TEXT = 300


def encoder(graph: Graph, module: nn.Module, x: str, path: str, dim: int, name: str) -> str:
    """What an encoder makes of observations.

    Args:
        graph: Is added to.
        module: The encoder.
        x: [rows, dim] float32.
        path: Of the encoder in the policy.
        dim: Numbers of an observation.
        name: What settings call it, for messages.

    Returns:
        [rows, width].

    Raises:
        PolicyError: It is somebody's own, and cannot be traced.
    """
    if isinstance(module, CNN):
        return _picture(graph, module.net, x, f"{path}.net")
    if isinstance(module, PerField):
        fields = [
            _field(graph, net, graph.columns(x, part.start, part.stop, 1), f"{path}.fields.{number}")
            for number, (net, part) in enumerate(zip(module.fields, module.columns, strict=True))
        ]
        return graph.add("Concat", *fields, axis=1)
    return _traced(graph, module, x, path, dim, name)


def _field(graph: Graph, net: nn.Module, x: str, path: str) -> str:
    if isinstance(net, PictureNet):
        return _picture(graph, net, x, path)
    vector = cast(VectorNet, net)
    return layer(graph, vector.net, _scaled(graph, vector.layout, x), f"{path}.net")


def _picture(graph: Graph, net: PictureNet, x: str, path: str) -> str:
    pictures = graph.reshaped(_scaled(graph, net.layout, x), -1, *net.shape)
    if not net.channels_first:
        pictures = graph.add("Transpose", pictures, perm=[0, 3, 1, 2])
    features = graph.add("Flatten", layer(graph, net.convs, pictures, f"{path}.convs"), axis=1)
    return layer(graph, net.out, features, f"{path}.out")


def _scaled(graph: Graph, layout: ObsLayout, x: str) -> str:
    return x if layout.scale == 1 else graph.add("Mul", x, graph.constant(float(layout.scale)))


def _traced(graph: Graph, module: nn.Module, x: str, path: str, dim: int, name: str) -> str:
    """The nodes that torch's exporter makes of an encoder, put into ``graph`` with names of their own."""
    onnx = package("onnx")
    package(TRACING, f"an ONNX file with the encoder {name!r}")
    given, made = f"{path}.in", f"{path}.out"
    try:
        with _without_a_word():
            program = torch.onnx.export(
                _plain(module),
                (torch.zeros(2, dim),),
                dynamo=True,
                input_names=[given],
                output_names=[made],
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                opset_version=OPSET,
                verbose=False,
            )
            model = package("onnx.inliner").inline_local_functions(cast(Any, program).model_proto)
    except Exception as error:  # whatever torch's exporter raises, and what it calls
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:_MOST_TEXT]
        raise PolicyError(
            f"the encoder {name!r} cannot be traced for ONNX ({reason}); write its forward without branches on numbers, or "
            "export without --onnx."
        ) from error
    model = package("onnx.compose").add_prefix(model, f"{path}.", rename_inputs=False, rename_outputs=False)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise PolicyError(
            f"the encoder {name!r} is traced with other inputs than the observation; export without --onnx."
        )
    _check_operators(model, name)
    graph.constants |= {constant.name: constant for constant in model.graph.initializer}
    graph.nodes.append(onnx.helper.make_node("Identity", [x], [model.graph.input[0].name]))
    graph.nodes += list(model.graph.node)
    return str(model.graph.output[0].name)


def _check_operators(model: Any, name: str) -> None:
    versions = {used.domain: used.version for used in model.opset_import}
    own = sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if own or versions.get("", OPSET) != OPSET:
        what = f"the operators {', '.join(own)}" if own else f"the operators of opset {versions['']}, not {OPSET}"
        raise PolicyError(f"the encoder {name!r} needs {what}, which are not ONNX's own; export without --onnx.")


def _plain(module: nn.Module) -> nn.Module:
    """A copy whose Linears are torch's: ours looks at the number of rows, which is open while torch traces."""
    plain = copy.deepcopy(module).eval().cpu()
    for part in plain.modules():
        if type(part) is Linear:
            cast(Any, part).__class__ = nn.Linear
    return plain


@contextlib.contextmanager
def _without_a_word() -> Iterator[None]:
    """Without the warnings that torch's exporter has for its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
