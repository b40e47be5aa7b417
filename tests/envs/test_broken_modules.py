"""A module that is there and fails at import is one sentence, whichever way it is named."""

from __future__ import annotations

import importlib
import sys

import pytest

from rllib_reborn.algorithms import algorithm_config_class
from rllib_reborn.cli.main import main
from rllib_reborn.envs.adapters.by_path import load_callable
from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.registry import make_team_env

BREAKS = {
    "needs_another": ("import no_such_package_of_a_test", "No module named 'no_such_package_of_a_test'", 1),
    "old_import": ("from collections import Mapping", "cannot import name 'Mapping' from 'collections'", 1),
    "raises": ("x = 1\nraise RuntimeError('no\\nlicence')", "RuntimeError: no licence", 2),
    "syntax": ("def f(:\n    pass", "SyntaxError: ", 1),
    "ends_itself": ("import sys\nsys.exit(3)", "SystemExit: 3", 2),
    "divides": ("a = 1\nb = a / 0", "ZeroDivisionError: division by zero", 2),
}


@pytest.fixture(params=sorted(BREAKS))
def broken(request, tmp_path, monkeypatch):
    text, words, line = BREAKS[request.param]
    path = tmp_path / f"broken_{request.param}.py"
    path.write_text(text + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield path.stem, words, f"{path}, line {line})"
    sys.modules.pop(path.stem, None)


def ways(module):
    yield lambda: make_team_env(f"{module}:make")
    yield lambda: make_team_env(f"gymnasium:{module}:Game-v0")
    yield lambda: make_team_env(f"pettingzoo:{module}")
    yield lambda: load_callable(f"{module}:reward", "team.reward")
    yield lambda: algorithm_config_class(f"{module}:MyConfig")


def test_it_names_the_reason_and_the_line(broken):
    module, words, place = broken
    for number, way in enumerate(ways(module)):
        with pytest.raises(ValueError, match=module) as caught:
            way()
        sentence = str(caught.value)
        assert words.removeprefix("No module named ") in sentence
        assert "\n" not in sentence
        if number != 2:  # pettingzoo: says what to install
            assert place in sentence
        assert caught.value.__cause__ is not None  # the traceback is not lost to who calls from Python


def test_on_the_command_line(broken, capsys):
    module, words, _ = broken
    for argv in (["envs", f"{module}:make"], ["train", "--env", f"{module}:make", "--algorithm", "qmix", "--dry-run"]):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error


def test_a_module_that_is_not_there_is_another_sentence():
    with pytest.raises(UnknownEnvError, match="there is no module 'no_such_module_of_a_test'"):
        make_team_env("no_such_module_of_a_test:make")
