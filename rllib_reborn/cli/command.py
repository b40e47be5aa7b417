"""What a command is, and the two ways in which it can end badly."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2


class UsageError(Exception):
    """What the user gave cannot be used; the message is one sentence. Exit status 2."""


class CommandFailed(Exception):  # noqa: N818
    """The command could not finish, and why is known; the message is one sentence. Exit status 1."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One verb of the command line.

    Attributes:
        name: What the user types.
        help: One line.
        add_arguments: Declares the arguments. Must be quick: it runs for ``--help`` too.
        run: Does it and returns the exit status. Imports what is slow to import itself.
        takes_overrides: Whether ``key.path=value`` may stand anywhere among the arguments.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    takes_overrides: bool = False


@contextlib.contextmanager
def mistakes(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds, raised by what reads and checks the user's input, into UsageError."""
    try:
        yield
    except kinds as error:
        raise UsageError(str(error)) from error


def program() -> str:
    """How the user called us, for "type this next"."""
    return "rllib-reborn" if Path(sys.argv[0]).name == "rllib-reborn" else "python -m rllib_reborn"


def program_here() -> str:
    """As :func:`program`, for a line to be typed here and now: with the interpreter that runs us where a plain
    ``python`` would be another one (``make train`` uses a virtual environment that is not activated)."""
    usual = shutil.which("python")
    if not program().startswith("python") or (usual and Path(usual).absolute() == Path(sys.executable).absolute()):
        return program()
    # Not resolved: a virtual environment's python is a link, and following it would leave the environment.
    python = Path(sys.executable).absolute()
    shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return shlex.join([str(shown), "-m", "rllib_reborn"])


def add_address_argument(parser: argparse.ArgumentParser) -> None:
    """``--address``: which Ray."""
    parser.add_argument(
        "--address",
        metavar="HOST:PORT|auto",
        help="Ray cluster to run on (auto: the one on this machine); default: RAY_ADDRESS, else a local Ray of its own",
    )


def use_address(address: str | None) -> None:
    """Make ``--address`` hold for everything that connects to Ray."""
    if address is not None:
        os.environ["RAY_ADDRESS"] = address


def address_option(address: str | None) -> str:
    """The same ``--address`` for a command that is printed, with a space before it; nothing where none was given."""
    return "" if address is None else f" --address {shlex.quote(address)}"


def user_path(text: str) -> Path:
    """Argument type: a path, in which ``~`` is the home folder, also where no shell has seen to that (``--out=~/run``)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody has this home
        return Path(text)


def whole_number(text: str) -> int:
    """Argument type: a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive_number(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
