"""The sweep that ``train NAME --seeds 0..9`` means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.experiment_name import find_file
from rllib_reborn.experiments.overrides import split_override
from rllib_reborn.tuning.sweep import Sweep, parse_sweep


def sweep_of_seeds(name: str, interventions: Sequence[str], overrides: Sequence[str], seeds: Sequence[int]) -> Sweep:
    """One experiment with several seeds.

    Args:
        name, interventions, overrides: As of ``train``.
        seeds: Different from each other.

    Raises:
        ExperimentError: They do not make a sweep.
    """
    file = find_file(name)
    if file is not None and interventions:
        raise ExperimentError(
            f"--intervention has no effect on {file} with --seeds; name it in the file, or write a sweep with an arm: "
            "{name: a, add: redo}."
        )
    base = str(file.resolve()) if file is not None else "+".join((name, *interventions))
    settings: dict[str, Any] = {}
    budget: dict[str, Any] = {}
    for override in overrides:
        parts, value = split_override(override)
        if parts[0] == "stop" and len(parts) == 2:
            budget[parts[1]] = value
        else:
            settings[".".join(parts)] = value
    data = {"base": base, "set": settings, "seeds": list(seeds), **({"budget": budget} if budget else {})}
    return parse_sweep(data, "--seeds")
