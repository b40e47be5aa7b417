"""What --resume means: folder, checkpoint, rows; and what is refused before anything is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore
from rllib_reborn.checkpoints.run_record import new_run_record
from rllib_reborn.experiments.build import build_config, config_hash, resolved_dict
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import dump_experiment, experiment_from_dict
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.resume import RunPlan, plan_run
from rllib_reborn.experiments.run_folder import RunFolder
from rllib_reborn.experiments.training_loop import RunPosition


def resolved(**changes: Any) -> dict[str, Any]:
    data = {"algorithm": "QMIX", "env": "matrix/two_step", "stop": {"iterations": 9}}
    experiment = experiment_from_dict(data | changes)
    return resolved_dict(experiment, build_config(experiment))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of 5 iterations with checkpoints at 2 and 4, as a crash would leave it."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("runs/matrix-two_step_qmix_s0_20260101-000000"))
    folder.root.mkdir(parents=True)
    folder.config.write_text(dump_experiment(resolved()))
    folder.record.write_text(new_run_record())
    log, store = MetricsLog(folder.metrics), CheckpointStore(folder.checkpoints)
    for iteration in range(1, 6):
        log.append({"iteration": iteration, "env_steps": 10 * iteration, "time/total_s": float(iteration)})
        if iteration in (2, 4):
            store.save(
                lambda path: (path / "state").write_text("x") and None,
                iteration=iteration,
                env_steps=10 * iteration,
                config_hash=config_hash(resolved()),
                metrics=log.record,
            )
    return folder


def plan(out: Path | None = None, resume: str | None = None, **changes: Any) -> RunPlan:
    data = resolved(**changes)
    experiment = experiment_from_dict(data)
    return plan_run(experiment, build_config(experiment), data, out, resume)


def iterations(planned: RunPlan) -> list[int]:
    return [row["iteration"] for row in planned.rows]


def assert_goes_on(planned: RunPlan, run: RunFolder) -> None:
    assert planned.folder.root.resolve() == run.root.resolve()
    assert planned.checkpoint is not None
    assert planned.checkpoint.name == "checkpoint_000002"
    assert planned.progress == RunPosition(4, 40, 4.0)
    assert iterations(planned) == [1, 2, 3, 4]


def test_without_resume_a_run_is_new(run: RunFolder) -> None:
    planned = plan()
    assert planned.checkpoint is None
    assert planned.folder.root.parent == Path("runs")
    assert planned.folder.root != run.root
    with pytest.raises(ExperimentError, match="not empty"):
        plan(out=run.root)


def test_auto_goes_on_from_the_newest_checkpoint_and_drops_the_rows_after_it(run: RunFolder) -> None:
    assert_goes_on(plan(resume="auto"), run)
    assert_goes_on(plan(out=run.root, resume="auto"), run)


def test_plasticity_events_are_cut_back_with_the_rows(run: RunFolder) -> None:
    log = MetricsLog(run.dormancy)
    for iteration in range(1, 6):
        log.append({"iteration": iteration, "event": "dormancy"})
    assert [event["iteration"] for event in plan(resume="auto").events] == [1, 2, 3, 4]


def test_a_path_may_be_the_run_or_its_newest_checkpoint(run: RunFolder) -> None:
    assert_goes_on(plan(resume=str(run.root)), run)
    assert_goes_on(plan(resume=str(run.checkpoints / "checkpoint_000002")), run)


def test_limits_may_change(run: RunFolder) -> None:
    assert_goes_on(plan(resume="auto", stop={"env_steps": 10_000}), run)


def test_auto_starts_anew_where_there_is_nothing(run: RunFolder) -> None:
    assert plan(resume="auto", seed=8).checkpoint is None
    planned = plan(out=Path("elsewhere"), resume="auto")
    assert planned == RunPlan(RunFolder(Path("elsewhere")))


def test_auto_starts_again_in_place_when_the_run_ended_before_its_first_checkpoint(run: RunFolder) -> None:
    for path in CheckpointStore(run.checkpoints).paths():
        path.rename(run.root.parent / path.name)
    planned = plan(out=run.root, resume="auto")
    assert (planned.folder, planned.checkpoint, planned.rows) == (RunFolder(run.root), None, ())
    assert planned.notes == (f"{run.metrics} has 5 rows and {run.root} no checkpoint: training begins anew.",)
    with pytest.raises(ExperimentError, match="other settings"):
        plan(out=run.root, resume="auto", training={"lr": 0.1})


def test_auto_does_not_take_a_folder_that_is_no_run(tmp_path: Path, run: RunFolder) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("")
    with pytest.raises(ExperimentError, match="no run folder"):
        plan(out=tmp_path / "photos", resume="auto")


def test_a_damaged_newest_checkpoint_falls_back(run: RunFolder) -> None:
    (run.checkpoints / "checkpoint_000002" / "state").write_text("y")
    planned = plan(resume="auto")
    assert planned.progress.iteration == 2
    assert iterations(planned) == [1, 2]
    # Named outright, the older one may be taken too: nothing sound comes after it.
    assert plan(resume=str(run.checkpoints / "checkpoint_000001")).progress.iteration == 2


def test_all_damaged_is_no_silent_fresh_start(run: RunFolder) -> None:
    for path in CheckpointStore(run.checkpoints).paths():
        (path / "state").unlink()
    with pytest.raises(CheckpointError, match="sound"):
        plan(resume="auto")


def test_an_older_checkpoint_needs_a_folder_of_its_own(run: RunFolder) -> None:
    older = str(run.checkpoints / "checkpoint_000001")
    with pytest.raises(ExperimentError, match="not the newest checkpoint"):
        plan(resume=older)
    branch = plan(out=Path("branch"), resume=older)
    assert branch.folder.root == Path("branch")
    assert iterations(branch) == [1, 2]
    with pytest.raises(ExperimentError, match="not empty"):
        plan(out=Path("runs"), resume=older)


def test_other_settings_are_refused_by_name(run: RunFolder) -> None:
    with pytest.raises(ExperimentError, match=r"training\.lr is 0\.1 here and 0\.0005 there"):
        plan(resume=str(run.root), training={"lr": 0.1})
    with pytest.raises(ExperimentError, match=r"config\.yaml, or begin a new run .*: train --from"):
        plan(resume="auto", training={"lr": 0.1})


def test_a_setting_that_did_not_exist_then_has_its_default(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    older = resolved()
    del older["training"]["mixer"]["state"], older["training"]["double_q"]
    run.config.write_text(dump_experiment(older))
    monkeypatch.setattr("rllib_reborn.experiments.resume.require_own_config", lambda *args: None)  # it was written so
    assert_goes_on(plan(resume="auto"), run)
    for changes, words in (
        ({"mixer": {"state": "none"}}, "training.mixer.state is 'none' here and 'full' there"),
        ({"double_q": False}, "training.double_q is False here and True there"),
    ):
        with pytest.raises(ExperimentError, match=words):
            plan(resume="auto", training=changes)


def test_a_checkpoint_without_its_run_is_taken_if_its_hash_fits(run: RunFolder, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    (run.checkpoints / "checkpoint_000002").rename(alone)
    planned = plan(resume=str(alone))
    assert planned.checkpoint == alone
    assert planned.progress == RunPosition(4, 40, 0.0)
    assert planned.folder.root != run.root
    with pytest.raises(ExperimentError, match="other settings"):
        plan(resume=str(alone), training={"lr": 0.1})


def test_missing_and_foreign_checkpoints(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        plan(resume="nowhere")
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "rllib_checkpoint.json").write_text("{}")
    with pytest.raises(ExperimentError, match="runs of 'train' only"):
        plan(resume=str(tmp_path / "tune"))


class TestTheRunIsWhatItWas:
    """Rows and config are compared with the checkpoint."""

    def test_one_damaged_byte_drops_one_row_and_is_said(self, run: RunFolder) -> None:
        lines = run.metrics.read_bytes().splitlines(keepends=True)
        run.metrics.write_bytes(lines[0] + b"\x00" + lines[1][1:] + b"".join(lines[2:]))
        planned = plan(resume="auto")
        assert iterations(planned) == [1, 3, 4]
        assert planned.progress == RunPosition(4, 40, 4.0)
        (note,) = planned.notes
        assert "it had 4 rows, of which 3 can be read, damaged are the lines 2;" in note

    @pytest.mark.parametrize("byte", [b"\n", b"\r", b"}", b"\xff"])
    def test_whatever_byte_it_is(self, run: RunFolder, byte: bytes) -> None:
        data = run.metrics.read_bytes()
        at = data.index(b"\n") + 15  # in the number of row 2
        run.metrics.write_bytes(data[:at] + byte + data[at + 1 :])
        planned = plan(resume="auto")
        assert iterations(planned) in ([1, 3, 4], [1, 2, 3, 4])
        assert len(planned.notes) == 1

    def test_a_number_that_was_changed_is_said(self, run: RunFolder) -> None:
        run.metrics.write_text(run.metrics.read_text().replace('"env_steps": 20', '"env_steps": 21'))
        planned = plan(resume="auto")
        assert iterations(planned) == [1, 2, 3, 4]
        assert "is not as it was when the checkpoint was saved" in planned.notes[0]

    def test_rows_that_are_gone_or_doubled_are_said(self, run: RunFolder) -> None:
        lines = run.metrics.read_text().splitlines(keepends=True)
        for text, left in (
            ("".join(lines[:2]), [1, 2]),
            ("".join([*lines[:2], *lines]), [1, 2, 3, 4]),
            ("".join(reversed(lines)), [4]),
            ("", []),
        ):
            run.metrics.write_text(text)
            planned = plan(resume="auto")
            assert iterations(planned) == left
            assert "it had 4 rows" in planned.notes[0]
        run.metrics.unlink()
        assert "is empty or gone; these are missing" in plan(resume="auto").notes[0]

    def test_what_has_not_changed_is_not_mentioned(self, run: RunFolder) -> None:
        assert plan(resume="auto").notes == ()

    @pytest.mark.parametrize("resume", ["auto", "run", "checkpoint"])
    def test_without_its_config_it_does_not_go_on(self, run: RunFolder, resume: str) -> None:
        run.config.unlink()
        asked = {"auto": "auto", "run": str(run.root), "checkpoint": str(run.checkpoints / "checkpoint_000002")}[resume]
        with pytest.raises((ExperimentError, CheckpointError), match=r"config\.yaml is missing, .* put it back"):
            plan(resume=asked, training={"gamma": 0.5})

    @pytest.mark.parametrize("edited", [{"gamma": 0.5}, {"lr": 0.1}])
    def test_under_an_edited_config_it_does_not_go_on(self, run: RunFolder, edited: dict[str, Any]) -> None:
        run.config.write_text(dump_experiment(resolved(training=edited)))
        with pytest.raises(ExperimentError, match=r"config\.yaml was changed after .* train --from"):
            plan(resume="auto", training=edited)
        with pytest.raises(ExperimentError, match=r"config\.yaml was changed after .* train --from"):
            plan(resume=str(run.root))

    @pytest.mark.parametrize("section", ["resources", "checkpoint", "logging", "stop"])
    def test_what_changes_nothing_may_be_edited(self, run: RunFolder, section: str) -> None:
        values = {"resources": {"num_env_runners": 3}, "checkpoint": {"keep": 9}, "logging": {"level": "info"}}
        run.config.write_text(dump_experiment(resolved(**{section: values.get(section, {"env_steps": 77})})))
        assert_goes_on(plan(resume="auto"), run)

    @pytest.mark.parametrize("text", ["", "[]", "seed: 2001-01-01", "{", "\x00"])
    def test_a_config_that_is_none_is_refused(self, run: RunFolder, text: str) -> None:
        run.config.write_text(text)
        with pytest.raises(ExperimentError, match=r"config\.yaml"):
            plan(resume="auto")

    def test_a_checkpoint_of_another_run_is_passed_over_and_refused_by_name(
        self, run: RunFolder, tmp_path: Path
    ) -> None:
        run.record.write_text(new_run_record())
        with pytest.raises(CheckpointError, match="is of another run"):
            plan(resume="auto")
        with pytest.raises(CheckpointError, match="is of another run"):
            plan(resume=str(run.checkpoints / "checkpoint_000001"))

    def test_a_checkpoint_that_cannot_be_restored_is_passed_over(self, run: RunFolder) -> None:
        experiment = experiment_from_dict(resolved())
        again = plan_run(
            experiment, build_config(experiment), resolved(), None, "auto", passed_over=["checkpoint_000002"]
        )
        assert again.checkpoint is not None
        assert again.checkpoint.name == "checkpoint_000001"
        assert again.falls_back
        assert not plan(resume=str(run.checkpoints / "checkpoint_000002")).falls_back
