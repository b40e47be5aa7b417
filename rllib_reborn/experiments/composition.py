"""From files, and names of experiments, to layers of data.

A file may name others that it ``extends``. An experiment without a file of its own is composed of the files of its
algorithm, its environment and its interventions; what the ``compose`` key of an environment's file says decides which others
join them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from rllib_reborn.algorithms import algorithm_config_class
from rllib_reborn.envs.task_sequence import SEPARATOR, task_names
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.experiment_name import ExperimentName, find_file, parse_name
from rllib_reborn.experiments.layers import Layers
from rllib_reborn.experiments.shipped_configs import (
    EXPERIMENTS_FOLDER,
    configs_folder,
    env_file,
    part_file,
    part_names,
    shown,
)
from rllib_reborn.experiments.yaml_text import read_yaml
from rllib_reborn.settings import Settings, first_error
from rllib_reborn.short_repr import short_repr
from rllib_reborn.suggestions import did_you_mean

EXTENDS, COMPOSE = "extends", "compose"
#: Files that one experiment is put together of, each as often as it is read: 26 that extend the next one twice are 2**26.
MAX_FILES = 100
#: Bytes of them together.
MAX_TOTAL_BYTES = 400_000
ModelT = TypeVar("ModelT", bound=Settings)


@dataclasses.dataclass(frozen=True)
class Chain:
    """How a file was come to.

    Attributes:
        files: Files that led here, each extending the next one.
        sizes: Bytes of each file that the experiment has read so far, by whichever chain.
    """

    files: tuple[Path, ...] = ()
    sizes: list[int] = dataclasses.field(default_factory=list)

    def to(self, path: Path) -> Chain:
        """The chain that goes on to ``path``.

        Raises:
            ExperimentError: It goes in a circle, or the experiment has read too much.
        """
        resolved = path.resolve()
        if resolved in self.files:
            names = " -> ".join(file.name for file in (*self.files[self.files.index(resolved) :], resolved))
            raise ExperimentError(f"{shown(path)}: '{EXTENDS}' goes in a circle: {names}.")
        self.sizes.append(resolved.stat().st_size if resolved.is_file() else 0)
        if len(self.sizes) > MAX_FILES or (self.files and sum(self.sizes) > MAX_TOTAL_BYTES):
            raise ExperimentError(
                f"{shown(path)}: '{EXTENDS}' leads to more than {MAX_FILES} files or {MAX_TOTAL_BYTES:,} bytes; let fewer "
                "extend each other."
            )
        return Chain((*self.files, resolved), self.sizes)


class EnvComposition(Settings):
    """The ``compose`` key of an environment's file: how experiments of it are put together.

    Attributes:
        resources: File in ``configs/resources`` that is used unless another is asked for.
        by_algorithm: Folders of ``configs/``; what their file of the algorithm's name says is laid over, later folders over
            earlier.
        by_env: Name of an environment, ``*`` standing for anything, to what differs for it; later ones over earlier. A
            sequence of tasks is what its first one is, and then what ``first -> second`` matches.
    """

    resources: str | None = None
    by_algorithm: list[str] = pydantic.Field(default_factory=list)
    by_env: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)


class WithoutMixer(Settings):
    """What differs where an algorithm has no mixer with weights.

    Attributes:
        intervention: Laid over the settings of the file's intervention.
        training: Laid over the experiment's ``training``.
    """

    intervention: dict[str, Any] = pydantic.Field(default_factory=dict)
    training: dict[str, Any] = pydantic.Field(default_factory=dict)


class InterventionComposition(Settings):
    """The ``compose`` key of an intervention's file.

    Attributes:
        without_mixer: What differs for algorithms without a mixer to treat.
    """

    without_mixer: WithoutMixer = WithoutMixer()


class WithMixer(Settings):
    """What differs where an algorithm has a mixer with weights.

    Attributes:
        training: Laid over the experiment's ``training``.
    """

    training: dict[str, Any] = pydantic.Field(default_factory=dict)


class ProtocolComposition(Settings):
    """The ``compose`` key of a protocol's file.

    Attributes:
        each_intervention: Settings that are laid over every intervention whose ``unit`` is the one given here, as far as its
            own file has them.
        with_mixer: What differs for algorithms with a mixer that has weights.
    """

    each_intervention: dict[str, Any] = pydantic.Field(default_factory=dict)
    with_mixer: WithMixer = WithMixer()


def compose(given: str, *, interventions: Sequence[str] = (), resources: str | None = None) -> Layers:
    """The layers of the experiment that a path or a name means.

    Args:
        given: Path of a YAML file, or a name such as ``battle/8m/vdn+redo``.
        interventions: Files in ``configs/intervention`` or ``module:Class``; added behind those of ``given``.
        resources: File in ``configs/resources``, or a path, that takes the place of the environment's default; it is laid
            over what a file says. None: as they say.

    Raises:
        ExperimentError: A file is missing or not valid YAML, files extend each other in a circle, or a part of a name is
            unknown.
    """
    file = find_file(given)
    chain = Chain()
    if file is None:
        name = parse_name(given)
        name = dataclasses.replace(name, interventions=(*name.interventions, *interventions))
        return _compose_name(name, resources, chain)
    layers = Layers()
    add_file(layers, file, chain)
    if resources is not None:
        add_file(layers, _resources_file(resources), chain)
    _add_parts(layers, tuple(interventions), (), chain)
    return layers


def _compose_name(name: ExperimentName, resources: str | None, chain: Chain) -> Layers:
    layers = Layers()
    if name.own_file:
        _add_part(layers, EXPERIMENTS_FOLDER, f"{name.env}/{name.algorithm}", chain)
        if resources is not None:
            add_file(layers, _resources_file(resources), chain)
    else:
        _add_algorithm_on_env(layers, name, resources, chain)
    _add_parts(layers, name.interventions, name.protocols, chain)
    return layers


def _add_parts(layers: Layers, interventions: tuple[str, ...], protocols: tuple[str, ...], chain: Chain) -> None:
    """Add interventions behind those that are there, and then protocols."""
    for part in interventions:
        added = _intervention(part, layers.data.get("algorithm"), chain)
        listed = added.take("interventions")
        layers.add_layers(added)
        layers.append_list("interventions", listed)
    for part in protocols:
        _add_protocol(layers, part, chain)


def _intervention(part: str, algorithm: Any, chain: Chain) -> Layers:
    """What the file of an intervention says, as it is for this algorithm."""
    layers = Layers()
    if ":" in part:
        _add_part(layers, "intervention", "dormancy", chain)
        layers.add({"interventions": [{"kind": part}]}, "the name")
        return layers
    _add_part(layers, "intervention", part, chain, composing=True)
    differs = _pop_compose(layers, InterventionComposition).without_mixer
    if differs != WithoutMixer() and _has_no_mixer(algorithm):
        source = f"configs/intervention/{part}.yaml"
        layers.add({"training": differs.training}, source)
        layers.add({"interventions": {"0": differs.intervention}}, source, dotted=3)
    return layers


def _has_no_mixer(algorithm: Any) -> bool:
    """Whether there is nothing to set about the mixer of an algorithm, because it has no weights; an unknown algorithm is
    reported later."""
    try:
        return not algorithm_config_class(algorithm)().mixer_settings_class.model_fields
    except (TypeError, ValueError):
        return False


def _add_protocol(layers: Layers, part: str, chain: Chain) -> None:
    _add_part(layers, "protocol", part, chain, composing=True)
    composition = _pop_compose(layers, ProtocolComposition)
    source = f"configs/protocol/{part}.yaml"
    if composition.with_mixer != WithMixer() and not _has_no_mixer(layers.data.get("algorithm")):
        layers.add({"training": composition.with_mixer.training}, source)
    settings = composition.each_intervention
    listed = layers.data.get("interventions")
    for at, item in enumerate(listed if isinstance(listed, list) else ()):
        # What is no list of mappings is reported when the whole is validated.
        if isinstance(item, Mapping) and item.get("unit") == settings.get("unit"):
            changed = {key: value for key, value in settings.items() if key in item}
            layers.add({"interventions": {str(at): changed}}, source, dotted=3)


def add_file(layers: Layers, path: Path, chain: Chain, *, composing: bool = False) -> None:
    """Add what ``path`` extends, then ``path``.

    Args:
        layers: What to add to.
        path: YAML file.
        chain: How it was come to.
        composing: Whether the key ``compose`` may be in it.

    Raises:
        ExperimentError: As :func:`compose`.
    """
    here = chain.to(path)
    data = _read_file(path)
    if COMPOSE in data and not composing:
        raise ExperimentError(
            f"{shown(path)} says how experiments of an environment are put together, which no file can extend; extend an "
            "experiment's name instead, such as 'battle/8m/vdn', and change what differs."
        )
    bases = data.pop(EXTENDS, None)
    if bases is None:
        bases = []
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ExperimentError(
            f"{shown(path)}: '{EXTENDS}' is {short_repr(bases)}; expected a file name or a list of them."
        )
    for base in bases:
        _add_base(layers, path, base, here, composing=composing)
    layers.add(data, shown(path))


def _add_base(layers: Layers, path: Path, base: str, chain: Chain, *, composing: bool) -> None:
    """Add what ``extends: base`` in ``path`` means: a file beside it, else a shipped part, else the experiment of that
    name."""
    for folder in (path.parent, configs_folder()):
        for name in (base, f"{base}.yaml"):
            if os.path.isfile(folder / name):  # Path's own raises for a name that is too long
                _add_base_file(layers, folder / name, chain, composing=composing)
                return
    try:
        experiment = parse_name(base)
    except ExperimentError as error:
        raise ExperimentError(
            f"{shown(path)}: '{EXTENDS}' names {short_repr(base)}, which is not in {path.parent} or the shipped configs: "
            f"{error}"
        ) from None
    layers.add_layers(_compose_name(experiment, None, chain))


def _add_base_file(layers: Layers, path: Path, chain: Chain, *, composing: bool) -> None:
    """Add a file that another extends. The interventions of a shipped one replace those that are there."""
    folder = path.resolve().parent
    if not composing and folder == (configs_folder() / "intervention").resolve():
        layers.add_layers(_intervention(path.stem, layers.data.get("algorithm"), chain))
    elif not composing and folder == (configs_folder() / "protocol").resolve():
        _add_protocol(layers, path.stem, chain)
    else:
        add_file(layers, path, chain, composing=composing)


def _read_file(path: Path) -> dict[str, Any]:
    data = read_yaml(path, shown(path))
    if not isinstance(data, dict):
        raise ExperimentError(
            f"{shown(path)} holds {type(data).__name__}; expected a mapping of keys, e.g. 'env: ...'."
        )
    return data


def _add_algorithm_on_env(layers: Layers, name: ExperimentName, resources: str | None, chain: Chain) -> None:
    """Algorithm, environment, default resources, what differs for both together; later ones over earlier."""
    if ":" in name.algorithm:
        layers.add({"algorithm": name.algorithm}, "the name")
    else:
        _add_part(layers, "algorithm", name.algorithm, chain)
    first = task_names(name.env)[0]  # of a sequence of tasks; of any other environment that itself
    file = env_file(first)
    settings = Layers()
    add_file(settings, file, chain, composing=True)
    family = _compose_of(settings, EnvComposition)
    for pattern, differs in family.by_env.items():
        if fnmatch.fnmatchcase(name.env if SEPARATOR in pattern else first, pattern):
            settings.add(differs, shown(file))
    composition = _pop_compose(settings, EnvComposition)
    default = composition.resources if resources is None else resources
    if default is not None:
        add_file(layers, _resources_file(default), chain)
    layers.add_layers(settings)
    layers.add({"env": name.env}, "the name")
    for folder in composition.by_algorithm:
        over = part_file(folder, name.algorithm)
        if over is not None:
            add_file(layers, over, chain)


def _add_part(layers: Layers, kind: str, name: str, chain: Chain, *, composing: bool = False) -> None:
    path = part_file(kind, name)
    if path is None:
        raise ExperimentError(f"no {kind} {short_repr(name)}.{did_you_mean(name, part_names(kind))}")
    add_file(layers, path, chain, composing=composing)


def _resources_file(given: str) -> Path:
    path = part_file("resources", given) or Path(given)
    if not os.path.isfile(path):
        raise ExperimentError(f"no resources {short_repr(given)}.{did_you_mean(given, part_names('resources'))}")
    return path


def _compose_of(layers: Layers, model: type[ModelT]) -> ModelT:
    data: Mapping[str, Any] = layers.data.get(COMPOSE, {})
    try:
        return model.model_validate(data, strict=True)
    except pydantic.ValidationError as error:
        raise ExperimentError(
            f"{layers.source_of((COMPOSE,))}: {first_error(error, prefix=COMPOSE, model=model)}"
        ) from None


def _pop_compose(layers: Layers, model: type[ModelT]) -> ModelT:
    composition = _compose_of(layers, model)
    layers.take(COMPOSE)
    return composition
