"""How a command of the docs is checked, for each program that they call."""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from rllib_reborn.cli.command import UsageError
from rllib_reborn.cli.experiment_arguments import experiment_request
from rllib_reborn.cli.main import COMMANDS, build_parser
from rllib_reborn.experiments.build import configure
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.plasticity.interventions import KINDS
from tests.docs_code import REPOSITORY

#: What no test here runs, and why; what is checked in its place stands behind it. CONTRIBUTING.md has the same table.
NOT_RUN = {
    "apt-get": "installs programs of the machine; syntax",
    "docker": "no container engine in tests; the compose file is read, and has the service",
    "dpkg-deb": "unpacks what apt-get brought; syntax",
    "grafana": "no Grafana in tests; syntax (its files: tests/monitoring)",
    "kubectl": "no Kubernetes in tests; every file that is named is YAML with a kind (schemas: tests/docker)",
    "mlflow": "mlflow's web page is not installed; syntax",
    "prometheus": "not installed by pip; syntax (with one: tests/monitoring, long)",
    "promtool": "not installed by pip; syntax (expressions: tests/monitoring)",
    "ray": "needs a cluster; parsed by Ray's own command line (real ones: tests/cluster, long)",
    "sbatch": "no Slurm in tests; the script is there (shellcheck: tests/docker)",
    "source": "a virtual environment; syntax",
    "tensorboard": "serves without end; syntax",
    "wandb": "needs an account; syntax",
    "xvfb-run": "needs a display server; the command behind it is checked",
    "pip": "changes the environment that tests run in; extras are those of setup.cfg",
    "make": "sets up environments and runs these tests; the target is there",
    "python": "benchmarks and tests of minutes; the module or the file is there",
}

#: Words that stand for something of the reader's.
_STAND_INS = (
    (r"\$\{?seed\}?|(?<![A-Za-z])(?:SEED|S|N)(?![A-Za-z])", "3"),
    (r"(?<![A-Za-z])ALGORITHM(?![A-Za-z])", "vdn"),
    (r"(?<![A-Za-z])ENV(?![A-Za-z])", "matrix/two_step"),
    (r"(?<![A-Za-z])KIND(?![A-Za-z])", "redo"),
    (r"(?<=small/)NAME", "qmix+redo"),
    (r"\$PWD", "."),
    (r"X\.Y\.Z", "0.2.0"),
)
#: Names that are the reader's own, and what a test has in their place.
_OWN = {
    "my_package.my_module:make": "examples.own_game:Rendezvous",
    "my_package.my_module:Meeting": "examples.own_game:Rendezvous",
    "my_pkg.games:make/qmix+my_pkg:MyKind": "matrix/two_step/qmix+redo",
    "my_pkg.game:Game/my_pkg.mixer:MyConfig+my_pkg.kinds:MyKind": (
        "examples.own_game:Rendezvous/examples.own_mixer:WeightedSumConfig+examples.own_intervention:ClipNorm"
    ),
    "training.model.encoder=my_pkg.encoder:MyEncoder": "training.model.encoder=examples.own_encoder:Normalised",
    "a -> b/qmix": "predator_prey/small -> predator_prey/gradps_small/qmix",
}


def filled_in(word: str) -> str:
    """A word with something definite in place of what stands for the reader's own."""
    for pattern, value in _STAND_INS:
        word = re.sub(pattern, value, word)
    return _OWN.get(word, word)


def check(words: list[str], page: Path, *, complete: bool) -> None:
    """Checks one command.

    Args:
        words: Program and arguments.
        page: Where it stands.
        complete: It could be typed as it is; else arguments may be missing.

    Raises:
        AssertionError: Why it is wrong.
    """
    program = words[0]
    assert program in CHECKS, (
        f"{program!r} is a program that tests/docs/programs.py does not know; add it to CHECKS, to NOT_RUN with the reason"
    )
    CHECKS[program]([filled_in(word) for word in words[1:]], page, complete)


def _ours(words: list[str], page: Path, complete: bool) -> None:
    commands = {command.name: command for command in COMMANDS}
    if not words or (words == ["--version"]):
        return
    assert words[0] in commands, f"there is no command {words[0]!r}"
    if not complete:
        alone = argparse.ArgumentParser(prog=words[0])
        commands[words[0]].add_arguments(alone)
        text = alone.format_help()
        for option in (word.split("=")[0] for word in words[1:] if word.startswith("--")):
            assert re.search(rf"{option}\b", text), f"{words[0]} has no option {option}"
    try:
        arguments, rest = build_parser().parse_known_args(words)
    except UsageError as mistake:
        if complete:
            raise AssertionError(str(mistake)) from mistake
        return
    late = [word for word in rest if not word.startswith("-")]
    assert not rest or (late == rest and commands[words[0]].takes_overrides), f"what is {rest}?"
    if late:
        arguments.overrides = [*arguments.overrides, *late]
    try:
        _MEANINGS.get(words[0], lambda _: None)(arguments)
    except (UsageError, ExperimentError) as mistake:
        raise AssertionError(str(mistake)) from mistake


def _experiment_is_valid(arguments: object) -> None:
    name = getattr(arguments, "name", None)
    if getattr(arguments, "source", None) is not None and (name is None or "=" in name):
        # A fork of a run: its own experiment is the reader's; what is set has to be a setting.
        from rllib_reborn.experiments.load import load_experiment

        given = [*([name] if name else []), *getattr(arguments, "overrides", [])]
        load_experiment("predator_prey/small/qmix", given)
        return
    if name is not None and (name.endswith((".yaml", ".yml")) or name.startswith("configs/") or name.isupper()):
        return
    request = experiment_request(arguments)  # type: ignore[arg-type]
    if request is not None:
        configure(request.load().experiment)


def _sweep_is_valid(arguments: object) -> None:
    from rllib_reborn.tuning.find import sweep_path
    from rllib_reborn.tuning.sweep import read_sweep

    given = getattr(arguments, "sweep", None)
    if given is None or given in ("status", "pack", "merge") or given.endswith(".yaml") or "NAME" in given:
        return
    read_sweep(sweep_path(given), [word for word in getattr(arguments, "overrides", []) if "=" in word])


def _intervention_is_known(arguments: object) -> None:
    for kind in filter(None, [getattr(arguments, "intervention", None)]):
        assert kind in KINDS, f"no intervention {kind!r}"


def _env_is_known(arguments: object) -> None:
    from rllib_reborn.envs.registry import ENVS
    from rllib_reborn.envs.task_sequence import task_names

    name = getattr(arguments, "env", None) or getattr(arguments, "name", None)
    for one in task_names(name) if name else ():
        known = one in ENVS or ":" in one or one in ("NAME", "a", "b") or one.isupper()
        assert known, f"no environment {one!r}"


_MEANINGS: dict[str, Callable[[object], None]] = {
    "train": _experiment_is_valid,
    "configs": _experiment_is_valid,
    "tune": _sweep_is_valid,
    "invariance": _intervention_is_known,
    "envs": _env_is_known,
}


def _ray(words: list[str], page: Path, complete: bool) -> None:
    import click
    from ray.scripts.scripts import cli

    command: click.Command = cli
    words = list(words)
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"ray has no command {name!r}"
        command = found
    if not complete:
        return
    behind = words[words.index("--") + 1 :] if "--" in words else []
    try:
        command.make_context(command.name, list(words), resilient_parsing=False)
    except click.ClickException as mistake:
        raise AssertionError(f"ray: {mistake.format_message()}") from mistake
    if behind:
        check(behind, page, complete=True)


def _make(words: list[str], page: Path, complete: bool) -> None:
    targets = re.findall(r"^([a-z][\w-]*):", (REPOSITORY / "Makefile").read_text(), re.M)
    for word in words:
        assert "=" in word or word in targets, f"the Makefile has no target {word!r}"


def _python(words: list[str], page: Path, complete: bool) -> None:
    if words[0] == "-m":
        if words[1] == "rllib_reborn":
            _ours(words[2:], page, complete)
        else:
            assert importlib.util.find_spec(words[1]) is not None, f"no module {words[1]}"
            for path in (word for word in words[2:] if word.startswith("tests/")):
                assert (REPOSITORY / path).exists(), f"no {path}"
    elif words[0] != "src/main.py":  # PyMARL's
        assert (REPOSITORY / words[0]).is_file(), f"no file {words[0]}"


def _pip(words: list[str], page: Path, complete: bool) -> None:
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    for word in words:
        found = re.search(r"(?:^\.|^rllib-reborn)\[(.+)\]$", word)
        for extra in found[1].split(",") if found else ():
            assert extra in settings["options.extras_require"], f"setup.cfg has no extra {extra!r}"


def _docker(words: list[str], page: Path, complete: bool) -> None:
    services = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]
    if words[:2] == ["compose", "exec"]:
        assert words[2] in services, f"docker/compose.yaml has no service {words[2]!r}"
        check(words[3:], page, complete=True)


def _kubectl(words: list[str], page: Path, complete: bool) -> None:
    for path in (words[at + 1] for at, word in enumerate(words) if word == "-f"):
        documents = list(yaml.safe_load_all((REPOSITORY / path).read_text()))
        assert documents, path
        assert all("kind" in document for document in documents), path


def _files(words: list[str], page: Path, complete: bool) -> None:
    assert (REPOSITORY / words[0]).is_file(), f"no file {words[0]}"


def _behind_options(words: list[str], page: Path, complete: bool) -> None:
    while words[0].startswith("-"):
        words = words[1:]
    check(words, page, complete=complete)


def _syntax(words: list[str], page: Path, complete: bool) -> None:
    """bash reads the block in test_commands.py."""


CHECKS: dict[str, Callable[[list[str], Path, bool], None]] = {
    "rllib-reborn": _ours,
    **dict.fromkeys(NOT_RUN, _syntax),
    "ray": _ray,
    "make": _make,
    "python": _python,
    "pip": _pip,
    "docker": _docker,
    "kubectl": _kubectl,
    "sbatch": _files,
    "xvfb-run": _behind_options,
}
