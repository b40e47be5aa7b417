"""How plasticity writes to a Learner's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_reborn.callbacks.plasticity_runtime import Log


def logger_for(metrics_logger: Any, module_id: str) -> Log:
    """Writes values by their names (parts between slashes) under the module's id; None is not written."""

    def log(values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                # Equal on all ranks; a sum over learners would count them twice.
                metrics_logger.log_value((module_id, *name.split("/")), value, reduce="max", window=1)

    return log
