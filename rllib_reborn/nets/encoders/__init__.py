"""Encoders of observations: what stands in front of the agents' network, [rows, d] -> [rows, width]."""

from rllib_reborn.nets.encoders.cnn import CNN
from rllib_reborn.nets.encoders.named import (
    ENCODERS,
    check_encoder,
    check_encoder_settings,
    encoder_class,
    make_encoder,
)
from rllib_reborn.nets.encoders.per_field import PerField

__all__ = [
    "CNN",
    "ENCODERS",
    "PerField",
    "check_encoder",
    "check_encoder_settings",
    "encoder_class",
    "make_encoder",
]
