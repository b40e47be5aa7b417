"""An RLlib algorithm whose checkpoints also hold the replay, running games of remote runners, and our own counters."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable

from rllib_reborn.algorithms.value_factorization.checkpoint_components import (
    REMOTE_GAMES,
    REPLAY,
    RemoteGamesComponent,
    ReplayComponent,
)
from rllib_reborn.algorithms.value_factorization.counters import TrainingCounters
from rllib_reborn.algorithms.value_factorization.rllib_calls import AlgorithmCalls
from rllib_reborn.algorithms.value_factorization.saved_team import saved_team
from rllib_reborn.callbacks.scheduler import PlasticityScheduler
from rllib_reborn.checkpoints import check_listed
from rllib_reborn.envs.same_team import require_same_team
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.replay import EpisodeReplay
from rllib_reborn.replay.reward_scaling import RewardScaler
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.process_tuning import give_back_memory
from rllib_reborn.runtime.remote_processes import RemoteProcesses
from rllib_reborn.runtime.results import Collected
from rllib_reborn.runtime.runner_pool import RunnerPool
from rllib_reborn.runtime.standstill import games_answer_within

#: The last byte of every pickle.
_PICKLE_END = b"."
#: Key of our counters and random streams in an algorithm's state.
_OWN_STATE = "value_factorization"


class CheckpointedAlgorithm(AlgorithmCalls, ray_internals.ConfigByValueAlgorithm, abc.ABC):
    """State, checkpoints, restoring of both and of runners that died; the parts that are saved are made by the subclass's
    ``setup``."""

    replay: EpisodeReplay | None
    counters: TrainingCounters
    reward_scaler: RewardScaler
    plasticity_scheduler: PlasticityScheduler
    runners: RunnerPool
    #: Remote ones by kind, once they are there.
    processes: Mapping[str, RemoteProcesses] = MappingProxyType({})
    _plasticity_events: list[dict[str, Any]]
    #: Played beside an iteration that was interrupted, and in no result yet.
    _evaluation: dict[str, Any] | None = None
    #: The last one, and its main numbers; for Tune, see :class:`EvaluatedAlgorithm`.
    _last_evaluation: tuple[dict[str, Any], dict[str, Any]] | None = None

    def __repr__(self) -> str:
        # Ray asks for it where __init__ has failed too, and what that says instead must not be lost.
        return super().__repr__() if getattr(self, "config", None) is not None else f"{type(self).__name__}(not built)"

    @abc.abstractmethod
    def receive(self, collected: list[Collected]) -> None:
        """Take in what runners have collected."""

    @override(Algorithm)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        # Overlapped requests that are under way belong to this state: the runners' games are already past them.
        self.receive(self.runners.drain())
        self.count_losses()
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        state[_OWN_STATE] = {
            "replay_saved": self._saves_replay(),
            "counters": self.counters.get_state(),
            "reward_scaler": self.reward_scaler.get_state(),
            "plasticity_scheduler": self.plasticity_scheduler.get_state(),
            "plasticity_events": self._plasticity_events,
            "evaluation": self._evaluation,
            "last_evaluation": self._last_evaluation,
            "team": self.config.team_of_networks.to_dict(),
        }
        for name, component in self._own_components():
            if ray_internals.wants_component(self, name, components, not_components):
                state[name] = component.get_state()
        return state

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        ours = state.get(_OWN_STATE)
        if ours is not None and "team" in ours:
            self._require_same_team(TeamSpec(**ours["team"]))
        self.runners.discard()  # what is under way belongs to the time line that is left
        super().set_state(state)
        if ours is not None:
            self.counters.set_state(ours["counters"])
            self.reward_scaler.set_state(ours["reward_scaler"])
            self.plasticity_scheduler.set_state(ours["plasticity_scheduler"])
            self._plasticity_events = list(ours.get("plasticity_events", ()))
            self._evaluation = ours.get("evaluation")
            self._last_evaluation = ours.get("last_evaluation")
            if not ours["replay_saved"]:
                assert self.replay is not None
                self.replay.clear()
                self.counters.replay_lost()
        for name, component in self._own_components():
            if name in state:
                component.set_state(state[name])
        # Counted here, since the saved counters come after the components when a checkpoint is restored from files.
        self.counters.episodes_dropped += self._games_component.take_lost_episodes()
        # RLlib's own weight message after a restore is not waited for and may be dropped.
        self.runners.sync_all_weights(self.counters.env_steps)

    @classmethod
    @override(Algorithm)
    def from_checkpoint(cls, path: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As RLlib's.

        Raises:
            CheckpointError: ``path`` is a checkpoint of ``train`` and damaged, renamed, or another run's.
        """
        check_listed(Path(path))
        return super().from_checkpoint(_absolute(path), *args, **kwargs)

    @override(Algorithm)
    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """As RLlib's, but a relative path is one (RLlib takes it for a URI without a scheme and fails), and what a learner
        in another process could not write is an error (RLlib looks at no answer of it).

        Raises:
            OSError: The disk is full, cannot be written, ...
        """
        with games_answer_within(self.config.sample_timeout_s):
            saved: str = super().save_to_path(None if path is None else _absolute(path), **kwargs)
        _require_complete(Path(saved))
        give_back_memory()
        return saved

    @override(Algorithm)
    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """As RLlib's.

        Raises:
            OtherTeamError: The checkpoint is of another team; nothing is restored.
            CheckpointError: ``path`` is a checkpoint of ``train`` and damaged, renamed, or another run's.
        """
        check_listed(Path(path))
        saved = saved_team(Path(path))
        if saved is not None:
            self._require_same_team(saved)
        with games_answer_within(self.config.sample_timeout_s):
            super().restore_from_path(_absolute(path), *args, **kwargs)
        self.runners.sync_all_weights(self.counters.env_steps)

    @override(Algorithm)
    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """As RLlib's; runners that were started again also get the present weights, not those of the run's start."""
        restored: list[int] = super().restore_env_runners(env_runner_group)
        self.count_losses()
        if restored:
            if env_runner_group is self.env_runner_group:
                self.counters.runner_restarts += len(restored)
            self.runners.sync_weights_of(env_runner_group, restored, self.counters.env_steps)
        return restored

    def count_losses(self) -> None:
        """Count the processes that were lost since this was called last. The games of a runner went with it, each in the
        middle of an episode."""
        for kind, processes in self.processes.items():
            losses, before = processes.take_losses(), self.counters.processes_lost
            now = {kind: before.get(kind, 0) + losses.lost, f"{kind}_hung": before.get(f"{kind}_hung", 0) + losses.hung}
            self.counters.processes_lost = before | now  # a new one: a saved state may hold the one before
            if kind == "runners":
                self.counters.episodes_dropped += losses.lost * self.config.num_envs_per_env_runner

    @override(Algorithm)
    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        components: list[tuple[str, Any]] = super().get_checkpointable_components()
        return components + self._own_components()

    def _require_same_team(self, saved: TeamSpec) -> None:
        """The agents of a saved state are numbered; under another order each would get another one's memory and weights."""
        require_same_team(saved, self.config.team_spec, str(self.config.env), networks_only=True)

    def _saves_replay(self) -> bool:
        return bool(self.config.replay_in_checkpoints == "full")

    def _own_components(self) -> list[tuple[str, Any]]:
        if self.replay is None:
            return []
        replay = ReplayComponent(self.replay, saved=self._saves_replay())
        return [(REMOTE_GAMES, self._games_component), (REPLAY, replay)]

    @property
    def _games_component(self) -> RemoteGamesComponent:
        if not hasattr(self, "_remote_games"):
            self._remote_games = RemoteGamesComponent(self.env_runner_group, self.config)
        return self._remote_games


def _require_complete(folder: Path) -> None:
    """Every part of a checkpoint that was begun must have its state, and every pickle its last byte."""
    learner = folder / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER
    files = list(folder.rglob("*")) if folder.is_dir() else []  # else it is elsewhere, s3://...
    parts = {path.parent for path in files if path.suffix == ".pkl" or path.name == Checkpointable.METADATA_FILE_NAME}
    for part in sorted(parts | ({learner} if parts else set())):
        pickles = sorted(part.glob("*.pkl"))
        if not any(path.name.endswith(f"{Checkpointable.STATE_FILE_NAME}.pkl") for path in pickles):
            raise OSError(f"{part} has no state; the process that should have written it could not.")
        for path in pickles:
            with path.open("rb") as file:
                file.seek(max(path.stat().st_size - 1, 0))
                if file.read() != _PICKLE_END:
                    raise OSError(f"{path} is cut off; the process that should have written it could not.")


def _absolute(path: str | Path) -> str:
    """A local path made absolute; a URI (``s3://...``) as it is."""
    return str(path) if "://" in str(path) else str(Path(path).absolute())
