"""``evaluate``: greedy episodes of a saved policy, in numbers and as a GIF."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_reborn.cli.command import (
    EXIT_OK,
    Command,
    UsageError,
    mistakes,
    positive_number,
    user_path,
    whole_number,
)
from rllib_reborn.cli.env_options import add_option_arguments, env_options, merged

if TYPE_CHECKING:
    from rllib_reborn.evaluation import Interval
    from rllib_reborn.studies.trained_policy import EpisodeOutcomes

VIDEO_FPS = 5


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=user_path, metavar="CHECKPOINT", help="checkpoint folder, or run folder (its newest)"
    )
    parser.add_argument("--episodes", type=positive_number, default=32, metavar="N", help="default 32")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default 0")
    parser.add_argument(
        "--num-envs",
        type=positive_number,
        metavar="N",
        help="games side by side; default: as many as episodes, at most 32, or as many as a runner played in training "
        "where the environment does not step them as arrays",
    )
    parser.add_argument("--video", type=user_path, metavar="FILE.gif", help="record one episode")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_option_arguments(
        parser,
        "options of the environment, laid over those it was trained with: render_mode=rgb_array team.workers=processes; "
        "of a sequence of tasks, each of which is played, task=0 for the first one alone",
    )


def _run(args: argparse.Namespace) -> int:
    _check_video(args.video)
    from rllib_reborn.checkpoints import CheckpointError, require_folder

    with mistakes(CheckpointError):
        require_folder(args.checkpoint)
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.envs.factories import UnknownEnvError
    from rllib_reborn.envs.task_sequence import TASK, Tasks
    from rllib_reborn.envs.team_game import GameUnavailableError
    from rllib_reborn.experiments.own_config import use_own_checkpoint
    from rllib_reborn.experiments.ray_session import show_ray_messages
    from rllib_reborn.studies.trained_policy import load_team

    show_ray_messages("error")
    with mistakes(FileNotFoundError, CheckpointError, UnknownEnvError, EnvContractError):
        checkpoint, team = use_own_checkpoint(args.checkpoint, load_team)
    options = env_options(args.overrides)
    team.env_config = merged(team.env_config, options)
    with mistakes(ValueError):
        teams = team.tasks()
        filmed = one_task = teams[Tasks.of(team.env_name, team.env_config).first] if len(teams) > 1 else team
        teams = [one_task] if TASK in options else teams
    found = []
    for one in teams:
        with mistakes(
            ValueError, EnvContractError, GameUnavailableError
        ):  # an option that the environment does not take
            wanted = args.num_envs or _games_of_training(one.env_name, checkpoint)
            num_envs = None if wanted is None else min(wanted, args.episodes)
            outcomes = one.evaluate(args.episodes, args.seed, num_envs=num_envs, epsilon=0.0)
        found.append(_Found(one.env_name, outcomes))
        if not args.json:
            print(f"{one.env_name}, {args.episodes} greedy episodes, seed {args.seed}: {checkpoint}")
            print(found[-1].as_text(), flush=True)
    not_drawn = None if args.video is None else _why_not_recorded(filmed, args.seed, args.video)
    if args.json:
        # One object on stdout, also where nothing can be drawn.
        content = {"checkpoint": str(checkpoint), "episodes": args.episodes, "seed": args.seed}
        content |= found[0].as_dict() if len(found) == 1 else {"tasks": [of_task.as_dict() for of_task in found]}
        content["video"] = None if args.video is None or not_drawn else str(args.video)
        print(json.dumps(content))
    elif args.video is not None and not_drawn is None:
        print(f"video     {args.video}")
    if not_drawn is not None:
        raise UsageError(not_drawn)
    return EXIT_OK


class _Found:
    """The episodes of one environment, in numbers."""

    def __init__(self, env: str, outcomes: EpisodeOutcomes) -> None:
        from rllib_reborn.evaluation import mean_interval, proportion_interval

        self._env, self._outcomes = env, outcomes
        won, episodes = outcomes.won, len(outcomes.returns)
        self._returns = mean_interval(outcomes.returns)
        self._wins = None if won is None else proportion_interval(int(won.sum()), episodes)
        self._length = float(outcomes.lengths.mean())

    def as_dict(self) -> dict[str, Any]:
        return {
            "env": self._env,
            "return": _as_dict(self._returns),
            "win_rate": None if self._wins is None else _as_dict(self._wins),
            "episode_len_mean": self._length,
            "returns": [float(value) for value in self._outcomes.returns],
        }

    def as_text(self) -> str:
        return _as_text(self._returns, self._wins, self._length)


def _games_of_training(env: str, checkpoint: Path) -> int | None:
    """How many games a runner of the run played side by side: a machine may bear no more of them. None: any number, or not
    known."""
    from rllib_reborn.envs.registry import is_stepped_as_arrays
    from rllib_reborn.experiments.load import load_experiment
    from rllib_reborn.experiments.run_folder import run_of_checkpoint

    run = None if is_stepped_as_arrays(env) else run_of_checkpoint(checkpoint)
    return None if run is None else load_experiment(str(run.config)).resources.num_envs_per_env_runner


def _check_video(path: Path | None) -> None:
    """Before minutes of playing: can the GIF be written at all?"""
    if path is None:
        return
    if path.suffix.lower() != ".gif":
        raise UsageError(f"--video {path} does not end in .gif, the one format that is written.")
    if not path.parent.is_dir():
        raise UsageError(f"--video {path}: there is no folder {path.parent}.")


def _why_not_recorded(team: Any, seed: int, path: Path) -> str | None:
    """Record one episode; why it cannot be, or None."""
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.envs.render import record_gif

    try:
        frames = team.evaluate(1, seed, epsilon=0.0, record=True).frames
        record_gif(frames, path, fps=VIDEO_FPS)
    except (ValueError, EnvContractError, ImportError, OSError) as error:
        return f"no video was recorded: {error}"
    return None


def _as_dict(interval: Interval) -> dict[str, Any]:
    return {
        "mean": interval.estimate,
        "low": interval.low if interval.known else None,
        "high": interval.high if interval.known else None,
        "level": interval.level,
    }


def _as_text(returns: Interval, wins: Interval | None, length: float) -> str:
    from rllib_reborn.evaluation.text import format_interval, format_percent

    lines = [f"return    {format_interval(returns)} (95 % interval)"]
    if wins is not None:
        lines.append(f"win rate  {format_percent(wins)} (95 % interval)")
    lines.append(f"length    {length:.1f} env steps")
    return "\n".join(lines)


COMMAND = Command(
    "evaluate",
    "Play a saved policy greedily: mean, interval, win rate, GIF.",
    _add_arguments,
    _run,
    takes_overrides=True,
)
