"""VDN: the team's value is the sum of the agents' (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from typing import Any

from rllib_reborn.algorithms.value_factorization.settings import NoSettings, Settings
from rllib_reborn.algorithms.value_factorization.team_rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.value_factorization import (
    ValueFactorization,
    ValueFactorizationConfig,
)
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.mixers import Mixer, VDNMixer


class VDNModule(TeamRLModule):
    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        return VDNMixer()


class VDNConfig(ValueFactorizationConfig):
    """Config of :class:`VDN`; see :class:`ValueFactorizationConfig` for all settings.

    Example:
        >>> from rllib_reborn import VDNConfig
        >>> algo = VDNConfig().environment("matrix/two_step").build_algo()  # doctest: +SKIP
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or VDN)

    def mixer_settings(self) -> type[Settings]:
        return NoSettings

    def module_class(self) -> type[TeamRLModule]:
        return VDNModule


class VDN(ValueFactorization):
    """Value decomposition networks."""

    @classmethod
    def get_default_config(cls) -> VDNConfig:
        return VDNConfig()
