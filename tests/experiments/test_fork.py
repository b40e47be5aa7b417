"""``train --from``: a run that begins with what another one has learnt; what is taken over, what starts anew, what does not
fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.cli import main as cli
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.fork import ForkRequest
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.run import OpenRun, open_run, prepare_run
from rllib_reborn.experiments.run_folder import RunFolder

REBORN = {"kind": "reborn", "every": 64, "unit": "env_steps"}
#: An iteration is 16 episodes, with an update each.
BASE: dict[str, Any] = {
    "algorithm": "QMIX",
    "env": "matrix/two_step",
    "interventions": [REBORN],
    "training": {
        "learning_starts_episodes": 8,
        "batch_episodes": 8,
        "dormancy": {"every": 64, "unit": "env_steps"},
    },
    "evaluation": {"interval_env_steps": 32, "episodes": 4},
    "resources": {"num_envs_per_env_runner": 4},
    "logging": {"report_interval_env_steps": 32},
    "stop": {"iterations": 4},
}
#: Iterations of the source.
SOURCE = 3


class Silent:
    def on_row(self, row: dict[str, Any]) -> None: ...
    def on_checkpoint(self, path: Path) -> None: ...
    def on_wait(self, reason: str) -> None: ...


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """:data:`BASE` with ``{"training.lr": ...}`` over it."""
    data = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = data
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return data


@contextmanager
def opened(
    out: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    source: Path | None = None,
    fresh: tuple[str, ...] = (),
    **more: Any,
) -> Iterator[OpenRun]:
    fork = None if source is None else ForkRequest(source, fresh)
    run = prepare_run(experiment_from_dict(changed(changes or {})), out=out, fork=fork, **more)
    with open_run(run, Silent()) as one:
        yield one


def events(folder: Path) -> list[dict[str, Any]]:
    found = MetricsLog(RunFolder(folder).dormancy).rows()
    return [{key: value for key, value in event.items() if key != "seconds"} for event in found]


def rows(folder: Path) -> list[dict[str, Any]]:
    """All that does not depend on the clock or the machine."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "memory/")) and "per_s" not in key}
        for row in MetricsLog(RunFolder(folder).metrics).rows()
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """A run of 3 iterations with a checkpoint of the last one, which then went on for 2 more."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    with opened(folder) as run:
        for _ in range(SOURCE):
            run.loop.advance()
        run.loop.save()
        run.loop.advance()
        run.loop.advance()
    return folder


def learner_of(run: OpenRun) -> Any:
    return run.algo.learner_group._learner


def test_a_fork_without_any_change_goes_on_as_the_source_did_to_the_bit(source: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "fork", source=source) as run:
        assert run.loop.position.iteration == SOURCE
        run.loop.advance()
        run.loop.advance()
    assert rows(tmp_path / "fork") == rows(source)
    assert events(tmp_path / "fork") == events(source)
    assert any(event["event"] == "intervention" and event["iteration"] > SOURCE for event in events(source))


def test_forks_with_and_without_an_intervention_begin_with_the_same_return(source: Path, tmp_path: Path) -> None:
    found = {}
    for name, interventions in {"none": [], "other": [{**REBORN, "beta": 2.0}]}.items():
        with opened(tmp_path / name, {"interventions": interventions}, source=source) as run:
            found[name] = run.algo.evaluate()["env_runners"]["episode_return_mean"]
            assert rows(tmp_path / name) == rows(source)[:SOURCE]
            run.loop.advance()
        fork = json.loads((tmp_path / name / "fork.json").read_text())
        shown = ["interventions: ['reborn'] -> []"] if name == "none" else ["interventions.0.beta: 3.0 -> 2.0"]
        assert fork["changes"] == shown
        applied = [event for event in events(tmp_path / name) if event["event"] == "intervention"]
        later = [event["settings"]["beta"] for event in applied if event["iteration"] > SOURCE]
        assert later == ([] if name == "none" else [2.0])
    assert found["none"] == found["other"]


def test_settings_of_the_optimizer_are_the_forks_and_its_averages_the_sources(source: Path, tmp_path: Path) -> None:
    changes = {"training.lr": 0.002, "training.optimizer": {"kind": "rmsprop", "alpha": 0.9, "eps": 1e-3}}
    with opened(tmp_path / "a", source=source) as same, opened(tmp_path / "b", changes, source=source) as run:
        optimizers = [learner_of(one).get_optimizer(DEFAULT_MODULE_ID) for one in (same, run)]
        averages = [[s["square_avg"] for s in o.state_dict()["state"].values()] for o in optimizers]
        assert all(torch.equal(a, b) for a, b in zip(*averages, strict=True))
        group = optimizers[1].param_groups[0]
        assert (group["lr"], group["alpha"], group["eps"]) == (0.002, 0.9, 1e-3)
        assert optimizers[0].param_groups[0]["lr"] == 5e-4
        run.loop.advance()
        assert optimizers[1].param_groups[0]["lr"] == 0.002


def test_initial_weights_of_an_intervention_that_is_new_are_those_at_the_fork(source: Path, tmp_path: Path) -> None:
    changes = {"interventions": [{"kind": "l2_init"}]}
    with opened(tmp_path / "fork", changes, source=source) as run:
        learner = learner_of(run)
        at_fork = {name: p.detach().clone() for name, p in learner.module[DEFAULT_MODULE_ID].named_parameters()}
        run.loop.advance()
        initial = learner.learner_callbacks[-1].runtime.initial["mixer"]
    assert initial
    for name, value in initial.items():
        assert torch.equal(value, at_fork[f"mixer.{name}"]), name


@pytest.mark.parametrize(
    ("fresh", "lengths", "averages", "env_steps"),
    [((), 48, True, 96), (("replay",), 0, True, 96), (("optimizer",), 48, False, 96), (("counters",), 48, True, 0)],
    ids=["nothing", "replay", "optimizer", "counters"],
)
def test_what_is_fresh_starts_anew_and_the_rest_goes_on(
    source: Path, tmp_path: Path, fresh: tuple[str, ...], lengths: int, averages: bool, env_steps: int
) -> None:
    with opened(tmp_path / "fork", source=source, fresh=fresh) as run:
        optimizer = learner_of(run).get_optimizer(DEFAULT_MODULE_ID)
        assert len(run.algo.replay) == lengths
        assert bool(optimizer.state_dict()["state"]) == averages
        assert (run.loop.position.env_steps, run.algo.counters.env_steps) == (env_steps, env_steps)
        assert learner_of(run).num_updates == (0 if "counters" in fresh else 41)
        assert len(rows(tmp_path / "fork")) == (0 if "counters" in fresh else SOURCE)
        row, _ = run.loop.advance()
        assert row["iteration"] == (1 if "counters" in fresh else SOURCE + 1)
        # An empty replay warms up for 8 episodes first, the last of which pays.
        assert row["updates"] - (0 if "counters" in fresh else 41) == (9 if "replay" in fresh else 16)


def test_a_replay_goes_on_with_another_weighting_and_a_fresh_one_begins_with_it(source: Path, tmp_path: Path) -> None:
    """What is 48 episodes of 2 env steps in the source, drawn uniformly, is 0..94 env steps old."""
    changes = {
        "training.replay_weighting": {"kind": "age", "decay_env_steps": 20, "min_weight": 0.01},
        "training.buffer_episodes": 48,
    }
    for fresh, held in (((), 48), (("replay",), 0)):
        folder = tmp_path / f"fork{held}"
        with opened(folder, changes, source=source, fresh=fresh) as run:
            assert len(run.algo.replay) == held
            row, _ = run.loop.advance()
            # The mean of uniform draws from 48 would be 47.
            assert 0 < row["train/drawn_age_mean"] < 25
            run.loop.save()
            saved = run.algo.replay.get_state()
        back = {"training.buffer_episodes": 48, "stop": {"iterations": 9}}
        with opened(tmp_path / f"back{held}", back, source=folder) as run:
            assert run.algo.replay.get_state()["rng"] == saved["rng"]
            assert len(run.algo.replay) == len(saved["episodes"])
            row, _ = run.loop.advance()
            assert "train/drawn_age_mean" not in row


def test_another_seed_has_other_games_and_random_streams(source: Path, tmp_path: Path) -> None:
    states = []
    for name, seed in (("same", 0), ("other", 7)):
        with opened(tmp_path / name, {"seed": seed}, source=source) as run:
            assert len(run.algo.replay) == 48
            states.append(run.algo.replay.get_state()["rng"])
            assert run.algo.plasticity_scheduler.seed == seed
            run.loop.advance()
    assert states[1] == np.random.default_rng(7).bit_generator.state
    assert rows(tmp_path / "same")[-1]["train/td_error_abs"] != rows(tmp_path / "other")[-1]["train/td_error_abs"]


def test_the_replay_comes_along_where_checkpoints_hold_none(source: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "fork", {"checkpoint": {"replay": "none"}}, source=source) as run:
        assert len(run.algo.replay) == 48
    saved = next((tmp_path / "fork" / "checkpoints").iterdir())
    assert not (saved / "replay").exists()
    # What lies there now holds none, and says so.
    run = prepare_run(experiment_from_dict(changed({})), out=tmp_path / "next", fork=ForkRequest(tmp_path / "fork"))
    assert run.plan.fork is not None
    assert "holds none" in run.plan.fork.fork.parts()["replay"]


@pytest.mark.parametrize(
    ("changes", "fresh", "message"),
    [
        ({"training.model": {"hidden_dim": 32}}, (), r"agents\.\S+ is \[64\] there and \[32\] here; give"),
        ({"algorithm": "VDN"}, (), r"mixer\.\S+ is \[.*\] there and not there here"),
        ({"env": "matrix/climbing"}, (), "do not fit"),
        ({"training.optimizer": {"kind": "adam"}}, (), "of another kind than 'adam'.*--fresh optimizer"),
        ({"stop": {"iterations": 3}}, (), "would end at once"),
        ({}, ("weights",), "fresh is 'weights'; expected replay, optimizer, counters"),
    ],
    ids=["width", "algorithm", "environment", "optimizer", "stop", "fresh"],
)
def test_what_does_not_fit_is_a_sentence_before_anything_is_written(
    source: Path, tmp_path: Path, changes: dict[str, Any], fresh: tuple[str, ...], message: str
) -> None:
    experiment = experiment_from_dict(changed(changes))
    with pytest.raises(ExperimentError, match=message):
        prepare_run(experiment, out=tmp_path / "fork", fork=ForkRequest(source, fresh))
    assert not (tmp_path / "fork").exists()


def test_an_optimizer_of_another_kind_can_start_anew(source: Path, tmp_path: Path) -> None:
    changes = {"training.optimizer": {"kind": "adam"}}
    with opened(tmp_path / "fork", changes, source=source, fresh=("optimizer",)) as run:
        run.loop.advance()


def test_a_fork_needs_a_folder_of_its_own(source: Path, tmp_path: Path) -> None:
    experiment, fork = experiment_from_dict(changed({})), ForkRequest(source)
    with pytest.raises(ExperimentError, match="not empty"):
        prepare_run(experiment, out=source, fork=fork)
    with pytest.raises(ExperimentError, match="needs --out"):
        prepare_run(experiment, resume="auto", fork=fork)
    with pytest.raises(ExperimentError, match="both given"):
        prepare_run(experiment, out=tmp_path / "fork", resume=str(source), fork=fork)


def test_a_fork_that_was_killed_goes_on_or_begins_again(source: Path, tmp_path: Path) -> None:
    """The same command again, as a job's: before the first checkpoint it is forked once more, afterwards it goes on."""
    folder = tmp_path / "fork"
    with opened(folder, source=source) as run:
        run.loop.advance()
        run.loop.save()
    with opened(folder, source=source, resume="auto") as run:
        assert run.loop.position.iteration == SOURCE + 1
        run.loop.advance()
    assert rows(folder) == rows(source)
    shutil.rmtree(folder / "checkpoints")
    # fork.json says where from, also where the command does not.
    with opened(folder, resume="auto") as run:
        assert run.loop.position.iteration == SOURCE
        run.loop.advance()
        run.loop.advance()
    assert rows(folder) == rows(source)
    assert len(CheckpointStore(folder / "checkpoints").paths()) == 1


def test_the_source_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()}
    with opened(tmp_path / "fork", {"seed": 3}, source=source) as run:
        run.loop.advance()
    assert {path: path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--fresh", "replay", "matrix/two_step/qmix"], "--fresh has no effect without --from"),
        (["train", "--from", "nowhere"], "nowhere is in no run folder"),
        (["train", "matrix/two_step/qmix", "--from", "nowhere", "--seeds", "0..1"], r"fork: \{env_steps"),
        (["train", "matrix/two_step/qmix", "--from", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert re.search(message, capsys.readouterr().err)
