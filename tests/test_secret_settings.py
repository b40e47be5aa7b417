"""Secrets of environments are shown nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn import secret_settings
from rllib_reborn.cli.main import main
from rllib_reborn.envs.matrix_games import TwoStepGame
from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.evaluation.runs import read_run
from rllib_reborn.experiments.build import differences, first_difference
from rllib_reborn.runtime.env_restarts import EnvRestarts
from rllib_reborn.runtime.results import RunnerError
from rllib_reborn.secret_settings import hidden, is_secret, remember_secrets, without_secrets
from rllib_reborn.tuning.points import point_name
from rllib_reborn.tuning.sweep import parse_sweep
from rllib_reborn.tuning.sweep_folder import SweepFolder

SECRETS: dict[str, Any] = {
    "token": "SEKRET1",
    "nested": {"dbPassword": "SEKRET2", "level": 3},
    "url": "http://user:SEKRET3@host/path",
    "list": [{"api_key": "SEKRET4"}],
    "credentials": {"user": "SEKRET5"},
}
OPTION = f"env_config={json.dumps(SECRETS)}"


class Env(TwoStepGame):
    """The two-step game, by any options."""

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        super().__init__(num_envs)


def unreachable(num_envs: int = 1, **options: Any) -> Any:
    raise RuntimeError(f"cannot log in with {options}")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(secret_settings, "_known", [])
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.mark.parametrize(
    "name",
    ["token", "hf_token", "PASSWORD", "db.pwd", "apiKey", "api-key", "client_secret", "AWSSecretKey", "auth", "keys"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["monkey", "keyboard", "tokenizer", "author", "secretary", "level", "map_name", ""])
def test_names_of_other_settings(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_hidden_and_the_rest_is_not() -> None:
    assert without_secrets(SECRETS | {"max_tokens": 64, "token_file": None}) == {
        "token": "***",
        "nested": {"dbPassword": "***", "level": 3},
        "url": "http://user:***@host/path",
        "list": [{"api_key": "***"}],
        "credentials": {"user": "***"},
        "max_tokens": 64,
        "token_file": None,
    }
    assert without_secrets("x", "env_config.token") == "***"


def test_texts_of_foreign_code() -> None:
    assert hidden("ask http://a:b@c/d and http://a@c") == "ask http://a:***@c/d and http://a@c"
    remember_secrets(SECRETS | {"key": "abc"})
    assert hidden(repr(SECRETS)).count("***") == 5
    assert "SEKRET" not in hidden(repr(SECRETS))
    assert hidden("abc") == "abc"  # too short a secret to look for


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "tests.test_secret_settings:Env/qmix", OPTION, "stop.iterations=1", "--dry-run"],
        ["train", "tests.test_secret_settings:unreachable/qmix", OPTION, "stop.iterations=1"],
        ["envs", "tests.test_secret_settings:unreachable", *(f"{key}={json.dumps(SECRETS[key])}" for key in SECRETS)],
    ],
    ids=["dry run", "train", "envs"],
)
def test_commands_show_none(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(argv)
    shown = capsys.readouterr()
    assert "***" in shown.out + shown.err
    assert "SEKRET" not in shown.out + shown.err


def test_what_differs_is_named_without_them() -> None:
    before, now = {"env_config": SECRETS}, {"env_config": {**SECRETS, "token": "SEKRET9"}}
    assert first_difference(now, before) == "env_config.token is '***' here and '***' there"
    assert differences(before, now) == [("env_config.token", "***", "***")]


def test_games_that_fail_log_none(caplog: pytest.LogCaptureFixture) -> None:
    make_team_env("tests.test_secret_settings:Env", **SECRETS)
    error = RuntimeError(f"cannot log in with {SECRETS}")
    try:
        raise error
    except RuntimeError:
        assert "SEKRET" not in RunnerError.of(error).message
    failure = secret_failure(error)
    with caplog.at_level(logging.WARNING):
        restarts = EnvRestarts(lambda: Env(), "env", seed=None, restart_failed=True)
        restarts.begin_again(failure, lambda env: None, lambda seed: None, 0)
    assert "cannot log in" in caplog.text
    assert "SEKRET" not in caplog.text


def test_logs_show_none_whoever_logs(caplog: pytest.LogCaptureFixture) -> None:
    remember_secrets(SECRETS)
    with caplog.at_level(logging.INFO):
        logging.getLogger("somebody").info("%s and %d", SECRETS, 3)
        try:
            raise RuntimeError(f"cannot log in with {SECRETS}")
        except RuntimeError:
            logging.getLogger("ray").exception("failed")
    assert "and 3" in caplog.text
    assert "cannot log in" in caplog.text
    assert "***" in caplog.text
    assert "SEKRET" not in caplog.text


def secret_failure(error: Exception) -> Any:
    from rllib_reborn.envs.rollout import EnvCallError

    failure = EnvCallError()
    failure.__cause__ = error
    return failure


def test_points_of_a_sweep_have_other_names_without_them() -> None:
    sweep = parse_sweep(
        {
            "base": "matrix/two_step/qmix",
            "space": {"env_config.token": {"grid": ["SEKRET1", "SEKRET2"]}},
            "budget": {"iterations": 1},
            "seeds": [0],
        },
        "test",
    )
    names = {point_name(sweep, {"env_config.token": value}) for value in ("SEKRET1", "SEKRET2")}
    assert len(names) == 2
    assert not any("SEKRET" in name for name in names)


def test_reports_read_none(tmp_path: Path) -> None:
    config = {"algorithm": "QMIX", "env": "x", "seed": 0, "env_config": SECRETS}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    row = {"iteration": 1, "env_steps": 10, "updates": 0, "time/total_s": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert "SEKRET" not in str(read_run(tmp_path).config)


def test_folders_that_hold_some_are_closed_to_others(tmp_path: Path) -> None:
    def mode_after(**sweep: Any) -> int:
        folder = SweepFolder(tmp_path / str(len(list(tmp_path.iterdir()))))
        folder.root.mkdir(mode=0o755)
        folder.start(parse_sweep({"base": "matrix/two_step/qmix", **sweep}, "a.yaml"))
        return folder.root.stat().st_mode & 0o777

    assert mode_after(set={"env_config": SECRETS}) == 0o700
    assert mode_after(space={"env_config.token": {"grid": ["SEKRET1", "SEKRET2"]}}) == 0o700
    assert mode_after(space={"training.lr": {"grid": [1e-3, 1e-4]}}) == 0o755
