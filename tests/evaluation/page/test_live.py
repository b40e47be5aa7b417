"""Runs that go on: what is new is read, and the server gives out nothing but them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.metrics_rows import GrowingRows, read_rows
from rllib_reborn.evaluation.page import live
from rllib_reborn.evaluation.page.live import LiveRuns
from rllib_reborn.evaluation.page.server import LivePage
from rllib_reborn.evaluation.runs import RunError
from rllib_reborn.parsing import ParseError
from rllib_reborn.parsing.lines import GrowingLines
from tests.evaluation.synthetic import config, final, plasticity, rows, write_run

GIF = b"GIF89a" + bytes(50)


def append(folder: Path, line: dict[str, Any], *, whole: bool = True) -> None:
    text = json.dumps(line)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{text}\n" if whole else text[: len(text) // 2])


def progress_of(data: bytes) -> list[list[str]]:
    return [row[:5] for row in json.loads(data)["progress"]["rows"]]


class TestGrowingFiles:
    def lines(self, path: Path) -> GrowingLines:
        return GrowingLines(path, most_bytes=1_000, most_of_a_line=10)

    def test_each_line_is_given_once_and_when_it_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"one\n\ntw")
        growing = self.lines(path)
        assert growing.new() == ([b"one\n"], True)
        assert growing.new() == ([], False)
        with path.open("ab") as file:
            file.write(b"o\nthree\n")
        assert growing.new() == ([b"two\n", b"three\n"], False)

    @pytest.mark.parametrize("now", [b"one\n", b"one\nTWO\nthree\n", b"", b"other\nlines\nand\nmore\n"])
    def test_a_file_that_is_cut_or_changed_is_read_again(self, tmp_path: Path, now: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"one\ntwo\n")
        growing = self.lines(path)
        growing.new()
        path.write_bytes(now)
        lines, from_beginning = growing.new()
        assert from_beginning
        assert b"".join(line for line in lines if line) == now

    def test_a_file_in_its_place_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        path, beside = tmp_path / "file", tmp_path / "beside"
        path.write_bytes(b"one\n")
        growing = self.lines(path)
        growing.new()
        beside.write_bytes(b"one\ntwo\n")
        beside.replace(path)
        assert growing.new() == ([b"one\n", b"two\n"], True)

    def test_limits(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 30 + b"\nshort\n")
        assert self.lines(path).new() == ([None, b"short\n"], True)
        path.write_bytes(b"x" * 1_001)
        with pytest.raises(ParseError, match="is larger than 1,000 bytes"):
            self.lines(path).new()
        with pytest.raises(ParseError, match="cannot be read"):
            self.lines(tmp_path / "missing").new()

    def test_rows_that_grow_are_those_of_the_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        given = [{"env_steps": steps, "updates": steps} for steps in (1, 2, 3, 2, 4)]  # resumed at 2
        path.write_text("")
        growing = GrowingRows(path)
        for line in given:
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            growing.read()
        assert growing.read() == read_rows(path)
        assert [row["env_steps"] for row in growing.read().rows] == [1, 2, 4]


class TestLiveRuns:
    def test_a_new_row_and_a_new_run_are_there_at_the_next_look(self, tmp_path: Path) -> None:
        lines = rows(iterations=6)
        first = write_run(tmp_path / "first", settings=config(seed=1), lines=lines[:4])
        runs = LiveRuns([tmp_path])
        begin = runs.look()
        assert begin is not None
        assert progress_of(begin.data) == [["first", "not ended", "4", f"{lines[3]['env_steps']:,}", "10,000"]]
        assert runs.look() is None  # nothing new
        append(first, lines[4])
        append(first, lines[5], whole=False)
        found = runs.look()
        assert found is not None
        assert found.tag != begin.tag
        assert progress_of(found.data)[0][2] == "5"
        assert "unreadable" not in found.data.decode()  # a line that is being written is no mistake
        write_run(tmp_path / "sweep" / "point" / "s2", settings=config(seed=2), lines=lines, end=final(seed=2))
        later = runs.look()
        assert later is not None
        assert [row[:2] for row in progress_of(later.data)] == [["first", "not ended"], ["point/s2", "ended"]]

    def test_only_what_has_changed_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for seed in (1, 2):
            write_run(tmp_path / f"run_{seed}", settings=config(seed=seed), lines=rows(iterations=3))
        runs = LiveRuns([tmp_path])
        runs.look()
        read: list[str] = []
        real = live.read_run
        monkeypatch.setattr(live, "read_run", lambda path, **more: (read.append(path.name), real(path, **more))[1])
        append(tmp_path / "run_2", rows(iterations=4)[3])
        runs.look()
        assert read == ["run_2"]

    def test_events_that_grow_are_on_the_page(self, tmp_path: Path) -> None:
        lines, events = plasticity(lines=rows(iterations=8))
        folder = write_run(tmp_path / "run", lines=lines, events=events[:2])
        runs = LiveRuns([tmp_path])
        begin = runs.look()
        with (folder / "dormancy" / "events.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events[2:])
        found = runs.look()
        assert begin is not None
        assert found is not None
        shown = [self.checks(one.data) for one in (begin, found)]
        assert shown == [2, 4]

    def checks(self, data: bytes) -> int:
        sections = json.loads(data)["tasks"][0]["sections"]
        figures = {figure["name"]: figure for section in sections for figure in section["figures"]}
        return len(figures["dormancy_heatmap"]["panels"][0]["rows"][0]["y"])

    def test_a_folder_without_runs_waits_for_them(self, tmp_path: Path) -> None:
        runs = LiveRuns([tmp_path])
        empty = runs.look()
        assert empty is None or json.loads(empty.data)["tasks"] == []
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "config.yaml").write_text(json.dumps(config()))
        started = runs.look()
        assert started is not None
        assert progress_of(started.data) == [["run", "no row yet", "-", "-", "-"]]
        assert json.loads(started.data)["left_out"]["rows"] == []
        append(folder, rows(iterations=1)[0])
        found = runs.look()
        assert found is not None
        assert len(json.loads(found.data)["tasks"]) == 1

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"nowhere does not exist; name folders of runs"):
            LiveRuns([tmp_path / "nowhere"])


@pytest.fixture
def page(tmp_path: Path) -> Iterator[LivePage]:
    folder = write_run(tmp_path / "run", lines=rows(iterations=3), end=final())
    (folder / "episode.gif").write_bytes(GIF)
    (tmp_path / "secret.txt").write_text("secret")
    served = LivePage(LiveRuns([tmp_path]).look)
    thread = threading.Thread(target=served.serve)
    thread.start()
    yield served
    served.stop()
    thread.join(20)
    assert not thread.is_alive()


def ask(page: LivePage, path: str, *, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    given = {"Host": f"127.0.0.1:{page.port}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


class TestServer:
    def test_the_page_its_data_and_its_films(self, page: LivePage) -> None:
        answer, content = ask(page, "/")
        assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
        assert b'data-mode="live"' in content
        assert b"connect-src 'self'" in content
        answer, content = ask(page, "/data.json")
        data = json.loads(content)
        assert data["progress"]["rows"][0][1] == "ended"
        answer, content = ask(page, f"/{data['films'][0]['source']}")
        assert (answer.status, answer.getheader("Content-Type"), content) == (200, "image/gif", GIF)
        for header, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            assert answer.getheader(header) == value
        assert answer.getheader("Access-Control-Allow-Origin") is None

    def test_data_that_are_known_are_not_sent_again(self, page: LivePage) -> None:
        tag = ask(page, "/data.json")[0].getheader("ETag")
        assert tag is not None
        answer, content = ask(page, "/data.json", If_None_Match=tag)
        assert (answer.status, content) == (304, b"")

    def test_who_waits_gets_what_is_new(self, page: LivePage, tmp_path: Path) -> None:
        answer, _ = ask(page, "/data.json?wait", If_None_Match='"old"')
        tag = answer.getheader("ETag")
        assert answer.status == 200
        assert tag is not None
        append(tmp_path / "run", rows(iterations=4)[3])
        answer, content = ask(page, "/data.json?wait", If_None_Match=tag)
        assert (answer.status, progress_of(content)[0][2]) == (200, "4")

    @pytest.mark.parametrize(
        "path",
        [
            "/secret.txt",
            "/run/metrics.jsonl",
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "//etc/passwd",
            "/film/../secret.txt",
        ],
    )
    def test_no_other_file_can_be_asked_for(self, page: LivePage, path: str) -> None:
        answer, content = ask(page, path)
        assert answer.status == 404
        assert b"secret" not in content

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""]
    )
    def test_another_name_that_leads_here_is_refused(self, page: LivePage, host: str) -> None:
        for path in ("/", "/data.json"):
            answer, content = ask(page, path, Host=host.format(port=page.port))
            assert answer.status == 403
            assert b"rows" not in content
        assert ask(page, "/", Host=f"localhost:{page.port}")[0].status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_nothing_can_be_written(self, page: LivePage, method: str) -> None:
        assert ask(page, "/data.json", method=method, Content_Length="0")[0].status == 501

    def test_it_listens_on_this_machine_alone(self, page: LivePage) -> None:
        assert page._server.server_address[0] == "127.0.0.1"

    def test_a_port_that_is_taken_is_an_error(self, page: LivePage, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="in use"):
            LivePage(LiveRuns([tmp_path]).look, page.port)
