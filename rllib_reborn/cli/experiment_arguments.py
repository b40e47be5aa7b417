"""Arguments that say which experiment is meant; ``train`` and ``configs`` share them."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_reborn.cli.command import UsageError

if TYPE_CHECKING:
    from rllib_reborn.experiments.load import LoadedExperiment


@dataclasses.dataclass(frozen=True)
class ExperimentRequest:
    """The experiment that was asked for.

    Attributes:
        name: Path of a YAML file, or ``<env>/<algorithm>[+<intervention>...]``.
        interventions: Added behind those of ``name``.
        resources: File in ``configs/resources``, or a path; None: the environment's default.
        overrides: ``key.path=value`` each.
    """

    name: str
    interventions: tuple[str, ...]
    resources: str | None
    overrides: tuple[str, ...]

    def load(self) -> LoadedExperiment:
        """The validated experiment; imports Ray.

        Raises:
            ExperimentError: As :func:`rllib_reborn.experiments.load.load`.
        """
        from rllib_reborn.experiments.load import load

        return load(self.name, self.overrides, interventions=self.interventions, resources=self.resources)


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare NAME, the overrides, and the options that take the place of a name or add to it."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="<env>/<algorithm>[+<intervention>...], e.g. battle/8m/vdn+redo ('configs' lists the parts), or a YAML file",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=(),
        metavar="key.path=value",
        help="change a setting, e.g. training.lr=5e-4",
    )
    parser.add_argument("--env", metavar="ENV", help="in place of NAME: battle/8m, pettingzoo:..., or module:callable")
    parser.add_argument("--algorithm", metavar="ALGORITHM", help="in place of NAME: vdn, or module:Class")
    parser.add_argument(
        "--intervention",
        action="append",
        default=[],
        metavar="INTERVENTION",
        help="add one: redo, or module:Class; can be given several times",
    )
    parser.add_argument(
        "--resources", metavar="RESOURCES", help="gpu, two_learners, ...; default: what fits the environment"
    )


def experiment_request(args: argparse.Namespace) -> ExperimentRequest | None:
    """What the arguments ask for, each name looked up; None: they name no experiment.

    Raises:
        UsageError: They contradict each other.
        ExperimentError: A name is unknown.
    """
    from rllib_reborn.experiments.experiment_name import require_known

    name, overrides = args.name, list(args.overrides)
    if name is not None and "=" in name and not Path(name).exists():
        # The first override stands where a name could.
        name, overrides = None, [name, *overrides]
    chosen = {"--env": args.env, "--algorithm": args.algorithm}
    if name is not None and any(chosen.values()):
        given = next(option for option, value in chosen.items() if value)
        raise UsageError(f"{given} and the name {name!r} are both given; expected NAME, or --env and --algorithm.")
    if name is None and any(chosen.values()):
        missing = next((option for option, value in chosen.items() if not value), None)
        if missing is not None:
            raise UsageError(f"{missing} is missing; expected NAME, or --env and --algorithm.")
        name = f"{args.env}/{args.algorithm}"
    if name is None:
        if overrides or args.intervention or args.resources:
            raise UsageError(
                "no experiment is named; expected NAME (such as battle/8m/vdn+redo), or --env and --algorithm."
            )
        return None
    require_known(name, args.intervention, args.resources)
    return ExperimentRequest(name, tuple(args.intervention), args.resources, tuple(overrides))


def composed_yaml(loaded: LoadedExperiment, request: ExperimentRequest) -> str:
    """The experiment with every default, as YAML with the source of each key; secrets of the environment as ``***``.

    Raises:
        ExperimentError: The algorithm is unknown, or refuses a setting.
    """
    from rllib_reborn.experiments.annotated_yaml import annotated_yaml, source_in
    from rllib_reborn.experiments.build import configure, resolved_dict
    from rllib_reborn.secret_settings import without_secrets

    experiment = loaded.experiment
    resolved = resolved_dict(experiment, configure(experiment))
    name = "+".join((request.name, *request.interventions))
    head = f"# {name}: behind each key the file that sets it, or 'the name', 'command line' or 'default'.\n"
    resolved["env_config"] = without_secrets(resolved["env_config"])
    return head + annotated_yaml(resolved, source_in(loaded.layers, request.overrides))
