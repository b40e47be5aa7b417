"""A CUDA graph's way of working on the CPU: operations are recorded with their tensors and numbers, then repeated."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: What a GPU cannot do while it captures: give numbers to the host or take some, make a tensor of a size to be counted.
_REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "bincount", "lift_fresh")


class RecordedGraph(TorchDispatchMode):
    """Records what ``work`` computes, below autograd, so with every number that Python put in. :meth:`replay` repeats it and
    runs no Python of ``work``: results go into the same memory as when it was recorded, as a CUDA graph's do.

    Unlike a CUDA graph it executes what it records; :meth:`capture` undoes that.

    Raises:
        RuntimeError: ``work`` reads a tensor's numbers or makes a tensor of some, which a GPU cannot do while it captures.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in _REFUSED and not _is_called_by_an_optimizer():
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        indices = tree_leaves(args[1]) if name in ("index", "index_put", "index_put_", "_index_put_impl_") else []
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in indices):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name} by a mask")
        out = func(*args, **kwargs)
        given = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and id(leaf) not in given]
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not is_view:
            self._calls.append((func, args, kwargs, made))
        else:
            self._calls.append((None, (args, kwargs, out), {}, []))  # kept alive, never repeated
        return out

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, made in self._calls:
                if func is None:
                    continue
                out = func(*args, **kwargs)
                if not made:
                    continue
                given = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
                again = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and id(leaf) not in given]
                for old, new in zip(made, again, strict=True):
                    old.copy_(new)


def _is_called_by_an_optimizer() -> bool:
    """Where steps are counted on the CPU, torch's optimizers make a 1 each time; on a GPU they do not."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.endswith(("torch/optim/rmsprop.py", "torch/optim/adam.py")):
            return True
        frame = frame.f_back
    return False


def recorded(state: Callable[[], Sequence[Tensor]]) -> Callable[..., Callable[[], Tensor]]:
    """What takes the place of ``cuda_graph`` in a learner on the CPU.

    Args:
        state: The tensors that recording must leave as they are: recording a CUDA graph executes nothing.
    """

    def capture(work: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Callable[[], Tensor]:
        before = [(tensor, tensor.detach().clone()) for tensor in state()]
        graph = RecordedGraph()
        try:
            with graph:
                result = work()
        finally:
            with torch.no_grad():
                for tensor, old in before:
                    tensor.copy_(old)
        gradients = [p.grad for p in parameters]

        def replay() -> Tensor:
            for p, gradient in zip(parameters, gradients):
                p.grad = gradient
            graph.replay()
            return result

        return replay

    return capture
