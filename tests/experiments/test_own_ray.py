"""A Ray of our own: reached from this machine alone, by who can read its token. Ray itself is not started here."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ray.util import get_node_ip_address

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.own_ray import (
    cluster_address,
    listening_on_localhost,
    localhost_interface,
    own_ray_options,
    token_file,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and an environment without a word on Ray."""
    for name in [name for name in os.environ if name.startswith(("RAY_A", "GLOO_", "NCCL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("ray._private.worker._global_node", None)
    return tmp_path


def test_ray_and_learners_take_localhost_and_nothing_later_does() -> None:
    outside = get_node_ip_address()
    with listening_on_localhost():
        assert get_node_ip_address() == "127.0.0.1"
        assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == localhost_interface()
    assert get_node_ip_address() == outside
    assert not {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} & set(os.environ)


def test_an_interface_that_the_user_has_chosen_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    with listening_on_localhost():
        assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"


def test_the_token_is_for_its_user_alone_and_stays(home: Path) -> None:
    with listening_on_localhost():
        pass
    file = home / ".ray" / "auth_token"
    assert token_file() == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text()
    assert len(token) == 64
    with listening_on_localhost():
        pass
    assert file.read_text() == token
    assert [path.name for path in file.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "/nowhere/token")],
)
def test_where_the_user_has_decided_no_token_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with listening_on_localhost():
        pass
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # put back after the test
    with listening_on_localhost():
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize("kept_from_us", [".ray", ".ray/auth_token"])
def test_what_somebody_else_has_left_in_the_home_is_no_obstacle(kept_from_us: str) -> None:
    """A home on a volume that another user id has been at home in: its folder is closed to us, or its token alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # not pytest's, which is closed to others as a whole
        (Path(home) / ".ray").mkdir()
        (Path(home) / ".ray" / "auth_token").write_text("a token")
        for path in (home, f"{home}/.ray"):
            os.chmod(path, 0o777)
        os.chmod(f"{home}/{kept_from_us}", 0o600 if os.geteuid() == 0 else 0o000)
        child = os.fork()
        if not child:
            try:
                if os.geteuid() == 0:
                    os.setuid(54321)
                os.environ.update(HOME=home, RAY_AUTH_TOKEN="")
                with listening_on_localhost():
                    os._exit(0 if len(os.environ["RAY_AUTH_TOKEN"]) == 64 else 2)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.chmod(f"{home}/{kept_from_us}", 0o700)
        assert [path.name for path in Path(home, ".ray").iterdir()] == ["auth_token"]


def test_a_machine_that_cannot_reach_itself_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(ExperimentError, match=r"can connect to 127\.0\.0\.1 .*unreachable.*ip link set lo up"):
        listening_on_localhost().__enter__()


@pytest.mark.parametrize(
    ("given", "address"), [(None, None), ("", None), (" ", None), ("local", None), ("auto", "auto"), ("h:1", "h:1")]
)
def test_which_cluster_is_joined(monkeypatch: pytest.MonkeyPatch, given: str | None, address: str | None) -> None:
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    assert cluster_address() == address


def test_custom_resources_are_given_where_there_are_any() -> None:
    assert "resources" not in own_ray_options(2, {}, dashboard=False)
    assert own_ray_options(2, {"sc2": 4.0}, dashboard=True) == {
        "address": "local",
        "num_cpus": 2,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "resources": {"sc2": 4.0},
    }
