"""Settings of the regular dormancy check: when, of which layers, by which thresholds, on which batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rllib_reborn.plasticity.masks import check_thresholds
from rllib_reborn.plasticity.neuron_layers import LAYER_CHOICES, LayerChoice
from rllib_reborn.plasticity.schedule import ClockUnit, Schedule, check_whole
from rllib_reborn.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class DormancyCheck:
    """When and how dormancy is measured. Measuring changes nothing: not a weight, not a random stream.

    Attributes:
        every, unit, start, stop: See :class:`Schedule`. Default: every 10,000 env steps.
        layers: ``official_code`` (those that the official ReBorn code marks), ``editable`` (every hidden layer whose
            neurons have weights of their own) or ``full`` (every hidden layer).
        alpha: Dormant: normalised activation score <= alpha (docs/method.md 1), 0..1.
        beta: Over-active: score >= beta, > 1.
        source: Batch that is scored: ``replay`` (uniform sample) or ``latest`` episodes.
        episodes: Episodes in it, >= 1.
        redormant_within: Env steps: which neurons treated within so many are dormant again (Fig. 3c: 0.2M)?
    """

    every: int = 10_000
    unit: ClockUnit = "env_steps"
    start: int = 0
    stop: int | None = None
    layers: LayerChoice = "official_code"
    alpha: float = 0.1
    beta: float = 3.0
    source: str = "replay"
    episodes: int = 32
    redormant_within: int = 200_000

    def __post_init__(self) -> None:
        _ = self.schedule
        check_thresholds(self.alpha, self.beta)
        for name, choices in (("layers", LAYER_CHOICES), ("source", ("replay", "latest"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}.")
        for name in ("episodes", "redormant_within"):
            check_whole(name, getattr(self, name), 1)

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.every, self.unit, self.start, self.stop)


def make_dormancy_check(data: Mapping[str, Any] | DormancyCheck) -> DormancyCheck:
    """The check that ``data`` describes.

    Raises:
        ValueError: An unknown key, or a value that is not allowed.
    """
    if isinstance(data, DormancyCheck):
        return data
    if not isinstance(data, Mapping):
        raise ValueError(f"dormancy is {data!r}; expected its settings by name, {{}} for the defaults.")
    known = [field.name for field in dataclasses.fields(DormancyCheck)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            raise ValueError(f"dormancy has no setting {key!r}.{did_you_mean(str(key), known)}")
        # YAML reads 1e4 as a float.
        whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
        values[key] = int(value) if whole and key not in ("alpha", "beta") else value
    return DormancyCheck(**values)
