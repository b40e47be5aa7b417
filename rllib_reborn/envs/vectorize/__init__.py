"""Many single games of one kind, stepped as a batch: in this process, on threads, or in child processes.

:class:`ExecutorTeamEnv` (``executor_env.py``) draws seeds, counts steps and failures, ends episodes and owns the output
arrays. A :class:`GameExecutor` (``game_executor.py``) runs the games. :class:`VectorizedTeamEnv` (``vectorized_env.py``)
chooses one of three for user-defined games: ``SerialExecutor`` steps one after another, ``ThreadExecutor`` all at once
(``local_executors.py``), ``ProcessExecutor`` in child processes, each with a ``SerialExecutor`` of its own
(``process_executor.py``). An executor never raises for what a game did: it returns a :class:`Failure`.
"""

from rllib_reborn.envs.vectorize.executor_env import ExecutorTeamEnv
from rllib_reborn.envs.vectorize.game_executor import (
    Failure,
    Failures,
    GameContractError,
    GameExecutor,
    GameFailedError,
    RemoteGameError,
    ResultBuffers,
)
from rllib_reborn.envs.vectorize.vectorized_env import VectorizedTeamEnv, Workers, check_arguments

__all__ = [
    "ExecutorTeamEnv",
    "Failure",
    "Failures",
    "GameContractError",
    "GameExecutor",
    "GameFailedError",
    "RemoteGameError",
    "ResultBuffers",
    "VectorizedTeamEnv",
    "Workers",
    "check_arguments",
]
