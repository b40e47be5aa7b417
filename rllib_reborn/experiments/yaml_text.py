"""YAML text to plain data, stricter than ``yaml.safe_load``: no repeated keys, no bombs, numbers as people
write them.

``5e-4`` and ``1e6`` are text to PyYAML (YAML 1.1 wants a dot and a sign); here they are numbers, and a
whole number written with an exponent is an integer, so that ``env_steps: 1e6`` means what it says.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from rllib_reborn.experiments.errors import ExperimentError

MAX_BYTES = 1_000_000
MAX_ALIASES = 50
MAX_VALUES = 20_000
MAX_DEPTH = 20

_EXPONENT_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that counts aliases and refuses repeated keys."""

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(None, None, f"more than {MAX_ALIASES} aliases", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            keys.add(key_node.value)
        return super().construct_mapping(node, deep)


def _construct_exponent_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    number = float(loader.construct_scalar(node))
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


class _StrictDumper(yaml.SafeDumper):
    """Writes what the loader reads: text that looks like such a number is put in quotes."""


for _side in (_StrictLoader, _StrictDumper):
    _side.add_implicit_resolver("!exponent_number", _EXPONENT_NUMBER, list("-+.0123456789"))
_StrictLoader.add_constructor("!exponent_number", _construct_exponent_number)


def dump_yaml(data: Any, *, flow: bool = False) -> str:
    """YAML text that :func:`parse_yaml` reads back; keys stay in their order. ``flow``: on one line, in brackets."""
    if flow:
        return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False, default_flow_style=True, width=float("inf"))
    return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False)


def parse_yaml(text: str, source: str) -> Any:
    """The plain data in ``text``.

    Args:
        text: YAML.
        source: What to call it in an error, e.g. the file's path.

    Raises:
        ExperimentError: Not YAML, a tag that would build objects, a repeated key, or too large.
    """
    if len(text) > MAX_BYTES:
        raise ExperimentError(f"{source} is larger than {MAX_BYTES:,} bytes; an experiment is never that long.")
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = (error.problem or "it cannot be parsed").replace("\n", " ")
        if "could not determine a constructor" in problem:
            problem = f"{problem}; only plain data is read, never objects"
        raise ExperimentError(f"{source}{line}: {problem}.") from None
    except yaml.YAMLError as error:
        raise ExperimentError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    except (ValueError, RecursionError) as error:
        # For example a date that does not exist, or brackets nested thousands deep.
        raise ExperimentError(f"{source} cannot be read: {error}.") from None
    _check_size(data, source)
    return data


def _check_size(data: Any, source: str) -> None:
    """Aliases make a small text into a large tree, or one that contains itself: count what it unfolds to."""
    values = 0
    pending: list[tuple[Any, int]] = [(data, 0)]
    while pending:
        value, depth = pending.pop()
        values += 1
        if values > MAX_VALUES or depth > MAX_DEPTH:
            raise ExperimentError(
                f"{source} unfolds to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels; check its aliases."
            )
        if isinstance(value, dict):
            pending.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            pending.extend((item, depth + 1) for item in value)
