"""The command line: parses, calls one command, and turns what went wrong into a sentence and an exit status.

0: done. 2: a mistake of the user, one sentence on stderr. 1: anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rllib_reborn._version import __version__
from rllib_reborn.cli import (
    configs,
    dashboard,
    doctor,
    envs,
    evaluate,
    export,
    invariance,
    invariance_table,
    probe,
    report,
    sc2_mock_server,
    train,
    tune,
    watch,
)
from rllib_reborn.cli.closed_paths import sentence_about
from rllib_reborn.cli.command import EXIT_FAILED, EXIT_MISTAKE, CommandFailed, UsageError
from rllib_reborn.cli.home import ensure_writable_home
from rllib_reborn.limits import SAMPLE_S
from rllib_reborn.runtime.standstill import games_answer_within
from rllib_reborn.secret_settings import hidden
from rllib_reborn.signals import SecondSignal, watch_for_second_signal
from rllib_reborn.suggestions import did_you_mean

# These modules import nothing slow: Ray and torch come in only when a command that needs them runs.
COMMANDS = (
    train.COMMAND,
    tune.COMMAND,
    evaluate.COMMAND,
    invariance.COMMAND,
    invariance_table.COMMAND,
    probe.COMMAND,
    report.COMMAND,
    watch.COMMAND,
    dashboard.COMMAND,
    export.COMMAND,
    envs.COMMAND,
    configs.COMMAND,
    sc2_mock_server.COMMAND,
    doctor.COMMAND,
)
_USE_RAY = ("train", "tune", "evaluate", "invariance", "invariance-table", "probe")
_PLAY = (*_USE_RAY, "envs")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ('{self.prog} --help' shows what can be given).")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status; ``argv`` is without the program's name."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    second: SecondSignal | None = None
    arguments: argparse.Namespace | None = None
    try:
        # As 'python -m' has it, so that an environment in the present folder has a name here too.
        if str(Path.cwd()) not in sys.path and "" not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        arguments = _parse(list(sys.argv[1:] if argv is None else argv))
        if arguments.command in _USE_RAY:
            ensure_writable_home()
            if argv is None:  # this process is the command, and nothing else
                second = watch_for_second_signal()
        with contextlib.ExitStack() as watched:
            if arguments.command in _PLAY:
                watched.enter_context(games_answer_within(SAMPLE_S))
            status: int = arguments.run(arguments)
        sys.stdout.flush()
    except UsageError as mistake:
        return _tell(str(mistake), EXIT_MISTAKE)
    except CommandFailed as failure:
        return _tell(str(failure), EXIT_FAILED)
    except KeyboardInterrupt:
        _tell("interrupted.", EXIT_FAILED)
        if second is not None:
            second.end(EXIT_FAILED)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader (head, less) has closed; the rest of the output must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        if (sentence := sentence_about(error, arguments)) is None:
            raise
        return _tell(sentence, EXIT_MISTAKE)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The whole command line as a parser."""
    parser = _Parser(
        prog="rllib-reborn",
        description="Train, evaluate and compare cooperative teams with value factorization on Ray RLlib.",
    )
    parser.add_argument("--version", action="version", version=f"rllib-reborn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        part = commands.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(part)
        part.set_defaults(run=command.run)
    return parser


def _parse(argv: list[str]) -> argparse.Namespace:
    by_name = {command.name: command for command in COMMANDS}
    if not argv:
        raise UsageError(f"no command given; one of {', '.join(by_name)} ('--help' explains them).")
    if not argv[0].startswith("-") and argv[0] not in by_name:
        raise UsageError(f"unknown command {argv[0]!r}.{did_you_mean(argv[0], by_name)}")
    arguments, rest = build_parser().parse_known_args(argv)
    # argparse ends a list of positionals at the first option; overrides may follow one.
    if by_name[arguments.command].takes_overrides:
        late = [text for text in rest if not text.startswith("-")]
        arguments.overrides = [*arguments.overrides, *late]
        rest = [text for text in rest if text.startswith("-")]
    if rest:
        raise UsageError(f"{arguments.command} does not know {rest[0]!r} ('{arguments.command} --help').")
    return arguments


def _tell(message: str, status: int) -> int:
    print(f"error: {hidden(' '.join(message.split()))}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
