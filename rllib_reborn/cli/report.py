"""``report``: figures and tables of one run, or of many compared."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from pathlib import Path

from rllib_reborn.cli.command import EXIT_OK, Command, mistakes, program, user_path

MANY_RUNS_REPORT = Path("runs") / "report"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        type=user_path,
        metavar="RUN_DIR",
        help="run folders, folders of them, or files of 'tune pack'",
    )
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="DIR",
        help=f"where to write; default: 'report' inside the run, or {MANY_RUNS_REPORT} for several",
    )
    parser.add_argument(
        "--html",
        action="store_true",
        help="also write report.html: the same as one file for a browser, with values under the cursor; needs no network",
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.evaluation import RunError, find_runs, print_summary, write_report
    from rllib_reborn.evaluation.packed_runs import opened

    with mistakes(RunError, OSError), contextlib.ExitStack() as held:
        runs = find_runs([held.enter_context(opened(run)) for run in args.runs])
        out = args.out or (runs[0] / "report" if len(runs) == 1 else MANY_RUNS_REPORT)
        typed = [*program().split(), "report", *map(str, args.runs), *(["--html"] if args.html else [])]
        report = write_report(runs, out, command=shlex.join(typed), html=args.html)
    print(print_summary(report))
    return EXIT_OK


COMMAND = Command("report", "Draw return curves and write tables for one or more runs.", _add_arguments, _run)
