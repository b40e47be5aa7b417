"""The reference of the learner benchmark for IQL: :mod:`benchmarks.pymarl_style` without a mixer.

Written from the description of what those programs compute; none of their code is here.
"""

from __future__ import annotations

from torch import nn

from benchmarks.pymarl_style import _FORBIDDEN, PaddedEpisodes
from benchmarks.pymarl_style_vdn import PyMARLStyleVDN


class PyMARLStyleIQL(PyMARLStyleVDN):
    """Independent Q-learning with double Q and 1-step targets; arguments as :class:`PyMARLStyleVDN`'s, whose sum it leaves
    unused."""

    def update(self, batch: PaddedEpisodes) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it."""
        forbidden = batch.allowed == 0
        q = self._unroll(self.agent, batch)
        chosen = q[:, :-1].gather(3, batch.actions[:, :-1]).squeeze(3)

        target_q = self._unroll(self.target_agent, batch)[:, 1:].masked_fill(forbidden[:, 1:], _FORBIDDEN)
        best = q.detach().masked_fill(forbidden, _FORBIDDEN)[:, 1:].max(dim=3, keepdim=True).indices
        after = target_q.gather(3, best).squeeze(3)

        target = batch.reward + self.gamma * (1 - batch.terminated) * after.detach()
        real = batch.real.expand_as(chosen)
        error = (chosen - target) * real
        loss = error.square().sum() / real.sum()

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()
