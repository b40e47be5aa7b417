"""ResQ's centralised part: main function, residual function and Q* (Shen et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_reborn.nets.mixers.critic import CentralCritic
from rllib_reborn.nets.mixers.wqmix import WQMixer


class ResQMixer(WQMixer):
    """``Q_jt(u) = Q_tot(u) + w_r(u) Q_r(u)`` with ``Q_r <= 0``, ``w_r(u) = 0`` for the agents' greedy joint action and
    1 for any other (the paper's decomposition): the main function Q_tot (a :class:`QMixer`) orders the joint actions,
    and the residual can pull every other joint action down as far as the task asks, so that any Q_jt with that argmax
    can be represented.

    :meth:`forward` and ``of_actions`` are the main function, by which the agents are ordered.

    Args:
        n_agents, state_dim, embed_dim, hypernet_layers, hypernet_dim: As in :class:`QMixer`.
        central: Q*, which gives the targets, as in WQMIX.
        residual: The function whose absolute value, negated, is Q_r.
    """

    def __init__(
        self,
        n_agents: int,
        state_dim: int,
        central: CentralCritic,
        residual: CentralCritic,
        *,
        embed_dim: int = 32,
        hypernet_layers: int = 2,
        hypernet_dim: int = 64,
    ) -> None:
        super().__init__(
            n_agents,
            state_dim,
            central,
            embed_dim=embed_dim,
            hypernet_layers=hypernet_layers,
            hypernet_dim=hypernet_dim,
        )
        self.residual = residual

    @property
    def critics(self) -> dict[str, CentralCritic]:
        return {"central": self.central, "residual": self.residual}

    def masked_residual(self, q: Tensor, actions: Tensor, greedy: Tensor, state: Tensor) -> Tensor:
        """``w_r Q_r`` of joint actions.

        ``Q_r = -|residual|`` is how the official code makes it non-positive (``residual_negative_abs: True``). That
        code then puts the value *before* the sign into the TD error, so that its residual may be positive; the paper's
        ``Q_r <= 0``, on which its proof rests, is what stands here.

        Args:
            q: [rows, n, A] values of the residual's own agents.
            actions: [rows, n] int64.
            greedy: [rows, n] int64, what the acting agents would do.
            state: [rows, s].

        Returns:
            [rows], <= 0, and 0 where ``actions`` are ``greedy``.
        """
        others = (actions != greedy).any(1)
        return torch.where(others, -self.residual.of_actions(q, actions, state).abs(), 0.0)
