"""From a YAML file and command-line overrides to a validated :class:`Experiment`.

Layers, later ones over earlier ones: what ``extends`` names (in order), the file itself, the overrides.
Mappings are merged key by key; lists and everything else are replaced, but an override may change one item of
a list that is there (``interventions.0.alpha=0.2``). Each error names the file, or the override, that the key
came from.
"""

from __future__ import annotations

import copy
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import InitErrorDetails

from rllib_reborn.algorithms.value_factorization.settings import first_error
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.library import configs_folder, find_config
from rllib_reborn.experiments.schema import Experiment, experiment_model
from rllib_reborn.experiments.yaml_text import dump_yaml, parse_yaml

EXTENDS = "extends"
KeyPath = tuple[str, ...]


@dataclasses.dataclass
class _Layers:
    """Merged data, and for each key that was set the place it was last set at."""

    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    sources: dict[KeyPath, str] = dataclasses.field(default_factory=dict)

    def add(self, data: Mapping[str, Any], source: str) -> None:
        """Put ``data`` over what is there."""
        self._merge(self.data, data, (), source)

    def add_override(self, override: str) -> None:
        """As :meth:`add`, and the parts of its dotted path may be places in lists.

        Raises:
            ExperimentError: As :func:`parse_override`; or a list has no such place.
        """
        parts, _ = _split_override(override)
        self._merge(self.data, parse_override(override), (), override, dotted=len(parts))

    def source_of(self, path: Sequence[Any]) -> str:
        """Where ``path``, or the nearest key above it, was set."""
        parts = tuple(str(part) for part in path)
        for length in range(len(parts), 0, -1):
            if parts[:length] in self.sources:
                return self.sources[parts[:length]]
        return ""

    def _merge(
        self,
        under: dict[str, Any] | list[Any],
        over: Mapping[str, Any],
        path: KeyPath,
        source: str,
        *,
        dotted: int = 0,
    ) -> None:
        """``dotted``: how many levels of ``over`` are parts of a dotted path; only those look into lists."""
        for key, value in over.items():
            if not isinstance(key, str):
                where = ".".join((*path, str(key)))
                raise ExperimentError(f"{source}: key {where} is not text; put it in quotes.")
            slot: Any = _place(key, under, path, source) if isinstance(under, list) else key
            here = (*path, str(slot))
            self.sources[here] = source
            if isinstance(value, Mapping):
                there = under[slot] if isinstance(under, list) else under.get(key)
                descend = isinstance(there, dict) or (dotted > 1 and isinstance(there, list))
                # Also None becomes a mapping: an override of a part switches the whole on.
                below: Any = there if descend else {}
                under[slot] = below
                self._merge(below, value, here, source, dotted=max(0, dotted - 1))
            else:
                under[slot] = copy.deepcopy(value)


def _place(key: str, items: list[Any], path: KeyPath, source: str) -> int:
    """The index that ``key`` means in the list at ``path``.

    Raises:
        ExperimentError: It is no number, or there are not so many items.
    """
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    where = ".".join(path)
    if not items:
        raise ExperimentError(f"{source}: {where} is an empty list; give all of it, {where}=[...].")
    expected = "0" if len(items) == 1 else f"0 to {len(items) - 1}"
    raise ExperimentError(
        f"{source}: {where} is a list of length {len(items)} and {key!r} is no place in it; expected {expected}, or all of "
        f"it as {where}=[...]."
    )


def load_experiment(config: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in a YAML file.

    Args:
        config: Path of the file, or the name of a shipped experiment such as ``predator_prey/small/qmix``.
        overrides: ``key.path=value`` each, the value in YAML: ``training.lr=5e-4``,
            ``evaluation.interval_env_steps=null``; ``interventions.0.alpha=0.2`` for the first item of a list.

    Raises:
        ExperimentError: A file is missing or not valid YAML, files extend each other in a circle, a key is
            unknown or its value of the wrong type or out of range. The message names the file and the key.
    """
    layers = _Layers()
    path = find_config(str(config))
    _add_file(layers, path, ())
    for override in overrides:
        layers.add_override(override)
    return _validate(layers, str(path))


def parse_override(override: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``.

    Raises:
        ExperimentError: It is not of that form, or its value is not YAML.
    """
    parts, value = _split_override(override)
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _split_override(override: str) -> tuple[list[str], Any]:
    """The parts of the dotted path, at least one, and the value; raises as :func:`parse_override`."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ExperimentError(f"{override!r} is no override; expected key.path=value, e.g. training.lr=5e-4.")
    if parts[0] == EXTENDS:
        raise ExperimentError(f"{override!r}: {EXTENDS} is read from files only; name another config instead.")
    if not text.strip():
        raise ExperimentError(f"{override!r} has no value; write {key}=null for none.")
    return parts, parse_yaml(text, f"override {override!r}")


def experiment_from_dict(data: Mapping[str, Any], source: str = "the experiment") -> Experiment:
    """A validated experiment from plain data (without ``extends``).

    Raises:
        ExperimentError: As :func:`load_experiment`.
    """
    layers = _Layers()
    layers.add(data, source)
    return _validate(layers, source)


def dump_experiment(data: Mapping[str, Any], command: Sequence[str] = ()) -> str:
    """YAML text that :func:`load_experiment` reads back; ``command`` is named in its first lines."""
    lines = ["# Resolved experiment, every default written out; it can be run again as it is."]
    if command:
        lines.append(f"# Written by: {shlex.join(command)}".replace("\n", " "))
    return "\n".join(lines) + "\n" + dump_yaml(dict(data))


def _add_file(layers: _Layers, path: Path, chain: tuple[Path, ...]) -> None:
    """Add what ``path`` extends, then ``path``. ``chain`` holds the files that led here."""
    resolved = path.resolve()
    if resolved in chain:
        names = " -> ".join(file.name for file in (*chain[chain.index(resolved) :], resolved))
        raise ExperimentError(f"{path}: '{EXTENDS}' goes in a circle: {names}.")
    data = _read_file(path)
    bases = data.pop(EXTENDS, None)
    if bases is None:
        bases = []
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ExperimentError(f"{path}: '{EXTENDS}' is {bases!r}; expected a file name or a list of them.")
    for base in bases:
        _add_file(layers, _find_base(path, base), (*chain, resolved))
    layers.add(data, str(path))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path} cannot be read: {error}.") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ExperimentError(f"{path} holds {type(data).__name__}; expected a mapping of keys, e.g. 'env: ...'.")
    return data


def _find_base(path: Path, base: str) -> Path:
    """The file that ``extends: base`` in ``path`` means: beside it, else among the shipped configs."""
    folders = [path.parent]
    shipped = configs_folder()
    if shipped is not None:
        folders.append(shipped)
    for folder in folders:
        for name in (base, f"{base}.yaml"):
            if (folder / name).is_file():
                return folder / name
    looked = " or ".join(str(folder) for folder in folders)
    raise ExperimentError(f"{path}: '{EXTENDS}' names {base!r}, which is not in {looked}.")


def _validate(layers: _Layers, file: str) -> Experiment:
    algorithm = layers.data.get("algorithm")
    model = experiment_model(algorithm) if isinstance(algorithm, str) else Experiment
    try:
        # Strict: "32" is no number and 1 is no yes; whoever wrote it may have meant something else.
        return model.model_validate(layers.data, strict=True)
    except pydantic.ValidationError as error:
        first = _unknown_keys_first(error)
        source = layers.source_of(first.errors(include_url=False)[0]["loc"]) or file
        raise ExperimentError(f"{source}: {first_error(first, model=model)}") from None


def _unknown_keys_first(error: pydantic.ValidationError) -> pydantic.ValidationError:
    """A misspelt key is told as such, not as the absence of the right one."""
    unknown = [
        InitErrorDetails(type=problem["type"], loc=problem["loc"], input=problem["input"])
        for problem in error.errors(include_url=False)
        if problem["type"] == "extra_forbidden"
    ]
    return pydantic.ValidationError.from_exception_data(error.title, unknown) if unknown else error
