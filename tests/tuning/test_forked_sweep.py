"""``fork:`` of a sweep: one run a seed, and all others of this seed go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.runs import find_runs
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.campaign import check_sweep, run_sweep
from rllib_reborn.tuning.points import PREFIX, experiment_of, known_points, runs_of
from rllib_reborn.tuning.sweep import Sweep, parse_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder
from tests.tuning.test_campaign import SETTINGS, Recorder, learnt

BETA = "interventions.0.beta"


def sweep(**data: Any) -> Sweep:
    base = {
        "base": "matrix/two_step/qmix",
        "set": {key: value for key, value in SETTINGS.items() if not key.startswith("interventions")},
        "seeds": [0, 1],
        "arms": [
            {"name": "none"},
            {"name": "reborn", "add": "reborn", "set": {"interventions.0.every": 50}},
        ],
        "fork": {"env_steps": 128},
        "budget": {"env_steps": 256},
    }
    return parse_sweep(base | data, "a.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"env_steps": 128}}, "budget.env_steps is 128 and fork.env_steps 128"),
        ({"arms": [{"name": "prefix"}]}, "an arm cannot be called prefix"),
        ({"fork": {"env_steps": 64, "set": {"seed": 3}}}, "seed cannot be set in a sweep"),
        ({"fork": {"env_steps": 64, "fresh": ["weights"]}}, "fork.fresh.0 is 'weights'"),
        ({"fork": {}}, "fork.env_steps"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        sweep(**changes)


def test_the_beginning_is_a_run_a_seed_of_the_base_with_its_replay_saved() -> None:
    one = sweep(fork={"env_steps": 128, "set": {"training.lr": 0.002}})
    runs = runs_of(one, known_points(one))
    assert [run.name for run in runs] == [f"{name}/s{s}" for s in (0, 1) for name in ("prefix", "none", "reborn")]
    prefix, none, reborn = (experiment_of(one, run) for run in runs[:3])
    assert (prefix.stop.env_steps, none.stop.env_steps) == (128, 256)
    assert (prefix.checkpoint.replay, none.checkpoint.replay) == ("full", "none")
    assert (prefix.training.lr, prefix.interventions) == (0.002, [])
    assert [entry["kind"] for entry in reborn.interventions] == ["reborn"]


@pytest.mark.slow
def test_all_runs_of_a_seed_go_on_from_one(ray_session: None, tmp_path: Path) -> None:
    one, folder, recorder = sweep(concurrency=2), SweepFolder(tmp_path / "sweep"), Recorder()
    check_sweep(one)
    outcome = run_sweep(one, folder, recorder)
    assert outcome.states == {RunState.DONE: 6}
    ended = [name for name, _, _ in recorder.ends]
    for seed in (0, 1):
        prefix = learnt(folder.root / f"prefix/s{seed}")
        assert prefix[-1]["env_steps"] == 128
        for arm in ("none", "reborn"):
            assert learnt(folder.root / f"{arm}/s{seed}")[: len(prefix)] == prefix
            assert ended.index(f"prefix/s{seed}") < ended.index(f"{arm}/s{seed}")
            note = json.loads((folder.root / f"{arm}/s{seed}/fork.json").read_text())
            assert note["source_env_steps"] == 128
            assert note["parts"]["replay"] == "taken over"
    # Nothing is applied before the fork, and nothing that came before it is taken for applied.
    events = [json.loads(line) for line in (folder.root / "reborn/s0/dormancy/events.jsonl").read_text().splitlines()]
    assert min(event["clock"]["env_steps"] for event in events if event["event"] == "intervention") > 128
    # What all of them begin with is no run of its own for a report.
    assert {path.parent.name for path in find_runs(folder.root)} == {"none", "reborn"}
    before = {path: path.read_bytes() for path in folder.root.rglob("metrics.jsonl")}
    again = Recorder()
    assert run_sweep(one, folder, again).states == {RunState.DONE: 6}
    assert again.ends == []
    assert {path: path.read_bytes() for path in folder.root.rglob("metrics.jsonl")} == before


@pytest.mark.slow
def test_where_the_beginning_fails_the_others_say_so(ray_session: None, tmp_path: Path) -> None:
    one, folder, recorder = sweep(seeds=[0]), SweepFolder(tmp_path / "sweep"), Recorder()
    photo = folder.root / PREFIX.name / "s0" / "cat.png"
    photo.parent.mkdir(parents=True)
    photo.write_text("")
    assert run_sweep(one, folder, recorder).states == {RunState.FAILED: 3}
    reasons = {name: reason for name, _, reason in recorder.ends}
    assert "no run folder" in reasons["prefix/s0"]
    assert "prefix/s0, which this run is forked from, is failed" in reasons["none/s0"]
    assert photo.exists()
