"""Run folders as they are found on disk: whole, cut off, resumed, or not runs at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.evaluation.runs import RunError, find_runs, flatten_config, load_runs, read_run

from .synthetic import config, final, rows, write_run


def row(steps: int, value: float, **more: Any) -> dict[str, Any]:
    return {"env_steps": steps, "train/return_mean": value} | more


def returns(run) -> list[tuple[float, float]]:
    steps, values = run.series("train/return_mean")
    return list(zip(steps.tolist(), values.tolist()))


class TestWholeRun:
    def test_everything_is_read(self, tmp_path: Path) -> None:
        lines = rows(seed=4)
        run = read_run(write_run(tmp_path / "a", settings=config(seed=4), lines=lines, end=final(seed=4)))
        assert (run.algorithm, run.env, run.seed, run.name) == ("qmix", "predator_prey/small", 4, "a")
        assert len(run.metrics) == 20
        assert run.env_steps == lines[-1]["env_steps"]
        assert run.wall_time_s == 60
        assert (run.unreadable_lines, run.replaced_rows, run.notes) == (0, 0, ())
        assert run.final is not None
        assert run.final.policy.returns.tolist() == final(seed=4)["policy"]["returns"]
        assert run.final.policy.won is not None
        assert run.final.random is not None
        assert run.final.env_steps == 10_000

    def test_null_is_nan_and_left_out_of_series(self, tmp_path: Path) -> None:
        lines = rows()
        run = read_run(write_run(tmp_path / "a", lines=lines))
        assert math.isnan(run.metrics["train/loss"].iloc[0])
        assert run.metrics["train/win_rate"].isna().all()
        assert run.series("train/loss")[0].tolist() == [line["env_steps"] for line in lines[1:]]
        assert run.series("train/win_rate")[0].size == 0
        assert run.series("no/such_metric")[0].size == 0
        assert run.series("eval/returns")[0].size == 0
        assert len(run.evaluations()) == 10
        assert run.evaluations()["eval/returns"].iloc[0] == lines[1]["eval/returns"]

    def test_infinite_values_are_not_in_a_series(self, tmp_path: Path) -> None:
        run = read_run(write_run(tmp_path / "a", lines=[row(1, 1.0), row(2, math.inf), row(3, math.nan)]))
        assert returns(run) == [(1, 1.0)]

    def test_a_name_that_only_later_rows_have(self, tmp_path: Path) -> None:
        run = read_run(write_run(tmp_path / "a", lines=[row(1, 1.0), row(2, 2.0, extra=5)]))
        assert run.series("extra")[1].tolist() == [5]


class TestCutOff:
    def test_a_half_written_last_line_is_dropped_counted_and_said(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a", lines=[row(10, 1.0), row(20, 2.0)])
        path = folder / "metrics.jsonl"
        path.write_text(path.read_text() + '{"env_steps": 30, "train/ret')
        run = read_run(folder)
        assert returns(run) == [(10, 1.0), (20, 2.0)]
        assert run.unreadable_lines == 1
        assert any("1 line" in note for note in run.notes)

    def test_a_half_line_that_a_resumed_run_wrote_on_after(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a", lines=[row(10, 1.0)])
        path = folder / "metrics.jsonl"
        path.write_text(path.read_text() + '{"env_st' + json.dumps(row(20, 2.0)) + "\n" + json.dumps(row(30, 3.0)))
        run = read_run(folder)
        assert returns(run) == [(10, 1.0), (30, 3.0)]
        assert run.unreadable_lines == 1

    def test_lines_that_are_no_row(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a", lines=[row(10, 1.0)])
        path = folder / "metrics.jsonl"
        path.write_text(path.read_text() + '[1]\n{"a": 1}\n{"env_steps": null}\n\n{"env_steps": true}\n')
        assert read_run(folder).unreadable_lines == 4

    def test_no_final_evaluation_is_said(self, tmp_path: Path) -> None:
        run = read_run(write_run(tmp_path / "a"))
        assert run.final is None
        assert any("interrupted" in note for note in run.notes)

    @pytest.mark.parametrize(
        "text",
        [
            '{"policy": {"retu',
            "{}",
            "[]",
            '{"policy": {"returns": []}}',
            '{"policy": {"returns": [NaN]}}',
            '{"policy": {"returns": [1], "won": [2]}}',
            '{"policy": {"returns": [1, 2], "won": [true]}}',
        ],
    )
    def test_a_damaged_final_evaluation_is_said_and_not_used(self, tmp_path: Path, text: str) -> None:
        folder = write_run(tmp_path / "a")
        (folder / "final_evaluation.json").write_text(text)
        run = read_run(folder)
        assert run.final is None
        assert any("damaged" in note for note in run.notes)


class TestResumed:
    def test_later_rows_win_where_steps_go_back(self, tmp_path: Path) -> None:
        lines = [row(10, 1), row(20, 2), row(30, 3), row(40, 4), row(25, 20), row(35, 30), row(45, 40)]
        run = read_run(write_run(tmp_path / "a", lines=lines))
        assert returns(run) == [(10, 1), (20, 2), (25, 20), (35, 30), (45, 40)]
        assert run.replaced_rows == 2
        assert any("2 rows" in note for note in run.notes)

    def test_resumed_twice(self, tmp_path: Path) -> None:
        lines = [row(10, 1), row(20, 2), row(20, 3), row(30, 4), row(10, 5), row(20, 6)]
        run = read_run(write_run(tmp_path / "a", lines=lines))
        assert returns(run) == [(10, 5), (20, 6)]
        assert run.replaced_rows == 4

    def test_updates_without_a_step_are_no_resume(self, tmp_path: Path) -> None:
        lines = [row(10, 1, updates=1), row(10, 2, updates=2)]
        run = read_run(write_run(tmp_path / "a", lines=lines))
        assert (len(run.metrics), run.replaced_rows) == (2, 0)
        assert returns(run) == [(10, 2)]

    def test_a_clock_that_starts_anew_is_added_up(self, tmp_path: Path) -> None:
        seconds = (5, 9, 2, 6)
        lines = [row(10 * i, i, **{"time/total_s": s}) for i, s in enumerate(seconds, 1)]
        assert read_run(write_run(tmp_path / "a", lines=lines)).wall_time_s == 15
        assert read_run(write_run(tmp_path / "b", lines=[row(1, 1)])).wall_time_s is None


class TestNoRun:
    def test_missing_folder_and_file(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="does not exist"):
            read_run(tmp_path / "none")
        (tmp_path / "file").write_text("")
        for call in (read_run, find_runs):
            with pytest.raises(RunError, match="is not a folder"):
                call(tmp_path / "file")

    def test_folder_without_config(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="not a run folder"):
            read_run(tmp_path)

    @pytest.mark.parametrize("text", ["", "\n\n", '{"env_st', "[]\n"])
    def test_metrics_without_a_row(self, tmp_path: Path, text: str) -> None:
        folder = write_run(tmp_path / "a")
        (folder / "metrics.jsonl").write_text(text)
        with pytest.raises(RunError, match="no readable iteration"):
            read_run(folder)

    def test_no_metrics(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a")
        (folder / "metrics.jsonl").unlink()
        with pytest.raises(RunError, match="before its first iteration"):
            read_run(folder)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("a: [", r"not plain YAML \(line"),
            ("- 1", "mapping"),
            ("env: x", "'algorithm'"),
            ("algorithm: x\nenv: [1]", "'env'"),
            ("a: !!python/object/apply:os.system ['true']", "not plain YAML"),
            ("a: &a [*a]", "unfolds"),
            ("x: " + "1" * 1_000_001, "larger than"),
        ],
    )
    def test_config_that_cannot_be_used(self, tmp_path: Path, text: str, sentence: str) -> None:
        folder = write_run(tmp_path / "a")
        (folder / "config.yaml").write_text(text)
        with pytest.raises(RunError, match=sentence):
            read_run(folder)

    def test_a_bomb_of_aliases_is_refused_quickly(self, tmp_path: Path) -> None:
        lines = ["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
        folder = write_run(tmp_path / "a")
        (folder / "config.yaml").write_text("\n".join(lines))
        with pytest.raises(RunError, match="aliases"):
            read_run(folder)


class TestFinding:
    def test_runs_below_each_once_and_not_inside_runs(self, tmp_path: Path) -> None:
        for name in ("x/b", "x/a", "y"):
            write_run(tmp_path / name)
        for inside in ("checkpoints/c1", "other"):
            write_run(tmp_path / "y" / inside)
        (tmp_path / "x" / "notes").mkdir()
        found = find_runs([tmp_path / "y", tmp_path])
        assert [path.relative_to(tmp_path).as_posix() for path in found] == ["y", "x/a", "x/b"]
        assert find_runs(str(tmp_path / "x" / "a")) == [tmp_path / "x" / "a"]

    def test_nothing_found(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="holds no run"):
            find_runs(tmp_path)
        with pytest.raises(RunError, match="No path"):
            find_runs([])

    def test_broken_runs_are_named_and_do_not_stop_the_rest(self, tmp_path: Path) -> None:
        write_run(tmp_path / "good")
        (write_run(tmp_path / "bad") / "metrics.jsonl").unlink()
        records, broken = load_runs(tmp_path)
        assert [record.name for record in records] == ["good"]
        assert [(entry.path.name, "iteration" in entry.reason) for entry in broken] == [("bad", True)]

    def test_only_broken_runs_are_an_error(self, tmp_path: Path) -> None:
        (write_run(tmp_path / "bad") / "metrics.jsonl").unlink()
        with pytest.raises(RunError, match="before its first iteration"):
            load_runs([tmp_path / "bad"])


def test_flatten_config() -> None:
    nested = {"a": {"b": 1, "c": [{"d": None}, "e"]}, "f": [], "g": {}}
    assert flatten_config(nested) == {"a.b": 1, "a.c.0.d": None, "a.c.1": "e", "f": [], "g": {}}
    assert flatten_config({}) == {}


def test_env_steps_stay_whole_numbers(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", lines=[row(2**53 + 1, 1.0)]))
    assert run.metrics["env_steps"].dtype == np.int64
    assert run.env_steps == 2**53 + 1


class TestGameVersion:
    """Which program the games ran on."""

    def test_of_our_own_games_there_is_none(self, tmp_path: Path) -> None:
        run = read_run(write_run(tmp_path / "a", lines=[row(1, 1.0, **{"env/game_version": None})]))
        assert (run.game_versions, run.notes[1:]) == ((), ())

    def test_it_is_noted_and_several_are_warned_of(self, tmp_path: Path) -> None:
        lines = [row(1, 1.0, **{"env/game_version": None}), row(2, 1.0, **{"env/game_version": "4.10.0.75689"})]
        run = read_run(write_run(tmp_path / "a", lines=lines, end=final()))
        assert (run.game_versions, run.notes) == (("4.10.0.75689",), ("game version 4.10.0.75689",))
        lines.append(row(3, 1.0, **{"env/game_version": "4.10.0.75689, 4.6.2.69232"}))
        run = read_run(write_run(tmp_path / "b", lines=lines, end=final()))
        assert run.game_versions == ("4.10.0.75689", "4.6.2.69232")
        assert "several versions, which may differ in difficulty: 4.10.0.75689, 4.6.2.69232" in run.notes[0]

    def test_the_mock_server_is_refused_even_if_only_once(self, tmp_path: Path) -> None:
        lines = [
            row(n, 1.0, **{"env/game_version": version}) for n, version in ((1, "mock_server"), (2, "4.10.0.75689"))
        ]
        write_run(tmp_path / "a", settings=config(env="smac/3m"), lines=lines)
        write_run(tmp_path / "b")
        with pytest.raises(
            RunError, match=r"a was played on the mock server.*not those of smac/3m and are not reported"
        ):
            read_run(tmp_path / "a")
        used, left_out = load_runs(tmp_path)
        assert [run.name for run in used] == ["b"]
        assert "mock server" in left_out[0].reason
