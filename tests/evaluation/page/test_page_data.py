"""The page's data and file: equal to the report's tables, free of anything outside, and safe with hostile names."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.evaluation.analysis import Analysis, analyse
from rllib_reborn.evaluation.page import HTML_FILE, find_films, page_data, render_page
from rllib_reborn.evaluation.page import films as films_module
from rllib_reborn.evaluation.page.data import SECTIONS, sort_value
from rllib_reborn.evaluation.page.figure_data import Grids, figure_data, number
from rllib_reborn.evaluation.page.html import asset, json_for_html
from rllib_reborn.evaluation.report import write_report
from rllib_reborn.evaluation.runs import load_runs
from rllib_reborn.evaluation.style import FigureSpec, line_style
from tests.evaluation.synthetic import DORMANCY, REBORN, config, final, plasticity, rows, write_run, write_sweep

GIF = b"GIF89a" + bytes(range(200))
HOSTILE = "</script><img src=x onerror=alert(1)>&lt;@@data@@ \u2028<!-- ' \" `"


def analysis_of(top: Path, reps: int = 10) -> Analysis:
    records, broken = load_runs(top)
    return analyse(records, broken, reps=reps)


def measured_run(folder: Path, *, seed: int, treated: bool = False, iterations: int = 20, **settings: Any) -> Path:
    lines, events = plasticity(seed=seed, lines=rows(seed=seed, iterations=iterations), treated=treated)
    given = {"training": {"lr": 0.0005, "dormancy": DORMANCY}, "interventions": [REBORN] if treated else []} | settings
    return write_run(folder, settings=config(seed=seed, **given), lines=lines, end=final(seed=seed), events=events)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    top = tmp_path_factory.mktemp("measured")
    for seed in (1, 2):
        measured_run(top / f"plain_{seed}", seed=seed)
        measured_run(top / f"treated_{seed}", seed=seed, treated=True)
    (top / "plain_1" / "episode.gif").write_bytes(GIF)
    return analysis_of(top)


def spec_of(found: Analysis, name: str) -> FigureSpec:
    return next(spec for spec in found.tasks[0].figures if spec.chart.name == name)


def figure_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    sections = data["tasks"][0]["sections"]
    return next(figure for section in sections for figure in section["figures"] if figure["name"] == name)


class Outline(html.parser.HTMLParser):
    """Tags and their attributes, and the text of scripts by their type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data


class TestFigures:
    @pytest.mark.parametrize("name", ["return", "win_rate", "dormancy", "dormancy_layers", "overlap", "nas_ranking"])
    def test_a_line_is_the_rows_of_its_group_in_the_table(self, measured: Analysis, name: str) -> None:
        spec = spec_of(measured, name)
        grids = Grids()
        data = figure_data(spec, grids)
        assert data["panels"]
        for panel, shown in zip(spec.chart.panels, data["panels"], strict=True):
            own = spec.table[spec.table[panel.column] == panel.value]
            assert [spec.chart.labels[line["group"]] for line in shown["lines"]] == [
                label for label in spec.chart.labels if (own["label"] == label).any()
            ]
            for line in shown["lines"]:
                table = own[own["label"] == spec.chart.labels[line["group"]]]
                np.testing.assert_allclose(grids.lists[line["x"]], table[spec.chart.x])
                np.testing.assert_allclose(line["y"], table[spec.chart.y], rtol=1e-5)
                np.testing.assert_allclose(line["low"], table["low"], rtol=1e-5)
                np.testing.assert_allclose(line["high"], table["high"], rtol=1e-5)
                assert line["n"] == 2

    def test_episodes_and_marks_are_there(self, measured: Analysis) -> None:
        data = page_data(measured)
        shown = figure_of(data, "return")
        assert shown["panels"][0]["lines"][0]["episodes"] == 16
        assert [level["name"] for level in shown["levels"]] == ["random policy"]
        (mark,) = shown["marks"]
        assert (mark["group"], mark["number"]) == (1, [1, 2, 3, 4, 5])
        assert len(data["grids"][mark["x"]]) == 5

    def test_the_heat_map_has_every_layer_of_every_group(self, measured: Analysis) -> None:
        data = page_data(measured)
        shown = figure_of(data, "dormancy_heatmap")
        assert shown["row_names"] == ["mixer/hyper_w_final (64)", "mixer/V (64)", "agent/fc1 (64)"]
        assert [panel["title"] for panel in shown["panels"]] == ["qmix", "qmix + ReBorn (paper)"]
        plain = shown["panels"][0]
        assert [row["row"] for row in plain["rows"]] == [0, 1, 2]
        assert plain["rows"][0]["y"][-1] == pytest.approx(45 / 64, abs=1e-5)  # level 0.7 of 64 neurons
        assert plain["marks"] == []
        steps, edges = data["grids"][plain["rows"][0]["x"]], data["grids"][plain["rows"][0]["edges"]]
        assert len(edges) == len(steps) + 1
        assert all(low < at < high for low, at, high in zip(edges, steps, edges[1:]))

    def test_the_final_figure_has_single_runs(self, measured: Analysis) -> None:
        shown = figure_of(page_data(measured), "final")
        assert [row["label"] for row in shown["rows"]] == ["qmix", "qmix + ReBorn (paper)", "random policy"]
        assert [len(row["runs"]) for row in shown["rows"]] == [2, 2, 0]
        assert [row["group"] for row in shown["rows"]] == [0, 1, None]

    def test_a_sweep_has_its_settings_and_its_map(self, tmp_path: Path) -> None:
        top = write_sweep(tmp_path, {f"interventions.0.{key}": {} for key in ("alpha", "beta")}, ["none"])
        points = {(a, b): [{"kind": "reborn", "alpha": a, "beta": b}] for a in (1, 2) for b in (3, 4)}
        for (a, b), interventions in points.items():
            for seed in (0, 1):
                end = {"policy": {"returns": [a + b + seed] * 2, "won": None}, "random": None}
                settings = config(seed=seed, interventions=interventions)
                write_run(
                    top / f"alpha={a},beta={b}" / f"s{seed}", settings=settings, lines=rows(iterations=2), end=end
                )
        data = page_data(analysis_of(top))
        by_setting, heights = figure_of(data, "sensitivity"), figure_of(data, "map")
        assert [panel["title"] for panel in by_setting["panels"]] == ["interventions.0.alpha", "interventions.0.beta"]
        # alpha 1: points (1, 3) and (1, 4), seeds 0 and 1: 4.5 and 5.5.
        assert by_setting["panels"][0]["means"][0]["y"] == 5
        assert by_setting["panels"][0]["seeds"] == [[0, 4.5], [0, 5.5], [1, 5.5], [1, 6.5]]
        assert sorted(heights["panels"][0]["cells"]) == [[0, 0, 4.5, 2], [0, 1, 5.5, 2], [1, 0, 5.5, 2], [1, 1, 6.5, 2]]
        assert (heights["row_names"], heights["column_names"]) == (["1", "2"], ["3", "4"])

    def test_colours_are_those_of_the_pictures(self, measured: Analysis) -> None:
        data = page_data(measured)
        assert [style["colour"] for style in data["styles"]] == [line_style(at)["color"] for at in range(2)]

    def test_every_figure_is_in_a_section(self, measured: Analysis) -> None:
        sections = page_data(measured)["tasks"][0]["sections"]
        names = [figure["name"] for section in sections for figure in section["figures"]]
        assert sorted(names) == sorted(spec.chart.name for spec in measured.tasks[0].figures)
        assert [section["title"] for section in sections] == [title for title, _ in SECTIONS if title != "Sensitivity"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        (3.0, 3),
        (1_234_567.0, 1_234_567),
        (0.123456789, 0.123457),
        (np.float64(2.5), 2.5),
        (1e300, 1e300),
    ],
)
def test_numbers_are_whole_or_of_six_digits_and_never_nan(value: Any, shown: float | None) -> None:
    assert number(value) == shown


def test_a_run_whose_training_exploded_has_a_page(tmp_path: Path) -> None:
    lines = rows(iterations=6)
    for line in lines[2:]:
        line["train/loss"] = float("inf")
        line["train/grad_norm"] = float("nan")
    write_run(tmp_path / "run", lines=lines, end=final())
    text = render_page(page_data(analysis_of(tmp_path)))
    assert "NaN" not in Outline(text).scripts[0]
    assert "Infinity" not in Outline(text).scripts[0]


class TestTables:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("26 [-9, 62]", 26),
            ("-14.77 [-14.92, -14.61]", -14.77),
            ("+10.6 [5.1, 16.0]", 10.6),
            ("100,800", 100_800),
            ("100,800 to 101,000", 100_800),
            ("39.4 % [19.0, 59.8]", 39.4),
            ("45 s", 45),
            ("12 min", 720),
            ("3 h 05 min", 11_100),
            ("3 (0, 1, 2)", 3),
            ("-", None),
            ("3m", None),
            ("QMIX", None),
            ("", None),
        ],
    )
    def test_a_cell_is_sorted_by_the_number_that_it_begins_with(self, text: str, value: float | None) -> None:
        assert sort_value(text) == value

    def test_columns_of_numbers_have_values_and_names_have_none(self, measured: Analysis) -> None:
        (table,) = [one for one in page_data(measured)["tasks"][0]["tables"] if one["title"] == "Every run"]
        by_name = dict(zip(table["head"], table["values"]))
        assert by_name["run"] is None
        assert by_name["seed"] == [1, 2, 1, 2]
        assert by_name["wall time"] == [60, 60, 60, 60]
        assert all(len(row) == len(table["head"]) for row in table["rows"])


class TestFile:
    def test_nothing_outside_is_referred_to(self, measured: Analysis) -> None:
        text = render_page(page_data(measured, films=find_films(measured.groups)))
        # The one address is the name of SVG's elements, which no browser opens.
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) == {"http://www.w3.org/2000/svg"}
        for word in ("url(", "@import", "import(", "XMLHttpRequest", "WebSocket", "EventSource", "eval(", "innerHTML"):
            assert word not in text, word
        outline = Outline(text)
        assert {attributes.get("href") for _, attributes in outline.tags} <= {None, "data:,", "#main"}
        assert all(not {"src", "srcset", "action", "style"} & set(attributes) for _, attributes in outline.tags)
        policy = next(a["content"] for _, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert "unsafe" not in policy

    def test_hostile_names_stay_text(self, tmp_path: Path) -> None:
        folder = tmp_path / "<b>run"
        write_run(folder, settings=config(algorithm=HOSTILE, env=f"a/{HOSTILE}"), lines=rows(iterations=4), end=final())
        write_run(tmp_path / "other", settings=config(algorithm="vdn", env=f"a/{HOSTILE}"), lines=rows(iterations=4))
        broken = tmp_path / "broken<script>"
        broken.mkdir()
        (broken / "config.yaml").write_text("{")
        found = analysis_of(tmp_path)
        left_out = [(one.path.name, one.reason) for one in found.left_out]
        text = render_page(page_data(found, command=f"report {HOSTILE}", left_out=left_out))
        outline = Outline(text)
        assert [tag for tag, _ in outline.tags].count("script") == 2
        assert "img" not in [tag for tag, _ in outline.tags]
        assert "<!--" not in text
        data = json.loads(outline.scripts[0])
        assert data["tasks"][0]["task"] == f"a/{HOSTILE}"
        assert data["command"] == f"report {HOSTILE}"
        assert HOSTILE in figure_of(data, "return")["labels"]
        assert data["left_out"]["rows"][0][0] == "broken<script>"

    def test_what_is_filled_in_is_not_filled_again(self) -> None:
        assert "@@" not in asset("page.css") + asset("page.js") + asset("draw.js") + asset("charts.js")
        data = {"title": "@@script@@", "tasks": []}
        assert "<title>@@script@@</title>" in render_page(data)

    def test_names_that_are_no_unicode_can_be_written(self) -> None:
        assert json.loads(json_for_html({"a": "\udcff<"})) == {"a": "\udcff<"}

    def test_the_command_writes_it_beside_the_figures(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", lines=rows(iterations=4), end=final())
        with_page = write_report(folder, tmp_path / "with", reps=5, curves=(), html=True)
        without = write_report(folder, tmp_path / "without", reps=5, curves=())
        assert with_page.html == tmp_path / "with" / HTML_FILE
        assert with_page.html.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert without.html is None
        assert not (tmp_path / "without" / HTML_FILE).exists()

    def test_twelve_long_runs_are_under_five_megabytes(self, tmp_path: Path) -> None:
        lines, events = plasticity(seed=1, lines=rows(iterations=1_000))
        for at, algorithm in enumerate(("qmix", "vdn", "iql", "qplex")):
            for seed in range(3):
                settings = config(algorithm=algorithm, seed=seed, training={"lr": 0.1 * at, "dormancy": DORMANCY})
                write_run(tmp_path / f"{algorithm}_{seed}", settings=settings, lines=lines, end=final(), events=events)
                (tmp_path / f"{algorithm}_{seed}" / "episode.gif").write_bytes(GIF[:6] + bytes(400_000))
        found = analysis_of(tmp_path, reps=5)
        films = find_films(found.groups)
        assert [bool(film.data) for film in films] == [True] * 6 + [False] * 6  # 2.5 MB in all
        text = render_page(page_data(found, films=films))
        assert len(text.encode()) < 5_000_000


class TestFilms:
    def test_a_film_is_on_the_page_as_it_is(self, measured: Analysis) -> None:
        (film,) = find_films(measured.groups)
        assert (film.run, film.group, film.data) == ("plain_1", "qmix", GIF)
        assert film.source.startswith("data:image/gif;base64,R0lGODlh")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"<svg onload=alert(1)>", "is no GIF"), (GIF + bytes(2_000), "is larger than 1,000 bytes")],
    )
    def test_what_is_no_film_or_too_large_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
    ) -> None:
        monkeypatch.setattr(films_module, "MOST_BYTES", 1_000)
        folder = write_run(tmp_path / "run", lines=rows(iterations=2))
        (folder / "episode.gif").write_bytes(content)
        (film,) = find_films(analysis_of(tmp_path).groups)
        assert (film.data, film.source, film.left_out) == (b"", "", reason)
