"""What layers of neurons do on a batch: means over rows, taken by hooks while the network runs; weights are never
written.

:func:`recording` and :func:`measure` watch activations and leave no trace in the autograd graph;
:func:`recording_gradients` watches the gradients of a backward pass that the caller runs anyway.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from rllib_reborn.plasticity.neuron_layers import NeuronLayer, by_key

#: Rows of activations kept for ranks, evenly spaced over the batch.
FEATURE_ROWS = 512

#: Rows that are summed at a time on a CPU.
_CPU_ROWS = 1024

#: Fractional part of the golden ratio, see :class:`_Spread`.
_GOLDEN = 0.6180339887498949


@dataclasses.dataclass(frozen=True)
class LayerStatistics:
    """Activations h [rows, H] of one layer on one batch, summarised.

    All tensors lie where the activations do; means are summed in float64 and given in the activations' dtype (float32
    for half precision).

    Attributes:
        mean_abs: [H] E|h_i| (docs/method.md 1).
        mean: [H] E h_i, what the next layer would miss (bias compensation, docs/method.md 5.4).
        nonzero: [H] share of rows with h_i != 0; 0 is a dead neuron.
        rows: Rows that counted.
        features: [<= FEATURE_ROWS, H] some of the rows, evenly spaced; None where none were kept.
        active: [H] bool, see :attr:`NeuronLayer.active`.
    """

    mean_abs: Tensor
    mean: Tensor
    nonzero: Tensor
    rows: int
    features: Tensor | None
    active: Tensor


@contextlib.contextmanager
def recording(
    layers: Sequence[NeuronLayer],
    *,
    row_masks: Mapping[str, Tensor] | None = None,
    feature_rows: int = FEATURE_ROWS,
) -> Iterator[Callable[[], dict[str, LayerStatistics]]]:
    """While the block runs, what ``layers`` do is recorded; hooks are gone afterwards, whatever happens.

    Args:
        layers: What to watch. A layer whose hook fires several times sums over the calls.
        row_masks: By ``net``, or by layer key where one layer of a net sees other rows (the key wins): bool, as many
            entries as the hooked tensor has rows (all dimensions but the neurons', flattened in order); rows that are
            False (padding, dead agents) do not count. Nets without an entry count every row. A hook that fires several
            times uses the mask each time.
        feature_rows: Rows kept for ranks; 0 keeps none.

    Yields:
        A function that gives the statistics by :attr:`NeuronLayer.key`; call it after the network ran. It raises
        ValueError for a layer whose hook never fired, that saw no row that counts, or whose activations are not finite.

    Raises:
        ValueError: Two layers have the same key, a mask is not bool, ``feature_rows`` is negative; and, while the
            network runs, a hooked tensor does not have the layer's width or a mask does not have its rows.
    """
    if feature_rows < 0:
        raise ValueError(f"feature_rows is {feature_rows}; expected a whole number >= 0.")
    masks = row_masks or {}
    for name, mask in masks.items():
        if mask.dtype is not torch.bool:
            raise ValueError(f"row mask {name!r} is {mask.dtype}; expected torch.bool, e.g. mask > 0.")
    sums = {
        key: _Sums(layer, masks.get(key, masks.get(layer.net)), feature_rows) for key, layer in by_key(layers).items()
    }
    handles: list[RemovableHandle] = []
    try:
        for one in sums.values():
            handles.append(one.layer.hook.attach(one.add))
        yield lambda: {key: one.summary() for key, one in sums.items()}
    finally:
        for handle in handles:
            handle.remove()


def measure(
    layers: Sequence[NeuronLayer],
    forward: Callable[[], Any],
    *,
    row_masks: Mapping[str, Tensor] | None = None,
    feature_rows: int = FEATURE_ROWS,
) -> dict[str, LayerStatistics]:
    """Statistics of ``layers`` during one call of ``forward()``, which runs without gradients.

    Args, raises: See :func:`recording`.
    """
    with torch.no_grad(), recording(layers, row_masks=row_masks, feature_rows=feature_rows) as statistics:
        forward()
    return statistics()


@dataclasses.dataclass(frozen=True)
class GradientStatistics:
    """Gradients of a loss at one layer, summarised.

    Attributes:
        mean_abs: [H] E|dL/dz_i|, z the pre-activation (docs/method.md 9.2, GraMa); E|dL/dh_i| where not
            ``preactivation``.
        rows: Rows of the tensors that a gradient came back to.
        preactivation: Whether it is dL/dz. False where only the activations' side can be seen: see
            :func:`recording_gradients`.
        active: [H] bool, see :attr:`NeuronLayer.active`.
    """

    mean_abs: Tensor
    rows: int
    preactivation: bool
    active: Tensor


@contextlib.contextmanager
def recording_gradients(layers: Sequence[NeuronLayer]) -> Iterator[Callable[[], dict[str, GradientStatistics]]]:
    """While the block runs, forward AND backward, the gradients that come back to ``layers`` are recorded.

    Run the loss and its ``backward()`` (or ``torch.autograd.grad``) inside; the gradients themselves are not changed.
    Rows without influence on the loss (padding) have gradient 0 and lower all neurons of a layer alike, so relative
    scores need no mask.

    Where the hook is the activation module itself (the kind that :attr:`NeuronLayer.activation` names), the gradient of its
    *input* is taken: dL/dz for any activation. Elsewhere only h is seen: for ReLU dL/dz = dL/dh * 1[h > 0] and for Identity
    dL/dz = dL/dh, both exact; for all others dL/dh is given and ``preactivation`` is False.

    Yields:
        A function that gives the statistics by key; call it after the backward pass. It raises ValueError for a layer
        that no gradient came back to.
    """
    sums = {key: _GradientSums(layer) for key, layer in by_key(layers).items()}
    handles: list[RemovableHandle] = []
    try:
        for one in sums.values():
            handles.append(one.attach())
        yield lambda: {key: one.summary() for key, one in sums.items()}
    finally:
        for handle in handles:
            handle.remove()
        for one in sums.values():
            one.close()


class _Sums:
    """Running sums over the rows of one layer."""

    def __init__(self, layer: NeuronLayer, mask: Tensor | None, feature_rows: int) -> None:
        self.layer = layer
        self._mask = None if mask is None else mask.detach().reshape(-1)
        self._spread = _Spread(feature_rows)
        self._sums: Tensor | None = None  # [3, H]: |h|, h, h != 0
        self._fired = 0
        self._rows = 0
        self._dtype = torch.float32

    def add(self, h: Tensor) -> None:
        """Count the rows of ``h`` [..., H]. Returns nothing: what a hook returns would replace the tensor."""
        rows = _as_rows(h, self.layer)
        self._fired += 1
        if self._mask is not None:
            mask = self._mask
            if self.layer.hook.neuron_dim == 1 and len(mask) == len(h) and h.dim() > 2:
                mask = mask.repeat_interleave(len(rows) // len(h))  # channels: a picture counts in all of its places
            if len(mask) != len(rows):
                raise ValueError(
                    f"{self.layer.key}: the row mask has {len(mask)} entries, the layer saw {len(rows)} rows; "
                    "expected one entry per row, in the order of the flattened tensor (give the layer's key a mask "
                    "of its own where it sees other rows than its net)."
                )
            rows = rows[mask.to(rows.device)]
        sums = _column_sums(rows)
        self._sums = sums if self._sums is None else self._sums + sums
        self._rows += len(rows)
        self._dtype = torch.promote_types(rows.dtype, torch.float32)
        self._spread.add(rows)

    def summary(self) -> LayerStatistics:
        key = self.layer.key
        if self._sums is None:
            raise ValueError(
                f"{key}: its hook on {type(self.layer.hook.module).__name__} never fired while recording; run the "
                "network inside the block, and hook a module that is called (for an activation that is called as a function "
                "the next module, ActivationHook.side 'input')."
            )
        if self._rows == 0:
            raise ValueError(f"{key}: none of the rows counts in {self._fired} calls; check the row mask.")
        mean_abs, mean, nonzero = (self._sums / self._rows).unbind()
        broken = int((~mean_abs.isfinite()).sum())
        if broken:
            raise ValueError(
                f"{key}: activations of {broken} of {self.layer.width} neurons are NaN or infinite; the network has "
                "diverged (or rows of padding hold such values: give a row mask)."
            )
        features = self._spread.rows()
        return LayerStatistics(
            mean_abs=mean_abs.to(self._dtype),
            mean=mean.to(self._dtype),
            nonzero=nonzero.to(self._dtype),
            rows=self._rows,
            features=None if features is None else features.to(self._dtype),
            active=self.layer.active_mask(mean_abs.device),
        )


class _Spread:
    """At most ``most`` of a stream of rows, evenly spread over it, in bounded memory and without randomness.

    Row i has the number frac(i * golden ratio), and the rows with the lowest numbers are kept: their gaps take at most
    three values whatever the length, and unlike a fixed stride they never lock into a period of the layout (every n-th
    row being agent 0).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows_so_far = 0
        self._numbers = torch.empty(0, dtype=torch.float64)
        self._kept: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        if self._most == 0 or len(rows) == 0:
            return
        numbers = (
            torch.arange(self._rows_so_far, self._rows_so_far + len(rows), dtype=torch.float64).mul_(_GOLDEN).frac_()
        )
        self._rows_so_far += len(rows)
        numbers, index = self._lowest(numbers)
        rows = rows.index_select(0, index.to(rows.device))
        if self._kept is None:
            self._numbers, self._kept = numbers, rows
            return
        self._numbers, index = self._lowest(torch.cat([self._numbers, numbers]))
        self._kept = torch.cat([self._kept, rows]).index_select(0, index.to(rows.device))

    def _lowest(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest numbers in the order given, and where they are."""
        if len(numbers) <= self._most:
            return numbers, torch.arange(len(numbers))
        index = torch.topk(numbers, self._most, largest=False).indices.sort().values
        return numbers[index], index

    def rows(self) -> Tensor | None:
        return self._kept


class _GradientSums:
    """Running sums of |gradient| over the rows of one layer."""

    def __init__(self, layer: NeuronLayer) -> None:
        self._layer = layer
        self._at_activation = type(layer.hook.module).__name__ == layer.activation
        self._sum: Tensor | None = None
        self._rows = 0
        self._dtype = torch.float32
        self._handles: list[RemovableHandle] = []

    def attach(self) -> RemovableHandle:
        # Not ActivationHook.attach: it moves the neurons last by a view that nothing else reads, so no gradient would
        # come back to it.
        module = self._layer.hook.module
        if self._at_activation or self._layer.hook.side == "input":
            return module.register_forward_pre_hook(lambda module, args: self._watch(args[0]))
        return module.register_forward_hook(lambda module, args, output: self._watch(output))

    def close(self) -> None:
        """The graph may outlive the block."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _watch(self, value: Tensor) -> None:
        """z or h passes; count its gradient when it comes back."""
        if not value.requires_grad:
            return
        # h > 0 now, since an in-place operation may change it later; the gate of the only activation that h alone
        # tells.
        gate = None if self._at_activation or self._layer.activation != "ReLU" else value.detach() > 0

        def count(grad: Tensor) -> None:
            size = grad.detach().abs()
            rows = _as_rows(
                (size if gate is None else size * gate).movedim(self._layer.hook.neuron_dim, -1), self._layer
            )
            total = rows.sum(0, dtype=wide_dtype(rows))
            self._sum = total if self._sum is None else self._sum + total
            self._rows += len(rows)
            self._dtype = torch.promote_types(rows.dtype, torch.float32)

        self._handles.append(value.register_hook(count))

    def summary(self) -> GradientStatistics:
        if self._sum is None:
            raise ValueError(
                f"{self._layer.key}: no gradient came back to it; run the loss and its backward pass inside the block, with "
                "gradients enabled and the layer on the way from the parameters to the loss."
            )
        return GradientStatistics(
            mean_abs=(self._sum / self._rows).to(self._dtype),
            rows=self._rows,
            preactivation=self._at_activation or self._layer.activation in ("ReLU", "Identity"),
            active=self._layer.active_mask(self._sum.device),
        )


def wide_dtype(like: Tensor) -> torch.dtype:
    """What sums over many rows are taken in: float64, where the device has it."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def _column_sums(rows: Tensor) -> Tensor:
    """[rows, H] -> [3, H] sums of |h|, h and 1[h != 0], wide."""
    count, width = rows.shape
    # On a CPU in parts that stay in cache, through one buffer: fresh memory for wide copies costs several times the
    # sums.
    most = min(count, _CPU_ROWS) if rows.device.type == "cpu" else count
    buffer = rows.new_empty(most, width, dtype=wide_dtype(rows))
    total = buffer.new_zeros(3, width)
    for part in rows.split(max(1, most)):
        wide = buffer[: len(part)].copy_(part)
        total[1] += wide.sum(0)
        total[0] += wide.abs_().sum(0)
        total[2] += wide.sign_().sum(0)
    return total


def _as_rows(h: Tensor, layer: NeuronLayer) -> Tensor:
    """[..., H] -> [rows, H], out of the graph."""
    if h.dim() == 0 or h.shape[-1] != layer.width:
        raise ValueError(
            f"{layer.key}: its hook gave a tensor with {list(h.shape)[-1:]} neurons last; expected {layer.width} (is "
            f"ActivationHook.neuron_dim={layer.hook.neuron_dim} the neurons' dimension, and is the hooked module used by "
            "this layer alone?)."
        )
    return h.detach().reshape(-1, layer.width)
