"""The multi-robot warehouse (RWARE), many games stepped as arrays."""

from rllib_reborn.envs.rware.rules import ACTION_NAMES, DIRECTION_NAMES, IMAGE_LAYERS, WarehouseRules
from rllib_reborn.envs.rware.warehouse import Warehouse

__all__ = ["ACTION_NAMES", "DIRECTION_NAMES", "IMAGE_LAYERS", "Warehouse", "WarehouseRules"]
