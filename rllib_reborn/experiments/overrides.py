"""``key.path=value`` as plain data."""

from __future__ import annotations

from typing import Any

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.yaml_text import parse_yaml
from rllib_reborn.parsing.yaml_text import MAX_DEPTH
from rllib_reborn.short_repr import short_repr

#: Keys that say how an experiment is put together; they are read from files only.
COMPOSING_KEYS = ("extends", "compose")


def parse_override(override: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``.

    Raises:
        ExperimentError: It is not of that form, or its value is not YAML.
    """
    parts, value = split_override(override)
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def split_override(override: str) -> tuple[list[str], Any]:
    """The parts of the dotted path, at least one, and the value; raises as :func:`parse_override`."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    shown = short_repr(override)
    if not equals or not all(parts):
        raise ExperimentError(f"{shown} is no override; expected key.path=value, e.g. training.lr=5e-4.")
    if parts[0] in COMPOSING_KEYS:
        raise ExperimentError(f"{shown}: {parts[0]} is read from files only; name another config instead.")
    if len(parts) > MAX_DEPTH:
        raise ExperimentError(f"{shown} has a path of {len(parts):,} keys; expected at most {MAX_DEPTH}.")
    if not text.strip():
        raise ExperimentError(f"{shown} has no value; write {key}=null for none.")
    return parts, parse_yaml(text, f"override {shown}")
