"""Callback classes for ``config.callbacks(...)``."""

from __future__ import annotations

from rllib_reborn.callbacks.dormancy import DormancyCallback
from rllib_reborn.callbacks.interventions import InterventionCallback
from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.reborn import ReBornCallback
from rllib_reborn.callbacks.request import PlasticityRequest

__all__ = ["DormancyCallback", "InterventionCallback", "LearnerCallback", "PlasticityRequest", "ReBornCallback"]
