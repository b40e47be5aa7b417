"""VDN: the team's value is the sum of the agents' (Sunehag et al., AAMAS 2018)."""

from __future__ import annotations

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.settings import NoMixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.nets.mixers import VDNMixer


class VDNConfig(ValueFactorizationConfig):
    """Config of :class:`VDN`; see :class:`ValueFactorizationConfig` for all settings.

    Example:
        >>> from rllib_reborn import VDNConfig
        >>> algo = VDNConfig().environment("matrix/two_step").build_algo()  # doctest: +SKIP
    """

    algorithm_name = "VDN"
    mixer_class = VDNMixer
    mixer_settings_class = NoMixerSettings


class VDN(ValueFactorization):
    """Value decomposition networks."""

    config_class = VDNConfig
