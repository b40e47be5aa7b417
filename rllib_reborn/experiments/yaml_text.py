"""YAML files and texts of experiments (:mod:`rllib_reborn.parsing.yaml_text`), their problems as ExperimentErrors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.parsing import ParseError, read_file
from rllib_reborn.parsing import yaml_text as parsing
from rllib_reborn.parsing.yaml_text import dump_yaml

__all__ = ["dump_yaml", "parse_yaml", "read_yaml"]


def read_yaml(path: Path, source: str | None = None) -> Any:
    """The plain data in a file.

    Args:
        path: The file.
        source: What to call it in an error; None: its path.

    Raises:
        ExperimentError: It is missing, cannot be read, or as :func:`parse_yaml`.
    """
    source = str(path) if source is None else source
    try:
        return parse_yaml(read_file(path, parsing.MAX_BYTES), source)
    except FileNotFoundError:
        raise ExperimentError(f"{source} does not exist.") from None
    except ParseError as error:
        raise ExperimentError(f"{source} {error}.") from None


def parse_yaml(text: str | bytes, source: str) -> Any:
    """The plain data in ``text``.

    Args:
        text: YAML.
        source: What to call it in an error, e.g. the file's path.

    Raises:
        ExperimentError: Not YAML, more than plain data, a repeated key, or beyond a limit.
    """
    try:
        return parsing.parse_yaml(text)
    except ParseError as error:
        line = f", line {error.line}," if error.line else ""
        raise ExperimentError(f"{source}{line} {error}.") from None
