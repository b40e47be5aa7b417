"""``configs``: what experiments are composed of, and one of them with the source of every key."""

from __future__ import annotations

import argparse
import textwrap

from rllib_reborn.cli.command import EXIT_OK, Command, mistakes
from rllib_reborn.cli.experiment_arguments import add_experiment_arguments, composed_yaml, experiment_request

_WIDTH = 118


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.shipped_configs import PART_FOLDERS, configs_folder

    if args.name is not None:
        # A part alone is no experiment: its file explains itself.
        kind, _, part = args.name.removeprefix("configs/").partition("/")
        path = configs_folder() / kind / f"{part.removesuffix('.yaml')}.yaml"
        if kind in PART_FOLDERS and path.is_file():
            print(path.read_text(encoding="utf-8"), end="")
            return EXIT_OK
    with mistakes(ExperimentError):
        request = experiment_request(args)
        if request is None:
            _print_overview()
        else:
            print(composed_yaml(request.load(), request), end="")
    return EXIT_OK


def _print_overview() -> None:
    from rllib_reborn.envs.registry import ENVS
    from rllib_reborn.experiments.experiment_name import FORM
    from rllib_reborn.experiments.shipped_configs import (
        EXPERIMENTS_FOLDER,
        configs_folder,
        env_names_with_own_settings,
        experiment_names,
        first_comment,
        part_names,
    )

    print(
        f"An experiment is named {FORM}.\n'configs NAME' prints one with the source of every key; 'train NAME' trains it."
    )
    print("\nEnvironments ('envs' says more):")
    families: dict[str, list[str]] = {}
    for env in ENVS:
        family, _, name = env.partition("/")
        families.setdefault(family, []).append(name)
    more = {family.prefix for family in ENVS.families}
    for family, names in families.items():
        _print_wrapped(f"  {family}/", [*names, "..."] if f"{family}/" in more else names)
    _print_wrapped("  ", env_names_with_own_settings())
    print("  any other pettingzoo:<module>, gymnasium:<id> or module:callable")
    folder = configs_folder()
    for title, kind, remark in (
        ("Algorithms", "algorithm", "or module:Class"),
        ("Interventions", "intervention", "or module:Class; several are joined by +"),
        ("Protocols", "protocol", "joined by + behind the interventions"),
        ("Resources", "resources", "for --resources"),
    ):
        print(f"\n{title} ({remark}):")
        _print_summaries([(name, first_comment(folder / kind / f"{name}.yaml")) for name in part_names(kind)])
    print("\nExperiments with settings of their own:")
    names = experiment_names()
    _print_summaries([(name, first_comment(folder / EXPERIMENTS_FOLDER / f"{name}.yaml")) for name in names])


def _print_wrapped(start: str, names: list[str]) -> None:
    indent = " " * max(4, len(start))
    print(
        textwrap.fill(", ".join(names), _WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False)
    )


def _print_summaries(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, summary in rows:
        print(f"  {name:<{width}}  {textwrap.shorten(summary, _WIDTH - width - 4, placeholder=' ...')}")


COMMAND = Command(
    "configs",
    "List what experiments are composed of, or print one with the source of every key.",
    add_experiment_arguments,
    _run,
    takes_overrides=True,
)
