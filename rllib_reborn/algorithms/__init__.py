"""The algorithms. Importing this registers them with Tune by name (``tune.Tuner("QMIX", ...)``)."""

from __future__ import annotations

from ray.tune.registry import register_trainable

from rllib_reborn.algorithms.dmix import DMIX, DMIXConfig
from rllib_reborn.algorithms.iql import IQL, IQLConfig
from rllib_reborn.algorithms.qmix import QMIX, QMIXConfig
from rllib_reborn.algorithms.qplex import QPLEX, QPLEXConfig
from rllib_reborn.algorithms.resq import ResQ, ResQConfig
from rllib_reborn.algorithms.rmix import RMIX, RMIXConfig
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
from rllib_reborn.algorithms.wqmix import WQMIX, WQMIXConfig

#: The one table of algorithms: name to config.
ALGORITHMS: dict[str, type[ValueFactorizationConfig]] = {
    "DMIX": DMIXConfig,
    "IQL": IQLConfig,
    "QMIX": QMIXConfig,
    "QPLEX": QPLEXConfig,
    "RMIX": RMIXConfig,
    "ResQ": ResQConfig,
    "VDN": VDNConfig,
    "WQMIX": WQMIXConfig,
}

for _name, _config in ALGORITHMS.items():
    register_trainable(_name, _config().algo_class)

__all__ = [
    "ALGORITHMS",
    "DMIX",
    "IQL",
    "QMIX",
    "QPLEX",
    "RMIX",
    "VDN",
    "WQMIX",
    "DMIXConfig",
    "EpisodeOutcomes",
    "IQLConfig",
    "QMIXConfig",
    "QPLEXConfig",
    "RMIXConfig",
    "ResQ",
    "ResQConfig",
    "Team",
    "VDNConfig",
    "ValueFactorization",
    "ValueFactorizationConfig",
    "WQMIXConfig",
    "load_team",
    "team_from_algo",
]
