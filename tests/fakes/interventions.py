"""Interventions that are in no table, as a user writes them."""

import dataclasses
from typing import Any

import numpy as np

from rllib_reborn.plasticity.interventions import Context, Intervention, LayerChange, Plan
from rllib_reborn.plasticity.interventions.edits import ParameterEdit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damp(Intervention):
    """All parameters times ``factor``; learners see observations ``loudness`` times as large; its own replay ratio."""

    needs_statistics = False
    treats_layers = False

    scope: Any = "all"
    factor: float = 0.5
    ratio: float | None = 1.5
    loudness: tuple[float, float] = (2.0, 2.0)

    @property
    def replay_ratio(self) -> float | None:
        return self.ratio

    def batch_columns(self, episodes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"amplitude": rng.uniform(*self.loudness, episodes)}

    def plan(self, context: Context) -> Plan:
        edits = [
            ParameterEdit(net, name, self.factor, parameter.detach().new_zeros(parameter.shape))
            for net, network in context.nets.items()
            for name, parameter in network.named_parameters()
        ]
        return Plan(tuple(edits), tuple(LayerChange(layer=net, width=1, neurons=(0,)) for net in context.nets))


class Ragged(Damp):
    """Gives a column that fits no batch."""

    def batch_columns(self, episodes: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"amplitude": np.ones(episodes + 1)}


class Unfinished(Intervention):
    """Has no plan."""


class NoIntervention:
    """Something else."""
