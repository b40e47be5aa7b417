"""``doctor``: is this machine ready, and if not, what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from rllib_reborn._version import __version__
from rllib_reborn.cli.command import EXIT_FAILED, EXIT_OK, Command
from rllib_reborn.cli.doctor_network import check_network
from rllib_reborn.cli.finding import Finding
from rllib_reborn.tested_versions import CANARY_RAYS, PYTHONS, RAY_BEFORE, RAY_FROM, RAYS, TESTED_PYTHONS

MARKS = {True: "ok", False: "PROBLEM", None: "-"}
GIGABYTE = 1e9
OPTIONAL = {
    "numba": "updates on a CPU and the battle simulator, compiled: faster",
    "pettingzoo": "PettingZoo environments",
    "wandb": "for logging.trackers, and for Ray Tune's WandbLoggerCallback",
    "mlflow": "for logging.trackers, and for Ray Tune's MLflowLoggerCallback",
    "optuna": "for Ray Tune's OptunaSearch",
    "onnx": "for export --onnx",
}


def examine() -> list[Finding]:
    """All findings about this machine."""
    return [
        check_python(sys.version_info[:2]),
        check_ray(),
        check_package("torch", "2.6"),
        check_cuda(),
        check_cores(os.process_cpu_count() if hasattr(os, "process_cpu_count") else _affinity_cores()),
        check_memory(_available_memory()),
        check_shared_memory(Path("/dev/shm")),
        *check_network(),
        *(check_extra(name, purpose) for name, purpose in OPTIONAL.items()),
        check_smac(),
        check_starcraft_packages(),
        *check_starcraft(),
        check_enum34(),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """A Python that was tested; another one may work."""
    text = f"Python {platform.python_version()}"
    tested = f"tested on {', '.join(TESTED_PYTHONS)}"
    name = ".".join(str(part) for part in version[:2])
    if name in TESTED_PYTHONS:
        return Finding("python", True, f"{text} ({tested})")
    remedy = f"use Python {TESTED_PYTHONS[0]} should it not work"
    if name in PYTHONS:
        return Finding("python", None, f"{text} has a lock, and the tests were not run on it ({tested})", remedy)
    if version > max(_release(one) for one in PYTHONS):
        return Finding("python", None, f"{text} was not tried ({tested})", remedy)
    return Finding("python", False, f"{text} is too old ({tested})", f"use Python {PYTHONS[0]} to {PYTHONS[-1]}")


def check_ray() -> Finding:
    """Ray, of the releases that this package asks for; says on which it was tested, and how far."""
    remedy = f"pip install 'ray>={RAY_FROM},<{RAY_BEFORE}'"
    found = _installed("ray")
    if found is None:
        return Finding("ray", False, "ray is not installed", remedy)
    if not _release(RAY_FROM) <= _release(found) < _release(RAY_BEFORE):
        return Finding("ray", False, f"ray {found} is not of {RAY_FROM} to before {RAY_BEFORE}", remedy)
    all_tests, subset = ", ".join(RAYS), ", ".join(one for one in CANARY_RAYS if one not in RAYS)
    return Finding("ray", True, f"ray {found} (all tests passed on {all_tests}, a subset on {subset})")


def check_package(name: str, version: str) -> Finding:
    """A core dependency, of at least the release ``version``."""
    wanted = f"{name}>={version}"
    found = _installed(name)
    if found is None:
        return Finding(name, False, f"{name} is not installed", f"pip install '{wanted}'")
    if _release(found) >= _release(version):
        return Finding(name, True, f"{name} {found}")
    return Finding(name, False, f"{name} {found} is too old ({wanted})", f"pip install '{wanted}'")


def _installed(name: str) -> str | None:
    """The version of a package, None where it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_cuda() -> Finding:
    """Whether torch can use a GPU; training works without one."""
    try:
        import torch
    except ImportError:
        return Finding("cuda", None, "torch is not installed, so no GPU can be looked for")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Finding("cuda", True, f"CUDA {torch.version.cuda}: {names}")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
    return Finding("cuda", None, f"no GPU (torch is built for {built}); training uses the CPU")


def check_cores(cores: int) -> Finding:
    """Cores this process may use."""
    if cores >= 2:
        return Finding("cores", True, f"{cores} cores")
    return Finding(
        "cores", True, f"{cores} core", "keep resources.num_env_runners at 0: processes would only take turns"
    )


def check_memory(available: float) -> Finding:
    """Memory that is free: Ray and torch need about a gigabyte, each worker process half of one."""
    text = f"{available / GIGABYTE:.1f} GB of memory free"
    if available >= 2 * GIGABYTE:
        return Finding("memory", True, text)
    return Finding("memory", False, text, "free at least 2 GB, or lower training.buffer_episodes")


def check_shared_memory(path: Path) -> Finding:
    """Room for Ray's object store, through which remote runners send episodes."""
    if not path.is_dir():
        return Finding("shared_memory", None, f"{path} is not there; Ray uses a temporary folder instead")
    size = shutil.disk_usage(path).total
    text = f"{path} has {size / GIGABYTE:.1f} GB"
    if size >= 0.5 * GIGABYTE:
        return Finding("shared_memory", True, text)
    return Finding(
        "shared_memory",
        False,
        f"{text}, so that Ray falls back to slow files on disk",
        "in a container, start it with --shm-size=2g",
    )


def check_extra(name: str, purpose: str) -> Finding:
    """An optional package."""
    try:
        return Finding(name, True, f"{name} {importlib.metadata.version(name)} ({purpose})")
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, None, f"{name} is not installed ({purpose})", f"pip install 'rllib-reborn[{name}]'")


def check_smac(files: list[str] | None = None) -> Finding:
    """PyPI's ``smac`` is SMAC3, an optimiser; the StarCraft challenge is installed from its repository.

    Args:
        files: Files of the installed distribution ``smac``; default: looked up.
    """
    if files is None:
        try:
            files = [str(file) for file in importlib.metadata.files("smac") or ()]
        except importlib.metadata.PackageNotFoundError:
            return Finding("smac", None, "no package named smac is installed")
    if any("starcraft2" in file for file in files):
        return Finding("smac", True, "smac is the StarCraft Multi-Agent Challenge")
    return Finding(
        "smac",
        False,
        "the installed smac is SMAC3, an optimiser of the same name, and not the StarCraft challenge",
        "pip uninstall smac",
    )


def check_starcraft_packages() -> Finding:
    """What speaks to StarCraft II: the extra ``starcraft``."""
    from rllib_reborn.envs.starcraft.errors import InstallationError
    from rllib_reborn.envs.starcraft.packages import protocol, websocket_client

    name = "sc2_packages"
    try:
        protocol()
        websocket_client()
    except InstallationError as error:
        missing = isinstance(error.__cause__, ModuleNotFoundError)
        return Finding(name, None if missing else False, error.sentence, error.remedy)
    return Finding(name, True, "the packages that speak to StarCraft II are there")


def check_starcraft() -> list[Finding]:
    """StarCraft II itself and its maps; optional, but what is there must be whole."""
    from rllib_reborn.envs.smac.scenarios import SCENARIOS
    from rllib_reborn.envs.starcraft.errors import InstallationError
    from rllib_reborn.envs.starcraft.installation import (
        HOW_TO_GET_MAPS,
        HOW_TO_INSTALL,
        MAPS_FOLDER,
        SC2PATH,
        check_executable,
        find_installation,
        installation_folder,
    )

    folder, _ = installation_folder()
    if not folder.exists() and not os.environ.get(SC2PATH):
        return [
            Finding("sc2_game", None, f"there is no StarCraft II in {folder}, for smac/ and smacv2/", HOW_TO_INSTALL)
        ]
    try:
        installation = find_installation()
        for build in installation.builds:
            check_executable(build)
    except InstallationError as error:
        return [Finding("sc2_game", False, error.sentence, error.remedy)]
    builds = ", ".join(f"Base{build.number}" for build in installation.builds)
    game = Finding("sc2_game", True, f"StarCraft II in {installation.root}: {builds}")
    stems = sorted({scenario.map_file for scenario in SCENARIOS.values()})
    missing = []
    for stem in stems:
        try:
            installation.map_file(stem)
        except InstallationError:
            missing.append(stem)
    if not missing:
        return [game, Finding("sc2_maps", True, f"all {len(stems)} maps of SMAC and SMACv2")]
    sentence = f"{len(missing)} of {len(stems)} maps are not in {installation.root / MAPS_FOLDER}: {', '.join(missing)}"
    return [game, Finding("sc2_maps", False, sentence, HOW_TO_GET_MAPS)]


def check_enum34() -> Finding:
    """pysc2 asks for enum34, which takes the place of a part of Python wherever PYTHONPATH names its folder."""
    try:
        found = importlib.metadata.version("enum34")
    except importlib.metadata.PackageNotFoundError:
        return Finding("enum34", None, "enum34 is not installed, as it should be")
    return Finding(
        "enum34",
        False,
        f"enum34 {found} is installed (pysc2 asks for it) and breaks any Python whose PYTHONPATH names its folder",
        "pip uninstall enum34",
    )


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` as (2, 13, 0)."""
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())


def _affinity_cores() -> int:
    return len(os.sched_getaffinity(0))


def _available_memory() -> float:
    from rllib_reborn.replay.memory import available_memory

    return float(available_memory())


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(args: argparse.Namespace) -> int:
    findings = examine()
    healthy = all(finding.ok is not False for finding in findings)
    if args.json:
        checks = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"version": __version__, "ok": healthy, "checks": checks}))
    else:
        print(f"rllib-reborn {__version__}")
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{MARKS[finding.ok]:<7}  {finding.name:<14}  {finding.sentence}{remedy}")
    return EXIT_OK if healthy else EXIT_FAILED


COMMAND = Command("doctor", "Check this machine and say what to fix.", _add_arguments, _run)
