"""How far a tracker's files in a run folder are, where they cannot be asked."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path


class LoggedSteps:
    """Remembers in a file of a few bytes up to which env step a run was written.

    The file belongs to one run: that of another ``run_id`` (the folder's training began anew) counts as none.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._run_id = run_id

    def read(self) -> int | None:
        """Env steps of the last row that was written; None: nothing is known of this run."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return int(found["env_steps"]) if found["run_id"] == self._run_id else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write(self, env_steps: int) -> None:
        """Remember ``env_steps``.

        Raises:
            OSError: The disk does not take it.
        """
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            beside.write_text(json.dumps({"run_id": self._run_id, "env_steps": env_steps}) + "\n", encoding="utf-8")
            beside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
