"""QMIX: the team's value is a monotonic, state-dependent mixture of the agents' (Rashid et al., ICML 2018)."""

from __future__ import annotations

from typing import Any

from rllib_reborn.algorithms.value_factorization.settings import MixerSettings, Settings
from rllib_reborn.algorithms.value_factorization.team_rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.value_factorization import (
    ValueFactorization,
    ValueFactorizationConfig,
)
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.mixers import Mixer, QMixer


class QMIXModule(TeamRLModule):
    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        return QMixer(spec.n_agents, spec.state_dim, **settings)


class QMIXConfig(ValueFactorizationConfig):
    """Config of :class:`QMIX`; see :class:`ValueFactorizationConfig` for all settings, :class:`MixerSettings` for
    ``training(mixer=...)``.

    Example:
        >>> from rllib_reborn import QMIXConfig
        >>> config = QMIXConfig().environment("matrix/two_step").training(mixer={"embed_dim": 64})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    mixer_needs_state = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or QMIX)

    def mixer_settings(self) -> type[Settings]:
        return MixerSettings

    def module_class(self) -> type[TeamRLModule]:
        return QMIXModule


class QMIX(ValueFactorization):
    """Monotonic value factorization."""

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        return QMIXConfig()
