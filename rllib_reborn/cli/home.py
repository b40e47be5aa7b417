"""A home folder that Ray can write to."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def ensure_writable_home() -> None:
    """Where the home folder cannot be written, as in many containers, a temporary one takes its place, and it is said.

    Ray keeps a token and a folder for each algorithm there, and fails without. Must be called before Ray is imported.
    """
    try:
        home = Path.home()
        with tempfile.TemporaryFile(dir=home):
            return
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home at all
        reason = error
    folder = tempfile.mkdtemp(prefix="rllib-reborn-home-")
    os.environ["HOME"] = folder
    print(f"the home folder cannot be written ({reason}); Ray uses {folder} in its place.", file=sys.stderr)
