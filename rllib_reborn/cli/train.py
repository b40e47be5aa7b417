"""``train``: one experiment, from a YAML file to a run folder with a report."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_reborn.cli.command import (
    EXIT_FAILED,
    EXIT_OK,
    Command,
    CommandFailed,
    UsageError,
    add_address_argument,
    address_option,
    mistakes,
    program,
    program_here,
    use_address,
    user_path,
    whole_number,
)
from rllib_reborn.cli.experiment_arguments import add_experiment_arguments, composed_yaml, experiment_request

if TYPE_CHECKING:
    from rich.console import Console

    from rllib_reborn.cli.experiment_arguments import ExperimentRequest
    from rllib_reborn.experiments.fork import ForkRequest
    from rllib_reborn.experiments.run import PreparedRun, RunOutcome
    from rllib_reborn.experiments.run_folder import RunFolder
    from rllib_reborn.experiments.training_loop import TrainingError
    from rllib_reborn.monitoring.trackers import TrackerName


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment_arguments(parser)
    parser.add_argument(
        "--out", type=user_path, metavar="DIR", help="run folder; default: runs/<env>_<algorithm>_s<seed>_<time>"
    )
    parser.add_argument(
        "--resume",
        metavar="auto|PATH",
        help="go on with a checkpoint or run folder; auto: with the run in --out (or the newest of this env, "
        "algorithm and seed in runs/), if there is one",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=user_path,
        metavar="CHECKPOINT|RUN",
        help="begin a new run with what that one has learnt, under other settings; without NAME: its own, and the overrides",
    )
    parser.add_argument(
        "--fresh",
        type=_parts,
        default=(),
        metavar="PARTS",
        help="with --from: what is not taken over, of replay,optimizer,counters",
    )
    parser.add_argument("--seed", type=whole_number, metavar="N", help="the same as seed=N")
    parser.add_argument(
        "--seeds",
        type=seeds,
        metavar="0..9",
        help="a sweep of these seeds (0..9, or 0,3,7) in --out, one run folder each; 'tune' for more than seeds",
    )
    add_address_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the composed experiment with the source of every key, check the settings, and train nothing",
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.checkpoints import CheckpointError
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.ray_job import require_lasting_out
    from rllib_reborn.experiments.run_folder import RunFolder

    use_address(args.address)
    with mistakes(ExperimentError, CheckpointError):
        # The quick checks come first: what follows imports Ray, which takes seconds.
        request = experiment_request(_with_name_of_source(args))
        if request is None:
            raise UsageError(
                "no experiment is named; expected NAME, such as battle/8m/vdn+redo ('configs' lists the parts)."
            )
        if not args.dry_run:
            require_lasting_out(args.out)
        if args.seeds is not None:
            return _train_seeds(args, request)
        if args.out is not None and args.resume is None and not args.dry_run:
            RunFolder(args.out).require_free()
        if args.seed is not None:
            request = dataclasses.replace(request, overrides=(*request.overrides, f"seed={args.seed}"))
        loaded = request.load()
        experiment = loaded.experiment

        from rllib_reborn.experiments.preflight import (
            check_driver_starts_no_program,
            check_env,
            check_env_name,
            check_trackers,
        )

        check_driver_starts_no_program(experiment)
        check_trackers(experiment)
        if args.dry_run:
            from rllib_reborn.experiments.build import build_config

            build_config(experiment, check_env_name(experiment))
            print(composed_yaml(loaded, request), end="")
            return EXIT_OK

        from rllib_reborn.experiments.run import prepare_run

        team = check_env(experiment)
        run = prepare_run(experiment, out=args.out, resume=args.resume, fork=_fork(args), team=team)
    outcome = _train(run, quiet=args.quiet, address=args.address)
    folder = run.plan.folder
    for sentence in outcome.not_written:
        print(f"not on the disk: {sentence}.")
    if outcome.interrupted_by is not None and outcome.not_written:
        print(
            f"stopped by {outcome.interrupted_by} after {outcome.env_steps:,} env steps. Go on from what is on the disk "
            f"with:\n  {_resume_command(folder, args.address)}"
        )
        return EXIT_FAILED
    if outcome.interrupted_by is not None:
        print(
            f"stopped by {outcome.interrupted_by} after {outcome.env_steps:,} env steps; a "
            f"checkpoint is saved. Go on with:\n  {_resume_command(folder, args.address)}"
        )
        return EXIT_FAILED
    if outcome.not_written:
        raise CommandFailed(
            f"training has reached its end, and not all of it is on the disk; go on from what is with: "
            f"{_resume_command(folder, args.address)}"
        )
    _report(folder, run.experiment.logging.trackers, outcome.env_steps)
    video = folder.root / "episode.gif"
    print(f"next:\n  {program_here()} evaluate {shlex.quote(str(folder.root))} --video {shlex.quote(str(video))}")
    return EXIT_OK


def _with_name_of_source(args: argparse.Namespace) -> argparse.Namespace:
    """``args``; where --from is given without a name, the name is the config.yaml of that run."""
    from rllib_reborn.experiments.run_folder import RunFolder, run_of_checkpoint

    source: Path | None = args.source
    if source is None:
        if args.fresh:
            raise UsageError("--fresh has no effect without --from.")
        return args
    named = args.name is not None and ("=" not in args.name or Path(args.name).exists())
    if named or args.env is not None or args.algorithm is not None:
        return args
    folder = RunFolder(source)
    run = folder if folder.config.exists() else run_of_checkpoint(source)
    if run is None:
        raise UsageError(f"{source} is in no run folder, whose config.yaml would be taken; give NAME too.")
    first = () if args.name is None else (args.name,)
    return argparse.Namespace(**{**vars(args), "name": str(run.config), "overrides": [*first, *args.overrides]})


def _fork(args: argparse.Namespace) -> ForkRequest | None:
    from rllib_reborn.experiments.fork import ForkRequest

    return None if args.source is None else ForkRequest(args.source, args.fresh)


def _train_seeds(args: argparse.Namespace, request: ExperimentRequest) -> int:
    from rllib_reborn.cli.tune import run_to_its_end
    from rllib_reborn.tuning.seeds import sweep_of_seeds

    if args.seed is not None:
        raise UsageError("--seed and --seeds are both given; expected one of them.")
    if args.source is not None:
        raise UsageError(
            "--from has no effect with --seeds; in a sweep, fork: {env_steps: ...} does it for every seed."
        )
    if args.resume not in (None, "auto"):
        raise UsageError(
            f"--resume is {args.resume!r}; with --seeds expected auto, which goes on with the sweep in --out."
        )
    if request.resources is not None:
        raise UsageError(
            "--resources has no effect with --seeds; write its settings as key.path=value, e.g. resources.num_env_runners=2."
        )
    sweep = sweep_of_seeds(request.name, request.interventions, request.overrides, args.seeds)
    return run_to_its_end(
        sweep,
        args.out,
        resume=args.resume is not None,
        quiet=args.quiet,
        dry_run=args.dry_run,
        address=args.address,
    )


def seeds(text: str) -> list[int]:
    """Argument type: ``0..9`` or ``0,3,7``."""
    first, dots, last = text.partition("..")
    parts = [first, last] if dots else text.split(",")
    if not all(part.isdecimal() for part in parts) or (dots and int(last) < int(first)):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds; expected 0..9, or 0,3,7")
    return list(range(int(first), int(last) + 1)) if dots else [int(part) for part in parts]


def _parts(text: str) -> tuple[str, ...]:
    """Argument type: ``replay,optimizer``."""
    return tuple(part for part in text.split(",") if part)


def _train(run: PreparedRun, *, quiet: bool, address: str | None) -> RunOutcome:
    from rich.console import Console

    from rllib_reborn.cli.live_display import display_for
    from rllib_reborn.envs.contract import EnvContractError
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.run import execute_run
    from rllib_reborn.experiments.training_loop import TrainingError

    experiment, plan = run.experiment, run.plan
    console = Console()
    title = f"{experiment.algorithm} on {experiment.env}, seed {experiment.seed}"
    if not quiet:
        _print_head(console, run, title)
    display = display_for(console, title, experiment.stop, quiet=quiet, before=plan.rows)
    try:
        with mistakes(ExperimentError), display:
            return execute_run(run, display, [*program().split(), *sys.argv[1:]])
    except TrainingError as error:
        raise _as_ending(error, plan.folder, address) from error
    except EnvContractError as error:
        raise UsageError(
            f"training is done and its last checkpoint in {plan.folder.checkpoints}, but the final evaluation could not be "
            f"played: {error}"
        ) from error


def _print_head(console: Console, run: PreparedRun, title: str) -> None:
    from rllib_reborn.experiments.build import replay_limit_bytes
    from rllib_reborn.replay.memory import format_bytes

    plan = run.plan
    console.out(title, highlight=False)
    console.out(f"run folder  {plan.folder.root}", highlight=False)
    if plan.checkpoint is not None:
        env_steps = plan.progress.env_steps + plan.interrupted_env_steps
        console.out(f"resuming    {plan.checkpoint}, {env_steps:,} env steps", highlight=False)
    if plan.fork is not None:
        console.out(f"forked from {plan.fork.request.source}, {plan.fork.env_steps:,} env steps", highlight=False)
        for part, what in plan.fork.fork.parts().items():
            console.out(f"  {part}: {what}", highlight=False)
        for change in plan.fork.changes:
            console.out(f"  {change}", highlight=False)
    episodes = run.config.buffer_episodes
    size = format_bytes(replay_limit_bytes(run.config))
    console.out(f"replay      {episodes:,} episodes, at most {size}", highlight=False)


def _as_ending(error: TrainingError, folder: RunFolder, address: str | None) -> UsageError | CommandFailed:
    """An environment that breaks its contract is a usage error (its author's); anything else is not."""
    from rllib_reborn.envs.contract import EnvContractError

    again = _resume_command(folder, address)
    message = f"{error} (traceback in {folder.error}; once fixed, go on with: {again})"
    return UsageError(message) if isinstance(error.__cause__, EnvContractError) else CommandFailed(message)


def _resume_command(folder: RunFolder, address: str | None) -> str:
    config, root = shlex.quote(str(folder.config)), shlex.quote(str(folder.root))
    # Where a disk has taken no checkpoint, it begins again.
    has_one = folder.checkpoints.is_dir() and any(folder.checkpoints.glob("checkpoint_*"))
    resume = f"--resume {root}" if has_one else f"--out {root} --resume auto"
    return f"{program_here()} train {config} {resume}{address_option(address)}"


def _report(folder: RunFolder, trackers: Sequence[TrackerName], env_steps: int) -> None:
    from rllib_reborn.evaluation import NotReportedError, print_summary, write_report
    from rllib_reborn.monitoring.trackers import log_figures

    command = shlex.join([*program().split(), "report", str(folder.root)])
    try:
        report = write_report([folder.root], folder.report, command=command)
        print(print_summary(report))
        figures = {f"report/{figure.png.stem}": figure.png for figure in report.figures}
        log_figures(folder.root, trackers, figures, env_steps)
    except NotReportedError as refusal:  # what was played is no StarCraft II; it was trained on all the same
        print(f"no report: {refusal}")
    except OSError as error:
        raise CommandFailed(
            f"training is done, and its report could not be written ({error}); later: {command}"
        ) from error


COMMAND = Command(
    "train",
    "Train one experiment; writes a run folder with metrics, checkpoints and a report.",
    _add_arguments,
    _run,
    takes_overrides=True,
)
