"""QMIX: the team's value is a monotonic, state-dependent mixture of the agents' (Rashid et al., ICML 2018)."""

from __future__ import annotations

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.settings import MixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.nets.mixers import QMixer


class QMIXConfig(ValueFactorizationConfig):
    """Config of :class:`QMIX`; see :class:`ValueFactorizationConfig` for all settings, :class:`MixerSettings` for
    ``training(mixer=...)``.

    Example:
        >>> from rllib_reborn import QMIXConfig
        >>> config = QMIXConfig().environment("matrix/two_step").training(mixer={"embed_dim": 64})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "QMIX"
    mixer_class = QMixer
    mixer_settings_class = MixerSettings


class QMIX(ValueFactorization):
    """Monotonic value factorization."""

    config_class = QMIXConfig
