"""The name of an experiment: ``<env>/<algorithm>[+<intervention>...]``, such as ``battle/8m/vdn+redo``.

Imports neither Ray nor torch, so that a misspelt name is reported at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from rllib_reborn.envs.registry import ENVS
from rllib_reborn.envs.task_sequence import task_names
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.shipped_configs import experiment_names, part_file, part_names
from rllib_reborn.short_repr import short_repr
from rllib_reborn.suggestions import did_you_mean

FORM = "<env>/<algorithm>[+<intervention>...], such as battle/8m/vdn+redo"

#: Characters of a name.
MAX_LENGTH = 500


@dataclasses.dataclass(frozen=True)
class ExperimentName:
    """What a name means.

    Attributes:
        env: Environment, as ``envs`` takes it; ``a -> b`` for a sequence of tasks.
        algorithm: File in ``configs/algorithm``, ``module:Class``, or, for an experiment with a file of its own, the last
            part of the file's name.
        interventions: Files in ``configs/intervention`` or ``module:Class``, in the order given.
        protocols: Files in ``configs/protocol``, in the order given; they are laid over the interventions.
        own_file: Whether ``configs/experiments`` has a file ``<env>/<algorithm>.yaml``.
    """

    env: str
    algorithm: str
    interventions: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    own_file: bool = False

    def __str__(self) -> str:
        return "+".join((f"{self.env}/{self.algorithm}", *self.interventions, *self.protocols))


def find_file(given: str) -> Path | None:
    """The file that is meant by a path; None: there is none, and ``given`` may be a name.

    Raises:
        ExperimentError: It has the form of a path, and there is no such file.
    """
    path = Path(given)
    if os.path.isfile(path):  # Path's own raises for a name that is too long
        return path
    if os.path.isdir(path):
        raise ExperimentError(f"{given} is a folder; expected a YAML file, or {FORM}.")
    if path.is_absolute() or given.startswith(".") or path.suffix in (".yaml", ".yml"):
        raise ExperimentError(f"no experiment {short_repr(given)}: there is no such file.")
    return None


def parse_name(given: str) -> ExperimentName:
    """The parts of an experiment's name, each looked up.

    Raises:
        ExperimentError: It is not of that form, or a part is unknown. What is suggested then is about the same environment.
    """
    if len(given) > MAX_LENGTH:
        raise ExperimentError(f"{short_repr(given)} is too long for the name of an experiment; expected {FORM}.")
    env, slash, rest = given.rpartition("/")
    algorithm, *added = rest.split("+")
    if given in ENVS:
        raise ExperimentError(f"{given!r} names an environment alone; expected {FORM}, here {given}/qmix.")
    if not slash or not env or not algorithm:
        raise ExperimentError(f"{given!r} is no experiment; expected {FORM}; 'configs' lists what there is.")
    for task in task_names(env):
        if ":" not in task and task not in ENVS:
            near_envs = ENVS.near(task, 1, 0.6)
            hint = f"Did you mean {near_envs[0]!r}?" if near_envs else "'envs' lists those that there are."
            raise ExperimentError(f"unknown environment {task!r} in {given!r}. {hint}")
    own_file = f"{env}/{algorithm}" in experiment_names()
    if not own_file and ":" not in algorithm:
        algorithm = _known_algorithm(env, algorithm, rest)
    interventions, protocols = [], []
    for part in added:
        if part in part_names("protocol"):
            protocols.append(part)
        elif ":" in part or part in part_names("intervention"):
            interventions.append(part)
        else:
            known = [*part_names("intervention"), *part_names("protocol")]
            raise ExperimentError(f"no intervention {part!r} in {given!r}.{did_you_mean(part, known, most=len(known))}")
    return ExperimentName(env, algorithm, tuple(interventions), tuple(protocols), own_file)


def _known_algorithm(env: str, given: str, rest: str) -> str:
    """The file in ``configs/algorithm``; capitals do not matter, because the algorithms' own names have some.

    Raises:
        ExperimentError: There is none. ``rest`` is all that stands behind the environment.
    """
    algorithms = part_names("algorithm")
    if given.lower() in algorithms:
        return given.lower()
    own = [name.removeprefix(f"{env}/") for name in experiment_names() if name.startswith(f"{env}/")]
    added = [*part_names("intervention"), *part_names("protocol")]
    known = [*algorithms, *own, *(f"{name}+{part}" for name in algorithms for part in added)]
    near = difflib.get_close_matches(rest, known, n=1, cutoff=0.6)
    hint = f"Did you mean '{env}/{near[0]}'?" if near else f"Known: {', '.join([*algorithms, *own])}, or module:Class."
    raise ExperimentError(f"no algorithm {given!r} for environment {env!r}. {hint}")


def require_known(given: str, interventions: Sequence[str] = (), resources: str | None = None) -> None:
    """Raise unless every name is known.

    Args:
        given: A file, or the name of an experiment.
        interventions: Each a file in ``configs/intervention``, or ``module:Class``.
        resources: A file in ``configs/resources``, or a path.

    Raises:
        ExperimentError: One is unknown.
    """
    if find_file(given) is None:
        parse_name(given)
    for name in interventions:
        if ":" not in name and part_file("intervention", name) is None:
            known = part_names("intervention")
            raise ExperimentError(f"no intervention {name!r}.{did_you_mean(name, known, most=len(known))}")
    if resources is not None and part_file("resources", resources) is None and not os.path.isfile(resources):
        raise ExperimentError(f"no resources {resources!r}.{did_you_mean(resources, part_names('resources'))}")
