"""Linear layers with room for what a method adds later: allocated when the network is built, empty until it is used.

Parameters cannot appear in the middle of a run: targets, optimizer, DistributedDataParallel and checkpoints would not know
them. Both layers compute what the ``nn.Linear`` they are made from computes, keep its Parameter objects or draw none at
random, and hold all they decide by in buffers, so that checkpoints, copies and other ranks have it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rllib_reborn.nets.gradient_mask import GradientMasked


class SlottedLinear(GradientMasked, nn.Linear):
    """A wider Linear whose added rows and columns are zero until a method puts neurons there (KNIFE), and always frozen.

    Added rows and columns come last. The forward pass is nn.Linear's own, so that code which reads ``weight`` and ``bias``
    directly works unchanged.

    Args:
        linear: What it is made from.
        rows, columns: Spare outputs and inputs to add, >= 0.

    Attributes:
        spare_rows, spare_columns: How many there are.
        active: [out] bool: outputs that take part (:attr:`NeuronLayer.active`); spare ones do when they are used.
        column_active: [in] bool: inputs that take part, the same for the neurons that it reads.
        untreated: [out] bool: outputs that no method has put anything new in; False for spare ones.
        trainable: [out] bool: outputs whose weights and bias may move: all but the spare ones.
        column_trainable: [in] bool: inputs whose weights may move: all but the spare ones.
    """

    spare_rows: int
    spare_columns: int
    active: Tensor
    column_active: Tensor
    trainable: Tensor
    untreated: Tensor
    column_trainable: Tensor

    def __init__(self, linear: nn.Linear, *, rows: int = 0, columns: int = 0) -> None:
        nn.Module.__init__(self)  # not nn.Linear's, which draws weights
        wider = linear if isinstance(linear, SlottedLinear) else None
        before_out, before_in = linear.weight.shape
        self.spare_rows = rows + (wider.spare_rows if wider is not None else 0)
        self.spare_columns = columns + (wider.spare_columns if wider is not None else 0)
        self.out_features, self.in_features = before_out + rows, before_in + columns
        weight = linear.weight.new_zeros(self.out_features, self.in_features)
        weight[:before_out, :before_in] = linear.weight.detach()
        self.weight = nn.Parameter(weight)
        if linear.bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.cat([linear.bias.detach(), linear.bias.new_zeros(rows)]))

        def widened(name: str, before: int, spare: int) -> Tensor:
            old = wider.get_buffer(name) if wider is not None else weight.new_ones(before, dtype=torch.bool)
            return torch.cat([old, old.new_zeros(spare)])

        self.register_buffer("active", widened("active", before_out, rows))
        self.register_buffer("column_active", widened("column_active", before_in, columns))
        self.register_buffer("untreated", widened("untreated", before_out, rows))
        # These follow from the sizes, so checkpoints need not hold them.
        self.register_buffer("trainable", widened("trainable", before_out, rows), persistent=False)
        column_trainable = widened("column_trainable", before_in, columns)
        self.register_buffer("column_trainable", column_trainable, persistent=False)
        self.mask_gradients()

    def gradient_mask(self, name: str) -> Tensor:
        return self.trainable if name == "bias" else self.trainable.unsqueeze(1) & self.column_trainable

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, spare_rows={self.spare_rows}, spare_columns={self.spare_columns}"


class InjectedLinear(GradientMasked, nn.Linear):
    """``out = (W + (N - C)) x + (b + (n - c))`` with W, N, C of equal shape (plasticity injection, docs/method.md 9.2).

    Before the first injection N = C = 0 and W learns; afterwards W is frozen and N learns. C is a buffer: it never learns.
    The three are one product, because a Linear is linear in its weight, and ``N == C`` then gives W to the bit.

    ``weight`` and ``bias`` are W and b, NOT what the layer multiplies by (:meth:`effective`): code that reads ``weight``
    instead of calling the layer must not be given one.

    Args:
        linear: What it is made from; its Parameter objects become W and b.

    Attributes:
        fresh_weight, fresh_bias: N and n, parameters.
        frozen_weight, frozen_bias: C and c, buffers.
        injected: [] bool.
    """

    injected: Tensor
    fresh_bias: nn.Parameter | None
    frozen_weight: Tensor
    frozen_bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # not nn.Linear's, which draws weights
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.fresh_weight = nn.Parameter(torch.zeros_like(linear.weight))
        self.register_buffer("frozen_weight", torch.zeros_like(linear.weight, requires_grad=False))
        has_bias = linear.bias is not None
        self.register_parameter("fresh_bias", nn.Parameter(torch.zeros_like(linear.bias)) if has_bias else None)
        self.register_buffer("frozen_bias", torch.zeros_like(linear.bias, requires_grad=False) if has_bias else None)
        self.register_buffer("injected", torch.zeros((), dtype=torch.bool, device=linear.weight.device))
        self.mask_gradients()

    def gradient_mask(self, name: str) -> Tensor:
        return self.injected if name.startswith("fresh_") else ~self.injected

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Weight [out, in] and bias [out] (or None) that the layer applies, with their gradients."""
        weight = self.weight + (self.fresh_weight - self.frozen_weight)
        if self.fresh_bias is None or self.frozen_bias is None:
            return weight, None
        return weight, self.bias + (self.fresh_bias - self.frozen_bias)

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, *self.effective())
