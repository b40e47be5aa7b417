"""What doctor says of sockets, tokens and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.cli import doctor_network
from rllib_reborn.experiments.errors import ExperimentError


@pytest.fixture(autouse=True)
def no_ray_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_where_a_run_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = doctor_network.check_sockets()
    assert finding.ok is True
    assert "127.0.0.1 alone" in finding.sentence
    assert "two learners" in finding.sentence
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    finding = doctor_network.check_sockets()
    assert finding.ok is None
    assert "'10.0.0.1:6379'" in finding.sentence


def test_a_machine_that_cannot_reach_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ExperimentError("nothing can connect.")

    monkeypatch.setattr("rllib_reborn.experiments.own_ray.check_localhost", fail)
    assert doctor_network.check_sockets().ok is False


def test_what_ray_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_network.check_auth_mode().ok is True
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    finding = doctor_network.check_auth_mode()
    assert finding.ok is None
    assert "any user of this machine can run code" in finding.sentence


@pytest.mark.parametrize("check", [doctor_network.check_auth_token, doctor_network.check_ray_folder])
def test_what_ray_makes_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Any) -> None:
    home = tmp_path / "home"
    path = home / "there"
    assert check(path).ok is None
    path.mkdir(parents=True)
    path.chmod(0o644)
    assert check(path).ok is True  # pytest's own folder above lets nobody else pass
    monkeypatch.setattr(doctor_network, "_others_get_to", lambda path: True)
    finding = check(path)
    assert finding.ok is None
    assert "as Ray makes it" in finding.sentence
    assert finding.remedy
    for mode, ok in ((0o640, None), (0o604, None), (0o600, True), (0o400, True)):
        path.chmod(mode)
        assert check(path).ok is ok


def test_who_gets_to_a_file(tmp_path: Path) -> None:
    assert doctor_network._others_get_to(Path("/etc/hosts"))
    (tmp_path / "closed").mkdir(mode=0o700)
    assert not doctor_network._others_get_to(tmp_path / "closed" / "file")


def test_a_token_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so that it is said of the file system here."""
    token = tmp_path / "auth_token"
    token.write_text("")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "somebody else's" in doctor_network.check_auth_token(token).sentence

    def closed(_: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", closed)
    finding = doctor_network.check_auth_token(token)
    assert finding.ok is True
    assert "somebody else's" in finding.sentence
