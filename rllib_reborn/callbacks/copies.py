"""Copies of callback state: a state must neither change with training nor need the GPU that it was on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def copied_to(device: torch.device | str, data: Any) -> Any:
    """A deep copy of ``data`` (dicts, lists and tuples of plain values and tensors) with every tensor on ``device``."""
    if isinstance(data, Tensor):
        return data.detach().to(device, copy=True)
    if isinstance(data, Mapping):
        return {key: copied_to(device, value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(copied_to(device, value) for value in data)
    return copy.deepcopy(data)
