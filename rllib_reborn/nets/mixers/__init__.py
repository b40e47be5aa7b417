"""Mixers: the values of the agents' chosen actions, [rows, n], and the state, [rows, s], to Q_tot [rows]."""

from rllib_reborn.nets.mixers.mixer import Mixer
from rllib_reborn.nets.mixers.qmix import QMixer
from rllib_reborn.nets.mixers.vdn import VDNMixer

__all__ = ["Mixer", "QMixer", "VDNMixer"]
