"""The run's own counters."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from rllib_reborn.envs.rollout import EpisodeOutcome
from rllib_reborn.runtime.results import Collected

#: Key of what environments say of their program (:meth:`VectorTeamEnv.provenance`).
GAME_VERSION = "game_version"


@dataclasses.dataclass(frozen=True)
class MetricsInterval:
    """Between two rows of metrics: finished training episodes, updates, and both clocks per second."""

    outcomes: tuple[EpisodeOutcome, ...]
    updates: int
    env_steps_per_s: float
    updates_per_s: float


@dataclasses.dataclass
class TrainingCounters:
    """Counters of a run, kept here because RLlib's own are wrong with remote learners."""

    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    env_steps_trained: int = 0
    episodes_dropped: int = 0
    env_failures: int = 0
    runner_restarts: int = 0  #: Sampling processes that were started again; RLlib's count ends with a restore.
    processes_lost: dict[str, int] = dataclasses.field(default_factory=dict)  #: By kind; ``_hung``: were given up.
    last_evaluation_env_steps: int = 0
    new_episodes: int = 0  #: Of which :meth:`updates_due` knows nothing yet.
    #: What collected episodes have paid for beyond whole updates.
    update_budget: float = 0.0
    #: Updates of the present training step that are still to be done.
    updates_left: int = 0
    #: Env steps of an iteration that was interrupted, by RLlib's count; None: none was.
    interrupted_env_steps: int | None = None
    #: ``train()`` calls that are complete.
    iterations: int = 0
    #: Applications of interventions, dry runs included.
    interventions: int = 0
    #: Episodes in the replay since it was last empty.
    episodes_since_empty: int = 0
    #: Seconds of training before the last restore.
    seconds_before: float = 0.0
    #: Versions of the games' program, of all that were played; empty where the games are our own.
    game_versions: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._outcomes: list[EpisodeOutcome] = []
        self._row_time = self._started
        self._row_steps = self._row_updates = 0

    def add(self, collected: Collected) -> None:
        """Count one runner's answer."""
        episodes = sum(len(block) for block in collected.blocks)
        self.env_steps += collected.env_steps
        self.episodes += episodes
        self.new_episodes += episodes
        self.episodes_since_empty += episodes
        self.episodes_dropped += collected.dropped_episodes
        self.env_failures += collected.env_failures
        self._outcomes += collected.outcomes
        versions = collected.provenance.get(GAME_VERSION, "")
        self.game_versions = sorted({*self.game_versions, *filter(None, versions.split(", "))})

    def updates_due(self, updates_per_episode: float, learning_starts: int) -> int:
        """Updates that the episodes received since the last call have paid for. Warm-up episodes pay for none."""
        new, self.new_episodes = self.new_episodes, 0
        if self.episodes_since_empty < learning_starts:
            return 0
        warm_up = max(0, learning_starts - (self.episodes_since_empty - new))
        # The episode that completes the warm-up pays, as in PyMARL: the first update follows it at once.
        self.update_budget += updates_per_episode * min(new, new - warm_up + (warm_up > 0))
        # A budget of 0.9999999 from summing fractions is one update.
        whole = math.floor(self.update_budget + 1e-9)
        self.update_budget -= whole
        return whole

    def clock(self, updates_before: int) -> dict[str, int]:
        """Clocks of the run at the update after ``updates_before`` others (done or under way), by the names of schedules.
        ``iterations`` counts those that are complete; RLlib's own counter does not survive a restore."""
        return {
            "env_steps": self.env_steps,
            "updates": updates_before + 1,
            "episodes": self.episodes,
            "iterations": self.iterations,
        }

    def replay_lost(self) -> None:
        """The replay is empty (a checkpoint without it was restored): warm up again."""
        self.episodes_since_empty = self.new_episodes = self.updates_left = 0
        self.update_budget = 0.0

    def seconds(self) -> float:
        """Seconds of training, those before a restore included."""
        return self.seconds_before + time.monotonic() - self._started

    def get_state(self) -> dict[str, Any]:
        row = {
            "outcomes": [dataclasses.asdict(outcome) for outcome in self._outcomes],
            "seconds": time.monotonic() - self._row_time,
            "env_steps": self._row_steps,
            "updates": self._row_updates,
        }
        return dataclasses.asdict(self) | {"seconds_before": self.seconds(), "row": row}

    def set_state(self, state: dict[str, Any]) -> None:
        for field in dataclasses.fields(self):
            # A checkpoint of an earlier version lacks what that version did not count.
            if field.name in state:
                setattr(self, field.name, state[field.name])
        self.__post_init__()
        # Of the row that was under way; most checkpoints lie between two rows.
        row = state.get("row", {})
        self._row_steps = row.get("env_steps", self.env_steps)
        self._row_updates = row.get("updates", self.updates)
        self._row_time -= row.get("seconds", 0.0)
        self._outcomes += [EpisodeOutcome(**outcome) for outcome in row.get("outcomes", ())]

    def take_interval(self) -> MetricsInterval:
        """What happened since this was asked last."""
        now = time.monotonic()
        seconds = max(now - self._row_time, 1e-9)
        steps, updates = self.env_steps - self._row_steps, self.updates - self._row_updates
        self._row_time, self._row_steps, self._row_updates = now, self.env_steps, self.updates
        outcomes, self._outcomes = self._outcomes, []
        return MetricsInterval(tuple(outcomes), updates, steps / seconds, updates / seconds)
