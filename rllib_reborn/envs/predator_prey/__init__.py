"""Predator-prey (stag hunt)."""

from rllib_reborn.envs.predator_prey.predator_prey import PredatorPrey
from rllib_reborn.envs.predator_prey.rules import ACTION_NAMES, PRESETS, PredatorPreyRules

__all__ = ["ACTION_NAMES", "PRESETS", "PredatorPrey", "PredatorPreyRules"]
