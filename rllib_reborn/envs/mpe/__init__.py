"""Multi-agent particle environments (MPE), batch-native."""

from rllib_reborn.envs.mpe.mpe_env import MpeTeamEnv

__all__ = ["MpeTeamEnv"]
