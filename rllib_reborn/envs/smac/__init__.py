"""SMAC's and SMACv2's rules: scenarios, options, observations, masks, rewards. No physics and no sockets: what happens
on the field comes from a simulator or from the game, as :class:`Units`.

=================== ===================================================================================================
``scenarios.py``    who fights whom: SMAC's 23 maps, SMACv2's 15 scenarios
``options.py``      what shapes observations, actions and rewards; ``quirks.py``: what is kept of the originals' faults
``generators.py``   settings of what SMACv2 draws per episode; ``capabilities.py``: drawing it;
                    ``capability_config.py``: as options
``layout.py``       sizes, and where each number stands
``units.py``        what stands on the field; ``unit_types.py``, ``arena.py``
``referee.py``      the rules for B battles, with ``observer.py`` (what is seen), ``tally.py`` (what it is worth),
                    ``roster.py`` (who takes part), ``ground.py``, ``cone.py``, ``spotting.py``
=================== ===================================================================================================
"""

from rllib_reborn.envs.smac.arena import Arena
from rllib_reborn.envs.smac.capabilities import Capabilities, agent_order, draw
from rllib_reborn.envs.smac.layout import layout_of, team_spec
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.referee import Orders, Referee
from rllib_reborn.envs.smac.scenarios import (
    SCENARIOS,
    SMAC_SCENARIOS,
    SMACV2_SCENARIOS,
    Scenario,
    scenario,
    smacv2_scenario,
)
from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES, UnitType
from rllib_reborn.envs.smac.units import Units

__all__ = [
    "KIND",
    "SCENARIOS",
    "SMACV2_SCENARIOS",
    "SMAC_SCENARIOS",
    "UNIT_TYPES",
    "Arena",
    "Capabilities",
    "Orders",
    "Referee",
    "Scenario",
    "SmacOptions",
    "UnitType",
    "Units",
    "agent_order",
    "draw",
    "layout_of",
    "scenario",
    "smacv2_scenario",
    "team_spec",
]
