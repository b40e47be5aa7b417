"""Whole-episode replay: packed storage, sampling without padding, memory known before it is spent."""

from rllib_reborn.replay.episode_replay import EpisodeBlock, EpisodeReplay, ReplaySample
from rllib_reborn.replay.memory import ReplayMemoryError, available_memory, bytes_per_step, format_bytes

__all__ = [
    "EpisodeBlock",
    "EpisodeReplay",
    "ReplayMemoryError",
    "ReplaySample",
    "available_memory",
    "bytes_per_step",
    "format_bytes",
]
