"""A graph of ONNX that grows node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rllib_reborn.policy.to_onnx.packages import package

#: Of 2023 (onnx 1.13): the first set of operators in which those used here have the form that they have today, and which
#: torch's exporter writes too.
OPSET = 18


class Graph:
    """Nodes in the order of their computation, and constants by name.

    Values are named by texts: an input of the graph, a constant, or what :meth:`add` returned.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._unnamed: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._onnx = package("onnx")

    def add(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """One more node of one output.

        Args:
            operator: Name in :data:`OPSET` of ONNX's own operators.
            inputs: Values that it reads.
            out: Name of its output; default: a new one.
            attributes: As the operator has them.

        Returns:
            The name of its output.
        """
        name = out or f"{operator}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: npt.ArrayLike | Tensor, name: str | None = None) -> str:
        """A constant; numbers that are no whole ones become float32, whole ones int64.

        Args:
            value: Numbers of any shape.
            name: Default: one that says what it is; equal constants without a name are one.
        """
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype != np.bool_:
            array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        if name is None:
            name = self._unnamed.setdefault(
                (str(array.dtype), array.shape, array.tobytes()), f"constant_{len(self.constants)}"
            )
        if name not in self.constants:
            self.constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def reshaped(self, x: str, *shape: int) -> str:
        """``x`` in another shape, one of whose sizes may be -1: whatever is left."""
        return self.add("Reshape", x, self.constant(shape))

    def columns(self, x: str, begin: int, end: int, axis: int) -> str:
        """``x`` from ``begin`` to ``end`` of an axis."""
        return self.add("Slice", x, *(self.constant([number]) for number in (begin, end, axis)))

    def summed(self, x: str, axis: int, *, keep: bool = False) -> str:
        """The sum over an axis."""
        return self.add("ReduceSum", x, self.constant([axis]), keepdims=int(keep))

    def numbers(self, x: str) -> str:
        """``x`` as float32: 0 and 1 of truth values."""
        return self.add("Cast", x, to=self._onnx.TensorProto.FLOAT)

    def ascending(self, x: str, width: int) -> str:
        """``x`` [rows, width] with each row sorted, lowest first."""
        name = f"TopK_{len(self.nodes)}"
        inputs, outputs = [x, self.constant([width])], [name, f"{name}_places"]
        self.nodes.append(self._onnx.helper.make_node("TopK", inputs, outputs, name=name, axis=1, largest=0, sorted=1))
        return name

    def linear(self, x: str, weight: Tensor, bias: Tensor | None, names: Sequence[str]) -> str:
        """``x`` [rows, in] times ``weight`` [out, in] transposed, plus ``bias`` [out].

        Args:
            names: Of the constants weight and bias.
        """
        parts = [self.constant(weight, names[0])]
        if bias is not None:
            parts.append(self.constant(bias, names[1]))
        return self.add("Gemm", x, *parts, transB=1)
