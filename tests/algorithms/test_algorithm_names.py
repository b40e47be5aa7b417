"""The table of algorithms, and the classes that its names and paths stand for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rllib_reborn
from rllib_reborn import QMIXConfig, VDNConfig
from rllib_reborn.algorithm_names import ALGORITHM_NAMES
from rllib_reborn.algorithms import ALGORITHMS, ValueFactorizationConfig, algorithm_config_class
from rllib_reborn.algorithms.value_factorization.config import algorithm_class_of


class Outer:
    class OwnConfig(VDNConfig):
        """A config of one's own, inside of another class."""


class NoName(ValueFactorizationConfig):
    """Of no algorithm."""


def test_every_name_stands_for_a_config_of_that_name() -> None:
    assert list(ALGORITHMS) == list(ALGORITHM_NAMES)
    assert len(ALGORITHMS) == len(ALGORITHM_NAMES)
    for name, config_class in ALGORITHMS.items():
        assert config_class.algorithm_name == name
        assert config_class is algorithm_config_class(name) is getattr(rllib_reborn, f"{name}Config")
        assert algorithm_class_of(config_class).config_class is config_class
        assert algorithm_class_of(config_class) is getattr(rllib_reborn.algorithms, name)


@pytest.mark.parametrize("name", ["QMIX", "qmix", "Qmix"])
def test_capitals_do_not_matter(name: str) -> None:
    assert algorithm_config_class(name) is QMIXConfig


def test_a_path_stands_for_its_class() -> None:
    assert algorithm_config_class("rllib_reborn.algorithms.vdn:VDNConfig") is VDNConfig
    assert algorithm_config_class(f"{__name__}:Outer.OwnConfig") is Outer.OwnConfig


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("QMX", r"unknown algorithm 'QMX'\. Did you mean 'QMIX'\?"),
        ("no_such_module_anywhere:C", "there is no module 'no_such_module_anywhere'; it must lie beside your script"),
        (f"{__name__}:Missing", "is None; expected a subclass of ValueFactorizationConfig with an algorithm_name"),
        (f"{__name__}:Outer", "expected a subclass of ValueFactorizationConfig"),
        (f"{__name__}:Outer.Missing", "is None; expected a subclass"),
        (f"{__name__}:NoName", "expected a subclass of ValueFactorizationConfig with an algorithm_name"),
        (f"{__name__}:", "expected a subclass of ValueFactorizationConfig"),
    ],
)
def test_what_is_no_algorithm_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        algorithm_config_class(name)


def test_the_table_is_read_without_ray_and_torch() -> None:
    script = "import rllib_reborn.algorithm_names, sys; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
