"""Serves the live page on this machine alone: three kinds of addresses to read, and nothing to write.

Only what :class:`~rllib_reborn.evaluation.page.live.Snapshot` holds can be asked for; no address is ever made a path.
"""

from __future__ import annotations

import http.server
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from rllib_reborn.evaluation.page.live import Snapshot

HOST = "127.0.0.1"
#: Seconds between two looks at the folders; longer where a look itself takes longer.
PAUSE_S = 0.5
#: Seconds that a page which has the present data is kept waiting for newer ones.
HOLD_S = 10.0
#: Seconds that a client may take for its request.
_PATIENCE_S = 10
_SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_LOGGER = logging.getLogger(__name__)


class LivePage:
    """The server, and the thread that keeps what it serves up to date.

    Args:
        look: Gives what is to be served, and ``None`` where nothing has changed; called at once and about twice a second.
        port: 0: a free one.

    Raises:
        OSError: The port is taken, or may not be used.
        ValueError: What ``look`` raises at the first time.
    """

    def __init__(self, look: Callable[[], Snapshot | None], port: int = 0) -> None:
        self._look = look
        first = look()
        if first is None:
            raise ValueError("there is nothing to serve")
        self._now = first
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._server = http.server.ThreadingHTTPServer((HOST, port), self._handler())
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.port}/"

    def serve(self) -> None:
        """Serves until :meth:`stop` is called or the thread is interrupted."""
        watcher = threading.Thread(target=self._keep_up, name="live page", daemon=True)
        watcher.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._stop.set()
            with self._news:
                self._news.notify_all()
            self._server.server_close()
            watcher.join(timeout=_PATIENCE_S)

    def stop(self) -> None:
        """Ends :meth:`serve`; from another thread."""
        self._server.shutdown()

    def newer_than(self, tag: str) -> Snapshot:
        """The present snapshot; where it still has this tag, after a while or when there is another one."""
        with self._news:
            self._news.wait_for(lambda: self._now.tag != tag or self._stop.is_set(), HOLD_S)
            return self._now

    def _keep_up(self) -> None:
        pause = PAUSE_S
        problem = ""
        while not self._stop.wait(pause):
            start = time.monotonic()
            try:
                found = self._look()
                problem = ""
            except Exception as error:  # whatever a folder holds, the page of all others goes on
                found = None
                if str(error) != problem:
                    problem = str(error)
                    _LOGGER.warning("the page stays as it was: %s: %s", type(error).__name__, error)
            if found is not None:
                with self._news:
                    self._now = found
                    self._news.notify_all()
            # Half of the time at most, so that looking does not slow down what is looked at.
            pause = max(PAUSE_S, time.monotonic() - start)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers GET and HEAD; of all else its base says that it is not supported."""

            server_version = "rllib-reborn"
            sys_version = ""
            timeout = _PATIENCE_S

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                # Another site's name that leads here (DNS rebinding) stands in this header.
                if self.headers.get("Host", "") not in (f"{HOST}:{page.port}", f"localhost:{page.port}"):
                    self._send(HTTPStatus.FORBIDDEN, "text/plain", b"open it as http://127.0.0.1\n", body=with_body)
                    return
                path, _, query = self.path.partition("?")
                name, now = path.removeprefix("/"), page._now
                if name == "":
                    self._send(HTTPStatus.OK, "text/html; charset=utf-8", now.page, body=with_body)
                elif name == "data.json":
                    known = self.headers.get("If-None-Match", "")
                    if query == "wait":
                        now = page.newer_than(known.strip('"'))
                    tag = f'"{now.tag}"'
                    if known == tag:
                        self._send(HTTPStatus.NOT_MODIFIED, None, b"", {"ETag": tag})
                    else:
                        self._send(HTTPStatus.OK, "application/json", now.data, {"ETag": tag}, body=with_body)
                elif name in now.films:
                    self._send(HTTPStatus.OK, "image/gif", now.films[name], body=with_body)
                else:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here\n", body=with_body)

            def _send(
                self,
                status: HTTPStatus,
                kind: str | None,
                content: bytes,
                more: dict[str, str] | None = None,
                *,
                body: bool = True,
            ) -> None:
                try:
                    self._write(status, kind, content if body else b"", len(content), more or {})
                except ConnectionError:
                    self.close_connection = True  # the reader has closed the page meanwhile

            def _write(
                self, status: HTTPStatus, kind: str | None, content: bytes, size: int, more: dict[str, str]
            ) -> None:
                self.send_response(status)
                headers = {} if kind is None else {"Content-Type": kind, "Content-Length": str(size)}
                for name, value in {**_SAFE_HEADERS, **headers, **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing: a line a second would hide all else."""

        return Handler
