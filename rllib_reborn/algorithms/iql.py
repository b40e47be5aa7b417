"""IQL: every agent learns from the team's reward as if it were alone (Tampuu et al., PLoS ONE 2017; PyMARL's IQL)."""

from __future__ import annotations

from typing import Any, cast

import torch
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.learner import (
    Q_TOT_MEAN,
    TD_ERROR_ABS,
    ValueFactorizationLearner,
)
from rllib_reborn.algorithms.value_factorization.learner_updates import PackedEpisodes
from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.settings import NoMixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.losses import masked_mean
from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers import VDNMixer
from rllib_reborn.nets.mixers.mixer import chosen_values, greedy_actions


class IQLModule(TeamRLModule):
    """There is no mixer and no Q_tot; where one is asked for (logs, drift of an intervention, the invariance study) the sum
    of the agents' values stands in, which has the same greedy actions and no neurons to treat."""

    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """Of each agent, [steps, n]: ``q``, the value of the action taken, and ``next_q``, the target networks' value of the
        greedy action after it, without gradient; double Q-learning as in :meth:`TeamRLModule.next_value`."""
        q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        return {"q": chosen_values(episodes.now(q), episodes.taken), "next_q": self.next_values(episodes, q)}

    @torch.no_grad()
    def next_values(self, episodes: PackedEpisodes, q: Tensor) -> Tensor:
        """``next_q`` of :meth:`step_values`, from the online networks' values ``q`` [rows, n, A]."""
        following = episodes.next
        target_q = following(cast(AgentTeam, self.target_agents).unroll(episodes.x, episodes.layout.obs_sizes))
        best = greedy_actions(following(q) if self.double_q else target_q, following(episodes.action_mask))
        return chosen_values(target_q, best)

    @override(TargetNetworkAPI)
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``next_q`` [E, T, n], which comes with :meth:`_forward_train`."""
        return {"next_q": self._forward_train(batch)["next_q"]}


class IQLLearner(ValueFactorizationLearner):
    """A TD error for each agent in place of the team's."""

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked mean over steps and agents of the squared TD error, the reward of all agents being the team's. In the log:
        the absolute error, likewise a mean over agents, and the sum of the agents' values."""
        error = fwd_out["q"] - self.targets(config, batch, fwd_out["next_q"], mask)
        metrics = {
            TD_ERROR_ABS: masked_mean(error.detach().abs().mean(-1), mask, count),
            Q_TOT_MEAN: masked_mean(fwd_out["q"].detach().sum(-1), mask, count),
        }
        return masked_mean(error.square().mean(-1), mask, count), metrics


class IQLConfig(ValueFactorizationConfig):
    """Config of :class:`IQL`; see :class:`ValueFactorizationConfig` for all settings. There is no mixer to set, nor one for
    interventions to treat.

    Example:
        >>> from rllib_reborn import IQLConfig
        >>> algo = IQLConfig().environment("matrix/two_step").build_algo()  # doctest: +SKIP
    """

    algorithm_name = "IQL"
    mixer_class = VDNMixer
    mixer_settings_class = NoMixerSettings
    rl_module_class = IQLModule
    default_learner_class = IQLLearner


class IQL(ValueFactorization):
    """Independent Q-learning."""

    config_class = IQLConfig
