"""The site in a headless Chromium: a monitor and a phone, light and dark, search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evaluation.page.browser import Tab, browser

pytestmark = pytest.mark.long

#: Elements of the text that stick out to the right, but for those inside something that scrolls.
STICKING_OUT = """
JSON.stringify([...document.querySelectorAll('article *')].filter(element => {
    if (element.getBoundingClientRect().right <= window.innerWidth + 1) return false;
    for (let above = element; above && above.tagName !== 'ARTICLE'; above = above.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(above).overflowX)) return false;
    return true;
}).map(element => `${element.tagName} ${element.textContent.slice(0, 40)}`).slice(0, 3))
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_the_screen(html: Path, tab: Tab, width: int) -> None:
    wrong = {}
    for page in sorted(html.rglob("*.html")):
        if "_modules" in page.parts or "_static" in page.parts:
            continue
        tab.open(page.as_uri(), width=width, dark=width == 390)
        over = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        out = tab.evaluate(STICKING_OUT)
        if over > 0 or out != "[]":
            wrong[page.relative_to(html).as_posix()] = (over, out)
    assert wrong == {}
    assert tab.complaints == []
    assert [request for request in tab.requests if request.startswith("http")] == []


def test_search_finds(html: Path, tab: Tab) -> None:
    tab.open((html / "search.html").as_uri() + "?q=dormant")
    tab.wait_for("document.querySelectorAll('#search-results li').length > 3")


def test_light_and_dark(html: Path, tab: Tab) -> None:
    page = (html / "index.html").as_uri()
    colours = []
    for dark in (False, True):
        tab.open(page, dark=dark)
        colours.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
