"""The report end to end on runs of known numbers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from rllib_reborn.evaluation import figures, statistics
from rllib_reborn.evaluation.figures import MetricCurve, task_figures
from rllib_reborn.evaluation.groups import group_runs
from rllib_reborn.evaluation.report import Report, print_summary, write_report
from rllib_reborn.evaluation.runs import RunError, load_runs
from rllib_reborn.evaluation.style import REFERENCE_COLOUR, FigureSpec, line_style, save_figure
from rllib_reborn.evaluation.summary import GroupSummary, summarise_task

from .synthetic import DORMANCY, REBORN, config, final, plasticity, rows, write_run

COMMAND = "rllib-reborn report runs --out report"
ENDINGS = ("png", "pdf", "csv", "txt")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of qmix (one cut off), three of qmix + ReBorn, a game without a winner, a broken run."""
    top = tmp_path_factory.mktemp("runs")
    for seed in (1, 2, 3):
        settings = config(seed=seed)
        write_run(top / f"qmix_{seed}", settings=settings, lines=rows(seed=seed), end=final(seed=seed))
        settings = config(seed=seed, interventions=[{"kind": "reborn", "alpha": 0.1}])
        lines = rows(seed=seed + 10, top=13)
        write_run(top / f"reborn_{seed}", settings=settings, lines=lines, end=final(seed=seed, top=13))
    (top / "qmix_3" / "final_evaluation.json").unlink()
    with (top / "qmix_3" / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 99')
    write_run(
        top / "matrix",
        settings=config(env="matrix/two_step", seed=5),
        lines=rows(seed=5, wins=False),
        end=final(seed=5, wins=False),
    )
    (write_run(top / "broken") / "config.yaml").write_text("a: [")
    return top


@pytest.fixture(scope="module")
def report(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("out") / "report"
    return write_report([runs], out, command=COMMAND, reps=50, curves=figures.CURVES[:1])


@pytest.fixture(scope="module")
def summary(report: Report) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(report.summary_json.read_text(), parse_constant=refuse)


def group(summary: dict[str, Any], label: str, task: str = "predator_prey/small") -> dict[str, Any]:
    (found,) = [g for t in summary["tasks"] if t["task"] == task for g in t["groups"] if g["label"] == label]
    return found


def policy_returns(seed: int, top: float = 10.0) -> np.ndarray:
    return np.array(final(seed=seed, top=top)["policy"]["returns"])


class TestFiles:
    def test_every_figure_has_its_four_files(self, report: Report) -> None:
        names = sorted(files.png.stem for files in report.figures)
        assert names == sorted(
            [f"matrix_two_step_{kind}" for kind in ("final", "return", "learning")]
            + [f"predator_prey_small_{kind}" for kind in ("final", "profile", "return", "win_rate", "learning")]
        )
        for files in report.figures:
            paths = [files.png, files.pdf, files.csv, files.txt]
            assert [path.suffix[1:] for path in paths] == list(ENDINGS)
            assert all(path.stat().st_size > 100 for path in paths)
            assert files.png.read_bytes().startswith(PNG_MAGIC)
            assert files.png.stat().st_size > 5000
            assert files.pdf.read_bytes().startswith(b"%PDF")
            assert COMMAND in files.txt.read_text()

    def test_the_page_shows_every_figure_and_names_what_was_run(self, report: Report) -> None:
        text = report.markdown.read_text()
        for files in report.figures:
            assert f"]({files.png.name})" in text
        for part in (
            "predator_prey/small",
            "qmix + ReBorn",
            "`qmix_2`",
            COMMAND,
            "half-written",
            "3 (1, 2, 3)",
        ):
            assert part in text
        assert "`interventions.0.alpha` | (not set) | 0.1" in text

    def test_the_page_names_no_folder_of_this_machine(self, report: Report, runs: Path) -> None:
        for path in (report.markdown, report.summary_json, report.marl_eval_json, report.latex_table):
            assert str(runs) not in path.read_text()

    def test_runs_left_out_are_counted_and_named(self, report: Report, summary: dict[str, Any]) -> None:
        assert (summary["runs_found"], summary["runs_used"]) == (8, 7)
        assert [Path(entry["run"]).name for entry in summary["left_out"]] == ["broken"]
        assert "1 run left out" in report.markdown.read_text()
        assert "left out: " in print_summary(report)


class TestNumbers:
    def test_the_unit_is_the_seed_where_there_are_several(self, summary: dict[str, Any]) -> None:
        got = group(summary, "qmix + ReBorn")
        means = [policy_returns(seed, 13).mean() for seed in (1, 2, 3)]
        expected = statistics.mean_interval(means)
        assert (got["unit"], got["source"], got["episodes"]) == ("seeds", "final evaluation", 48)
        assert got["policy_return"]["estimate"] == pytest.approx(np.mean(means))
        assert got["policy_return"]["low"] == pytest.approx(expected.low)
        assert got["seeds"] == [1, 2, 3]
        assert got["wall_time_s"] == 3 * 60

    def test_the_unit_is_the_episode_where_there_is_one_seed(self, summary: dict[str, Any]) -> None:
        got = group(summary, "qmix", "matrix/two_step")
        expected = statistics.mean_interval(policy_returns(5))
        assert got["unit"] == "episodes"
        assert got["policy_return"]["high"] == pytest.approx(expected.high)
        assert "says nothing about other seeds" in got["verdict"]
        assert got["win_rate"] is None

    def test_random_policy_and_difference(self, summary: dict[str, Any]) -> None:
        # Seeds 1 and 2 of both groups drew the same random episodes, and seed 3 of reborn its own: 3 x 16.
        chance = np.concatenate([final(seed=seed)["random"]["returns"] for seed in (1, 2, 3)])
        got = group(summary, "qmix")
        assert got["random_episodes"] == 48
        assert got["random_return"]["estimate"] == pytest.approx(chance.mean())
        means = [policy_returns(seed).mean() for seed in (1, 2)]
        expected = statistics.difference_interval(means, chance)
        assert got["difference"]["estimate"] == pytest.approx(expected.estimate)
        assert got["difference"]["low"] == pytest.approx(expected.low)

    def test_a_run_without_final_evaluation_is_left_out_of_it_and_named(
        self, report: Report, summary: dict[str, Any]
    ) -> None:
        assert group(summary, "qmix")["not_in_final"] == ["qmix_3"]
        assert "Left out for want of a final evaluation: `qmix_3`" in report.markdown.read_text()

    def test_win_rate(self, summary: dict[str, Any]) -> None:
        won = sum(sum(final(seed=seed)["policy"]["won"]) for seed in (1, 2))
        got = group(summary, "qmix")["win_rate"]
        assert (got["estimate"], got["n"]) == (won / 32, 32)
        assert group(summary, "qmix")["random_win_rate"]["estimate"] == 0

    def test_groups_are_compared_by_common_seeds(self, summary: dict[str, Any]) -> None:
        (comparison,) = next(t for t in summary["tasks"] if t["task"] == "predator_prey/small")["comparisons"]
        pairs = [policy_returns(seed, 13).mean() - policy_returns(seed).mean() for seed in (1, 2)]
        assert (comparison["label"], comparison["baseline"]) == ("qmix + ReBorn", "qmix")
        assert (comparison["paired"], comparison["seeds"]) == (True, [1, 2])
        assert comparison["difference"]["estimate"] == pytest.approx(np.mean(pairs))
        assert comparison["probability_of_improvement"]["estimate"] == 1

    def test_the_terminal_says_the_same(self, report: Report) -> None:
        text = print_summary(report)
        assert "better than the random policy by more than the interval" in text
        assert str(report.markdown) in text
        low = statistics.mean_interval([policy_returns(seed, 13).mean() for seed in (1, 2, 3)]).low
        assert f"[{low:.2f}," in text or f"[{low:.1f}," in text


class TestVerdicts:
    def one(self, tmp_path: Path, policy: list[float], chance: list[float] | None) -> GroupSummary:
        end: dict[str, Any] = {"policy": {"returns": policy, "won": None}, "random": None}
        if chance is not None:
            end["random"] = {"returns": chance, "won": None}
        folder = write_run(tmp_path / "run", lines=[{"env_steps": 1}], end=end)
        return summarise_task(group_runs(load_runs(folder)[0])[0]).groups[0]

    @pytest.mark.parametrize(
        ("policy", "chance", "better", "sentence"),
        [
            ([9, 10, 11], [1, 2, 3], True, "better than the random policy"),
            ([1, 2, 3], [9, 10, 11], False, "worse than the random policy"),
            ([1, 2, 9], [1, 2, 3], None, "not shown to differ"),
            ([8, 8, 8], [8, 8, 8], None, "not shown to differ"),
            ([8], [1, 2], None, "too little"),
            ([8, 9], None, None, "was not evaluated"),
        ],
    )
    def test_sentence(self, tmp_path: Path, policy, chance, better, sentence: str) -> None:
        group = self.one(tmp_path, policy, chance)
        assert group.better_than_random is better
        assert sentence in group.verdict

    def test_without_any_evaluation(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", lines=[{"env_steps": 1, "train/loss": None}])
        report = write_report(folder, tmp_path / "out")
        assert report.figures == ()
        assert "nothing can be said" in report.markdown.read_text()
        assert "nothing can be said" in print_summary(report)

    def test_an_interrupted_run_is_judged_by_its_last_evaluation_and_says_so(self, tmp_path: Path) -> None:
        lines = rows(seed=1)
        report = write_report(write_run(tmp_path / "run", lines=lines), tmp_path / "out", reps=10, curves=())
        (task,) = report.tasks
        result = task.groups[0].policy_return
        assert result is not None
        assert result.estimate == pytest.approx(lines[-1]["eval/return_mean"])
        assert task.groups[0].win_rate is not None
        assert task.groups[0].win_rate.estimate == lines[-1]["eval/win_rate"]
        assert "last evaluations during training" in report.markdown.read_text()
        assert "last evaluation during training" in print_summary(report)


@pytest.fixture(scope="module")
def specs(runs: Path) -> dict[str, FigureSpec]:
    groups, _ = group_runs(load_runs(runs)[0])
    members = [g for g in groups if g.task == "predator_prey/small"]
    return {spec.stem: spec for spec in task_figures(members, statistics.mean_interval([1, 2, 3]), reps=20)}


class TestFigures:
    def test_csv_is_the_table_that_is_drawn(self, specs: dict[str, FigureSpec], tmp_path: Path) -> None:
        spec = specs["predator_prey_small_return"]
        read = pd.read_csv(save_figure(spec, tmp_path, None).csv)
        pd.testing.assert_frame_equal(read, spec.table, check_dtype=False, rtol=1e-12)

    def test_lines_and_bands_are_the_rows_of_the_table(self, specs: dict[str, FigureSpec]) -> None:
        spec = specs["predator_prey_small_return"]
        (axes,) = spec.draw(spec).axes
        drawn = {(line.get_color(), line.get_alpha()): line for line in axes.lines}
        for position, label in enumerate(("qmix", "qmix + ReBorn")):
            colour = line_style(position)["color"]
            for series, alpha in (("evaluation", None), ("training", 0.3)):
                own = spec.table[(spec.table["label"] == label) & (spec.table["series"] == series)]
                np.testing.assert_array_equal(drawn[colour, alpha].get_xdata(), own["env_steps"])
                np.testing.assert_array_equal(drawn[colour, alpha].get_ydata(), own["value"])
        np.testing.assert_array_equal(drawn[REFERENCE_COLOUR, None].get_ydata(), [2, 2])
        assert drawn[REFERENCE_COLOUR, None].get_linestyle() == "--"
        own = spec.table[(spec.table["label"] == "qmix") & (spec.table["series"] == "evaluation")]
        edges = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert edges.min() == own["low"].min()
        assert edges.max() == own["high"].max()

    def test_a_single_seed_has_no_band_and_says_so(self, runs: Path) -> None:
        groups, _ = group_runs(load_runs(runs / "matrix")[0])
        spec = task_figures(groups, None, reps=20)[0]
        (axes,) = spec.draw(spec).axes
        texts = [text.get_text() for text in axes.texts]
        assert len(axes.collections) == 0
        assert "qmix, 1 seed" in texts
        assert any("no band" in text for text in texts)

    def test_win_rate_says_how_many_episodes_a_point_has(self, specs: dict[str, FigureSpec]) -> None:
        spec = specs["predator_prey_small_win_rate"]
        assert "Wilson" in spec.note
        assert "24 episodes per point" in spec.note

    def test_nothing_is_smoothed_and_this_is_said(self, specs: dict[str, FigureSpec]) -> None:
        assert all("not smoothed" in spec.note for spec in specs.values())

    def test_equal_runs_give_equal_bytes(self, specs: dict[str, FigureSpec], tmp_path: Path) -> None:
        spec = specs["predator_prey_small_win_rate"]
        first, second = (save_figure(spec, tmp_path / name, COMMAND) for name in ("a", "b"))
        for ending in ENDINGS:
            assert getattr(first, ending).read_bytes() == getattr(second, ending).read_bytes(), ending

    def test_another_metric_is_one_entry_in_the_table(self, tmp_path: Path) -> None:
        name = "plasticity/effective_rank"
        lines = [{"env_steps": i, name: i / 10} for i in range(1, 5)]
        groups, _ = group_runs(load_runs(write_run(tmp_path / "run", lines=lines))[0])
        entry = MetricCurve(name, "Effective rank of the mixer", figure="rank", limits=(0, 1))
        (spec,) = task_figures(groups, None, curves=[*figures.CURVES, entry])
        assert spec.stem == "predator_prey_small_rank"
        (axes,) = spec.draw(spec).axes
        assert axes.get_title(loc="left") == entry.title
        assert axes.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3, 0.4]

    def test_labels_do_not_overlap(self, tmp_path: Path) -> None:
        # Six groups that end at one point: their names must be moved apart.
        for i in range(6):
            settings = config(seed=1, training={"lr": i})
            write_run(tmp_path / str(i), settings=settings, lines=rows(seed=1))
        groups, _ = group_runs(load_runs(tmp_path)[0])
        spec = task_figures(groups, None, reps=10, curves=())[0]
        figure = spec.draw(spec)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        # Text.get_window_extent is that of the text alone; Annotation's would hold the leader line as well.
        boxes = [
            Text.get_window_extent(text, canvas.get_renderer())
            for text in figure.axes[0].texts
            if "1 seed" in text.get_text()
        ]
        assert len(boxes) == 6
        bottoms_up = sorted(boxes, key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(bottoms_up))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Runs that measure dormancy, with ReBorn and without, beside a run of an earlier version."""
    top = tmp_path_factory.mktemp("plasticity")
    for seed in (1, 2):
        training = {"lr": 0.0005, "dormancy": DORMANCY}
        lines, events = plasticity(seed=seed, lines=rows(seed=seed), treated=True)
        settings = config(algorithm="QMIX", seed=seed, training=training, interventions=[REBORN])
        write_run(top / f"reborn_{seed}", settings=settings, lines=lines, end=final(seed=seed), events=events)
        lines, events = plasticity(seed=seed, lines=rows(seed=seed))
        settings = config(algorithm="QMIX", seed=seed, training=training)
        write_run(top / f"plain_{seed}", settings=settings, lines=lines, end=final(seed=seed), events=events)
    write_run(top / "old", settings=config(algorithm="VDN"), lines=rows(), end=final())
    return write_report(top, top / "report", reps=20)


class TestPlasticity:
    def spec(self, measured: Report, name: str) -> FigureSpec:
        groups, _ = group_runs(load_runs(measured.folder.parent)[0])
        (found,) = [spec for spec in task_figures(groups, None, reps=20) if spec.stem.endswith(name)]
        return found

    def test_the_figures_are_in_the_report(self, measured: Report) -> None:
        stems = [files.png.stem.removeprefix("predator_prey_small_") for files in measured.figures]
        dormancy = ["dormancy", "nas_ranking", "overlap", "redormancy", "dormancy_layers", "dormancy_heatmap"]
        assert stems == ["final", "profile", "return", "win_rate", "learning", *dormancy]

    def test_the_section_has_a_row_for_each_group_that_was_measured(self, measured: Report) -> None:
        text = measured.markdown.read_text()
        section = text[text.index("### Plasticity") : text.index("### Curves")]
        assert "| QMIX | 52.3 % [" in section  # 45 and 22 of 64 neurons
        assert "| QMIX + ReBorn (paper) | ReBorn (paper) | 5 per seed |" in section
        assert "- **QMIX + ReBorn (paper)**, ReBorn (paper): every 2,000 env steps, on the mixer" in section
        assert "VDN" not in section

    def test_summary_json_has_the_same_numbers(self, measured: Report) -> None:
        data = json.loads(measured.summary_json.read_text())
        assert group(data, "VDN")["plasticity"] is None
        plain, treated = (group(data, label)["plasticity"] for label in ("QMIX", "QMIX + ReBorn (paper)"))
        assert plain["nets"]["mixer"]["final"]["estimate"] == pytest.approx(67 / 128)
        assert plain["nets"]["mixer"]["final"]["n"] == 2
        assert plain["interventions"] == []
        assert treated["nets"]["mixer"]["final"]["estimate"] < plain["nets"]["mixer"]["final"]["estimate"]
        (intervention,) = treated["interventions"]
        assert (intervention["applications"], intervention["function_drift"]) == ([5, 5], 0.01)

    def test_the_caption_defines_what_is_shown_with_the_thresholds_of_the_config(self, measured: Report) -> None:
        (files,) = [files for files in measured.figures if files.png.stem.endswith("small_dormancy")]
        for part in ("at most alpha (0.1)", "at least beta (3)", "pooled over", "(QMIX + ReBorn (paper): 5)"):
            assert part in files.caption

    @pytest.mark.parametrize("name", ["_return", "_dormancy"])
    def test_interventions_are_ticks_below_the_data(self, measured: Report, name: str) -> None:
        spec = self.spec(measured, name)
        marks = spec.table[spec.table["series"] == "intervention"]
        assert marks["label"].unique().tolist() == ["QMIX + ReBorn (paper)"]
        assert marks["value"].tolist() == [1, 2, 3, 4, 5]
        for axes in spec.draw(spec).axes:
            (ticks,) = [line for line in axes.lines if line.get_marker() == "|"]
            assert ticks.get_color() == line_style(2)["color"]
            np.testing.assert_array_equal(ticks.get_xdata(), marks["env_steps"])
            # In the coordinates of the axes; the data must be above.
            low, high = axes.get_ylim()
            lowest = min(
                float(np.min(line.get_ydata())) for line in axes.lines if line.get_transform() == axes.transData
            )
            assert 0 < ticks.get_ydata()[0] < (lowest - low) / (high - low)
            assert all(tick >= low + (high - low) * ticks.get_ydata()[0] for tick in axes.get_yticks())

    def test_a_group_keeps_its_colour_where_others_have_nothing_to_show(self, measured: Report) -> None:
        spec = self.spec(measured, "_dormancy")
        assert set(spec.table["label"]) == {"QMIX", "QMIX + ReBorn (paper)"}
        axes = spec.draw(spec).axes[0]
        # Sorted: QMIX, VDN, QMIX + ReBorn. VDN has no dormancy, and its colour stays free.
        drawn = [line.get_color() for line in axes.lines if line.get_transform() == axes.transData]
        assert drawn == [line_style(0)["color"], line_style(2)["color"]]


class TestExports:
    def test_marl_eval(self, report: Report) -> None:
        data = json.loads(report.marl_eval_json.read_text())
        assert sorted(data) == ["matrix", "predator_prey"]
        algorithms = data["predator_prey"]["small"]
        assert sorted(algorithms) == ["qmix", "qmix + ReBorn"]
        assert sorted(algorithms["qmix"]) == ["seed_1", "seed_2"]  # seed 3 has no absolute metric
        run, lines = algorithms["qmix"]["seed_1"], [r for r in rows(seed=1) if r["eval/returns"]]
        assert list(run) == [*(f"step_{i}" for i in range(1, 11)), "absolute_metrics"]
        assert run["step_1"] == {
            "step_count": lines[0]["env_steps"],
            "return": lines[0]["eval/returns"],
            "win_rate": [lines[0]["eval/win_rate"]],
        }
        assert run["absolute_metrics"]["return"] == policy_returns(1).tolist()
        assert "win_rate" not in data["matrix"]["two_step"]["qmix"]["seed_5"]["step_1"]

    def test_latex(self, report: Report) -> None:
        text = report.latex_table.read_text()
        lines = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert len(lines) == 1 + 3
        assert {line.count(" & ") for line in lines} == {5}
        assert r"predator\_prey/small & qmix + ReBorn & 3 & " in text


class TestWriting:
    def test_a_run_can_hold_its_own_report_and_be_reported_again(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", lines=[{"env_steps": 1, "eval/return_mean": 2.0}])
        first = write_report(folder, folder / "report", reps=10, curves=())
        text = first.markdown.read_bytes(), first.summary_json.read_bytes()
        again = write_report(folder, folder / "report", reps=10, curves=())
        assert (again.markdown.read_bytes(), again.summary_json.read_bytes()) == text

    def test_tasks_with_like_names_keep_their_own_files(self, tmp_path: Path) -> None:
        for i, env in enumerate(("a/b", "a_b")):
            lines = [{"env_steps": 1, "eval/return_mean": 2.0}]
            write_run(tmp_path / "runs" / str(i), settings=config(env=env), lines=lines)
        report = write_report(tmp_path / "runs", tmp_path / "out", reps=10, curves=())
        assert len({files.png for files in report.figures}) == len(report.figures) == 2

    def test_a_bar_in_a_setting_does_not_break_the_table(self, tmp_path: Path) -> None:
        for i, text in enumerate(("x|y", "z")):
            settings = config(training={"note": text})
            write_run(tmp_path / "runs" / str(i), settings=settings, lines=[{"env_steps": 1}])
        report = write_report(tmp_path / "runs", tmp_path / "out")
        assert "x\\|y" in report.markdown.read_text()

    def test_mistakes_are_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="does not exist"):
            write_report(tmp_path / "none", tmp_path / "out")
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="is a file"):
            write_report(write_run(tmp_path / "run"), tmp_path / "file")
        assert not (tmp_path / "out").exists()


def test_importing_the_room_brings_neither_ray_nor_torch_nor_matplotlib(runs: Path) -> None:
    code = (
        "import sys, rllib_reborn.evaluation as e\n"
        f"e.load_runs({str(runs / 'matrix')!r})\n"
        "print([m for m in ('ray', 'torch', 'matplotlib', 'scipy', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
