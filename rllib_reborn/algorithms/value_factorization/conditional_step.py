"""An optimizer step that is undone on the device where a condition does not hold: the device need not wait for the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
    # Step counters that live on the CPU: undoing one would make the device wait, for a count that is off by one.
    state: dict[str, Any] = optimizer.state.get(p, {})
    return {k: v for k, v in state.items() if isinstance(v, Tensor) and v.device == p.device}
