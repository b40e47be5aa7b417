"""Cooperative value factorization on Ray RLlib's new API stack, with plasticity loss made visible.

Public names are loaded when first used: importing ``rllib_reborn`` or ``rllib_reborn.envs`` imports neither Ray nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rllib_reborn._version import __version__
from rllib_reborn.algorithm_names import ALGORITHM_NAMES

if TYPE_CHECKING:
    from rllib_reborn.algorithms import (
        ALGORITHMS,
        DMIX,
        IQL,
        QMIX,
        QPLEX,
        RMIX,
        VDN,
        WQMIX,
        DMIXConfig,
        IQLConfig,
        QMIXConfig,
        QPLEXConfig,
        ResQ,
        ResQConfig,
        RMIXConfig,
        VDNConfig,
        WQMIXConfig,
    )
    from rllib_reborn.callbacks import DormancyCallback, LearnerCallback, ReBornCallback
    from rllib_reborn.envs import TeamSpec, VectorTeamEnv, make_team_env
    from rllib_reborn.policy import Policy
    from rllib_reborn.studies.trained_policy import EpisodeOutcomes, TrainedPolicy, load_team

_HOME = {
    "ALGORITHMS": "rllib_reborn.algorithms",
    **{name: "rllib_reborn.algorithms" for algorithm in ALGORITHM_NAMES for name in (algorithm, f"{algorithm}Config")},
    "DormancyCallback": "rllib_reborn.callbacks",
    "EpisodeOutcomes": "rllib_reborn.studies.trained_policy",
    "LearnerCallback": "rllib_reborn.callbacks",
    "Policy": "rllib_reborn.policy",
    "ReBornCallback": "rllib_reborn.callbacks",
    "TeamSpec": "rllib_reborn.envs",
    "TrainedPolicy": "rllib_reborn.studies.trained_policy",
    "VectorTeamEnv": "rllib_reborn.envs",
    "load_team": "rllib_reborn.studies.trained_policy",
    "make_team_env": "rllib_reborn.envs",
}

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
    "DormancyCallback",
    "EpisodeOutcomes",
    "IQLConfig",
    "LearnerCallback",
    "Policy",
    "QMIXConfig",
    "QPLEXConfig",
    "RMIXConfig",
    "ReBornCallback",
    "ResQ",
    "ResQConfig",
    "TeamSpec",
    "TrainedPolicy",
    "VDNConfig",
    "VectorTeamEnv",
    "WQMIXConfig",
    "__version__",
    "load_team",
    "make_team_env",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
