"""Losses and targets as pure functions, torch only."""

from rllib_reborn.losses.quantile import quantile_huber
from rllib_reborn.losses.td import masked_mean, td_lambda_targets, td_targets

__all__ = ["masked_mean", "quantile_huber", "td_lambda_targets", "td_targets"]
