"""The algorithms. Importing this registers them with Tune by name (``tune.Tuner("QMIX", ...)``)."""

from __future__ import annotations

from ray.tune.registry import register_trainable

from rllib_reborn.algorithms.qmix import QMIX, QMIXConfig
from rllib_reborn.algorithms.value_factorization.play import (
    EpisodeOutcomes,
    Team,
    load_team,
    team_from_algo,
)
from rllib_reborn.algorithms.value_factorization.value_factorization import (
    ValueFactorization,
    ValueFactorizationConfig,
)
from rllib_reborn.algorithms.vdn import VDN, VDNConfig

#: The one table of algorithms: name to config.
ALGORITHMS: dict[str, type[ValueFactorizationConfig]] = {"QMIX": QMIXConfig, "VDN": VDNConfig}

for _name, _config in ALGORITHMS.items():
    register_trainable(_name, _config().algo_class)

__all__ = [
    "ALGORITHMS",
    "QMIX",
    "VDN",
    "EpisodeOutcomes",
    "QMIXConfig",
    "Team",
    "VDNConfig",
    "ValueFactorization",
    "ValueFactorizationConfig",
    "load_team",
    "team_from_algo",
]
