"""SMAC's and SMACv2's rules: scenarios, options, observations, masks, rewards. No physics and no sockets: what happens
on the field comes from a simulator or from the game, as :class:`Units`.

=================== ===================================================================================================
``scenarios.py``    who fights whom: SMAC's 23 maps, SMACv2's 15 scenarios
``options.py``      what shapes observations, actions and rewards; ``compat.py``: what is kept of the originals' faults
``generators.py``   settings of what SMACv2 draws per episode; ``capabilities.py``: drawing it;
                    ``capability_config.py``: as options
``layout.py``       sizes, and where each number stands
``units.py``        the units as arrays; ``unit_types.py``, ``terrain.py``
``smac_rules.py``   the rules for B battles, with ``observer.py`` and ``observation_batch.py`` (observations, masks),
                    ``reward_tracker.py`` (rewards, ends), ``unit_slots.py`` (kinds and skills of an episode's units),
                    ``terrain_tables.py``, ``field_of_view.py``, ``visibility.py``
=================== ===================================================================================================
"""

from rllib_reborn.envs.smac.capabilities import Capabilities, agent_order, draw
from rllib_reborn.envs.smac.layout import layout_of, team_spec
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import (
    SCENARIOS,
    SMAC_SCENARIOS,
    SMACV2_SCENARIOS,
    Scenario,
    scenario,
    smacv2_scenario,
)
from rllib_reborn.envs.smac.smac_rules import Orders, SmacRules
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES, UnitType
from rllib_reborn.envs.smac.units import Units

__all__ = [
    "KIND",
    "SCENARIOS",
    "SMACV2_SCENARIOS",
    "SMAC_SCENARIOS",
    "UNIT_TYPES",
    "Capabilities",
    "Orders",
    "Scenario",
    "SmacOptions",
    "SmacRules",
    "Terrain",
    "UnitType",
    "Units",
    "agent_order",
    "draw",
    "layout_of",
    "scenario",
    "smacv2_scenario",
    "team_spec",
]
