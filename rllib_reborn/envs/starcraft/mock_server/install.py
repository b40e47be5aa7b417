"""A mock installation: a folder laid out as ``$SC2PATH`` is, in which the executable is the mock server and the
maps are names. What starts the game from its folder (our client, pysc2) starts the server instead."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shlex
import sys
from pathlib import Path

from rllib_reborn.envs.battle.battlefield import Backend
from rllib_reborn.envs.starcraft.mock_server import BUILD
from rllib_reborn.envs.starcraft.mock_server.faults import PLAN_VARIABLE, FaultPlan
from rllib_reborn.envs.starcraft.mock_server.maps import MAPS, SUFFIX, map_file_content

_PLAN_FILE = "mock_server_faults.json"


def make_mock_install(
    folder: str | os.PathLike[str],
    *,
    faults: FaultPlan | None = None,
    backend: Backend = "numpy",
    build: int = BUILD,
) -> Path:
    """Write a mock installation; ``SC2PATH`` is then to be set to what this returns.

    Args:
        folder: Where; made if it is not there, and what it holds of an earlier one is rewritten.
        faults: What goes wrong in every server that is started from it, unless the environment variable
            :data:`~rllib_reborn.envs.starcraft.mock_server.faults.PLAN_VARIABLE` says something else.
        backend: Of the simulator in the servers: ``numba`` where few of them play for long.
        build: Whose place the server takes.

    Returns:
        The folder, absolute.
    """
    root = Path(folder).absolute()
    executable = executable_of(root, build)
    maps = root / "Maps" / "SMAC_Maps"
    for directory in (executable.parent, maps, root / "Replays"):
        directory.mkdir(parents=True, exist_ok=True)
    for name in MAPS:
        (maps / f"{name}{SUFFIX}").write_bytes(map_file_content(name))
    plan = root / _PLAN_FILE
    plan.unlink(missing_ok=True)
    if faults is not None:
        plan.write_text(faults.to_json(), encoding="utf-8")
    # Written beside it and moved: a server may just be starting from the old one.
    fresh = executable.with_suffix(".new")
    fresh.write_text(_launcher(plan if faults is not None else None, backend, build), encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(executable)
    return root


def executable_of(folder: Path, build: int = BUILD) -> Path:
    """Where a mock installation has what stands for the game."""
    return folder / "Versions" / f"Base{build}" / "SC2_x64"


def running_servers(folder: str | os.PathLike[str]) -> list[int]:
    """Process ids of the servers that were started from this installation and still run, zombies not counted."""
    import psutil

    root = Path(folder).absolute()
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        # By -dataDir, which both pysc2 and our client give.
        if any(flag == "-dataDir" and Path(value) == root for flag, value in itertools.pairwise(line)):
            found.append(process.pid)
    return found


def _launcher(plan: Path | None, backend: Backend, build: int) -> str:
    """A shell script that becomes the server: ``exec`` keeps the process id, and with it the parent's signals."""
    lines = ["#!/bin/sh", "# Written by rllib_reborn (make_mock_install). It is no StarCraft II."]
    if plan is not None:
        lines.append(f': "${{{PLAN_VARIABLE}:={shlex.quote(str(plan))}}}"; export {PLAN_VARIABLE}')
    # Isolated, and without the start-up of site-packages: a PYTHONPATH with enum34 in it, which pysc2 asks for, would break
    # the interpreter, and tests start hundreds of these.
    start = f"import sys; sys.path += {_package_folders()!r}; from {__package__}.server import main; sys.exit(main())"
    lines += [
        "OMP_NUM_THREADS=1; export OMP_NUM_THREADS",
        f'exec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(start)} "$@" -build {build} -backend {backend}',
    ]
    return "\n".join(lines) + "\n"


def _package_folders() -> list[str]:
    """Where this package and what the server imports lie here and now."""
    folders = []
    for name in ("rllib_reborn", "numpy", "google.protobuf", "s2clientprotocol"):
        # What is not installed is missed by the server, which says so.
        with contextlib.suppress(ModuleNotFoundError):
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None:
                folders.append(str(Path(spec.origin).absolute().parents[name.count(".") + 1]))
    return list(dict.fromkeys(folders))
