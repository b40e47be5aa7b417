"""One side: a program that plays, learns and answers, and sentences for all that can be wrong with it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
#: Seconds that a program has to end by itself.
_GRACE_S = 30.0
#: Module -> what to install, where the two names differ.
_INSTALL = {"yaml": "pyyaml"}


class PeerError(Exception):
    """A side cannot be run; one sentence with the remedy."""


class Side:
    """A program of a side, which is running: see ``epymarl_side.py`` for what it says and hears.

    Args:
        title: ``ours`` or ``EPyMARL``, for messages.
        command: What is run.
        folder: Where.
        patience_s: Seconds of wall time that one answer may take, > 0; the program is ended then.
        install: Modules that it may miss -> what to install for each.

    Raises:
        PeerError: It cannot be started, or says that modules are missing. ``answer`` raises it where the program ends or
            says nothing in time.
    """

    def __init__(
        self,
        title: str,
        command: Sequence[str],
        folder: Path,
        patience_s: float,
        install: Mapping[str, str] | None = None,
    ) -> None:
        self.title, self._patience_s = title, patience_s
        self._errors = tempfile.NamedTemporaryFile("w+", prefix="peers_", suffix=".log", delete=False)  # noqa: SIM115
        self._failed = False
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | _THREADS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._delete_log()
            raise PeerError(
                f"{title}: {command[0]} cannot be run ({error.strerror}); give the path of a Python with --python."
            ) from error
        try:
            reply = self.answer()
            if "missing" in reply:
                wanted = " ".join((_INSTALL | dict(install or {})).get(name, name) for name in reply["missing"])
                raise PeerError(
                    f"{title}: {command[0]} has no {', '.join(reply['missing'])}; install it with "
                    f"`{command[0]} -m pip install {wanted}`."
                )
        except PeerError:
            self.close()
            raise
        self.versions: dict[str, str] = reply["versions"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._end(_GRACE_S)

        timer = threading.Timer(self._patience_s, end)
        timer.start()
        try:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            try:
                reply = json.loads(line)
            except json.JSONDecodeError as error:
                self._failed = True
                raise PeerError(
                    f"{self.title} says {line.strip()[:80]!r}, expected JSON; see {self._errors.name}."
                ) from error
            assert isinstance(reply, dict)
            return reply
        status = self._process.wait()
        if late.is_set():
            raise PeerError(
                f"{self.title} answered nothing for {self._patience_s:g} s and was ended; allow more with --patience, or "
                "measure less with --small."
            )
        self._failed = True
        raise PeerError(f"{self.title} ended with status {status}: {self._last_error()}; see {self._errors.name}.")

    def work(self, name: str, number: int) -> dict[str, Any]:
        """``update`` or ``sampling``, so many."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended then; the answer says how
            self._process.stdin.write(f"{name} {number}\n")
            self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End it: it ends by itself with its input; what does not is terminated, then killed."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._end(_GRACE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._delete_log()

    def _end(self, grace_s: float) -> None:
        """Asks first: Ray's processes end with a driver that may say goodbye."""
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        # Sacred goes on to talk behind a traceback, whose last line says what happened.
        errors = (
            [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
            or lines
            or ["it says nothing"]
        )
        return errors[-1][:200].rstrip(".")

    def _delete_log(self) -> None:
        """What it wrote to standard error stays where it failed."""
        self._errors.close()
        if not self._failed:
            Path(self._errors.name).unlink()
