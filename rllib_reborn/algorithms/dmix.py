"""DMIX: QMIX of whole return distributions, by their mean and their shape (Sun et al.: DFAC, ICML 2021)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
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
from rllib_reborn.algorithms.value_factorization.settings import MixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.callbacks.request import update_rng
from rllib_reborn.losses import masked_mean, quantile_huber
from rllib_reborn.nets.agents import AgentTeam, MakeAgentNet
from rllib_reborn.nets.mixers import DMixer
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.nets.quantile_agent import QuantileAgentNet, midpoints, team_quantiles
from rllib_reborn.replay import ReplaySample
from rllib_reborn.settings import Settings

#: Column of a learner's batch, [steps, N + N'] in 0..1: the quantile fractions of each transition, first those of the value
#: of the actions taken, then those of its target.
FRACTIONS = "quantile_fractions"

Quantiles = Annotated[int, Field(ge=1, le=1024)]


class DMIXSettings(Settings):
    """``training(algorithm_settings=...)`` of DMIX; defaults are those of DFAC's published code (docs/method.md 7.5).

    Attributes:
        quantiles: ``N``, fractions drawn for the value of the actions taken, 1..1024. Default 8.
        target_quantiles: ``N'``, fractions drawn for its target, 1..1024. Default 8.
        acting_quantiles: Fixed fractions whose mean is acted by, in the target's choice of actions too, 1..1024. Default 32.
        cosines: Cosine features of a fraction, 1..1024. Default 64 (IQN).
        kappa: Error at which the quantile Huber loss turns from quadratic to linear, > 0. Default 1.
    """

    quantiles: Quantiles = 8
    target_quantiles: Quantiles = 8
    acting_quantiles: Quantiles = 32
    cosines: Quantiles = 64
    kappa: Annotated[float, Field(gt=0)] = 1.0


@dataclasses.dataclass(frozen=True)
class QuantileEpisodes(PackedEpisodes):
    """Episodes with quantile fractions: ``fractions`` [steps, N] of the actions taken, ``target_fractions`` [steps, N']
    of the targets."""

    fractions: Tensor
    target_fractions: Tensor


class DMIXModule(TeamRLModule):
    """Values, and so greedy actions, are means over the acting fractions; only the loss draws fractions."""

    mixer: DMixer

    def make_agent_net(self, settings: dict[str, Any]) -> MakeAgentNet:
        method = DMIXSettings(**settings)
        return partial(QuantileAgentNet, acting_quantiles=method.acting_quantiles, cosines=method.cosines)

    def packed_episodes(self, batch: dict[str, Any]) -> QuantileEpisodes:
        """As :meth:`TeamRLModule.packed_episodes`, with the column :data:`FRACTIONS`; a batch without it (one that is looked
        at and not trained on) has the midpoints of equal parts of 0..1."""
        packed = super().packed_episodes(batch)
        method = DMIXSettings(**self.model_config.get("algorithm_settings", {}))
        counts = [method.quantiles, method.target_quantiles]
        if FRACTIONS in batch:
            both = batch[FRACTIONS][packed.layout.step_rows]
            fractions, target_fractions = both.split(counts, dim=1)
        else:
            steps = len(packed.taken)
            fractions, target_fractions = (midpoints(count, packed.x.device).expand(steps, -1) for count in counts)
        return QuantileEpisodes(**vars(packed), fractions=fractions, target_fractions=target_fractions)

    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """``quantiles`` [steps, N] of Z_tot for the actions taken; ``fractions`` [steps, N], theirs; ``next_quantiles``
        [steps, N'] of the target networks after each transition, for the actions with the best mean."""
        assert isinstance(episodes, QuantileEpisodes)
        features = _features(self.agents, episodes)
        # At final observations too, of action 0: to leave the few of them out costs more, a copy of all features' gradient.
        taken = episodes.taken.new_zeros(features.shape[:2])
        fractions = features.new_zeros(len(features), episodes.fractions.shape[1])
        taken[episodes.layout.now], fractions[episodes.layout.now] = episodes.taken, episodes.fractions
        means, sums = map(episodes.now, team_quantiles(self.agents, features, taken, fractions))
        return {
            "quantiles": self.mixer.quantiles(means, sums, episodes.now(episodes.state)),
            "next_quantiles": self._next_quantiles(episodes, features),
            "fractions": episodes.fractions,
        }

    @torch.no_grad()
    def _next_quantiles(self, episodes: QuantileEpisodes, features: Tensor) -> Tensor:
        following, agents = episodes.next, cast(AgentTeam, self.target_agents)
        target_features = following(_features(agents, episodes))
        q = _values(self.agents, following(features)) if self.double_q else _values(agents, target_features)
        best = greedy_actions(q, following(episodes.action_mask))
        means, sums = team_quantiles(agents, target_features, best, episodes.target_fractions)
        return cast(DMixer, self.target_mixer).quantiles(means, sums, following(episodes.state))

    def row_masks(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """As :meth:`TeamRLModule.row_masks`; the embedding sees fractions and no agents, so all its rows count."""
        return {key: mask for key, mask in super().row_masks(batch).items() if not key.endswith("phi.0")}

    @override(TargetNetworkAPI)
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``next_quantiles`` [E, T, N'], which come with :meth:`_forward_train`."""
        return {"next_quantiles": self._forward_train(batch)["next_quantiles"]}


class DMIXLearner(ValueFactorizationLearner):
    """Quantile regression in place of the squared error."""

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked mean of the quantile Huber loss between Z_tot's quantiles and their targets, the same reward on all of a
        step's quantiles; errors and values in the log are those of the means."""
        predicted = fwd_out["quantiles"]
        target = self.targets(config, batch, fwd_out["next_quantiles"], mask)
        loss = quantile_huber(predicted, target, fwd_out["fractions"], kappa=self.algorithm_settings.kappa)
        mean = predicted.detach().mean(-1)
        metrics = {
            TD_ERROR_ABS: masked_mean((mean - target.mean(-1)).abs(), mask, count),
            Q_TOT_MEAN: masked_mean(mean, mask, count),
        }
        return masked_mean(loss, mask, count), metrics


class DMIXConfig(ValueFactorizationConfig):
    """Config of :class:`DMIX`; see :class:`ValueFactorizationConfig` for all settings, :class:`MixerSettings` for
    ``training(mixer=...)`` and :class:`DMIXSettings` for ``training(algorithm_settings=...)``.

    What differs from QMIX's defaults is as in DFAC's published code: Adam (eps 1e-5), and the target's actions chosen by the
    target networks (``double_q`` False). Its targets are 1-step ones; ``n_step`` works too.

    Example:
        >>> from rllib_reborn import DMIXConfig
        >>> config = DMIXConfig().environment("matrix/two_step").training(algorithm_settings={"quantiles": 16})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "DMIX"
    mixer_class = DMixer
    mixer_settings_class = MixerSettings
    algorithm_settings_class = DMIXSettings
    rl_module_class = DMIXModule
    default_learner_class = DMIXLearner

    default_optimizer = MappingProxyType({"kind": "adam", "eps": 1e-5})

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.double_q = False

    @override(ValueFactorizationConfig)
    def validate(self) -> None:
        super().validate()
        if self.td_lambda is not None:
            raise ValueError(
                f"td_lambda is {self.td_lambda} with DMIX, but a mean of quantiles of several returns is no quantile of "
                "theirs; set it to None and use n_step."
            )


class DMIX(ValueFactorization):
    """Distributional monotonic value factorization."""

    config: DMIXConfig

    config_class = DMIXConfig

    @override(ValueFactorization)
    def step_columns(self, sample: ReplaySample, clock: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
        """Fractions drawn again for every transition, the same for all agents, as in DFAC's code; in this process, so that n
        learners see what one does."""
        settings = self.config.parse_algorithm_settings()
        rng = update_rng(self.plasticity_scheduler.seed, clock, FRACTIONS)
        count = settings.quantiles + settings.target_quantiles
        return {FRACTIONS: draw_fractions(sample.lengths, count, max(1, self.config.num_learners), rng)}


def draw_fractions(
    lengths: npt.NDArray[np.int32], count: int, shards: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """The column :data:`FRACTIONS`, [sum(lengths), count], uniform in 0..1; an episode has the same ones into however many
    ``shards`` the replay has dealt its sample."""
    drawn = rng.random((len(lengths), int(lengths.max()), count), dtype=np.float32)
    dealt = np.arange(len(lengths)).reshape(-1, shards).T.reshape(-1)  # as EpisodeReplay.sample deals them
    real = np.arange(drawn.shape[1]) < lengths[:, np.newaxis]
    return drawn[dealt][real]


def _features(agents: AgentTeam, episodes: PackedEpisodes) -> Tensor:
    """[rows, n, hidden_dim]."""
    return agents.unroll_features(episodes.x, episodes.layout.obs_sizes)


def _values(agents: AgentTeam, features: Tensor) -> Tensor:
    """Means by which actions are chosen: ``features`` [rows, n, hidden_dim] -> [rows, n, A]."""
    return agents.each(lambda net, of_net, _: net.values(of_net), features, [len(features)])
