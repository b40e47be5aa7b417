"""The page in a real browser: what it draws, how it is used, and that it asks for nothing outside."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_reborn.evaluation.analysis import analyse
from rllib_reborn.evaluation.page import find_films, page_data, render_page
from rllib_reborn.evaluation.page.live import LiveRuns
from rllib_reborn.evaluation.page.server import LivePage
from rllib_reborn.evaluation.runs import load_runs
from tests.evaluation.page.browser import Tab, browser
from tests.evaluation.page.test_page_data import GIF, HOSTILE, measured_run
from tests.evaluation.synthetic import config, final, rows, write_run

pytestmark = pytest.mark.long

RETURN = "document.querySelector('#t0-results-return-0 svg[tabindex]')"
TIP = "document.querySelector('#t0-results-return-0 .tip:not([hidden])')"
#: Elements that stick out of the window though no box of their own lets them be scrolled to.
STICKING_OUT = """[...document.querySelectorAll('main *')].filter((node) => {
  const box = node.getBoundingClientRect();
  return box.width > 0 && box.right > innerWidth + 1 && !node.closest('.table-box, .nav ul');
}).length"""
#: Texts of charts that are cut by the edge of their card.
CUT = """[...document.querySelectorAll('.figure svg text')].filter((text) => {
  const [own, card] = [text.getBoundingClientRect(), text.closest('.card').getBoundingClientRect()];
  return own.width > 0 && (own.left < card.left - 0.5 || own.right > card.right + 0.5);
}).map((text) => text.textContent)"""
#: Of each figure the widths of its panels, and how many stand in its last row.
PANELS = """[...document.querySelectorAll('.panels')].map((grid) => {
  const boxes = [...grid.children].map((panel) => panel.getBoundingClientRect());
  const beside = (one) => boxes.filter((box) => box.top === one.top).length;
  return [new Set(boxes.map((box) => Math.round(box.width))).size, boxes.length, beside(boxes.at(-1)), beside(boxes[0])];
})"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("page")
    for seed in (1, 2):
        measured_run(top / f"plain_{seed}", seed=seed)
        measured_run(top / f"treated_{seed}", seed=seed, treated=True)
        measured_run(top / f"long_{seed}", seed=seed, algorithm="a_name_that_goes_on_and_on_" * 3)
        measured_run(top / f"hostile_{seed}", seed=seed, algorithm=HOSTILE)
    (top / "plain_1" / "episode.gif").write_bytes(GIF)
    found = analyse(load_runs(top)[0], reps=20)
    path = top / "report.html"
    path.write_text(render_page(page_data(found, films=find_films(found.groups))), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1000, 390])
def test_it_fits_and_asks_for_nothing(tab: Tab, file: Path, width: int, dark: bool) -> None:
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(file.as_uri(), width=width, dark=dark)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(STICKING_OUT) == 0
    assert tab.evaluate(CUT) == []
    for widths, panels, in_last_row, in_first_row in tab.evaluate(PANELS):
        assert widths == 1
        assert panels == 1 or in_last_row > 1 or in_first_row == 1
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 21, 24)") is dark
    assert tab.requests == [file.as_uri()]
    assert tab.complaints == []
    assert tab.evaluate("document.querySelectorAll('main img[src]').length") == 0  # hostile names stayed text


def test_the_cross_hair_reads_what_the_data_hold(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    data = tab.evaluate("JSON.parse(document.querySelector('#data').textContent)")
    figure = next(one for one in data["tasks"][0]["sections"][0]["figures"] if one["name"] == "return")
    tab.evaluate(f"{RETURN}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    left, top, width, height = tab.evaluate(
        f"(() => {{ const box = {RETURN}.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; }})()"
    )
    assert tab.evaluate(f"Boolean({TIP})") is False
    tab.move_to(left + width - 12, top + height / 2)  # the last point
    text = tab.evaluate(f"{TIP}.innerText")
    line = figure["panels"][0]["lines"][0]
    steps = data["grids"][line["x"]][-1]
    assert f"{steps:,} env steps" in text
    assert "2 seeds, 16 episodes each" in text
    value, low = (f"{float(f'{line[name][-1]:.4g}'):g}" for name in ("y", "low"))
    assert f"{value} [{low}" in text
    for label in figure["labels"]:
        assert " ".join(label.split()) in " ".join(text.split())
    tab.move_to(2, 2)
    assert tab.evaluate(f"Boolean({TIP})") is False


def test_keys_move_the_cross_hair(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    tab.evaluate(f"{RETURN}.focus()")
    read = []
    for key in ("End", "ArrowLeft", "Home", "ArrowRight"):
        tab.press(key)
        read.append(tab.evaluate(f"{TIP}.querySelector('.tip-head').textContent"))
    steps = [int(text.split(" ")[0].replace(",", "")) for text in read]
    assert steps[0] > steps[1] > steps[3] > steps[2]
    assert read[3].split(",")[0].split(" ")[0] in tab.evaluate("document.querySelector('#announce').textContent")
    tab.press("Escape")
    assert tab.evaluate(f"Boolean({TIP})") is False
    tab.press("Tab")
    assert tab.evaluate("document.activeElement !== document.body")


def test_a_press_on_a_column_sorts_and_the_third_undoes_it(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    table = "[...document.querySelectorAll('.table-card')].find((one) => one.innerText.startsWith('Every run'))"
    column = f"[...{table}.querySelectorAll('.sorter')].find((one) => one.textContent === 'return')"
    place = tab.evaluate(f"[...{table}.querySelectorAll('.sorter')].indexOf({column})")
    cells = f"[...{table}.querySelectorAll('tbody tr')].map((row) => row.cells[{place}].textContent)"
    found = []
    before = tab.evaluate(cells)
    for _ in range(3):
        tab.evaluate(f"{column}.click()")
        found.append(tab.evaluate(cells))
    numbers = [[float(cell.split(" ")[0]) for cell in cells] for cells in found]
    assert numbers[0] == sorted(numbers[0])
    assert numbers[1] == sorted(numbers[1], reverse=True)
    assert found[2] == before
    assert numbers[0] != numbers[1]


def test_a_group_is_hidden_in_all_figures_and_shown_again(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    lines = "document.querySelectorAll('.line:not(.faint):not(.beside)').length"
    before = tab.evaluate(lines)
    tab.evaluate("document.querySelector('#t0-results-return-0 .chip').click()")
    assert tab.evaluate("document.querySelector('#t0-results-return-0 .chip').getAttribute('aria-pressed')") == "false"
    assert tab.evaluate(lines) < before - 5
    tab.evaluate("document.querySelector('.chip.all').click()")
    assert tab.evaluate(lines) == before


def test_a_film_is_shown_when_it_is_opened(tab: Tab, file: Path) -> None:
    tab.open(file.as_uri())
    assert tab.evaluate("document.querySelector('.film img').src") == ""
    tab.evaluate("document.querySelector('.film details').open = true")
    tab.wait_for("document.querySelector('.film img').src.startsWith('data:image/gif')")


def test_watch_shows_a_new_row_within_five_seconds(tab: Tab, tmp_path: Path) -> None:
    lines = rows(iterations=12)
    folder = write_run(tmp_path / "run", settings=config(seed=1), lines=lines[:6])
    page = LivePage(LiveRuns([tmp_path]).look)
    thread = threading.Thread(target=page.serve)
    thread.start()
    try:
        tab.requests.clear()
        tab.complaints.clear()
        tab.open(page.address)
        shown = "document.querySelector('#progress-table tbody').textContent"
        tab.wait_for(f"{shown}.includes('{lines[5]['env_steps']:,}')")
        tab.evaluate("document.querySelector('#progress-table-c0').focus()")
        begin = time.monotonic()
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(lines[6]) + "\n")
        tab.wait_for(f"{shown}.includes('{lines[6]['env_steps']:,}')", within_s=5)
        print(f"a new row after {time.monotonic() - begin:.1f} s")
        assert tab.evaluate("document.activeElement.id") == "progress-table-c0"  # the reader stays where they are
        write_run(tmp_path / "trial" / "s2", settings=config(seed=2), lines=lines, end=final(seed=2))
        tab.wait_for(f"{shown}.includes('trial/s2')")
        assert {request.partition(str(page.port))[2] for request in tab.requests} == {"/", "/data.json?wait"}
        assert tab.complaints == []
    finally:
        page.stop()
        thread.join(20)
    tab.wait_for("document.querySelector('#status').classList.contains('lost')")
