"""``rllib-reborn probe`` on tiny trained teams, and on experiments."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn import DMIXConfig, QMIXConfig, VDNConfig
from rllib_reborn.cli.main import build_parser, main
from rllib_reborn.studies.probe.arms import ARMS
from tests.algorithms.helpers import WALK, quick

SMALL = ("--seeds", "2", "--updates", "4", "--episodes", "12", "--batch", "4")
PAGE = Path(__file__).parents[2] / "docs" / "probe.md"
PREDATORS = "predator_prey/small"
OPTIONS = {"height": 5, "width": 5, "n_predators": 2, "n_stags": 2, "obs_radius": 2, "episode_limit": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ray_session: Any) -> Any:
    """Checkpoint folders, each trained once."""
    made: dict[Any, Path] = {}

    def get(config_class: type = QMIXConfig, *, replay: str = "full") -> Path:
        if (config_class, replay) not in made:
            folder = tmp_path_factory.mktemp("checkpoint")
            config = (
                quick(config_class, PREDATORS).environment(PREDATORS, env_config=OPTIONS).checkpointing(replay=replay)
            )
            algorithm = config.build_algo()
            for _ in range(3):
                algorithm.train()
            algorithm.save_to_path(folder)
            algorithm.stop()
            made[config_class, replay] = folder
        return made[config_class, replay]

    return get


def as_json(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["probe", *argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(["probe", *argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_row_for_each_arm_twice_the_same_to_the_bit(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in trained().rglob("*") if path.is_file()}
    rows = as_json(capsys, str(trained()), *SMALL)
    assert [row["arm"] for row in rows] == list(ARMS)
    assert rows == as_json(capsys, str(trained()), *SMALL)
    assert before == {path: path.read_bytes() for path in trained().rglob("*") if path.is_file()}
    as_is, fresh = rows[0], rows[-1]
    assert as_is["data"] == "12 episodes of its replay"
    assert as_is["optimizer_was_saved"] is True
    assert as_is["errors"][0] == pytest.approx(1, abs=0.3)
    assert as_is["updates"] == [0, 1, 2, 3, 4]
    assert as_is["minus_fresh"]["n"] == 2
    assert set(as_is["areas"]) == {"0", "1"}
    assert as_is["verdict"]
    assert fresh["minus_fresh"] is None
    assert {row["refused"] for row in rows} == {None}
    assert rows[2]["neurons_treated"].keys() == {"0", "1"}
    assert as_is["areas"] != as_json(capsys, str(trained()), *SMALL, "--arms", "as_is", "--seed", "7")[0]["areas"]


def test_the_table_for_people_and_several_checkpoints(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arms = ("--arms", "as_is,redo,fresh")
    assert main(["probe", str(trained()), str(trained(replay="none")), *SMALL, *arms]) == 0
    printed = capsys.readouterr()
    assert "3 arms x 2 repetitions x 4 updates, about" in printed.err
    assert "for the 2 checkpoints left" in printed.err
    for words in (
        "12 episodes of its replay",
        "played by it with 30% random actions",
        "minus fresh",
        "QMIX on predator_prey/small, over 2 checkpoints, each counting once:",
    ):
        assert words in printed.out
    assert sum("fresh net" in line or line.startswith("No verdict") for line in printed.out.splitlines()) == 3


def test_without_a_mixer_what_is_about_it_is_refused_and_the_rest_goes_on(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["arm"]: row for row in as_json(capsys, str(trained(VDNConfig)), *SMALL)}
    assert {arm for arm, row in rows.items() if row["refused"]} == {"mixer_reset", "agents_frozen", "state_only"}
    assert rows["mixer_reset"]["refused"] == "this algorithm's mixer has no weights"
    assert rows["reborn"]["area"]["n"] == 2


def test_an_algorithm_that_draws_for_its_batches(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = (str(trained(DMIXConfig)), *SMALL, "--arms", "as_is,fresh")
    assert as_json(capsys, *options) == as_json(capsys, *options)


def test_another_task_of_the_same_shapes(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refused = mistake(capsys, str(trained()), *SMALL, "--task", "predator_prey/gradps_small")
    assert "--task predator_prey/gradps_small has other shapes than predator_prey/small" in refused
    assert "unknown environment" in mistake(capsys, str(trained()), *SMALL, "--task", "predator_prey/smal")


def test_mistakes(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'no_such_thing' is no folder of a checkpoint or run" in mistake(capsys, "no_such_thing")
    assert "not both" in mistake(capsys, str(trained()), "matrix/two_step/qmix")
    assert "--at is of experiments" in mistake(capsys, str(trained()), "--at", "3")
    assert "--arms is of checkpoints" in mistake(capsys, "matrix/two_step/qmix", "--arms", "as_is")
    assert "expected some of as_is, optimizer_reset" in mistake(capsys, str(trained()), "--arms", "as_is,other")
    assert "no list of whole numbers" in mistake(capsys, "matrix/two_step/qmix", "--at", "3,x")
    assert "Leave one of them out" in mistake(capsys, str(trained()), "--task", WALK, "--scale", "2")


def test_fresh_nets_of_an_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"env_config.{name}={value}" for name, value in OPTIONS.items()]
    settings = [part for size in sizes for part in ("--set", size)]
    options = (f"{PREDATORS}/qmix", *settings, "--at", "0,2", "--seeds", "2", "--episodes", "6", "--holdout", "20")
    rows = as_json(capsys, *options)
    assert [(row["seed"], row["updates"]) for row in rows] == [(0, 0), (0, 2), (1, 0), (1, 2)]
    assert rows == as_json(capsys, *options)
    assert rows[0]["auc"]["paying"] == rows[2]["auc"]["paying"] > 0  # the same episodes
    assert rows[0]["auc"]["auc"] != rows[1]["auc"]["auc"]
    assert {"mixer/hyper_w_final", "mixer/V"} < set(rows[0]["dormant_neurons"])
    zeroed = as_json(capsys, *options, "--set", "training.mixer.state=none")
    assert zeroed[1]["auc"] != rows[1]["auc"]
    assert zeroed[0]["auc"] == rows[0]["auc"]  # agents see no state
    assert main(["probe", *options]) == 0
    assert "dormant mixer/V" in capsys.readouterr().out


def test_the_page_names_every_arm_and_every_option() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, arm in ARMS.items():
        meaning = re.sub(r"optimizer: \w+", r"`\g<0>`", arm.meaning)
        assert f"| `{name}` | {meaning} |" in page
    parser = build_parser()._subparsers._group_actions[0].choices["probe"]  # type: ignore[union-attr, index]
    options = {text for action in parser._actions for text in action.option_strings if text.startswith("--")}
    assert {option for option in options - {"--help"} if f"`{option}" not in page and option not in page} == set()
