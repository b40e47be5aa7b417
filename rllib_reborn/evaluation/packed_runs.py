"""Run folders from a file that ``rllib-reborn tune pack`` has written."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rllib_reborn.evaluation.runs import RunError

SUFFIX = ".tar.xz"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder that ``path`` is, or that the archive ``path`` holds, unpacked for as long as this is entered.

    Raises:
        RunError: The archive is damaged, or holds what ``tune pack`` does not write.
    """
    if not path.name.endswith(SUFFIX):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rllib_reborn_sweep_") as folder:
        try:
            with tarfile.open(path, "r:xz") as tar:
                tar.extractall(folder, filter="data")
        except (OSError, tarfile.TarError, EOFError) as error:
            raise RunError(f"{path} cannot be unpacked: {error}.") from None
        inside = sorted(Path(folder).iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            raise RunError(f"{path} holds no sweep; expected a file that 'tune pack' has written.")
        yield inside[0]
