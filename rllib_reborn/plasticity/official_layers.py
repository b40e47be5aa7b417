"""The layers that the official ReBorn code marks for its surgery: the choice ``official_code``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers import FeedForwardMixer, QMixer, QPLEXMixer, VDNMixer
from rllib_reborn.nets.mixers.critic import CentralCritic, CriticNetworks

#: The first layer of every network of acting agents.
_AGENT = r"(nets\.\d+\.)?encoder\.0"
#: The hidden layers of ``hyper_w_final`` and ``V`` (QMIX, QPLEX), and all four of a feed-forward mixer (``CW1``, ``CW2``,
#: ``CW3`` and ``CV1`` in ``qmix_central_no_hyper.py``), which is a critic's inside of WQMIX's and ResQ's. The official code
#: also marks the first layer of a critic's agents, but under the name of the acting agents' (``A``), and has no learner
#: that would say where it counts: it is left out here.
_MIXER = r"(\w+\.mixer\.|mixer\.)?(hyper_w_final|V|net\.[024])"

_MARKED: tuple[tuple[tuple[type[nn.Module], ...], re.Pattern[str]], ...] = (
    ((AgentNet, AgentTeam), re.compile(_AGENT)),
    ((QMixer, QPLEXMixer, FeedForwardMixer, VDNMixer, CentralCritic, CriticNetworks), re.compile(_MIXER)),
)


def official_layers(network: nn.Module, layers: Sequence[HiddenLayer]) -> list[HiddenLayer]:
    """Those of ``layers``, the hidden layers of ``network``, that the official ReBorn code marks.

    Of a network that the official code does not have: every one whose neurons have weights of their own.
    """
    for classes, names in _MARKED:
        if isinstance(network, classes):
            return [layer for layer in layers if names.fullmatch(layer.name)]
    return [layer for layer in layers if not layer.score_only]
