"""``tune``: many runs from one file, on this machine or a cluster; ``tune status DIR`` says how far they are."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_reborn.cli.command import (
    EXIT_FAILED,
    EXIT_OK,
    Command,
    UsageError,
    add_address_argument,
    address_option,
    mistakes,
    program_here,
    use_address,
    user_path,
)

if TYPE_CHECKING:
    from rllib_reborn.tuning.sweep import Sweep
    from rllib_reborn.tuning.sweep_folder import SweepFolder

STATUS, PACK, MERGE = "status", "pack", "merge"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweep",
        metavar="SWEEP.yaml|NAME|status DIR|pack DIR|merge DIR DIR ...",
        help="a file, or the name of one in tune_experiments/; or status: how far the sweep in DIR is; pack: all but its "
        "weights as one file --out FILE.tar.xz, which 'report' and 'merge' read; merge: parts of a sweep into --out DIR",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=(),
        metavar="key=value",
        help="change the sweep, e.g. concurrency=2 or seeds=[0,1]",
    )
    parser.add_argument(
        "--out", type=user_path, metavar="DIR", help="folder of the sweep: one run folder for each point and seed"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the sweep in DIR; where there is none yet, start it"
    )
    add_address_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--dry-run", action="store_true", help="check every run of the sweep and list them; run nothing"
    )


def _run(args: argparse.Namespace) -> int:
    actions = {STATUS: _status, PACK: _pack, MERGE: _merge}
    return actions.get(args.sweep, _sweep)(args)


def _status(args: argparse.Namespace) -> int:
    if len(args.overrides) != 1:
        raise UsageError("'tune status' takes the folder, or the packed file, of one sweep: tune status DIR.")
    from rllib_reborn.cli.sweep_display import status_lines
    from rllib_reborn.evaluation import RunError
    from rllib_reborn.evaluation.packed_runs import opened
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.tuning.sweep_folder import SweepFolder

    with mistakes(ExperimentError, RunError), opened(user_path(args.overrides[0])) as root:
        folder = SweepFolder(root)
        print("\n".join(status_lines(folder, folder.read())))
    return EXIT_OK


def _pack(args: argparse.Namespace) -> int:
    if len(args.overrides) != 1:
        raise UsageError("'tune pack' takes the folder of one sweep: tune pack DIR.")
    from rllib_reborn.evaluation.packed_runs import SUFFIX
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.replay.memory import format_bytes
    from rllib_reborn.tuning.archive import pack
    from rllib_reborn.tuning.sweep_folder import SweepFolder

    root = user_path(args.overrides[0])
    archive = args.out or root.with_name(f"{root.resolve().name}{SUFFIX}")
    with mistakes(ExperimentError):
        count = pack(SweepFolder(root), archive)
    print(f"{archive}: {count} runs, {format_bytes(archive.stat().st_size)}")
    return EXIT_OK


def _merge(args: argparse.Namespace) -> int:
    if len(args.overrides) < 2 or args.out is None:
        raise UsageError("'tune merge' takes the parts of one sweep and a new folder: tune merge DIR DIR --out DIR.")
    from rllib_reborn.cli.sweep_display import status_lines
    from rllib_reborn.evaluation import RunError
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.tuning.merge import merge
    from rllib_reborn.tuning.sweep_folder import SweepFolder

    with mistakes(ExperimentError, RunError):
        out = SweepFolder(args.out)
        merged = merge([user_path(part) for part in args.overrides], out)
        print(status_lines(out, merged)[-1])
    return EXIT_OK


def _sweep(args: argparse.Namespace) -> int:
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.ray_job import require_lasting_base, require_lasting_out
    from rllib_reborn.tuning.find import sweep_path

    use_address(args.address)
    with mistakes(ExperimentError):
        if not args.dry_run:
            require_lasting_out(args.out)
        path = sweep_path(args.sweep)
        from rllib_reborn.tuning.sweep import read_sweep

        sweep = read_sweep(path, args.overrides)
        if not args.dry_run:
            for base in (sweep.base, *(arm.base for arm in sweep.arms)):
                require_lasting_base(base or "")
        return run_to_its_end(
            sweep, args.out, resume=args.resume, quiet=args.quiet, dry_run=args.dry_run, address=args.address
        )


def run_to_its_end(
    sweep: Sweep, out: Path | None, *, resume: bool, quiet: bool, dry_run: bool, address: str | None = None
) -> int:
    """Run a sweep, or go on with it, show how it goes, and say what to do next.

    Args:
        sweep: The sweep.
        out: Its folder.
        resume: Go on with what is there.
        quiet: Show no progress.
        dry_run: Check every run and list them; run nothing.
        address: What was given as ``--address``, for the command that goes on.

    Raises:
        UsageError: The folder is missing or taken, or the sweep cannot be run.
    """
    from rllib_reborn.experiments.errors import ExperimentError

    if out is None and not dry_run:
        raise UsageError("--out is missing; give the folder of the sweep, which --resume goes on with: --out DIR.")
    with mistakes(ExperimentError):
        from rllib_reborn.tuning.campaign import check_sweep, run_sweep
        from rllib_reborn.tuning.sweep_folder import SweepFolder

        folder = None if out is None else SweepFolder(out.absolute())
        if folder is not None and not resume and not dry_run:
            folder.require_free()
        check_sweep(sweep)
        if folder is None or dry_run:
            return _list(sweep)
        from rich.console import Console

        from rllib_reborn.cli.sweep_display import status_lines, sweep_display_for
        from rllib_reborn.tuning.sweep_folder import RunState

        display = sweep_display_for(Console(), sweep, quiet=quiet)
        with display:
            outcome = run_sweep(sweep, folder, display)
    print("\n".join(status_lines(folder, sweep)))
    root = shlex.quote(str(folder.root))
    again = (
        f"{program_here()} tune {shlex.quote(str(folder.sweep_file))} --out {root} --resume{address_option(address)}"
    )
    if outcome.interrupted_by is not None:
        print(f"stopped by {outcome.interrupted_by}; {_what_is_saved(folder, sweep)}. Go on with:\n  {again}")
        return EXIT_FAILED
    if any(count for state, count in outcome.states.items() if not state.is_over):
        failed = outcome.states.get(RunState.FAILED, 0)
        print(f"{failed} runs failed (error.txt in their folders). Once fixed, go on with:\n  {again}")
        return EXIT_FAILED
    print(f"next:\n  {program_here()} report {root}")
    return EXIT_OK


def _what_is_saved(folder: SweepFolder, sweep: Sweep) -> str:
    again = [run.name for run in folder.runs(sweep) if folder.has_unsaved_rows(run.name)]
    if not again:
        return "every run is saved"
    return f"every run is saved, but {', '.join(again)}: the rows since the last checkpoint will be played again"


def _list(sweep: Sweep) -> int:
    from rllib_reborn.tuning.points import known_points, runs_of

    for run in runs_of(sweep, known_points(sweep)):
        values = " ".join(f"{key}={value}" for key, value in run.point.values.items())
        print(f"{run.name}  {values}".rstrip())
    if sweep.searcher.kind == "optuna":
        print(f"and {sweep.samples} points that optuna will choose, with seeds {', '.join(map(str, sweep.seeds))}")
    return EXIT_OK


COMMAND = Command(
    "tune",
    "Run a sweep: many run folders from one file; goes on after any interruption.",
    _add_arguments,
    _run,
    takes_overrides=True,
)
