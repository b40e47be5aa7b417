"""Files of a sweep, a member and a fork that were damaged, or that others wrote: one ExperimentError that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.fork import iterations_before_fork, noted_fork
from rllib_reborn.experiments.run_folder import RunFolder
from rllib_reborn.tuning.population import MEMBER_FILE, Exchange, exchanges, note_exchange
from rllib_reborn.tuning.sweep_folder import SweepFolder

NO_JSON = ["", "[", "[" * 100_000, "9" * 5_000, "nul", '{"a": 1, "a": 2}']


@pytest.mark.parametrize("text", [*NO_JSON, "[1]", "3"])
def test_a_point(tmp_path: Path, text: str) -> None:
    (tmp_path / "p0").mkdir()
    (tmp_path / "p0" / "point.json").write_text(text)
    with pytest.raises(ExperimentError, match=r"point\.json"):
        SweepFolder(tmp_path).chosen_points()


EXCHANGE = {"source": "a", "values": {}, "env_steps": 3}


@pytest.mark.parametrize(
    "text",
    [
        *NO_JSON,
        "3",
        "[3]",
        "[{}]",
        json.dumps([EXCHANGE | {"more": 1}]),
        json.dumps([EXCHANGE | {"values": [1]}]),
        json.dumps([EXCHANGE | {"source": 1}]),
        json.dumps([EXCHANGE | {"env_steps": "x"}]),
    ],
)
def test_a_member(tmp_path: Path, text: str) -> None:
    (tmp_path / MEMBER_FILE).write_text(text)
    with pytest.raises(ExperimentError, match=r"member\.json"):
        exchanges(tmp_path)


def test_a_sound_member(tmp_path: Path) -> None:
    note_exchange(tmp_path, Exchange(**EXCHANGE))  # type: ignore[arg-type]
    assert exchanges(tmp_path) == [Exchange(**EXCHANGE)]  # type: ignore[arg-type]


NOTE = {"source": "a", "iteration": 1, "fresh": ["replay"]}


@pytest.mark.parametrize(
    "text",
    [
        *NO_JSON,
        "[]",
        "{}",
        json.dumps(NOTE | {"source": 1}),
        json.dumps(NOTE | {"source": "a\0b"}),
        json.dumps(NOTE | {"iteration": "x"}),
        json.dumps(NOTE | {"fresh": 3}),
        json.dumps(NOTE | {"fresh": [[1]]}),
        json.dumps(NOTE | {"fresh": ["weights"]}),
    ],
)
def test_a_fork(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.fork.write_text(text)
    for read in (noted_fork, iterations_before_fork):
        with pytest.raises(ExperimentError, match=r"fork\.json was damaged"):
            read(folder)


def test_a_sound_fork(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.fork.write_text(json.dumps(NOTE))
    assert iterations_before_fork(folder) == 1
    assert noted_fork(folder) is not None
