"""The shipped YAML files, and the experiments composed of them: valid, fitting their environments, each key explained."""

from __future__ import annotations

import fnmatch
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.envs import env_names
from rllib_reborn.envs.task_sequence import SEPARATOR, task_names
from rllib_reborn.experiments.build import build_config, resolved_dict
from rllib_reborn.experiments.load import experiment_from_dict, load_experiment
from rllib_reborn.experiments.shipped_configs import (
    configs_folder,
    env_names_with_own_settings,
    experiment_names,
    first_comment,
    part_names,
)
from rllib_reborn.experiments.yaml_text import parse_yaml
from rllib_reborn.plasticity.interventions import KINDS

FOLDER = configs_folder()
FILES = sorted(FOLDER.rglob("*.yaml"))
KEY = re.compile(r"^\s*[A-Za-z_][\w/.*]*:(\s|$)")
# Each algorithm with each intervention and with none, in each environment that names alone describe.
PRODUCT = list(
    itertools.product(env_names(), part_names("algorithm"), ["", *(f"+{n}" for n in part_names("intervention"))])
)


def keys_without_comment(text: str) -> list[str]:
    """Lines that set a key and have no comment on them."""
    return [line for line in text.splitlines() if KEY.match(line) and "# " not in line]


def test_the_finder_finds() -> None:
    text = "a: 1\nb: 2  # why\nc:\n  d: 3\n  battle/x_*:\n# e: 4\n"
    assert keys_without_comment(text) == ["a: 1", "c:", "  d: 3", "  battle/x_*:"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_key_has_a_comment(path: Path) -> None:
    assert keys_without_comment(path.read_text()) == []
    assert first_comment(path)
    # One key a line, so that the finder above misses none.
    assert "{" not in re.sub(r"#.*", "", path.read_text())


def test_there_are_few_files() -> None:
    assert len(FILES) <= 100


def compositions(data: object) -> Iterator[dict[str, Any]]:
    """All ``compose`` mappings in a file's data."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "compose":
                yield value
            yield from compositions(value)


def test_what_environments_files_refer_to_is_there() -> None:
    """A folder or a pattern that matches nothing would be passed over."""
    folders, patterns, resources = set(), set(), set()
    for path in (FOLDER / "env").rglob("*.yaml"):
        for composition in compositions(parse_yaml(path.read_text(), str(path))):
            folders |= set(composition.get("by_algorithm", []))
            patterns |= set(composition.get("by_env", {}))
            resources.add(composition.get("resources", "local"))
    assert resources <= set(part_names("resources"))
    assert {"paper", "paper/starcraft"} <= folders
    for folder in folders:
        names = {path.stem for path in (FOLDER / folder).glob("*.yaml")}
        assert names, folder
        assert names <= set(part_names("algorithm")), folder
    names = env_names()
    sequences = [
        f"{first}{SEPARATOR}{second}" for first in names for second in ("predator_prey/small", "matrix/two_step")
    ]
    for pattern in patterns:
        assert fnmatch.filter(sequences if SEPARATOR in pattern else names, pattern), pattern


def test_every_algorithm_and_every_intervention_has_a_file() -> None:
    """Nothing that the tables hold is left out of names, and no file is about something else."""
    assert sorted(part_names("algorithm")) == sorted(name.lower() for name in ALGORITHMS)
    kinds = {
        entry["kind"]
        for name in part_names("intervention")
        for entry in load_experiment(f"matrix/two_step/qmix+{name}").interventions
    }
    assert kinds == set(KINDS)


def check(env: str, algorithm: str, intervention: str) -> None:
    """One experiment of the product."""
    experiment = load_experiment(f"{env}/{algorithm}{intervention}")
    assert experiment.env == env
    assert experiment.algorithm.lower() == algorithm
    assert (experiment.training.dormancy is not None) == bool(intervention)
    assert bool(experiment.interventions) == (intervention not in ("", "+dormancy"))
    build_config(experiment)


# Every environment once, and with it every algorithm and intervention many times; drawn again only when the lists change.
SAMPLE = [random.Random(env).choice([one for one in PRODUCT if one[0] == env]) for env in env_names()]


@pytest.mark.parametrize(("env", "algorithm", "intervention"), SAMPLE)
def test_a_sample_of_the_product_composes_and_is_valid(env: str, algorithm: str, intervention: str) -> None:
    check(env, algorithm, intervention)


@pytest.mark.parametrize("algorithm", part_names("algorithm"))
def test_every_algorithm_takes_every_intervention(algorithm: str) -> None:
    for name in part_names("intervention"):
        check("matrix/nonmonotonic", algorithm, f"+{name}")


@pytest.mark.long
@pytest.mark.parametrize("env", env_names())
def test_the_whole_product_composes_and_is_valid(env: str) -> None:
    for _, algorithm, intervention in (one for one in PRODUCT if one[0] == env):
        check(env, algorithm, intervention)


@pytest.mark.parametrize("name", [*experiment_names(), *(f"{env}/qmix+redo" for env in env_names_with_own_settings())])
def test_what_has_a_file_of_its_own_is_valid_and_stands_where_its_name_says(name: str) -> None:
    experiment = load_experiment(name)
    env, _, file = name.rpartition("/")
    assert task_names(experiment.env)[0] == env
    assert re.split(r"[_+]", file)[0] == experiment.algorithm.lower()
    build_config(experiment)


@pytest.mark.parametrize("env", env_names_with_own_settings())
def test_suites_take_every_algorithm(env: str) -> None:
    for algorithm in part_names("algorithm"):
        build_config(load_experiment(f"{env}/{algorithm}"))


def test_the_lengths_of_maps() -> None:
    """Tables 5 and 6 of the ReBorn paper, on StarCraft II and on the simulator; GradPS's; the matrix games'."""
    millions = {"3m": 2, "MMM2": 2, "corridor": 4, "3s5z_vs_3s6z": 4, "27m_vs_30m": 2}
    wanted = {f"{family}/{name}": steps for name, steps in millions.items() for family in ("smac", "battle")}
    for name in ("zerg_10_vs_11", "terran_5_vs_5", "protoss_20_vs_23"):
        wanted |= {f"smacv2/{name}": 5, f"battle/{name}": 5}
    wanted |= {"predator_prey/small": 1, "predator_prey/stag_hunt": 1, "predator_prey/gradps_large": 1.05}
    wanted |= {"matrix/two_step": 0.02, "matrix/climbing": 0.01}
    assert {env: load_experiment(f"{env}/qmix").stop.env_steps for env in wanted} == {
        env: round(steps * 1e6) for env, steps in wanted.items()
    }


def test_table_2_is_for_the_tasks_of_the_paper_alone() -> None:
    def embed_dim(env: str) -> int:
        return load_experiment(f"{env}/qmix").training.mixer.embed_dim  # type: ignore[attr-defined]

    assert {embed_dim(env) for env in ("predator_prey/middle", "battle/8m", "smac/3m", "smacv2/zerg_5_vs_5")} == {64}
    assert {embed_dim(env) for env in ("predator_prey/gradps_small", "predator_prey/stag_hunt", "matrix/two_step")} == {
        32
    }


def test_the_short_comparison_scales_what_is_due_by_env_steps() -> None:
    experiment = load_experiment("predator_prey/small/qmix+reborn_official_code+sr+short")
    reborn, sr = experiment.interventions
    assert (reborn["every"], reborn["unit"], reborn["scoring_source"]) == (20_000, "env_steps", "replay")
    assert (sr["every"], sr["unit"]) == (5000, "updates")
    assert experiment.training.dormancy is not None
    assert experiment.training.dormancy["every"] == 5000
    assert experiment.stop.env_steps == 200_000
    # Wherever it stands.
    assert load_experiment("predator_prey/small/qmix+short+reborn_official_code+sr") == experiment


def test_the_official_protocol_is_one_game_two_layers_buffer_and_interval_as_published() -> None:
    experiment = load_experiment("predator_prey/small/qmix_quick+official")
    assert (experiment.resources.num_env_runners, experiment.resources.num_envs_per_env_runner) == (0, 1)
    training: Any = experiment.training
    assert (training.model.fc_layers, training.buffer_episodes, training.batch_episodes) == (2, 5000, 32)
    assert (training.updates_per_episode, training.target_update.every, training.target_update.unit) == (
        1,
        200,
        "episodes",
    )
    assert [(one["every"], one["unit"]) for one in experiment.interventions] == [(200_000, "env_steps")]
    assert load_experiment("predator_prey/small/qmix+official").stop.env_steps == 1_000_000
    assert training.mixer.state == "full"
    for algorithm in part_names("algorithm"):
        build_config(load_experiment(f"predator_prey/small/{algorithm}+redo+official")).validate()


@pytest.mark.parametrize("algorithm", ["vdn", "iql"])
def test_without_a_mixer_interventions_treat_the_agents(algorithm: str) -> None:
    assert load_experiment(f"battle/3m/{algorithm}+reborn").interventions[0]["scope"] == "agent"
    assert load_experiment(f"battle/3m/{algorithm}+redo").interventions[0]["scope"] == "all"
    assert load_experiment("battle/3m/qmix+reborn").interventions[0]["scope"] == "mixer"


@pytest.mark.parametrize("algorithm", ["qmix", "qplex", "dmix", "rmix"])
def test_the_papers_settings_of_starcraft(algorithm: str) -> None:
    """Table 2 of the ReBorn paper, and its run lengths."""
    experiment = load_experiment(f"smac/MMM2/{algorithm}+reborn")
    config = build_config(experiment)
    assert (config.batch_episodes, config.buffer_episodes, config.lr, config.gamma) == (32, 5000, 5e-4, 0.99)
    assert config.team_model["hidden_dim"] == 64
    assert config.target_update["every"] == 200
    assert config.mixer["hypernet_dim"] == 64
    assert config.mixer.get("embed_dim", 64) == 64
    assert config.team_optimizer["kind"] == ("rmsprop" if algorithm in ("qmix", "qplex") else "adam")
    (reborn,) = config.interventions
    assert (reborn["alpha"], reborn["beta"], reborn["every"], reborn["unit"]) == (0.1, 3.0, 200_000, "env_steps")


def test_starcraft_never_plays_in_the_driver_and_books_a_ticket_for_each_game() -> None:
    for env in env_names():
        if env.startswith(("smac/", "smacv2/")):
            experiment = load_experiment(f"{env}/vdn")
            resources = experiment.resources
            assert resources.num_env_runners >= 1
            assert experiment.evaluation.num_env_runners >= 1
            assert resources.custom_resources_per_env_runner == {"sc2": resources.num_envs_per_env_runner}
            evaluation = build_config(experiment).get_evaluation_config_object()
            assert evaluation.num_envs_per_env_runner <= resources.num_envs_per_env_runner


@pytest.mark.parametrize("name", part_names("algorithm"))
def test_the_files_of_algorithms_say_every_setting_and_agree_with_the_defaults(name: str, tmp_path: Path) -> None:
    """A shipped default and the one in Python must not drift apart."""
    data = parse_yaml((FOLDER / "algorithm" / f"{name}.yaml").read_text(), name)
    path = tmp_path / "bare.yaml"
    path.write_text(f"extends: algorithm/{name}\nenv: matrix/two_step\nstop: {{iterations: 1}}\n")
    written = load_experiment(path)
    bare = experiment_from_dict(
        {"algorithm": data["algorithm"], "env": "matrix/two_step", "stop": {"iterations": 1}}, name
    )
    assert written.training.given() == resolved_dict(bare, build_config(bare))["training"]


@pytest.mark.parametrize("resources", part_names("resources"))
def test_resources_can_be_laid_over_any_experiment(resources: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: [predator_prey/small/qmix, resources/{resources}.yaml]\n")
    experiment = load_experiment(path)
    assert (experiment.training.sampling == "async") == (resources != "local")
    build_config(experiment)


@pytest.mark.parametrize("algorithm", part_names("algorithm"))
def test_on_predator_prey_every_mixer_reads_where_everybody_stands(algorithm: str) -> None:
    def state(name: str) -> Any:
        mixer: Any = load_experiment(name).training.mixer
        return getattr(mixer, "state", None)

    has_mixer = algorithm not in ("iql", "vdn")
    expected = ("compact", "full") if has_mixer else (None, None)
    for env in ("predator_prey/small", "predator_prey/gradps_small", "predator_prey/stag_hunt"):
        assert (state(f"{env}/{algorithm}"), state(f"{env}/{algorithm}+redo+official")) == expected
    assert state(f"battle/8m/{algorithm}") == expected[1]


@pytest.mark.parametrize(
    ("sequence", "embed_dim"),
    [
        (("predator_prey/small", "predator_prey/gradps_small"), 64),
        (("predator_prey/gradps_small", "predator_prey/small"), 32),
    ],
)
def test_a_sequence_of_hunts_reads_the_whole_state_and_has_the_settings_of_its_first_one(
    sequence: tuple[str, str], embed_dim: int
) -> None:
    name = SEPARATOR.join(sequence)
    experiment = load_experiment(f"{name}/qmix", ["task_sequence.every_env_steps=100000"])
    mixer: Any = experiment.training.mixer
    assert (mixer.state, mixer.embed_dim) == ("full", embed_dim)
    build_config(experiment)
