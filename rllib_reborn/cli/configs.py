"""``configs``: the shipped experiments."""

from __future__ import annotations

import argparse

from rllib_reborn.cli.command import EXIT_OK, Command, UserMistake, mistakes


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this one, e.g. predator_prey/small/qmix")


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.library import config_names, find_config, first_comment

    if args.name is not None:
        with mistakes(ExperimentError):
            path = find_config(args.name)
        print(path.read_text(encoding="utf-8"), end="")
        return EXIT_OK
    names = config_names()
    if not names:
        raise UserMistake("no shipped configs here; run this in a clone of the repository.")
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {first_comment(find_config(name))}".rstrip())
    return EXIT_OK


COMMAND = Command("configs", "List the shipped experiments, or print one.", _add_arguments, _run)
