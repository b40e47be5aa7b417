"""Matrix products of many rows by oneDNN, where that is faster than MKL.

torch takes MKL for float32 products. MKL runs half-width kernels on an AMD CPU. Where such a CPU computes 512 bits at once
(Zen 5) oneDNN, which comes with torch too, takes half of MKL's time; where it takes two halves of 256 bits (Zen 4), and
on an Intel CPU, MKL is the faster one for the small products of a time step (``docs/results/speed.md``). What the CPU says
of itself decides, and no measurement: equal runs must do equal sums. torch offers oneDNN's product only as the operator that
its own compiler calls, so that name is kept here, in one place, with a test.

oneDNN compiles a kernel for every new row count (about a millisecond) and keeps the last 1,024, and whole sequences of
variable length have a new count at every update. So long inputs are cut into blocks of a few sizes, and the rest is MKL's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Rows of one call: enough for oneDNN's full speed, few enough for input and output to stay in a core's cache.
_BLOCK = 2048
#: Row counts that are one call: up to a block, multiples of the first number; beyond it, for a product, of the second, which
#: batches of full-length episodes often are (32 episodes of 8 agents) and others hardly ever.
_WHOLE, _MANY_WHOLE = 32, 256
#: What is left over from blocks goes to oneDNN in multiples of this, and below it to MKL: for a product, and for a sum over
#: rows (a weight's gradient), which is slower in small parts.
REST, SUM_REST = 64, 256
#: A gradient of fewer rows or columns is MKL's, which is as fast there.
_NARROW = 16

#: AMD's family number of Zen 5, the first that computes 512 bits at once.
_ZEN_5 = 0x1A


def is_wide_amd(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux reports that this is an AMD CPU from Zen 5 on; elsewhere torch's own choice stands."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    family = re.search(r"^cpu family\s*:\s*(\d+)", text, re.MULTILINE)
    return "AuthenticAMD" in text and family is not None and int(family[1]) >= _ZEN_5


def find_operator() -> Any:
    if not torch.backends.mkldnn.is_available() or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return None
    packet = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return None if packet is None else packet.default


#: oneDNN's product; None where MKL is the faster one.
operator = find_operator() if is_wide_amd() else None


def one_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` in one call of oneDNN, for callers with few different row counts; without a gradient.

    Args:
        x: [rows, k] float32; copied unless contiguous.
        weight: [width, k]; contiguous, or the transpose of a contiguous one: any other layout meets a loop in oneDNN that is
            thousands of times slower.
        bias: [width], contiguous, or None.
    """
    if operator is None or x.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    result: Tensor = operator(x, weight, bias, "none", [], "")
    return result


def sum_by_onednn(total: Tensor, x: Tensor, weight: Tensor, out: Tensor) -> None:
    """``out = total + x @ weight`` by :func:`one_product`; ``weight`` [k, width] contiguous, ``out`` may be ``total``."""
    torch.add(total, one_product(x, weight.t(), None), out=out)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, without a gradient.

    Args:
        x: [rows, k] float32 on the CPU.
        weight: [width, k]; layouts as in :func:`one_product`.
        bias: [width], or None.

    Returns:
        [rows, width].
    """
    if operator is None:
        return functional.linear(x, weight, bias)
    if len(x) > _BLOCK and len(x) % _MANY_WHOLE == 0:
        return one_product(x, weight, bias)
    pieces = list(pieces_of(len(x), REST))
    if len(pieces) == 1:
        return _piece(x, weight, bias, pieces[0][1])
    out = x.new_empty(len(x), len(weight))
    for rows, of_onednn in pieces:
        out[rows] = _piece(x[rows], weight, bias, of_onednn)
    return out


def _piece(x: Tensor, weight: Tensor, bias: Tensor | None, of_onednn: bool) -> Tensor:
    return one_product(x, weight, bias) if of_onednn else functional.linear(x, weight, bias)


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """``grad.T @ x``: the gradient of a weight [width, k] from that of its output [rows, width] and its input [rows, k]."""
    if operator is None or len(x) < SUM_REST or min(x.shape[1], grad.shape[1]) < _NARROW:
        return grad.t().mm(x)
    terms = (_sum_over_rows(grad[rows], x[rows], of_onednn) for rows, of_onednn in pieces_of(len(x), SUM_REST))
    total = next(terms)
    for term in terms:
        total.add_(term)
    return total


def pieces_of(rows: int, rest: int) -> Iterator[tuple[slice, bool]]:
    """Parts of ``rows`` rows, and whether each is oneDNN's."""
    if rows <= _BLOCK and rows % _WHOLE == 0:
        yield slice(0, rows), True
        return
    at = 0
    while rows - at >= rest:
        size = min(_BLOCK, (rows - at) // rest * rest)
        yield slice(at, at + size), True
        at += size
    if at < rows:
        yield slice(at, rows), False


def _sum_over_rows(grad: Tensor, x: Tensor, of_onednn: bool) -> Tensor:
    if not of_onednn:
        return grad.t().mm(x)
    # oneDNN's first operand is copied into rows: the narrower one is.
    if x.shape[1] < grad.shape[1]:
        return one_product(x.t(), grad.contiguous().t(), None).t()
    return one_product(grad.t(), x.contiguous().t(), None)
