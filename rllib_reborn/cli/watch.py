"""``watch``: the report of runs that go on, as a page that keeps itself up to date."""

from __future__ import annotations

import argparse
import shlex

from rllib_reborn.cli.command import EXIT_OK, Command, UsageError, mistakes, program, user_path, whole_number

_LAST_PORT = 65535


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=user_path,
        metavar="DIR",
        help="run folders, or folders of them; runs that appear below them later are shown too",
    )
    parser.add_argument(
        "--port", type=whole_number, default=0, metavar="N", help="port on 127.0.0.1; default: one that is free"
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.evaluation import RunError
    from rllib_reborn.evaluation.page.live import LiveRuns
    from rllib_reborn.evaluation.page.server import LivePage

    if args.port > _LAST_PORT:
        raise UsageError(f"--port {args.port} is no port; give one up to {_LAST_PORT}, or none for one that is free.")
    typed = shlex.join([*program().split(), "watch", *map(str, args.folders)])
    with mistakes(RunError):
        runs = LiveRuns(args.folders, command=typed)
    try:
        page = LivePage(runs.look, args.port)
    except OSError as error:
        raise UsageError(
            f"port {args.port} of 127.0.0.1 cannot be used: {error.strerror or error}; give another --port, or none for one "
            "that is free."
        ) from error
    print(f"{page.address}  (this machine only; Ctrl-C ends it)", flush=True)
    try:
        page.serve()
    except KeyboardInterrupt:
        print("\nended; the runs go on.")
    return EXIT_OK


COMMAND = Command(
    "watch", "Show runs as a page in the browser that follows them, without Grafana.", _add_arguments, _run
)
