"""One optimizer step that happens as a whole or not at all, decided on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar tensor; NaN or inf if any gradient holds one."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))


def guarded_step(optimizer: torch.optim.Optimizer, norm: Tensor, grad_clip: float | None) -> Tensor:
    """Clip the gradients by their global norm and step, unless the norm is not finite: then nothing changes at all.

    Zeroing bad gradients, as RLlib does, still moves the weights (momentum) and the optimizer's averages; skipping on the
    host costs a device synchronisation. So the step is done and, where ``norm`` is not finite, undone with element-wise
    selects on the device; on the CPU, where looking costs nothing, it is skipped outright.

    Args:
        optimizer: All its parameters that have a gradient take part.
        norm: :func:`global_norm` of those gradients.
        grad_clip: Largest norm, > 0; None does not clip.

    Returns:
        Scalar bool tensor: was the step taken?
    """
    finite = torch.isfinite(norm)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    on_cpu = norm.device.type == "cpu"
    if on_cpu and not bool(finite):
        return finite
    if grad_clip is not None:
        scale = (grad_clip / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    if on_cpu:
        optimizer.step()
    else:
        step_if(optimizer, parameters, finite)
    return finite


def step_if(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], condition: Tensor) -> None:
    """``optimizer.step()`` where the scalar bool tensor ``condition`` holds; otherwise parameters and state stay."""
    old_parameters = _copies([p.detach() for p in parameters])
    old_state = [_state_tensors(optimizer, p) for p in parameters]
    copies = iter(_copies([tensor for state in old_state for tensor in state.values()]))
    old_state = [{name: next(copies) for name in state} for state in old_state]
    optimizer.step()
    with torch.no_grad():
        for p, old in zip(parameters, old_parameters):
            torch.where(condition, p, old, out=p)
        for p, old_tensors in zip(parameters, old_state):
            for name, tensor in _state_tensors(optimizer, p).items():
                # State made by this very step has no older value; zeros are what every optimizer here starts from.
                before = old_tensors.get(name)
                torch.where(condition, tensor, torch.zeros_like(tensor) if before is None else before, out=tensor)


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies in one launch; one by one, launching them takes longer than copying."""
    made = [torch.empty_like(tensor) for tensor in tensors]
    if made:
        torch._foreach_copy_(made, tensors)
    return made


def _state_tensors(optimizer: torch.optim.Optimizer, p: Tensor) -> dict[str, Tensor]:
    # Step counters live on the CPU: undoing one would make the device wait, for a count that is off by one.
    state: dict[str, Any] = optimizer.state.get(p, {})
    return {k: v for k, v in state.items() if isinstance(v, Tensor) and v.device == p.device}
