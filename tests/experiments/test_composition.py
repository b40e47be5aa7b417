"""Own files that start from names and parts, and algorithms, interventions and environments of one's own in names."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_reborn.algorithms import VDNConfig, algorithm_config_class
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.composition import compose
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import load, load_experiment

OWN = """
from rllib_reborn.algorithms import VDNConfig
from rllib_reborn.envs.matrix_games import TwoStepGame


class MyConfig(VDNConfig):
    def __init__(self, algo_class=None):
        super().__init__(algo_class)
        self.lr = 0.125


def make(num_envs):
    return TwoStepGame(num_envs)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "composition_test_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "composition_test_parts"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_file_starts_from_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: battle/8m/vdn+redo\nseed: 4\n")
    named = load_experiment("battle/8m/vdn+redo", ["seed=4"])
    assert load_experiment(path) == named
    assert load(path).layers.source_of(["training", "gamma"]) == "configs/algorithm/vdn.yaml"
    assert load(path).layers.source_of(["seed"]) == str(path)


def test_an_intervention_that_a_file_extends_is_as_in_a_name(tmp_path: Path) -> None:
    for algorithm in ("vdn", "qmix"):
        path = write(tmp_path, f"extends: [battle/8m/{algorithm}, intervention/reborn, protocol/short]\n")
        assert load_experiment(path) == load_experiment(f"battle/8m/{algorithm}+reborn+short")


def test_a_later_intervention_of_extends_replaces_and_of_a_name_adds(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: [battle/8m/qmix+reborn, intervention/redo]\n")
    assert [entry["kind"] for entry in load_experiment(path).interventions] == ["redo"]
    assert [entry["kind"] for entry in load_experiment("battle/8m/qmix+reborn+redo").interventions] == [
        "reborn",
        "redo",
    ]
    added = load("battle/8m/qmix+reborn", interventions=["redo"]).experiment
    assert added == load_experiment("battle/8m/qmix+reborn+redo")


def test_an_environments_file_cannot_be_extended(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="extend an experiment's name instead"):
        load_experiment(write(tmp_path, "extends: [algorithm/vdn, env/battle]\nenv: battle/8m\n"))


def test_what_extends_names_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(write(tmp_path, "extends: battle/8m/vdm\n"))
    assert "Did you mean 'battle/8m/vdn'?" in str(caught.value)


def test_resources_take_the_place_of_the_default_or_go_over_a_file(tmp_path: Path) -> None:
    # StarCraft's default books tickets and samples asynchronously; 'local' does neither.
    experiment = load("smac/3m/vdn", resources="local").experiment
    assert experiment.resources.custom_resources_per_env_runner == {}
    assert experiment.training.sampling == "sync"
    path = write(tmp_path, "extends: battle/8m/vdn\n")
    assert load(path, resources="gpu").experiment == load("battle/8m/vdn", resources="gpu").experiment
    own = tmp_path / "big.yaml"
    own.write_text("resources: {num_env_runners: 40}\n")
    assert load("battle/8m/vdn", resources=str(own)).experiment.resources.num_env_runners == 40


def test_an_intervention_comes_on_top_of_an_experiment_with_a_file() -> None:
    kinds = [entry["kind"] for entry in load_experiment("predator_prey/small/qmix_quick+redo").interventions]
    assert kinds == ["reborn", "redo"]


def test_an_algorithm_and_an_environment_of_ones_own(own_module: str) -> None:
    name = f"{own_module}:make/{own_module}:MyConfig+reborn"
    experiment = load_experiment(name)
    assert (experiment.algorithm, experiment.env) == (f"{own_module}:MyConfig", f"{own_module}:make")
    # A subclass of VDN's has no mixer either.
    assert experiment.interventions[0]["scope"] == "agent"
    config = build_config(experiment)
    assert config.lr == 0.125
    assert isinstance(config, VDNConfig)
    with pytest.raises(ExperimentError, match="mixer"):
        load_experiment(name, ["training.mixer.embed_dim=3"])


def test_classes_that_are_no_algorithms(own_module: str) -> None:
    assert algorithm_config_class("VDN") is VDNConfig
    for name, words in (
        (f"{own_module}:make", "expected a subclass of ValueFactorizationConfig"),
        (f"{own_module}:Nothing", "is None"),
        ("no_such_module_anywhere:C", "no module 'no_such_module_anywhere'"),
        ("QMX", "Did you mean 'QMIX'?"),
    ):
        with pytest.raises(ValueError, match=words):
            algorithm_config_class(name)


def test_an_intervention_of_ones_own_is_passed_on_with_dormancy_measured() -> None:
    layers = compose("matrix/two_step/qmix+my_package.kinds:MyKind")
    assert layers.data["interventions"] == [{"kind": "my_package.kinds:MyKind"}]
    assert layers.data["training"]["dormancy"]["every"] == 10_000


def test_an_environment_without_a_file_has_a_general_protocol() -> None:
    experiment = load_experiment("gymnasium:rware:rware-tiny-2ag-v2/qmix")
    assert experiment.stop.env_steps == 1_000_000
    assert experiment.env_config == {}


@pytest.mark.parametrize(
    ("key", "words"),
    [("recources: local", "unknown key 'compose.recources'"), ("by_env: 3", "compose.by_env is 3")],
)
def test_a_mistake_in_how_experiments_are_composed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, words: str
) -> None:
    path = tmp_path / "family.yaml"
    path.write_text(f"compose:\n  {key}\n")
    monkeypatch.setattr("rllib_reborn.experiments.composition.env_file", lambda env: path)
    with pytest.raises(ExperimentError) as caught:
        load_experiment("battle/8m/vdn")
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
