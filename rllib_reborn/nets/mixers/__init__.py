"""Mixers: the values of the agents' chosen actions, [rows, n], and the state, [rows, s], to Q_tot [rows]."""

from rllib_reborn.nets.mixers.dmix import DMixer
from rllib_reborn.nets.mixers.feed_forward import FeedForwardMixer
from rllib_reborn.nets.mixers.mixer import Mixer
from rllib_reborn.nets.mixers.qmix import QMixer
from rllib_reborn.nets.mixers.qplex import QPLEXMixer
from rllib_reborn.nets.mixers.resq import ResQMixer
from rllib_reborn.nets.mixers.vdn import VDNMixer
from rllib_reborn.nets.mixers.wqmix import WQMixer

__all__ = ["DMixer", "FeedForwardMixer", "Mixer", "QMixer", "QPLEXMixer", "ResQMixer", "VDNMixer", "WQMixer"]
