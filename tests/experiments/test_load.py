"""From files and overrides to an experiment, and a sentence that names file and key where that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import (
    dump_experiment,
    experiment_from_dict,
    load_experiment,
    parse_override,
)

BASE = "algorithm: QMIX\nenv: matrix/two_step\nstop: {env_steps: 100}\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def refused(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_and_values(write: Write) -> None:
    experiment = load_experiment(write(BASE + "training: {lr: 1e-3, epsilon: {end: 0.1}}\n"))
    assert experiment.training.lr == 1e-3
    assert experiment.training.epsilon.end == 0.1
    assert experiment.training.epsilon.start == 1.0
    assert experiment.seed == 0
    assert experiment.checkpoint.keep == 2
    # A key that was not given is not passed on: the algorithm's Config has the default.
    assert set(experiment.training.given()) == {"lr", "epsilon"}


def test_null_is_given_where_null_is_allowed(write: Write) -> None:
    experiment = load_experiment(write(BASE + "training: {grad_clip: null, td_lambda: null}\n"))
    assert experiment.training.given() == {"grad_clip": None, "td_lambda": None}
    assert "training.lr is None" in refused(write(BASE + "training: {lr: null}\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "algoritm: VDN\n", ["unknown key 'algoritm'", "Did you mean 'algorithm'?"]),
        (BASE + "training: {batch_episode: 8}\n", ["'training.batch_episode'", "'batch_episodes'"]),
        (BASE + "training: {epsilon: {stop: 0.1}}\n", ["'training.epsilon.stop'"]),
        (BASE + "training: {lr: '0.1'}\n", ["training.lr is '0.1'", "number"]),
        (BASE + "training: {double_q: 1}\n", ["training.double_q is 1"]),
        (BASE + "training: {batch_episodes: true}\n", ["training.batch_episodes is True"]),
        (BASE + "training: {batch_episodes: 1.5}\n", ["training.batch_episodes is 1.5"]),
        (BASE + "training: {gamma: 1.5}\n", ["training.gamma is 1.5", "less than or equal to 1"]),
        (BASE + "training: {lr: .nan}\n", ["training.lr is nan"]),
        (BASE + "training: {sampling: fast}\n", ["training.sampling is 'fast'", "'sync' or 'async'"]),
        (BASE + "training: {target_update: {every: 0}}\n", ["training.target_update.every is 0"]),
        (BASE + "evaluation: {interval_env_steps: 0}\n", ["evaluation.interval_env_steps is 0"]),
        (BASE + "evaluation: {parallel_to_training: true}\n", ["num_env_runners of 1 or more"]),
        (BASE + "checkpoint: {replay: half}\n", ["checkpoint.replay is 'half'"]),
        (BASE + "training: 3\n", ["training is 3"]),
        (BASE + "seed: -1\n", ["seed is -1"]),
        (BASE + "1: 2\n", ["key 1 is not text"]),
        ("algorithm: QMIX\nenv: matrix/two_step\n", ["'stop' is missing"]),
        ("algorithm: QMIX\nenv: x\nstop: {}\n", ["at least one of env_steps, iterations, time_s"]),
        ("algoritm: QMIX\nenv: x\nstop: {env_steps: 1}\n", ["unknown key 'algoritm'"]),
        ("[1, 2]\n", ["holds list"]),
        ("", ["holds NoneType"]),
        ("a: [\n", ["line"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["never objects"]),
    ],
)
def test_a_mistake_is_told_with_file_and_key(write: Write, text: str, words: list[str]) -> None:
    path = write(text)
    message = refused(path)
    assert message.startswith(str(path))
    for word in words:
        assert word in message


class TestOverrides:
    """``key.path=value`` on the command line."""

    def test_they_win_and_are_typed_as_yaml(self, write: Write) -> None:
        path = write(BASE + "training: {lr: 0.1, optimizer: {kind: adam}}\n")
        experiment = load_experiment(
            path,
            ["training.lr=5e-4", "training.optimizer.eps=1e-3", "stop.time_s=null", "env_config.size=[1, 2]"],
        )
        assert experiment.training.lr == 5e-4
        assert experiment.training.optimizer.kind == "adam"
        assert experiment.training.optimizer.eps == 1e-3
        assert experiment.env_config == {"size": [1, 2]}
        assert experiment.stop.env_steps == 100

    def test_the_later_one_wins(self, write: Write) -> None:
        assert load_experiment(write(BASE), ["seed=1", "seed=2"]).seed == 2

    def test_a_value_may_hold_equals_signs(self) -> None:
        assert parse_override("env_config.expression='a=b'") == {"env_config": {"expression": "a=b"}}

    def test_a_number_is_a_place_in_a_list(self, write: Write) -> None:
        path = write(
            BASE
            + "interventions: [{kind: reborn, alpha: 0.3, beta: 2}, {kind: redo}]\nenv_config: {sizes: [1, [2, 3]]}\n"
        )
        overrides = ["interventions.0.alpha=0.2", "interventions.1={alpha: 0.05}", "env_config.sizes.1.0=7"]
        experiment = load_experiment(path, overrides)
        reborn, redo = experiment.interventions
        assert (reborn["kind"], reborn["alpha"], reborn["beta"]) == ("reborn", 0.2, 2)
        assert (redo["kind"], redo["alpha"]) == ("redo", 0.05)  # mappings merge there too
        assert experiment.env_config == {"sizes": [1, [7, 3]]}
        # The whole list is still replaced by a value.
        assert load_experiment(path, ["interventions=[{kind: prune}]"]).interventions[0]["kind"] == "prune"

    def test_a_mapping_that_is_no_path_replaces_a_list(self, write: Write) -> None:
        path = write(BASE + "env_config: {sizes: [1, 2]}\n")
        assert load_experiment(path, ["env_config.sizes={'0': 5}"]).env_config == {"sizes": {"0": 5}}

    def test_a_number_is_a_key_of_a_mapping(self, write: Write) -> None:
        path = write(BASE + "env_config: {sizes: {'0': 1}}\n")
        assert load_experiment(path, ["env_config.sizes.0=5"]).env_config == {"sizes": {"0": 5}}

    def test_a_part_of_what_is_off_switches_it_on(self, write: Write) -> None:
        path = write(BASE + "training: {dormancy: null}\n")
        experiment = load_experiment(path, ["training.dormancy.every=5000"])
        assert experiment.training.dormancy is not None
        assert experiment.training.dormancy["every"] == 5000

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            (
                "interventions.2.alpha=0.2",
                "interventions is a list of length 2 and '2' is no place in it; expected 0 to 1",
            ),
            ("interventions.-1.alpha=0.2", "'-1' is no place in it"),
            ("interventions.alpha=0.2", "'alpha' is no place in it"),
            ("env_config.none.0=1", "env_config.none is an empty list; give all of it, env_config.none=[...]"),
            ("env_config.one.1=1", "of length 1 and '1' is no place in it; expected 0, or"),
            ("interventions.1.alfa=0.2", "alfa"),
        ],
    )
    def test_places_that_are_not_there_are_told(self, write: Write, override: str, words: str) -> None:
        text = "interventions: [{kind: reborn}, {kind: redo}]\nenv_config: {none: [], one: [1]}\n"
        message = refused(write(BASE + text), override)
        assert message.startswith(f"{override}: ")
        assert words in message

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("training.lr", "expected key.path=value"),
            ("=3", "expected key.path=value"),
            ("training..lr=3", "expected key.path=value"),
            ("training.lr=", "write training.lr=null"),
            ("training.lr=[1", "training.lr=[1"),
            ("extends=algorithm/vdn.yaml", "read from files only"),
            ("compose.resources=gpu", "read from files only"),
            ("training.lrr=1", "unknown key 'training.lrr'"),
            ("training.lr=fast", "training.lr=fast: training.lr is 'fast'"),
            ("seed.x=1", "seed is {'x': 1}"),
            ("env.height=7", "go into env_config: env_config.height=..."),
        ],
    )
    def test_mistakes_name_the_override(self, write: Write, override: str, words: str) -> None:
        message = refused(write(BASE), override)
        assert words in message
        assert override in message


class TestExtends:
    """Layers of files."""

    def test_later_files_win_and_mappings_merge(self, write: Write) -> None:
        write("training: {lr: 0.1, gamma: 0.5}\nseed: 3\n", "a.yaml")
        write("training: {lr: 0.2, epsilon: {end: 0.2}}\n", "parts/b.yaml")
        path = write(BASE + "extends: [a.yaml, parts/b]\ntraining: {epsilon: {start: 0.9}}\n")
        experiment = load_experiment(path)
        assert experiment.training.lr == 0.2
        assert experiment.training.gamma == 0.5
        assert (experiment.training.epsilon.start, experiment.training.epsilon.end) == (0.9, 0.2)
        assert experiment.seed == 3

    def test_a_file_is_looked_up_beside_the_one_that_names_it(self, write: Write) -> None:
        write("extends: inner.yaml\n", "parts/outer.yaml")
        write("seed: 5\n", "parts/inner.yaml")
        write("seed: 6\n", "inner.yaml")
        assert load_experiment(write("extends: parts/outer.yaml\n" + BASE)).seed == 5

    def test_shipped_parts_are_found_from_anywhere(self, write: Write) -> None:
        experiment = load_experiment(write("extends: algorithm/vdn.yaml\nenv: x\nstop: {iterations: 1}\n"))
        assert experiment.algorithm == "VDN"

    def test_lists_are_replaced_and_null_overwrites(self, write: Write) -> None:
        write("env_config: {sizes: [1, 2, 3], kind: a}\n", "a.yaml")
        path = write(BASE + "extends: a.yaml\nenv_config: {sizes: [4], kind: null}\n")
        assert load_experiment(path).env_config == {"sizes": [4], "kind": None}

    def test_a_circle_is_shown(self, write: Write) -> None:
        write("extends: b.yaml\n", "a.yaml")
        path = write("extends: a.yaml\n", "b.yaml")
        assert "b.yaml -> a.yaml -> b.yaml" in refused(path)
        assert "circle" in refused(write("extends: self.yaml\n", "self.yaml"))

    def test_the_same_part_twice_is_no_circle(self, write: Write) -> None:
        write("seed: 4\n", "part.yaml")
        write("extends: part.yaml\n", "a.yaml")
        write("extends: part.yaml\n", "b.yaml")
        assert load_experiment(write(BASE + "extends: [a, b]\n")).seed == 4

    def test_missing_and_malformed(self, write: Write) -> None:
        assert "'nowhere.yaml', which is not in" in refused(write(BASE + "extends: nowhere.yaml\n"))
        assert "expected a file name or a list" in refused(write(BASE + "extends: 3\n"))
        assert "expected a file name or a list" in refused(write(BASE + "extends: [1]\n"))

    def test_a_mistake_in_a_part_names_the_part(self, write: Write) -> None:
        part = write("training: {gama: 0.9}\n", "part.yaml")
        message = refused(write(BASE + "extends: part.yaml\ntraining: {lr: 0.1}\n"))
        assert message.startswith(f"{part}: unknown key 'training.gama'")


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "nowhere.yaml")
    assert "is a folder" in refused(tmp_path)
    assert "Did you mean 'predator_prey/small/qmix'?" in refused("predator_prey/small/qmx")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read" in refused(path)


def test_a_dumped_experiment_reads_back_equal(write: Write) -> None:
    experiment = load_experiment("predator_prey/small/qmix", ["training.optimizer.eps=1e-7", "seed=7"])
    text = dump_experiment(experiment.to_dict(), ["rllib-reborn", "train", "a b\nc"])
    assert load_experiment(write(text)) == experiment


def test_plain_data_is_validated_too() -> None:
    experiment = experiment_from_dict({"algorithm": "QMIX", "env": "x", "stop": {"iterations": 2}})
    assert experiment.stop.iterations == 2
    with pytest.raises(ExperimentError, match="unknown key 'sed'"):
        experiment_from_dict({"sed": 1})


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("interventions.1.alpha=2", "interventions: entry 1: alpha is 2; expected 0 <= alpha < 1"),
        ("interventions.0.kind=rebirth", "interventions: entry 0: "),
        ("training.dormancy.every=soon", "training.dormancy: every is 'soon'; expected a whole number >= 1."),
    ],
)
def test_a_bad_plasticity_setting_is_one_sentence_about_it(tmp_path: Path, override: str, sentence: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "algorithm: QMIX\nenv: matrix/two_step\nstop: {iterations: 1}\ninterventions: [{kind: reborn}, {kind: reborn}]\n"
    )
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, [override])
    message = str(caught.value)
    assert sentence in message
    assert "scoring_episodes" not in message  # not the whole list
    assert not message.endswith("..")
