"""QPLEX: values and advantages of the agents are mixed apart, so that every task's best joint action can be represented
(Wang et al., ICLR 2021)."""

from __future__ import annotations

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.settings import QPLEXMixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.nets.mixers import QPLEXMixer


class QPLEXConfig(ValueFactorizationConfig):
    """Config of :class:`QPLEX`; see :class:`ValueFactorizationConfig` for all settings, :class:`QPLEXMixerSettings` for
    ``training(mixer=...)``.

    The loss is the mean squared TD error with 1-step targets, as in the published code; the official ReBorn code has half of
    it, and TD(lambda) targets with lambda 0.6 (``td_lambda``; docs/method.md).

    Example:
        >>> from rllib_reborn import QPLEXConfig
        >>> config = QPLEXConfig().environment("matrix/nonmonotonic").training(mixer={"n_head": 10})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "QPLEX"
    mixer_class = QPLEXMixer
    mixer_settings_class = QPLEXMixerSettings


class QPLEX(ValueFactorization):
    """Duplex dueling value factorization."""

    config_class = QPLEXConfig
