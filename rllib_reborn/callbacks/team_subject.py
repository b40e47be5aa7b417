"""A team's networks as plasticity looks at them: which layers, on which batch, what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rllib_reborn.callbacks.probe import Batch
from rllib_reborn.plasticity.interventions.perform import Outcome, Subject
from rllib_reborn.plasticity.statistics import LayerStatistics, measure
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer


def team_subject(
    module: Any,
    choice: LayerChoice,
    scoring: Batch | None,
    held: Batch | None,
    optimizer: torch.optim.Optimizer | None,
) -> Subject:
    """A :class:`TeamRLModule` with its targets and optimizer as the subject of an intervention.

    Args:
        module: The module, without a DDP wrapper.
        choice: Layers that are scored and treated.
        scoring: Batch for the scores; None: nothing is scored.
        held: Batch for function drift; None: it is not measured.
        optimizer: The module's optimizer, or None.
    """
    device = next(module.parameters()).device
    scoring_batch, held_batch = _tensors(scoring, device), _tensors(held, device)

    def statistics(layers: Sequence[UnitLayer]) -> dict[str, LayerStatistics]:
        assert scoring_batch is not None
        return measure_team(module, layers, scoring_batch)

    def outcome() -> Outcome:
        assert held_batch is not None
        seen = module.observe(held_batch)
        return Outcome(values=seen["q_tot"], actions=seen["greedy"])

    return Subject(
        nets={"agent": module.agents, "mixer": module.mixer},
        layers=module.unit_layers(choice),
        measure=None if scoring is None else statistics,
        evaluate=None if held is None else outcome,
        target_nets={"agent": module.target_agents, "mixer": module.target_mixer},
        target_layers=module.target_unit_layers(choice),
        optimizer=optimizer,
    )


def measure_team(module: Any, layers: Sequence[UnitLayer], batch: dict[str, Tensor]) -> dict[str, LayerStatistics]:
    """Statistics of a team's layers on a batch of episodes: online networks only, padding left out, and of each agent only
    the steps at which it has a choice (a dead one has its no-op alone). Equal on all ranks to the bit."""
    return on_all_ranks(measure(layers, lambda: module.observe(batch), row_masks=module.row_masks(batch)))


def on_all_ranks(statistics: dict[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    """Rank 0's statistics on every rank. All measure the same batch, but two kinds of GPU may round differently, and a
    unit at a threshold would then be treated on one rank only."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return statistics
    for found in statistics.values():
        for tensor in (found.mean_abs, found.mean, found.nonzero, found.features):
            if tensor is not None:
                dist.broadcast(tensor, src=0)
    return statistics


def mean_on_all_ranks(tensor: Tensor) -> Tensor:
    """The mean over ranks, on every rank; each has seen a part of the batch of its own."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    summed = tensor.clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def _tensors(batch: Batch | None, device: torch.device) -> dict[str, Tensor] | None:
    if batch is None:
        return None
    return {name: torch.as_tensor(array, device=device) for name, array in batch.items()}
