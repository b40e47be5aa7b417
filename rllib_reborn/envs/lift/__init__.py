"""Many single games of one kind, stepped as a batch: in this process, on threads, or in processes of their own.

Who does what: :class:`CrewedTeamEnv` (``crewed_env.py``) draws seeds, keeps the books (steps, ends, failures) and owns the
output arrays. A :class:`Crew` (``crew.py``) plays. :class:`LiftedTeamEnv` (``lifted_env.py``) has three of them for games of
one's own: ``Games`` plays one after another and ``GamesOnThreads`` all at once (``games.py``), ``GamesInProcesses`` in child
processes, each of which runs a ``Games`` of its own (``processes.py``). A crew never raises for what a game did: it answers
with a :class:`Failure`.
"""

from rllib_reborn.envs.lift.crew import (
    Crew,
    Failure,
    Failures,
    GameContractError,
    GameFailedError,
    Outcome,
    RemoteGameError,
)
from rllib_reborn.envs.lift.crewed_env import CrewedTeamEnv
from rllib_reborn.envs.lift.lifted_env import LiftedTeamEnv, Workers, check_arguments

__all__ = [
    "Crew",
    "CrewedTeamEnv",
    "Failure",
    "Failures",
    "GameContractError",
    "GameFailedError",
    "LiftedTeamEnv",
    "Outcome",
    "RemoteGameError",
    "Workers",
    "check_arguments",
]
