"""What several learners (ranks) must agree on before neurons are chosen or reports written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from rllib_reborn.plasticity.interventions.apply import InterventionReport
from rllib_reborn.plasticity.statistics import LayerStatistics


def several_ranks() -> bool:
    """Are there other learners?"""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def on_all_ranks(statistics: dict[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    """Rank 0's statistics on every rank. All measure the same batch, but two kinds of GPU may round differently, and a
    neuron at a threshold would then be treated on one rank only."""
    if not several_ranks():
        return statistics
    for found in statistics.values():
        for tensor in (found.mean_abs, found.mean, found.nonzero, found.features):
            if tensor is not None:
                dist.broadcast(tensor, src=0)
    return statistics


def mean_on_all_ranks(tensor: Tensor) -> Tensor:
    """The mean over ranks, on every rank; each has seen a part of the batch of its own."""
    if not several_ranks():
        return tensor
    summed = tensor.clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def any_on_all_ranks(flags: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By name [H] bool, true where it is on any rank, on every rank. All ranks give the same names in the same order."""
    if not flags or not several_ranks():
        return dict(flags)
    joined = torch.cat(list(flags.values())).to(torch.uint8)
    dist.all_reduce(joined, op=dist.ReduceOp.MAX)
    return dict(zip(flags, joined.bool().split([len(of_name) for of_name in flags.values()]), strict=True))


def average_over_ranks(statistics: dict[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    """Statistics of the batches of all ranks together, equal on all of them; features stay this rank's."""
    if not several_ranks():
        return statistics
    averaged = {}
    for key, found in statistics.items():
        means = torch.stack([found.mean_abs, found.mean, found.nonzero]).double()  # [3, H]
        sums = torch.cat([means.flatten() * found.rows, means.new_tensor([found.rows])])
        dist.all_reduce(sums)
        mean_abs, mean, nonzero = (sums[:-1] / sums[-1]).reshape(means.shape).to(found.mean_abs.dtype).unbind()
        averaged[key] = dataclasses.replace(
            found,
            mean_abs=mean_abs.contiguous(),
            mean=mean.contiguous(),
            nonzero=nonzero.contiguous(),
            rows=int(sums[-1]),
        )
    return on_all_ranks(averaged)


def report_of_all_ranks(report: InterventionReport, device: torch.device) -> InterventionReport:
    """Drifts are measured on each rank's own batch: their means."""
    if not several_ranks() or report.function_drift is None:
        return report
    changed = report.greedy_actions_changed
    # A rank whose values are all equal has no q_drift, and then the mean has none (NaN), on all ranks.
    q_drift = math.nan if report.q_drift is None else report.q_drift
    means = torch.tensor([report.function_drift, changed or 0.0, q_drift], dtype=torch.float64, device=device)
    dist.all_reduce(means)
    drift, greedy, q_drift = (means / dist.get_world_size()).tolist()
    return dataclasses.replace(
        report,
        function_drift=drift,
        q_drift=None if math.isnan(q_drift) else q_drift,
        greedy_actions_changed=None if changed is None else greedy,
    )
