"""The reference of the learner benchmark for VDN: :mod:`benchmarks.pymarl_style` with a sum in place of QMIX's mixer.

Written from the description of what those programs compute; none of their code is here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pymarl_style import PyMARLStyleLearner


class SumMixer(nn.Module):
    """The sum over agents (Sunehag et al., AAMAS 2018)."""

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [E, T, n] -> Q_tot [E, T, 1]; ``state`` is not read."""
        return q.sum(dim=2, keepdim=True)


class PyMARLStyleVDN(PyMARLStyleLearner):
    """VDN with double Q-learning and 1-step targets; arguments as :class:`PyMARLStyleLearner`'s, less the mixer's."""

    def __init__(self, n_agents: int, n_actions: int, obs_dim: int, state_dim: int, **settings: Any) -> None:
        super().__init__(n_agents, n_actions, obs_dim, state_dim, **settings)
        self.mixer, self.target_mixer = SumMixer(), SumMixer()  # type: ignore[assignment]
        self.parameters = list(self.agent.parameters())
        self.optimizer = torch.optim.RMSprop(
            self.parameters, **{name: self.optimizer.defaults[name] for name in ("lr", "alpha", "eps")}
        )
