"""A headless Chromium driven over its DevTools protocol: no package is needed but websocket-client, which tests have."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Path of the browser, where it has another name or place.
VARIABLE = "RLLIB_REBORN_BROWSER"
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_GET = (
    f"no Chromium found: install one ('apt-get install chromium-headless-shell' on Debian), or name it in {VARIABLE}"
)
_WAIT_S = 60.0


def find_browser() -> str | None:
    """Path of a Chromium."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page of the browser, and all that it did: what it asked for, and what it complained about."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """One command, and its result; what happens meanwhile is kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._keep(message)
        raise TimeoutError(f"{method} was not answered within {_WAIT_S:.0f} s")

    def open(self, address: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Opens an address at a size, in light or dark, and waits until it is drawn."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && document.querySelector('#title')?.textContent !== ''")

    def evaluate(self, script: str) -> Any:
        """Value of an expression in the page; a promise is awaited."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, condition: str, within_s: float = _WAIT_S) -> float:
        """Seconds until a condition holds in the page.

        Raises:
            TimeoutError: It did not.
        """
        start = time.monotonic()
        while time.monotonic() - start < within_s:
            if self.evaluate(f"Boolean({condition})"):
                return time.monotonic() - start
            time.sleep(0.05)
        raise TimeoutError(f"{condition} did not hold within {within_s:.0f} s")

    def move_to(self, x: float, y: float) -> None:
        """Moves the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """Presses a key and lets it go."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_KEYS.get(key, 0))

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Writes a PNG of what is visible, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _keep(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif message["method"] == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(given["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"].get("exception", given["exceptionDetails"])))
        elif message["method"] == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(given["args"]))


_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


@contextlib.contextmanager
def browser() -> Iterator[Tab]:
    """A browser with one empty page, ended at the end; the test is skipped where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip(HOW_TO_GET)
    websocket = pytest.importorskip("websocket", reason="needs websocket-client: pip install websocket-client")
    with tempfile.TemporaryDirectory(prefix="rllib_reborn_browser_") as folder:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([path, *options, f"--user-data-dir={folder}", "about:blank"], **quiet)
        try:
            socket = websocket.create_connection(_address(Path(folder), process), suppress_origin=True, timeout=_WAIT_S)
            try:
                yield Tab(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the page listens for the protocol."""
    file = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = file.read_text().splitlines() if file.is_file() else []
        if lines:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=_WAIT_S) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise RuntimeError(f"the browser did not start (its status: {process.poll()})")
