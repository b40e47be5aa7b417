"""``doctor`` on what a run opens: to whom, and what must be shown to get in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rllib_reborn.cli.finding import Finding

_ANYBODY = stat.S_IRWXG | stat.S_IRWXO


def check_network() -> list[Finding]:
    """Sockets, authentication and files of a run that is started here and now."""
    from rllib_reborn.experiments.own_ray import token_file

    return [check_sockets(), check_auth_mode(), check_auth_token(token_file()), check_ray_folder(_ray_folder())]


def check_sockets() -> Finding:
    """Where the processes of a run listen."""
    from rllib_reborn.experiments.errors import ExperimentError
    from rllib_reborn.experiments.own_ray import check_localhost, cluster_address

    address = cluster_address()
    if address is not None:
        return Finding(
            "ray_sockets",
            None,
            f"runs join the Ray cluster {address!r} (RAY_ADDRESS): where it listens was decided by its 'ray start'",
            "let no untrusted machine reach its ports, see docs/security.md",
        )
    try:
        check_localhost()
    except ExperimentError as error:
        return Finding("ray_sockets", False, str(error).rstrip("."))
    return Finding(
        "ray_sockets",
        True,
        "a run's Ray listens on 127.0.0.1 alone (driver, GCS, raylet, agents, runners, dashboard), for this machine's users"
        "; with two learners or more, PyTorch's rendezvous has one port on every interface, without authentication",
    )


def check_auth_mode() -> Finding:
    """What Ray asks for."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is None or mode.lower() == "token":
        return Finding(
            "ray_auth",
            True,
            "Ray asks for a token everywhere but for its metrics (numbers and names of processes), which any user of this "
            "machine can read while a run goes on",
        )
    return Finding(
        "ray_auth",
        None,
        f"RAY_AUTH_MODE is {mode!r}: any user of this machine can run code in a run's Ray while it goes on",
        "unset RAY_AUTH_MODE, or set it to token",
    )


def check_auth_token(path: Path) -> Finding:
    """Ray's token lets anyone who reads it run code in the Ray that asks for it."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding("ray_auth_token", True, "the token is in RAY_AUTH_TOKEN")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except PermissionError:
        mode = 0
    except OSError:
        return Finding("ray_auth_token", None, f"{path} is not there; the first run makes it, with mode 0600")
    if not os.access(path, os.R_OK):
        return Finding(
            "ray_auth_token", True, f"{path} is somebody else's; each run makes a token that it keeps to itself"
        )
    if not mode & _ANYBODY or not _others_get_to(path):
        return Finding("ray_auth_token", True, f"only you can read {path}")
    return Finding(
        "ray_auth_token",
        None,
        f"{path} has mode {mode:04o}, as Ray makes it: where this machine has other users, they can run code in your Ray",
        f"chmod 600 {path}",
    )


def check_ray_folder(path: Path) -> Finding:
    """Ray makes its folders writable for everybody, and what workers print lies there."""
    if not path.exists():
        return Finding("ray_folder", None, f"{path} is not there; Ray makes it when it first starts, for everybody")
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _ANYBODY or not _others_get_to(path):
        return Finding("ray_folder", True, f"only you can look into {path}")
    return Finding(
        "ray_folder",
        None,
        f"{path} has mode {mode:04o}, as Ray makes it: where this machine has other users, they can read what workers print",
        "export RAY_TMPDIR=DIR, a folder with a short name and mode 0700",
    )


def _others_get_to(path: Path) -> bool:
    """Whether every folder above ``path`` lets others than its owner pass."""
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.resolve().parents)


def _ray_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
