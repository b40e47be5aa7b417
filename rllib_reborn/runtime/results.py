"""What env runners answer. Plain classes, because RLlib flattens dicts and lists; errors travel as data, because RLlib would
restart a runner that raises again and again instead of reporting it."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EpisodeOutcome
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.secret_settings import hidden


@dataclasses.dataclass(frozen=True)
class RunnerError:
    """An error of a runner: its message, and whether the environment is to blame for it."""

    message: str
    env_is_broken: bool

    @staticmethod
    def of(failure: Exception) -> RunnerError:
        if isinstance(failure, EnvContractError):
            return RunnerError(hidden(str(failure)), True)
        name = type(failure).__name__
        return RunnerError(hidden(f"env runner failed with {name}: {failure}\n{traceback.format_exc()}"), False)

    def raise_here(self) -> None:
        """Raise it in this process.

        Raises:
            EnvContractError: The environment is broken.
            RuntimeError: Anything else.
        """
        raise EnvContractError(self.message) if self.env_is_broken else RuntimeError(self.message)


@dataclasses.dataclass(frozen=True)
class Collected:
    """Answer of :meth:`TeamEnvRunner.collect`.

    Attributes:
        worker_index: The runner's.
        blocks: Finished episodes.
        outcomes: Theirs.
        env_steps: Env steps taken.
        dropped_episodes: Episodes lost with failed games.
        env_failures: How often games failed.
        metrics: RLlib's.
        error: What went wrong, if anything.
        provenance: What the environment says of its program, see :meth:`VectorTeamEnv.provenance`.
    """

    worker_index: int
    blocks: list[EpisodeBlock]
    outcomes: list[EpisodeOutcome]
    env_steps: int
    dropped_episodes: int
    env_failures: int
    metrics: Any
    error: RunnerError | None = None
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Answer of :meth:`TeamEnvRunner.evaluate_remote`: the episodes played to their end, and how often games failed."""

    worker_index: int
    outcomes: list[EpisodeOutcome]
    env_failures: int = 0
    error: RunnerError | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data without NaN: a mean of nothing is None."""
        outcomes = self.outcomes
        returns = [outcome.episode_return for outcome in outcomes]
        wins = [float(outcome.won) for outcome in outcomes if outcome.won is not None]
        return {
            "episode_returns": returns,
            "episode_return_mean": float(np.mean(returns)) if returns else None,
            "episode_return_std": float(np.std(returns)) if returns else None,
            "episode_len_mean": float(np.mean([o.length for o in outcomes])) if outcomes else None,
            "win_rate": float(np.mean(wins)) if wins else None,
            "num_episodes": len(outcomes),
            "num_env_failures": self.env_failures,
        }


class Weights(NamedTuple):
    """Agent weights of the learners and their number (which rises with every update); of a sequence of tasks the number of
    the one that they are to be evaluated on."""

    rl_module: dict[str, Any]
    seq_no: int
    task: int | None = None


AnswerT = TypeVar("AnswerT", Collected, Evaluated)


def without_errors(answers: list[AnswerT]) -> list[AnswerT]:
    """Answers by runner; raises the error of the first that has one (see :meth:`RunnerError.raise_here`)."""
    answers = sorted(answers, key=lambda answer: answer.worker_index)
    for answer in answers:
        if answer.error is not None:
            answer.error.raise_here()
    return answers
