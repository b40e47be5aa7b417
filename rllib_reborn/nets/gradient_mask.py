"""Frozen entries of a parameter: their gradient is exactly zero, so that no gradient step moves them.

A mask in the gradient, and not ``requires_grad=False``: parts of a parameter can be frozen, when is decided during the run,
and every parameter still receives a gradient, which DistributedDataParallel demands (``find_unused_parameters`` off).

What a zero gradient does not stop: averages that the optimizer still holds (Adam's ``exp_avg``, momentum) go on moving an
entry, so they must be zeroed when it is frozen (``optimizer="zero"``), and decoupled weight decay (AdamW) shrinks it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def mask_gradient(parameter: nn.Parameter, mask: Callable[[], Tensor]) -> RemovableHandle:
    """From now on the gradient of ``parameter`` is 0 (NaN included) where ``mask()`` is False.

    Args:
        parameter: A leaf that requires a gradient.
        mask: Called at every backward; gives bool that broadcasts to the parameter's shape, on its device. It must read a
            module's buffers again each time: ``.to(device)`` puts other tensors in their place.
    """

    def masked(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(~mask(), 0.0)

    return parameter.register_hook(masked)


class GradientMasked(nn.Module, abc.ABC):
    """A module that masks gradients of its own parameters, and whose copies do so too.

    Neither ``copy.deepcopy`` nor pickle takes over the hooks of a parameter; both end in ``__setstate__``, which sets them
    again on the copy, reading the copy's buffers. A copy whose parameters need no gradient (a target network that was
    copied from another target) gets none. ``load_state_dict`` and in-place copies keep parameters and so their hooks;
    ``load_state_dict(assign=True)`` puts other parameters in their place and is not supported.
    """

    def mask_gradients(self) -> None:
        """Set the hooks on every parameter that needs a gradient; call it once, at the end of ``__init__``."""
        for name, parameter in self.named_parameters(recurse=False):
            if parameter.requires_grad:
                mask_gradient(parameter, lambda name=name: self.gradient_mask(name))  # type: ignore[misc]

    @abc.abstractmethod
    def gradient_mask(self, name: str) -> Tensor:
        """Bool, broadcasts to the parameter called ``name``: the entries that may move."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.mask_gradients()
