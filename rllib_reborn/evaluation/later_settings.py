"""Settings that runs of earlier versions do not have in ``config.yaml``, because there was only one way then."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

#: Part of ``training`` -> setting -> the way it was, which is the default today (a test compares). A part that a config does
#: not have, such as the mixer of VDN, gets none.
_LATER: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "model": {"normalisation": "none", "activation": "relu", "encoder": None, "encoder_settings": None},
        "mixer": {"state": "full", "state_encoder_dim": None, "normalisation": "none", "activation": "relu"},
    }
)
#: The same of ``training`` itself.
_LATER_OF_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "replay_weighting": MappingProxyType({"kind": "uniform", "decay_env_steps": 80_000, "min_weight": 0.1}),
        "cuda_graph": "auto",
        "replay_device": "auto",
        "bootstrap_at_limit": True,
    }
)


def with_later_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` as today's version would have written it, so that a run of an earlier one is a seed of the same experiment.

    Only complete configs are filled in: those that have ``training.model``, which all written ones do.
    """
    training = config.get("training")
    if not isinstance(training, Mapping) or not isinstance(training.get("model"), Mapping):
        return dict(config)
    filled = dict(training)
    for part, settings in _LATER.items():
        there = training.get(part)
        if isinstance(there, Mapping) and there:
            filled[part] = {**settings, **there}
    for name, value in _LATER_OF_TRAINING.items():
        filled.setdefault(name, dict(value) if isinstance(value, Mapping) else value)
    return {**config, "training": filled}
