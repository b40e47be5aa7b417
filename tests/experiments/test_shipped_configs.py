"""The shipped YAML files: every one is valid, fits its environment, and explains each of its keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.library import PART_FOLDERS, config_names, configs_folder, first_comment
from rllib_reborn.experiments.load import experiment_from_dict, load_experiment
from rllib_reborn.experiments.yaml_text import parse_yaml

FOLDER = configs_folder()
assert FOLDER is not None
FILES = sorted(FOLDER.rglob("*.yaml"))
KEY = re.compile(r"^\s*[A-Za-z_]\w*:(\s|$)")


def keys_without_comment(text: str) -> list[str]:
    """Lines that set a key and have no comment on them."""
    return [line for line in text.splitlines() if KEY.match(line) and "# " not in line]


def test_the_finder_finds() -> None:
    assert keys_without_comment("a: 1\nb: 2  # why\nc:\n  d: 3\n# e: 4\n") == ["a: 1", "c:", "  d: 3"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_key_has_a_comment(path: Path) -> None:
    assert keys_without_comment(path.read_text()) == []
    assert first_comment(path)
    # One key a line, so that the finder above misses none.
    assert "{" not in re.sub(r"#.*", "", path.read_text())


def test_what_the_issue_names_is_there() -> None:
    predator_prey = ("small", "middle", "large", "gradps_small", "gradps_medium", "gradps_large", "stag_hunt")
    scenarios = [
        "matrix/two_step",
        "matrix/nonmonotonic",
        *(f"predator_prey/{name}" for name in predator_prey),
    ]
    names = config_names()
    for scenario in scenarios:
        assert f"{scenario}/qmix" in names
        assert f"{scenario}/vdn" in names
    # The ReBorn paper's tasks (Tables 5 and 6), on StarCraft II and on the simulator, for every algorithm.
    smac = ("3s_vs_5z", "2c_vs_64zg", "MMM2", "27m_vs_30m", "3s5z_vs_3s6z", "corridor")
    smacv2 = ("zerg_10_vs_11", "terran_10_vs_11", "protoss_10_vs_11")
    tasks = [*(f"smac/{name}" for name in smac), *(f"smacv2/{name}" for name in smacv2)]
    for scenario in [*tasks, *(f"battle/{name}" for name in (*smac, *smacv2))]:
        for algorithm in ALGORITHMS:
            assert f"{scenario}/{algorithm.lower()}" in names
        assert f"{scenario}/qmix_reborn" in names
    for scenario in ("3m", "2s3z"):
        assert {f"smac/{scenario}/qmix", f"battle/{scenario}/qmix"} <= set(names)
    assert "predator_prey/small/qmix_quick" in names
    assert not any(name.startswith(PART_FOLDERS) for name in names)


@pytest.mark.parametrize("name", config_names())
def test_an_experiment_is_valid_and_stands_where_its_name_says(name: str) -> None:
    experiment = load_experiment(name)
    scenario, _, file = name.rpartition("/")
    # A colon has no place in a folder's name: pettingzoo/mpe2.x holds the experiments of pettingzoo:mpe2.x.
    assert experiment.env in (scenario, scenario.replace("/", ":", 1))
    assert file.split("_")[0] == experiment.algorithm.lower()
    build_config(experiment)


@pytest.mark.parametrize("algorithm", ["qmix", "qplex", "dmix", "rmix"])
def test_the_papers_settings_of_starcraft(algorithm: str) -> None:
    """Table 2 of the ReBorn paper, and its run lengths."""
    experiment = load_experiment(f"smac/MMM2/{algorithm}_reborn")
    config = build_config(experiment)
    assert (config.batch_episodes, config.buffer_episodes, config.lr, config.gamma) == (32, 5000, 5e-4, 0.99)
    assert config.team_model["hidden_dim"] == 64
    assert config.target_update["every"] == 200
    assert config.mixer["hypernet_dim"] == 64
    assert config.mixer.get("embed_dim", 64) == 64
    assert config.team_optimizer["kind"] == ("rmsprop" if algorithm in ("qmix", "qplex") else "adam")
    (reborn,) = config.interventions
    assert (reborn["alpha"], reborn["beta"], reborn["every"], reborn["unit"]) == (0.1, 3.0, 200_000, "env_steps")
    lengths = {"smac/MMM2": 2, "smac/corridor": 4, "smac/3s5z_vs_3s6z": 4, "smacv2/zerg_10_vs_11": 5}
    for task, millions in lengths.items():
        for name in (task, task.replace(task.split("/")[0], "battle")):
            assert load_experiment(f"{name}/{algorithm}").stop.env_steps == millions * 1_000_000


def test_starcraft_never_plays_in_the_driver_and_books_a_ticket_for_each_game() -> None:
    for name in config_names():
        if name.startswith(("smac/", "smacv2/")):
            experiment = load_experiment(name)
            resources = experiment.resources
            assert resources.num_env_runners >= 1
            assert experiment.evaluation.num_env_runners >= 1
            assert resources.custom_resources_per_env_runner == {"sc2": resources.num_envs_per_env_runner}
            evaluation = build_config(experiment).get_evaluation_config_object()
            assert evaluation.num_envs_per_env_runner <= resources.num_envs_per_env_runner


@pytest.mark.parametrize("name", sorted(f"algorithms/{path.stem}" for path in (FOLDER / "algorithms").glob("*.yaml")))
def test_the_algorithm_parts_say_every_setting_and_agree_with_the_defaults(name: str) -> None:
    """A shipped default and the one in Python must not drift apart."""
    data = parse_yaml((FOLDER / f"{name}.yaml").read_text(), name)
    written = load_experiment(f"{name}.yaml", ["env=matrix/two_step", "stop.iterations=1"])
    bare = experiment_from_dict(
        {"algorithm": data["algorithm"], "env": "matrix/two_step", "stop": {"iterations": 1}}, name
    )
    from rllib_reborn.experiments.build import resolved_dict

    resolved = resolved_dict(bare, build_config(bare))["training"]
    assert written.training.given() == resolved


@pytest.mark.parametrize("resources", ["two_learners", "gpu"])
def test_resources_can_be_laid_over_any_experiment(resources: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: [predator_prey/small/qmix.yaml, resources/{resources}.yaml]\n")
    experiment = load_experiment(path)
    assert experiment.training.sampling == "async"
    build_config(experiment)
