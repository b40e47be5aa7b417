"""From the name of an experiment, or a YAML file, and command-line overrides to a validated :class:`Experiment`.

Layers, later ones over earlier ones: what the name is composed of, or what the file extends (in order) and the file itself;
what is added to it; the overrides. Mappings are merged key by key; lists and everything else are replaced, but an override
may change one item of a list that is there (``interventions.0.alpha=0.2``). Each error names the file, or the override, that
the key came from.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import InitErrorDetails

from rllib_reborn.experiments.composition import compose
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.layers import Layers
from rllib_reborn.experiments.overrides import parse_override, split_override
from rllib_reborn.experiments.schema import Experiment, experiment_model
from rllib_reborn.experiments.yaml_text import dump_yaml
from rllib_reborn.settings import first_error


@dataclasses.dataclass(frozen=True)
class LoadedExperiment:
    """An experiment, and what it was composed of.

    Attributes:
        experiment: The validated experiment.
        layers: Where each of its keys was set.
    """

    experiment: Experiment
    layers: Layers


def load_experiment(config: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a name or a YAML file.

    Args:
        config: Name, such as ``predator_prey/small/qmix+redo``, or path of a file.
        overrides: ``key.path=value`` each, the value in YAML: ``training.lr=5e-4``,
            ``evaluation.interval_env_steps=null``; ``interventions.0.alpha=0.2`` for the first item of a list.

    Raises:
        ExperimentError: A file is missing or not valid YAML, files extend each other in a circle, a part of the name or a
            key is unknown, or a value is of the wrong type or out of range. The message names the file and the key.
    """
    return load(config, overrides).experiment


def load(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    interventions: Sequence[str] = (),
    resources: str | None = None,
) -> LoadedExperiment:
    """As :func:`load_experiment`, with where each key was set.

    Args:
        config: Name or path.
        overrides: As for :func:`load_experiment`.
        interventions: Files in ``configs/intervention`` or ``module:Class``; added behind those of ``config``.
        resources: File in ``configs/resources``, or a path; replaces the default.

    Raises:
        ExperimentError: As :func:`load_experiment`.
    """
    layers = compose(str(config), interventions=interventions, resources=resources)
    for override in overrides:
        parts, _ = split_override(override)
        layers.add(parse_override(override), override, dotted=len(parts))
    return LoadedExperiment(_validate(layers, str(config)), layers)


def experiment_from_dict(data: Mapping[str, Any], source: str = "the experiment") -> Experiment:
    """A validated experiment from plain data (without ``extends``).

    Raises:
        ExperimentError: As :func:`load_experiment`.
    """
    layers = Layers()
    layers.add(data, source)
    return _validate(layers, source)


def dump_experiment(data: Mapping[str, Any], command: Sequence[str] = ()) -> str:
    """YAML text that :func:`load_experiment` reads back; ``command`` is named in its first lines."""
    lines = ["# Resolved experiment, every default written out; it can be run again as it is."]
    if command:
        lines.append(f"# Written by: {shlex.join(command)}".replace("\n", " "))
    return "\n".join(lines) + "\n" + dump_yaml(dict(data))


def _validate(layers: Layers, file: str) -> Experiment:
    algorithm = layers.data.get("algorithm")
    model = experiment_model(algorithm) if isinstance(algorithm, str) else Experiment
    try:
        # Strict: "32" is no number and 1 is no boolean; the value may be a mistake.
        return model.model_validate(layers.data, strict=True)
    except pydantic.ValidationError as error:
        first = _unknown_keys_first(error)
        source = layers.source_of(first.errors(include_url=False)[0]["loc"]) or file
        raise ExperimentError(f"{source}: {first_error(first, model=model)}") from None


def _unknown_keys_first(error: pydantic.ValidationError) -> pydantic.ValidationError:
    """A misspelt key is reported as unknown, not as the absence of the right one."""
    unknown = [
        InitErrorDetails(type=problem["type"], loc=problem["loc"], input=problem["input"])
        for problem in error.errors(include_url=False)
        if problem["type"] == "extra_forbidden"
    ]
    return pydantic.ValidationError.from_exception_data(error.title, unknown) if unknown else error
