"""The episodes that a study of a checkpoint learns from: its replay, or episodes that its team plays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rllib_reborn.algorithms.value_factorization.checkpoint_components import REPLAY
from rllib_reborn.checkpoints import CheckpointError
from rllib_reborn.envs.registry import team_spec
from rllib_reborn.envs.same_team import OtherTeamError, require_same_team
from rllib_reborn.envs.task_sequence import is_sequence
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import FIELDS, OBSERVATION_FIELDS, Episode
from rllib_reborn.studies.invariance import EPSILON, play_episodes
from rllib_reborn.studies.trained_policy import TrainedPolicy


def replay_episodes(checkpoint: Path, wanted: int, seed: int) -> list[Episode] | None:
    """Episodes of a checkpoint's replay, drawn uniformly, none twice; None where it holds no replay, or fewer of them.

    Only what is drawn is read.

    Args:
        checkpoint: Folder.
        wanted: How many, >= 1.
        seed: Of the draw.

    Raises:
        CheckpointError: The replay's files cannot be read.
    """
    folder = checkpoint / REPLAY
    if not (folder / "replay.json").is_file():
        return None
    try:
        lengths = np.array(json.loads((folder / "replay.json").read_text(encoding="utf-8"))["lengths"], np.int64)
        if len(lengths) < wanted:
            return None
        drawn = np.sort(np.random.default_rng([seed, 0xE9]).choice(len(lengths), wanted, replace=False))
        episodes: list[Episode] = [{} for _ in drawn]
        for name in FIELDS:
            rows = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            of_each = lengths + (name in OBSERVATION_FIELDS)
            ends = np.cumsum(of_each)
            for episode, number in zip(episodes, drawn.tolist(), strict=True):
                episode[name] = np.array(rows[ends[number] - of_each[number] : ends[number]])
        return episodes
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the replay in {checkpoint} cannot be read ({error}).") from error


def study_episodes(
    team: TrainedPolicy, checkpoint: Path | None, wanted: int, seed: int, *, task: str | None = None
) -> tuple[list[Episode], str]:
    """Episodes, and in words where they come from.

    Args:
        team: Who plays where nothing is at hand.
        checkpoint: Its folder; None: it has none.
        wanted: How many, >= 1.
        seed: Of draws, games and exploration.
        task: Name of another environment of the same team, which is then played instead; None: the team's own.

    Raises:
        OtherTeamError: The task is of another team.
        CheckpointError, EnvContractError, UnknownEnvError, ValueError: The replay cannot be read, or games be played.
    """
    if task is not None:
        require_task_of_same_shapes(team, task)
        team = TrainedPolicy(team.module, task, {})
    elif checkpoint is not None:
        episodes = replay_episodes(checkpoint, wanted, seed)
        if episodes is not None:
            mixed = ", which may be of several tasks" if is_sequence(team.env_name) else ""
            return episodes, f"{wanted} episodes of its replay{mixed}"
    columns = play_episodes(team, wanted, seed)
    block = EpisodeBlock(columns["lengths"], {name: columns[name] for name in FIELDS})
    where = team.played if task is None else f"{task}, another task"
    return list(block.episodes()), f"{wanted} episodes of {where}, played by it with {EPSILON:.0%} random actions"


def require_task_of_same_shapes(team: TrainedPolicy, task: str) -> None:
    """Raise unless the environment ``task`` is of the same team, as far as the networks go.

    Raises:
        OtherTeamError: It is not.
        UnknownEnvError: There is none of that name.
    """
    try:
        require_same_team(team.spec, team_spec(task), task, networks_only=True)
    except OtherTeamError as error:
        raise OtherTeamError(f"--task {task} has other shapes than {team.env_name}: {error}") from error
