"""A local Ray of our own: what it is made of, and that nobody but this machine's users reaches it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import ray

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.runtime import ray_internals

#: The address that starts one, also where somebody else has started one on this machine, which would be joined otherwise.
OWN_RAY = "local"
_LOCAL_HOST = "127.0.0.1"
_CONNECT_S = 5.0
#: In the environment of every process of a Ray of our own.
_OWN_RAY_VARIABLE = "RLLIB_REBORN_OWN_RAY"
#: With which learner processes (gloo, NCCL) choose an interface; without it they take that of the hostname.
_INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def cluster_address() -> str | None:
    """The cluster that the user has named by ``RAY_ADDRESS`` (``--address``, ``ray job submit``); None: a Ray of our own, as
    where it says ``local``."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", OWN_RAY) else address


def joins_a_cluster() -> bool:
    """Whether a run of this process is trained on a Ray that somebody else has started: the one that is connected to, or the
    one that will be."""
    if ray.is_initialized():
        return _OWN_RAY_VARIABLE not in os.environ
    return cluster_address() is not None


def own_ray_options(num_cpus: int, resources: Mapping[str, float], *, dashboard: bool) -> dict[str, Any]:
    """Arguments of ``ray.init``.

    Args:
        num_cpus: Logical cores.
        resources: Custom resources by name.
        dashboard: Whether Ray's dashboard is started.
    """
    options: dict[str, Any] = {
        "address": OWN_RAY,
        "num_cpus": num_cpus,
        "include_dashboard": dashboard,
        "dashboard_host": _LOCAL_HOST,
    }
    return options | ({"resources": dict(resources)} if resources else {})


@contextlib.contextmanager
def listening_on_localhost() -> Iterator[None]:
    """A Ray of our own that is started inside listens on 127.0.0.1, its learner processes too, and asks for a token that
    only its user can read. What the user has set in the environment holds.

    Raises:
        ExperimentError: Nothing on this machine reaches 127.0.0.1.
    """
    check_localhost()
    _make_token()
    interface = localhost_interface()
    chosen = {name: str(interface) for name in _INTERFACE_VARIABLES if interface is not None} | {_OWN_RAY_VARIABLE: "1"}
    chosen = {name: value for name, value in chosen.items() if name not in os.environ}
    # Ray's processes inherit them; a cluster that this process joins later must not.
    os.environ.update(chosen)
    try:
        with ray_internals.nodes_on_localhost():
            yield
    finally:
        for name in chosen:
            del os.environ[name]


def localhost_interface() -> str | None:
    """Name of the network interface with 127.0.0.1 (``lo``; ``lo0`` on macOS), else with ::1; None: there is none."""
    interfaces = psutil.net_if_addrs()
    for address in (_LOCAL_HOST, "::1"):
        for name, addresses in interfaces.items():
            if any(found.address == address for found in addresses):
                return str(name)
    return None


def check_localhost() -> None:
    """Connect this process with itself: where that fails, Ray would wait for minutes and then end the process.

    Raises:
        ExperimentError: It fails.
    """
    try:
        with socket.create_server((_LOCAL_HOST, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_CONNECT_S).close()
    except OSError as error:
        raise ExperimentError(
            f"nothing on this machine can connect to {_LOCAL_HOST} ({error}), where the processes of a run find each other; "
            "bring its network interface up ('ip link set lo up'), or let the firewall pass it."
        ) from error


def token_file() -> Path:
    """Where Ray looks for its token."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def _make_token() -> None:
    """A token that only its user can read, where Ray would make one that everybody can; where the home cannot be written, or
    what is there belongs to somebody else, one for this process and those that it starts."""
    given = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    file = token_file()
    # os.access and not exists(), which raises where somebody else's folder may not even be looked into.
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(map(os.environ.get, given)):
        return
    if not os.access(file, os.R_OK):
        token = secrets.token_hex(32)
        with contextlib.suppress(OSError):
            _write_token(file, token)
        if not os.access(file, os.R_OK):
            os.environ["RAY_AUTH_TOKEN"] = token


def _write_token(file: Path, token: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, whole = tempfile.mkstemp(dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(token)
        # In one step: another run that starts now finds the whole file or none.
        with contextlib.suppress(FileExistsError):
            os.link(whole, file)
    finally:
        os.unlink(whole)
