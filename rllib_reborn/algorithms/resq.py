"""ResQ: a monotonic main function and a residual that it may leave to itself (Shen et al., NeurIPS 2022)."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.learner import (
    Q_TOT_MEAN,
    TD_ERROR_ABS,
    ValueFactorizationLearner,
)
from rllib_reborn.algorithms.value_factorization.learner_updates import PackedEpisodes
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.algorithms.wqmix import CENTRAL_TD_ERROR_ABS, CentralMixerSettings, WQMIXModule
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.losses import masked_mean
from rllib_reborn.nets.mixers import Mixer, ResQMixer
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.settings import parse

#: Key of what the learner logs besides the usual: the mean of w_r Q_r.
RESIDUAL_MEAN = "residual_mean"


class ResQMixerSettings(CentralMixerSettings):
    """QMIX's mixing network (:class:`MixerSettings`) for the main function, and ``central_embed_dim``, the width of the
    hidden layers of the two unrestricted mixers, Q*'s and the residual's (the official code: 128), in 1..4096."""

    central_embed_dim: Annotated[int, Field(ge=1, le=4096)] = 128


class ResQModule(WQMIXModule):
    """``Q_jt = Q_tot + w_r Q_r`` with Q* beside it for the targets, which are WQMIX's."""

    mixer: ResQMixer  # type: ignore[assignment]

    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        given = parse(ResQMixerSettings, settings, "mixer")
        return ResQMixer(
            spec.n_agents,
            spec.state_dim,
            self.make_critic(self.make_critic_agents(), given.central_embed_dim),
            # As in the official code the residual's agents begin as a copy of the acting ones.
            self.make_critic(copy.deepcopy(self.agents), given.central_embed_dim),
            **given.without_state("central_embed_dim"),
        )

    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """Everything [steps]: of the actions taken ``q_tot`` (the main function), ``residual`` (w_r Q_r, never
        positive, 0 for the agents' greedy joint action) and ``q_central`` (Q*); ``next_q_tot``, without gradient,
        target Q* of what the agents would do next."""
        now = episodes.now
        q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        greedy = greedy_actions(q.detach(), episodes.action_mask)
        residual_q = self.mixer.residual.unroll(episodes.x, episodes.layout.obs_sizes)
        _, following = self.target_critic_values(episodes, greedy)
        return {
            "q_tot": self.taken_value(episodes, q),
            "residual": self.mixer.masked_residual(now(residual_q), episodes.taken, now(greedy), now(episodes.state)),
            "q_central": self.central_value(episodes),
            "next_q_tot": following,
        }


class ResQLearner(ValueFactorizationLearner):
    """Q_jt and Q* against the same targets."""

    own_metrics = (CENTRAL_TD_ERROR_ABS, RESIDUAL_MEAN)

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``mean((Q_tot + w_r Q_r - y)^2) + mean((Q* - y)^2)`` over env steps, ``y`` from target Q* (official code:
        ``qmix_loss`` and ``central_loss``, factors of 1; its third term, ``noopt_loss``, the square of what is positive
        of Q_r, is zero where Q_r is minus an absolute value). Both parts of Q_jt are trained by the first term; w_r is
        not differentiated.
        """
        main, residual = fwd_out["q_tot"], fwd_out["residual"]
        target = self.targets(config, batch, fwd_out["next_q_tot"], mask)
        error, central_error = main + residual - target, fwd_out["q_central"] - target
        metrics = {
            TD_ERROR_ABS: masked_mean(error.detach().abs(), mask, count),
            Q_TOT_MEAN: masked_mean(main.detach(), mask, count),
            CENTRAL_TD_ERROR_ABS: masked_mean(central_error.detach().abs(), mask, count),
            RESIDUAL_MEAN: masked_mean(residual.detach(), mask, count),
        }
        return masked_mean(error.square() + central_error.square(), mask, count), metrics


class ResQConfig(ValueFactorizationConfig):
    """Config of :class:`ResQ`; see :class:`ValueFactorizationConfig` for all settings, :class:`ResQMixerSettings` for
    ``training(mixer=...)``. ResQ has no ``algorithm_settings``.

    What differs from QMIX's defaults is as in the official code: ``lr`` 1e-3, ``td_lambda`` 0.6 (set it to None for
    ``n_step``), exploration annealed over 100,000 env steps.

    Example:
        >>> from rllib_reborn import ResQConfig
        >>> config = ResQConfig().environment("matrix/nonmonotonic").training(mixer={"central_embed_dim": 64})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "ResQ"
    mixer_class = ResQMixer
    mixer_settings_class = ResQMixerSettings
    rl_module_class = ResQModule
    default_learner_class = ResQLearner

    default_epsilon = MappingProxyType({"anneal_env_steps": 100_000})

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.lr = 1e-3
        self.td_lambda = 0.6


class ResQ(ValueFactorization):
    """Value factorization with a residual function."""

    config_class = ResQConfig
