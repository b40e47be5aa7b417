"""Options of an environment on the command line: ``KEY=VALUE``, values in YAML."""

from __future__ import annotations

import argparse
from typing import Any

from rllib_reborn.cli.command import mistakes


def add_option_arguments(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Any number of ``KEY=VALUE``."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help_text)


def env_options(overrides: list[str]) -> dict[str, Any]:
    """``["a=1", "b.c=2"]`` as ``{"a": 1, "b": {"c": 2}}``.

    Raises:
        UsageError: One is not of this form.
    """
    if not overrides:
        return {}
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.overrides import parse_override

    options: dict[str, Any] = {}
    with mistakes(ExperimentError):
        for override in overrides:
            options = merged(options, parse_override(override))
    return options


def merged(options: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``options`` with ``given`` laid over it, dict by dict."""
    result = dict(options)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
