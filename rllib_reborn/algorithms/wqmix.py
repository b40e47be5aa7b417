"""Weighted QMIX: a monotonic Q_tot fitted best where joint actions may be good (Rashid et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.learner import (
    Q_TOT_MEAN,
    TD_ERROR_ABS,
    ValueFactorizationLearner,
)
from rllib_reborn.algorithms.value_factorization.learner_updates import PackedEpisodes
from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.settings import MixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.losses import masked_mean
from rllib_reborn.losses.weighting import central_weights, optimistic_weights
from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.mixers import FeedForwardMixer, Mixer, WQMixer
from rllib_reborn.nets.mixers.critic import CentralCritic, CriticNetworks
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.settings import Settings, parse

#: Keys of what the learner logs besides the usual.
CENTRAL_TD_ERROR_ABS = "central_td_error_abs"
WEIGHT_MEAN = "weight_mean"


class CentralMixerSettings(MixerSettings):
    """QMIX's mixing network (:class:`MixerSettings`), and ``central_embed_dim``, the width of the central mixer's
    hidden layers (WQMIX's official code: 256; the official ResQ code: 128), in 1..4096."""

    central_embed_dim: Annotated[int, Field(ge=1, le=4096)] = 256


class WQMIXSettings(Settings):
    """``weighting``: ``cw`` (centrally-weighted: full weight for the greedy joint action and for those whose target is
    above its value) or ``ow`` (optimistically-weighted: full weight where Q_tot is below its target). ``alpha``, in (0,
    1]: the weight of all others; 1 is QMIX's loss with WQMIX's targets. The official code's configurations have 0.1,
    which the paper uses on predator-prey; on StarCraft it uses 0.75 (cw) and 0.5 (ow)."""

    weighting: Literal["cw", "ow"] = "cw"
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1


class WQMIXModule(TeamRLModule):
    """The agents and QMIX's mixing network as in QMIX; what the future is worth is said by the critic Q-hat*."""

    mixer: WQMixer

    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        given = parse(CentralMixerSettings, settings, "mixer")
        central = self.make_critic(self.make_critic_agents(), given.central_embed_dim)
        return WQMixer(spec.n_agents, spec.state_dim, central, **given.without_state("central_embed_dim"))

    def make_critic_agents(self) -> AgentTeam:
        """Networks like the acting agents', with weights of their own."""
        return self.make_agents(AgentNet)

    def make_critic(self, agents: AgentTeam, embed_dim: int) -> CentralCritic:
        mixer = FeedForwardMixer(self.spec.n_agents, self.mixer_state.read_dim, embed_dim=embed_dim)
        return CentralCritic(agents, mixer)

    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """Everything [steps]: ``q_tot`` and ``q_central`` (Q-hat*) of the actions taken; without gradient
        ``next_q_tot``, the target critic's value of what the agents would do next, ``greedy_q_central``, its value of
        what they would have done now, and ``is_greedy`` (bool), whether they did it."""
        q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        greedy = greedy_actions(q.detach(), episodes.action_mask)
        greedy_now, following = self.target_critic_values(episodes, greedy)
        return {
            "q_tot": self.taken_value(episodes, q),
            "q_central": self.central_value(episodes),
            "next_q_tot": following,
            "greedy_q_central": greedy_now,
            "is_greedy": (episodes.taken == episodes.now(greedy)).all(1),
        }

    def central_value(self, episodes: PackedEpisodes) -> Tensor:
        """Q-hat* [steps] of the actions taken."""
        central, now = self.mixer.central, episodes.now
        q = central.unroll(episodes.x, episodes.layout.obs_sizes)
        return central.of_actions(now(q), episodes.taken, now(episodes.state))

    @torch.no_grad()
    def target_critic_values(self, episodes: PackedEpisodes, greedy: Tensor) -> tuple[Tensor, Tensor]:
        """The target critic's values [steps] of the agents' greedy joint actions before and after each transition.

        Args:
            episodes: The batch.
            greedy: [rows, n] what the online agents would do. With double Q it is what the values are of; without it
                those after a transition are of what the target agents would do. (The official code has double Q alone.)
        """
        critic = cast(WQMixer, self.target_mixer).central
        q = critic.unroll(episodes.x, episodes.layout.obs_sizes)
        # At every observation at once: before one transition is after another.
        value = critic.of_actions(q, greedy, episodes.state)
        if self.double_q:
            return episodes.now(value), episodes.next(value)
        agents = cast(AgentTeam, self.target_agents)
        by_target = greedy_actions(agents.unroll(episodes.x, episodes.layout.obs_sizes), episodes.action_mask)
        return episodes.now(value), episodes.next(critic.of_actions(q, by_target, episodes.state))

    def observe(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """As :meth:`TeamRLModule.observe`; the critics run too, on the actions taken, so that their layers are seen."""
        outputs = super().observe(batch)
        with torch.no_grad():
            episodes = self.packed_episodes(batch)
            for critic in self.mixer.critics.values():
                q = episodes.now(critic.unroll(episodes.x, episodes.layout.obs_sizes))
                critic.of_actions(q, episodes.taken, episodes.now(episodes.state))
        return outputs

    def networks(self) -> dict[str, nn.Module]:
        """As :meth:`TeamRLModule.networks`, and the critics, which are a part of the mixer."""
        return {**super().networks(), "critic": CriticNetworks(self.mixer.critics)}

    def target_networks(self) -> dict[str, nn.Module]:
        return {**super().target_networks(), "critic": CriticNetworks(cast(WQMixer, self.target_mixer).critics)}

    def layer_keys_of_agents(self) -> list[tuple[list[str], list[int]]]:
        found = super().layer_keys_of_agents()
        for name, critic in self.mixer.critics.items():
            by_net = critic.hidden_layers_by_net(prefix=f"{name}.")
            keys = [[f"mixer/{layer.name}" for layer in layers] for layers in by_net]
            found += zip(keys, critic.agents.members, strict=True)
        return found


class WQMIXLearner(ValueFactorizationLearner):
    """The weighted error of Q_tot and the plain one of Q-hat*, both against the same targets."""

    own_metrics = (CENTRAL_TD_ERROR_ABS, WEIGHT_MEAN)

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``mean(w (Q_tot - y)^2) + mean((Q-hat* - y)^2)`` over env steps, ``y`` from the target critic (the paper's
        losses of both functions; the official code adds them with factors of 1)."""
        settings = self.algorithm_settings
        value = fwd_out["q_tot"]
        target = self.targets(config, batch, fwd_out["next_q_tot"], mask)
        if settings.weighting == "cw":
            weights = central_weights(fwd_out["is_greedy"], target, fwd_out["greedy_q_central"], settings.alpha)
        else:
            weights = optimistic_weights(value.detach(), target, settings.alpha)
        error, central_error = value - target, fwd_out["q_central"] - target
        metrics = {
            TD_ERROR_ABS: masked_mean(error.detach().abs(), mask, count),
            Q_TOT_MEAN: masked_mean(value.detach(), mask, count),
            CENTRAL_TD_ERROR_ABS: masked_mean(central_error.detach().abs(), mask, count),
            WEIGHT_MEAN: masked_mean(weights, mask, count),
        }
        return masked_mean(weights * error.square() + central_error.square(), mask, count), metrics


class WQMIXConfig(ValueFactorizationConfig):
    """Config of :class:`WQMIX`; see :class:`ValueFactorizationConfig` for all settings, :class:`CentralMixerSettings`
    for ``training(mixer=...)`` and :class:`WQMIXSettings` for ``training(algorithm_settings=...)``. Other defaults are
    QMIX's, as in the official code.

    Example:
        >>> from rllib_reborn import WQMIXConfig
        >>> settings = {"weighting": "ow", "alpha": 0.5}
        >>> config = WQMIXConfig().environment("matrix/two_step").training(algorithm_settings=settings)
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "WQMIX"
    mixer_class = WQMixer
    mixer_settings_class = CentralMixerSettings
    algorithm_settings_class = WQMIXSettings
    rl_module_class = WQMIXModule
    default_learner_class = WQMIXLearner


class WQMIX(ValueFactorization):
    """Monotonic value factorization with a weighted projection."""

    config_class = WQMIXConfig
