"""An experiment as YAML, with the source of every key behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rllib_reborn.experiments.layers import Layers
from rllib_reborn.experiments.yaml_text import dump_yaml

#: Sources start in this column where the keys leave room for it.
_COLUMN = 44

Path = tuple[str | int, ...]


def annotated_yaml(resolved: Mapping[str, Any], source: Callable[[Path], str]) -> str:
    """YAML text that reads back to ``resolved``; a comment on each key says where its value comes from.

    Args:
        resolved: Plain data, with every default.
        source: From the path of a key (keys of mappings and places in lists) to what its comment says.
    """
    return "\n".join(_mapping(resolved, source, (), "")) + "\n"


def source_in(layers: Layers, overrides: Sequence[str] = ()) -> Callable[[Path], str]:
    """The source of a key that layers have set: a file, ``the name`` or, for those of ``overrides``, ``command line``; of
    any other: ``default``."""

    def source(path: Path) -> str:
        found = layers.source_of(path) if layers.has(path) else "default"
        return "command line" if found in overrides else found

    return source


def _mapping(data: Mapping[str, Any], source: Callable[[Path], str], path: Path, indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in data.items():
        here = (*path, key)
        name = _inline(key)
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", *_mapping(value, source, here, f"{indent}  ")]
        elif isinstance(value, list) and any(isinstance(item, Mapping) and item for item in value):
            lines += [f"{indent}{name}:", *_items(value, source, here, f"{indent}  ")]
        else:
            lines.append(_line(f"{indent}{name}: {_inline(value)}", source(here)))
    return lines


def _items(items: list[Any], source: Callable[[Path], str], path: Path, indent: str) -> list[str]:
    lines: list[str] = []
    for at, item in enumerate(items):
        here = (*path, at)
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, source, here, f"{indent}  ")
            # The dash takes the place of two spaces, so that columns stay.
            lines += [f"{indent}- {first[len(indent) + 2 :]}", *rest]
        else:
            lines.append(_line(f"{indent}- {_inline(item)}", source(here)))
    return lines


def _line(text: str, source: str) -> str:
    return f"{text:<{_COLUMN}}  # {source}"


def _inline(value: Any) -> str:
    """``value`` on one line."""
    return dump_yaml([value], flow=True).strip()[1:-1]
