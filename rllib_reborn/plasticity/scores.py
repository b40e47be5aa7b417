"""Scores of neurons and of layers: pure functions of statistics, weights and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.plasticity.statistics import LayerStatistics, wide_dtype

# --------------------------------------------------------------------------------------------------- activity of
# neurons


def nas(mean_abs: Tensor, active: Tensor | None = None) -> Tensor:
    """Normalised activation score ``s_i = E|h_i| / mean_k E|h_k|`` (docs/method.md 1, Def. 2).

    Args:
        mean_abs: [H] E|h_i|, >= 0.
        active: [H] bool; None: all.

    Returns:
        [H] >= 0 with mean 1 over active neurons. A layer whose activations are all 0 scores 0 everywhere: all its neurons
        are dormant. Neurons that are not active do not count in the mean and score exactly 1, which no threshold
        selects (:func:`rllib_reborn.plasticity.masks.check_thresholds`).
    """
    return _relative_to_mean(mean_abs, active)


def grama(mean_abs_preactivation_grad: Tensor, active: Tensor | None = None) -> Tensor:
    """GraMa ``G_i = E|dL/dz_i| / mean_k E|dL/dz_k|`` [H] (docs/method.md 9.2); all-zero layers and inactive neurons as in
    :func:`nas`.

    :func:`rllib_reborn.plasticity.statistics.recording_gradients` collects the gradients.
    """
    return _relative_to_mean(mean_abs_preactivation_grad, active)


def update_activity(weight: Tensor, grad: Tensor, eps: float = 1e-8) -> Tensor:
    """``UA_i = ||dL/dW_i||_2 / (||W_i||_2 + eps)`` of row i (docs/method.md 9.1).

    Args:
        weight, grad: [H, ...].
        eps: > 0.

    Returns:
        [H] >= 0.

    Raises:
        ValueError: Shapes differ.
    """
    if weight.shape != grad.shape:
        raise ValueError(f"weight is {list(weight.shape)} and its gradient {list(grad.shape)}; expected equal shapes.")
    by_row = weight.detach().flatten(1).norm(dim=1)
    return grad.detach().flatten(1).norm(dim=1) / (by_row + eps)


def relative_update_activity(activity: Tensor, active: Tensor | None = None) -> Tensor:
    """``RUA_i = UA_i / mean_k UA_k`` within the layer [H] (docs/method.md 9.1), UA averaged over a window of
    updates.

    A layer without any gradient scores 0 everywhere (all stagnant); non-active neurons score 1.
    """
    return _relative_to_mean(activity, active)


def cbp_utility(mean_abs: Tensor, output_weight_columns: Tensor) -> Tensor:
    """Contribution utility of continual backprop ``|h_i| * mean_k |w_ik^out|`` (docs/method.md 9.2; mean, not sum).

    Args:
        mean_abs: [H] |h_i|, of one step or averaged.
        output_weight_columns: [out, H] or [out, H, rest], see :meth:`NeuronLayer.columns`; the mean is over all but H.

    Returns:
        [H] >= 0.

    Raises:
        ValueError: The widths differ.
    """
    if output_weight_columns.dim() < 2 or output_weight_columns.shape[1] != len(mean_abs):
        raise ValueError(
            f"output_weight_columns is {list(output_weight_columns.shape)}; expected [out, {len(mean_abs)}] or "
            f"[out, {len(mean_abs)}, rest]."
        )
    sizes = output_weight_columns.detach().abs().transpose(0, 1).flatten(1).mean(dim=1)
    return mean_abs * sizes


def nas_ranking(scores: Tensor) -> Tensor:
    """Shares ``s_i / sum_k s_k``, largest first (docs/method.md 1, Fig. 2c) [H]; they sum to 1.

    Pass the scores of active neurons. A layer whose activations are all 0 has shares 0.
    """
    ordered = scores.sort(descending=True).values
    total = ordered.sum()
    return ordered / total if total > 0 else torch.zeros_like(ordered)


def _relative_to_mean(values: Tensor, active: Tensor | None) -> Tensor:
    """``values`` [H] over their mean over active neurons; 0 where that mean is 0, 1 for neurons that are not active."""
    wide = values.detach().to(wide_dtype(values))
    if active is None:
        active = torch.ones_like(wide, dtype=torch.bool)
    active = active.to(wide.device)
    # Sums of nothing are 0, so that a layer without active neurons needs no case of its own.
    mean = torch.where(active, wide, 0).sum() / active.sum().clamp(min=1)
    relative = torch.where(mean > 0, wide / torch.where(mean > 0, mean, 1), 0)
    return torch.where(active, relative, 1).to(values.dtype)


# ---------------------------------------------------------------------------------------------- dormancy of layers,
# nets


@dataclasses.dataclass(frozen=True, eq=False)
class LayerDormancy:
    """What one check found in one layer; only active neurons count.

    Attributes:
        key: Of the layer.
        scores: [H] NAS; 1 for neurons that are not active.
        dormant: [H] bool, s <= alpha.
        overactive: [H] bool, s >= beta.
        dead: [H] bool: never different from 0 on the batch.
        active: [H] bool.
        neurons: Live neurons.
        dormant_fraction, overactive_fraction, dead_fraction: Shares of active neurons; the second is the paper's
            Overactive-Number (docs/method.md 1). 0 where there is no active neuron.
        overactive_sum: Sum of s over over-active neurons / sum of s over all; 0 in a layer without activation.
        score_sum: Sum of s over active neurons: their number, or 0 in a layer without activation.
    """

    key: str
    scores: Tensor
    dormant: Tensor
    overactive: Tensor
    dead: Tensor
    active: Tensor
    neurons: int
    dormant_fraction: float
    overactive_fraction: float
    overactive_sum: float
    dead_fraction: float
    score_sum: float


@dataclasses.dataclass(frozen=True)
class NetDormancy:
    """What one check found in one network, pooled over its layers: sums over sums, not means of ratios (Def. 3).

    Attributes:
        dormant_fraction, overactive_fraction, dead_fraction: Shares of all active neurons of the network.
        overactive_sum: Sum of s over over-active neurons / sum of s over all neurons.
        neurons: Live neurons.
    """

    dormant_fraction: float
    overactive_fraction: float
    overactive_sum: float
    dead_fraction: float
    neurons: int


def layer_dormancy(
    key: str, statistics: LayerStatistics, *, alpha: float = masks.ALPHA, beta: float = masks.BETA
) -> LayerDormancy:
    """Dormant, over-active and dead neurons of one layer (docs/method.md 1).

    Raises:
        ValueError: See :func:`rllib_reborn.plasticity.masks.check_thresholds`.
    """
    masks.check_thresholds(alpha, beta)
    active = statistics.active.to(statistics.mean_abs.device)
    scores = nas(statistics.mean_abs, active)
    is_dormant = masks.dormant(scores, alpha) & active
    is_overactive = masks.overactive(scores, beta) & active
    is_dead = (statistics.nonzero == 0) & active
    wide = scores.to(wide_dtype(scores))
    counts = [active, is_dormant, is_overactive, is_dead]
    sums = [torch.where(is_overactive, wide, 0).sum(), torch.where(active, wide, 0).sum()]
    # One copy from the device for all numbers.
    neurons, n_dormant, n_overactive, n_dead, s_overactive, s_all = torch.stack(
        [*(count.sum().to(wide.dtype) for count in counts), *sums]
    ).tolist()
    return LayerDormancy(
        key=key,
        scores=scores,
        dormant=is_dormant,
        overactive=is_overactive,
        dead=is_dead,
        active=active,
        neurons=int(neurons),
        dormant_fraction=_share(n_dormant, neurons),
        overactive_fraction=_share(n_overactive, neurons),
        overactive_sum=_share(s_overactive, s_all),
        dead_fraction=_share(n_dead, neurons),
        score_sum=s_all,
    )


def pool(found: Iterable[LayerDormancy]) -> NetDormancy:
    """Layers of one network pooled: every neuron counts the same, whatever its layer (Def. 3)."""
    layers = list(found)
    neurons = sum(layer.neurons for layer in layers)
    return NetDormancy(
        dormant_fraction=_share(sum(layer.dormant_fraction * layer.neurons for layer in layers), neurons),
        overactive_fraction=_share(sum(layer.overactive_fraction * layer.neurons for layer in layers), neurons),
        overactive_sum=_share(
            sum(layer.overactive_sum * layer.score_sum for layer in layers), sum(layer.score_sum for layer in layers)
        ),
        dead_fraction=_share(sum(layer.dead_fraction * layer.neurons for layer in layers), neurons),
        neurons=neurons,
    )


def dormancy(
    statistics: Mapping[str, LayerStatistics],
    layers: Mapping[str, NeuronLayer],
    *,
    alpha: float = masks.ALPHA,
    beta: float = masks.BETA,
) -> dict[str, NetDormancy]:
    """Pooled dormancy by network, in order of the first layer.

    Args:
        statistics: By layer key; layers without statistics are left out.
        layers: By key, at least those.
        alpha, beta: See :func:`layer_dormancy`.

    Raises:
        ValueError: Statistics of an unknown layer, or thresholds that overlap.
    """
    by_net: dict[str, list[LayerDormancy]] = {}
    for key, of_layer in statistics.items():
        if key not in layers:
            raise ValueError(
                f"there are statistics of {key!r}, but no such layer; known: {', '.join(layers) or 'none'}."
            )
        by_net.setdefault(layers[key].net, []).append(layer_dormancy(key, of_layer, alpha=alpha, beta=beta))
    return {net: pool(found) for net, found in by_net.items()}


def dead_fraction(nonzero: Tensor, active: Tensor | None = None) -> float:
    """Share of active neurons that were never different from 0, from [H] shares of rows with h != 0; 0 without active
    neurons."""
    dead = nonzero == 0
    if active is None:
        return _share(int(dead.sum()), len(dead))
    active = active.to(dead.device)
    return _share(int((dead & active).sum()), int(active.sum()))


# --------------------------------------------------------------------------------------------------------- sets of
# neurons

#: Neurons of a layer: [H] bool, or their indices.
Neurons = Tensor | Collection[int]


def overlap_coefficient(a: Neurons, b: Neurons) -> float | None:
    """``|A & B| / min(|A|, |B|)`` (docs/method.md 1) in 0..1; None where one of them is empty.

    Raises:
        ValueError: A tensor that is not bool.
    """
    first, second = indices(a), indices(b)
    smaller = min(len(first), len(second))
    return len(first & second) / smaller if smaller else None


def redormant_fraction(recycled: Neurons, dormant_now: Neurons) -> float | None:
    """Share of ``recycled`` neurons that are dormant (again) now; None where none was recycled.

    Raises:
        ValueError: A tensor that is not bool.
    """
    again = indices(recycled)
    return len(again & indices(dormant_now)) / len(again) if again else None


def indices(neurons: Neurons) -> frozenset[int]:
    """Neurons as a set of indices.

    Raises:
        ValueError: A tensor that is not bool.
    """
    if isinstance(neurons, Tensor):
        if neurons.dtype is not torch.bool:
            raise ValueError(f"neurons are a tensor of {neurons.dtype}; expected an [H] bool mask or a set of indices.")
        return frozenset(neurons.reshape(-1).nonzero().reshape(-1).tolist())
    return frozenset(int(neuron) for neuron in neurons)


# ------------------------------------------------------------------------------------------------------ ranks of
# features


def stable_rank(features: Tensor) -> float:
    """``||F||_F^2 / ||F||_2^2`` of [rows, H], in 1..min(rows, H); 0 for F = 0."""
    return _stable(_singular_values(features))


def effective_rank(features: Tensor) -> float:
    """``exp(-sum_i p_i ln p_i)``, p the singular values over their sum (Roy and Vetterli 2007); 1..min(rows, H), 0 for
    0."""
    return _effective(_singular_values(features))


def srank(features: Tensor, delta: float = 0.01) -> int:
    """Smallest k with ``sum_{i <= k} sigma_i >= (1 - delta) * sum_i sigma_i`` (Kumar et al. 2021); 0 for F = 0.

    Raises:
        ValueError: ``delta`` outside 0..1.
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta is {delta}; expected 0 <= delta < 1.")
    return _srank(_singular_values(features), delta)


def feature_ranks(features: Tensor) -> dict[str, float]:
    """``stable_rank``, ``effective_rank`` and ``srank`` of [rows, H] for one decomposition."""
    sizes = _singular_values(features)
    return {"stable_rank": _stable(sizes), "effective_rank": _effective(sizes), "srank": float(_srank(sizes, 0.01))}


def _singular_values(features: Tensor) -> Tensor:
    """Singular values over the largest, in descending order, on the CPU; empty for F = 0."""
    if features.dim() != 2 or not features.numel():
        raise ValueError(f"features are {list(features.shape)}; expected [rows, H] with at least one of each.")
    if not bool(features.isfinite().all()):
        raise ValueError("features hold NaN or infinite values, which have no rank.")
    sizes: Tensor = torch.linalg.svdvals(features.detach().to(wide_dtype(features))).cpu().double()
    # Over the largest, so that squares neither overflow nor vanish.
    return sizes / sizes[0] if sizes[0] > 0 else sizes[:0]


def _stable(sizes: Tensor) -> float:
    return float(sizes.square().sum())


def _effective(sizes: Tensor) -> float:
    if not len(sizes):
        return 0.0
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())


def _srank(sizes: Tensor, delta: float) -> int:
    if not len(sizes):
        return 0
    shares = sizes.cumsum(0) / sizes.sum()
    # A hair less, lest rounding in the sum asks for one more.
    return min(int((shares < 1 - delta - 1e-12).sum()) + 1, len(sizes))


# ------------------------------------------------------------------------------------------------------------------
# norms


def weight_norm(module: nn.Module) -> float:
    """L2 norm of all parameters together; 0 without parameters."""
    return _norm([parameter.detach() for parameter in module.parameters()])


def gradient_norm(module: nn.Module) -> float | None:
    """L2 norm of all gradients together; None where no parameter has one."""
    gradients = [parameter.grad.detach() for parameter in module.parameters() if parameter.grad is not None]
    return _norm(gradients) if gradients else None


def _norm(tensors: list[Tensor]) -> float:
    if not tensors:
        return 0.0
    norms = torch.stack([tensor.norm().to(tensors[0].device) for tensor in tensors])
    return float(norms.norm())


def _share(part: float, whole: float) -> float:
    """Nothing of nothing is 0."""
    return part / whole if whole else 0.0
