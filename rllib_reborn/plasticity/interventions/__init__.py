"""Everything that writes to weights: one class for each method, made from plain data by its ``kind``."""

from __future__ import annotations

from rllib_reborn.plasticity.interventions.base import Context, Intervention, LayerChange, Plan
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.edits import NeuronEdit, ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.fire import FIRE
from rllib_reborn.plasticity.interventions.injection import Injection
from rllib_reborn.plasticity.interventions.kinds import KINDS, intervention_class, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.knife import Knife
from rllib_reborn.plasticity.interventions.l2_init import L2Init
from rllib_reborn.plasticity.interventions.marr import MARR
from rllib_reborn.plasticity.interventions.prune import Prune
from rllib_reborn.plasticity.interventions.reborn import ReBorn
from rllib_reborn.plasticity.interventions.redo import ReDo
from rllib_reborn.plasticity.interventions.reset import SR, ReSet
from rllib_reborn.plasticity.interventions.reverse_redo import ReverseReDo
from rllib_reborn.plasticity.interventions.shrink_perturb import ShrinkPerturb
from rllib_reborn.plasticity.interventions.snr import SNR

__all__ = [
    "FIRE",
    "KINDS",
    "MARR",
    "SNR",
    "SR",
    "Context",
    "ContinualBackprop",
    "Injection",
    "Intervention",
    "Knife",
    "L2Init",
    "LayerChange",
    "NeuronEdit",
    "ParameterEdit",
    "Plan",
    "Prune",
    "ReBorn",
    "ReDo",
    "ReSet",
    "ReverseReDo",
    "ShrinkPerturb",
    "SurgeryRefused",
    "intervention_class",
    "make_intervention",
    "to_dict",
]
