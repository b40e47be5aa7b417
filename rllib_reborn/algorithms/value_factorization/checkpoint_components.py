"""What RLlib's checkpoints lack on the new stack: the replay, and the running games of remote env runners."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable

from rllib_reborn.replay import EpisodeReplay
from rllib_reborn.replay.replay_files import load_replay, save_replay

logger = logging.getLogger(__name__)

REPLAY = "replay"
REMOTE_GAMES = "remote_games"


class ReplayComponent(Checkpointable):
    """The replay as one component of raw arrays, written and read through any pyarrow file system.

    Args:
        replay: The replay.
        saved: Whether it is written; a checkpoint that holds one is read in any case.
    """

    def __init__(self, replay: EpisodeReplay, *, saved: bool) -> None:
        self._replay = replay
        self._saved = saved

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return self._replay.get_state() if self._saved else {}

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        if state:
            self._replay.set_state(state)

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        raise TypeError("the replay is restored by its algorithm, not on its own.")

    @override(Checkpointable)
    def save_to_path(
        self,
        path: str | Path | None = None,
        *,
        state: dict[str, Any] | None = None,
        filesystem: pyarrow.fs.FileSystem | None = None,
        **kwargs: Any,
    ) -> str:
        assert path is not None
        files, folder = _files(path, filesystem)
        state = self.get_state() if state is None else state
        if state:
            files.create_dir(folder, recursive=True)
            save_replay(state, lambda name: files.open_output_stream(posixpath.join(folder, name)))
        return folder

    @override(Checkpointable)
    def restore_from_path(
        self, path: str | Path, *, filesystem: pyarrow.fs.FileSystem | None = None, **kwargs: Any
    ) -> None:
        files, folder = _files(path, filesystem)
        self._replay.set_state(load_replay(lambda name: files.open_input_file(posixpath.join(folder, name))))


def _files(path: str | Path, filesystem: pyarrow.fs.FileSystem | None) -> tuple[pyarrow.fs.FileSystem, str]:
    if filesystem is not None:
        return filesystem, Path(path).as_posix()
    files, folder = pyarrow.fs.FileSystem.from_uri(str(Path(path).resolve()))
    return files, folder


class RemoteGamesComponent(Checkpointable):
    """Running episodes of the remote env runners, by worker index (RLlib saves only the local runner's)."""

    def __init__(self, group: EnvRunnerGroup, config: Any) -> None:
        self._group = group
        self._config = config
        self._lost_episodes = 0

    def take_lost_episodes(self) -> int:
        """How many running episodes were lost since this was called last."""
        lost, self._lost_episodes = self._lost_episodes, 0
        return lost

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        group = self._group
        if group.num_remote_env_runners() == 0:
            return {"games": {}}
        asked = group.num_healthy_remote_env_runners()
        answers = group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.games_state()), local_env_runner=False
        )
        # What is lost just now is in none of the counters that were saved a moment ago.
        lost = asked - len(answers)
        return {"games": dict(answers), "lost_episodes": lost * self._config.num_envs_per_env_runner}

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any]) -> None:
        games: dict[int, Any] = state["games"]
        self._lost_episodes += state.get("lost_episodes", 0)
        group = self._group
        # A runner without saved games (there were fewer then) starts new ones.
        answers = group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.set_games_state(games.get(runner.worker_index))),
            local_env_runner=False,
        )
        going_on = {worker_index for worker_index, goes_on in answers if goes_on}
        # RLlib has already given the local runner what is its own.
        local = group.local_env_runner
        lost = [None if local is None else local.take_unfit_games()]
        lost += [saved for worker_index, saved in games.items() if worker_index not in going_on]
        self._tell_of_lost_games([saved for saved in lost if saved is not None], num_env_runners=len(games))

    def _tell_of_lost_games(self, lost: list[dict[str, Any]], num_env_runners: int) -> None:
        """Count and warn of saved games that no runner continues; ``num_env_runners`` is how many there were."""
        if not lost:
            return
        running = sum(int((games["time"] > 0).sum()) for games in lost)
        self._lost_episodes += running
        logger.warning(
            "The checkpoint was saved with num_env_runners=%d and num_envs_per_env_runner=%d, and there are %d and %d now: "
            "%d running episode(s) of it are dropped, and games start again. Set both as they were for an exact resumption.",
            num_env_runners,
            lost[0]["num_envs"],
            self._group.num_remote_env_runners(),
            self._config.num_envs_per_env_runner,
            running,
        )

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # RLlib writes this down with every component; the algorithm itself restores this one.
        return (None, None), {}
