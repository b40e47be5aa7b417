"""``scheduler: {kind: pbt}``: members whose values move, within their ranges, seen by the learner, kept in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_reborn.cli.sweep_display import status_lines
from rllib_reborn.evaluation.runs import find_runs
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.run_folder import RunFolder
from rllib_reborn.tuning.archive import pack
from rllib_reborn.tuning.campaign import check_sweep, run_sweep
from rllib_reborn.tuning.merge import merge
from rllib_reborn.tuning.points import experiment_of, known_points
from rllib_reborn.tuning.population import Exchange, beginning, exchanges, note_exchange
from rllib_reborn.tuning.schedule import make_scheduler
from rllib_reborn.tuning.sweep import Dimension, Sweep, parse_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder
from tests.tuning.test_campaign import SETTINGS, Recorder, rows

BETA, EVERY = "interventions.0.beta", "interventions.0.every"


def sweep(**data: Any) -> Sweep:
    base = {
        "base": "matrix/two_step/qmix+reborn",
        "set": {key: value for key, value in SETTINGS.items() if key != EVERY} | {"evaluation.interval_env_steps": 64},
        "space": {BETA: {"uniform": [2.0, 3.0]}, EVERY: {"integers": [40, 60]}},
        "samples": 2,
        "scheduler": {"kind": "pbt", "interval": 128, "quantile": 0.5},
        "budget": {"env_steps": 384},
    }
    return parse_sweep(base | data, "a.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": {"kind": "pbt"}}, "pbt needs interval, in env steps"),
        ({"scheduler": {"kind": "pbt", "interval": 64, "grace_period": 3}}, "grace_period has no effect with pbt"),
        ({"scheduler": {"kind": "asha", "grace_period": 64, "quantile": 0.5}}, "quantile has no effect with asha"),
        ({"scheduler": {"kind": "pbt", "interval": 384}}, "scheduler.interval is 384, and a run ends after 384"),
        ({"scheduler": {"kind": "pbt", "interval": 64, "quantile": 0.6}}, "scheduler.quantile"),
        ({"budget": {"iterations": 3}}, "give budget.env_steps"),
        ({"space": {BETA: {"grid": [2.0, 3.0]}}, "samples": None}, "write interventions.0.beta as choice"),
        ({"samples": 1}, "at least 2 runs"),
        ({"seeds": [0, 1]}, "a population has one seed"),
        ({"concurrency": 2}, "concurrency has no effect with pbt"),
        ({"searcher": {"kind": "optuna"}}, "optuna has no effect with pbt"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        sweep(**changes)


def test_values_stay_in_their_ranges() -> None:
    for given, value, expected in [
        ({"uniform": [2.0, 3.0]}, 3.6, 3.0),
        ({"uniform": [2.0, 3.0]}, 1.6, 2.0),
        ({"loguniform": [1e-4, 1e-3]}, 1.2e-3, 1e-3),
        ({"integers": [40, 60]}, 72, 60),
        ({"integers": [40, 60]}, 50, 50),
        ({"choice": [1, 2]}, 2, 2),
    ]:
        found = Dimension.model_validate(given).clip(value)
        assert (found, type(found)) == (expected, type(expected))


def test_members_keep_their_names_and_their_replay() -> None:
    one = sweep()
    points = known_points(one)
    assert [point.name for point in points] == ["member0", "member1"]
    assert len({point.values[BETA] for point in points}) == 2
    folder = SweepFolder(Path("nowhere"))
    assert experiment_of(one, folder.runs(one)[0]).checkpoint.replay == "full"


def test_ray_is_asked_for_what_the_file_says() -> None:
    scheduler = make_scheduler(
        sweep(
            scheduler={"kind": "pbt", "interval": 64, "quantile": 0.5, "resample": 0.0},
            space={BETA: {"uniform": [2.0, 3.0]}, "training.lr": {"choice": [1e-3, 2e-3]}},
        )
    )
    assert (scheduler._perturbation_interval, scheduler._quantile_fraction) == (64, 0.5)
    assert scheduler._custom_explore_fn({BETA: 3.6, "training.lr": 2e-3, "point": "x"}) == {
        BETA: 3.0,
        "training.lr": 2e-3,
        "point": "x",
    }


def test_an_exchange_is_carried_out_once(tmp_path: Path) -> None:
    source = tmp_path / "member1" / "s0" / "checkpoints" / "checkpoint_000002"
    source.mkdir(parents=True)
    run = RunFolder(tmp_path / "member0" / "s0")
    (run.root / "dormancy").mkdir(parents=True)
    run.metrics.write_text("old")
    assert beginning(run) is None
    exchange = Exchange(str(source), {BETA: 2.5}, 64)
    for _ in range(2):  # told twice
        note_exchange(run.root.parent, exchange)
        fork = beginning(run)
        assert fork is not None
        assert fork.source == source
    assert exchanges(run.root.parent) == [exchange]
    assert (run.root / "before-1" / "metrics.jsonl").read_text() == "old"
    assert run.is_free()
    # Killed while things were moved: the rest follows.
    run.metrics.write_text("new")
    run.config.write_text("new")
    note_exchange(run.root.parent, Exchange(str(source), {BETA: 2.2}, 128))
    partial = run.root / "before-2.partial"
    partial.mkdir()
    run.metrics.rename(partial / "metrics.jsonl")
    beginning(run)
    assert sorted(path.name for path in (run.root / "before-2").iterdir()) == ["config.yaml", "metrics.jsonl"]
    # The source's own run is set aside meanwhile: its checkpoint is still found.
    aside = source.parent.parent / "before-1" / "checkpoints"
    aside.parent.mkdir()
    source.parent.rename(aside)
    fork = beginning(run)
    assert fork is not None
    assert fork.source == aside / source.name


def test_present_values_are_packed_merged_and_shown(tmp_path: Path) -> None:
    one, folder = sweep(), SweepFolder(tmp_path / "sweep")
    folder.root.mkdir()
    folder.start(one)
    note_exchange(folder.root / "member0", Exchange("elsewhere", {BETA: 2.25, EVERY: 44}, 64))
    run = folder.root / "member0" / "s0"
    run.mkdir()
    (run / "config.yaml").write_text("{}")
    (run / "metrics.jsonl").write_text('{"iteration": 1, "env_steps": 64}\n')
    archive = tmp_path / "sweep.tar.xz"
    pack(folder, archive)
    merged = SweepFolder(tmp_path / "merged")
    merge([archive, archive], merged)
    for place in (folder, merged):
        assert dict(place.runs(one)[0].point.values) == {BETA: 2.25, EVERY: 44}
        assert "member0/s0  beta=2.25 every=44" in status_lines(place, one)[0]


@pytest.mark.long
def test_a_population_moves_its_values_and_the_learner_sees_them(ray_session: None, tmp_path: Path) -> None:
    one = sweep(arms=[{"name": "none", "set": {"interventions": []}}])
    folder, recorder = SweepFolder(tmp_path / "sweep"), Recorder()
    check_sweep(one)
    first = {run.point.name: dict(run.point.values) for run in folder.runs(one)}
    states = run_sweep(one, folder, recorder).states
    assert states == {RunState.DONE: 3}, recorder.ends
    moved = {run.point.name for run in folder.runs(one) if exchanges(folder.root / run.point.name)}
    assert moved, "nobody went on from another one"
    for run in folder.runs(one):
        out = folder.run_folder(run)
        steps = [row["env_steps"] for row in rows(out.root)]
        assert steps == sorted(set(steps))
        assert steps[-1] == 384
        assert [row["iteration"] for row in rows(out.root)] == list(range(1, len(steps) + 1))
        if run.point.arm is not None:
            assert recorder.ends[0][0] == run.name
            continue
        # Present values: in config.yaml, in what the sweep says, in what Tune was told, and in what the learner applied.
        config = yaml.safe_load(out.config.read_text())["interventions"][0]
        values = {BETA: config["beta"], EVERY: config["every"]}
        assert values == dict(run.point.values)
        assert 2.0 <= values[BETA] <= 3.0
        assert 40 <= values[EVERY] <= 60
        last = recorder.results[run.name][-1]
        assert {key: last[f"applied/{key}"] for key in values} == values
        if run.point.name in moved:
            assert values != first[run.point.name]
            assert (out.root / "before-1" / "metrics.jsonl").is_file()
            note = json.loads(out.fork.read_text())
            events = [json.loads(line) for line in out.dormancy.read_text().splitlines()]
            own = [e["settings"] for e in events if e["event"] == "intervention" and e["iteration"] > note["iteration"]]
            assert own
            assert {(e["beta"], e["every"]) for e in own} == {(values[BETA], values[EVERY])}
    # What was set aside is no run of its own.
    assert len(find_runs(folder.root)) == 3
    assert all(result["objective"] is not None for results in recorder.results.values() for result in results)
    again = Recorder()
    assert run_sweep(one, folder, again).states == {RunState.DONE: 3}
    assert again.ends == []
