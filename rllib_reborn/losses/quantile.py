"""Quantile regression of a distribution of returns (Dabney et al.: QR-DQN, AAAI 2018; IQN, ICML 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def quantile_huber(prediction: Tensor, target: Tensor, fractions: Tensor, *, kappa: float = 1.0) -> Tensor:
    """Quantile Huber loss: the mean over targets, the sum over predicted quantiles (QR-DQN equation 10, IQN equation 3).

    With ``u = target_j - prediction_i``: ``|fraction_i - 1(u < 0)| * huber_kappa(u) / kappa``. The fraction belongs to the
    *prediction*; the official RMIX code attaches it to the target (docs/method.md D25).

    Args:
        prediction: [..., N] quantiles.
        target: [..., N'] samples or quantiles of the target's distribution; no gradient flows into them.
        fractions: [..., N] or [N], the quantile fractions of ``prediction``, each in 0..1.
        kappa: Where the loss turns from quadratic to linear, > 0.

    Returns:
        [...] losses.
    """
    u = target.detach().unsqueeze(-2) - prediction.unsqueeze(-1)  # [..., N, N']
    huber = functional.huber_loss(u, torch.zeros_like(u), reduction="none", delta=kappa)
    weight = (fractions.unsqueeze(-1) - (u.detach() < 0).to(u.dtype)).abs()
    return (weight * huber / kappa).mean(-1).sum(-1)
