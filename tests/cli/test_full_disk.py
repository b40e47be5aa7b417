"""A disk that fills up while `train` runs, for real: a file system of some 100 kB. Needs the right to mount one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_reborn.checkpoints import CheckpointStore

pytestmark = [pytest.mark.long, pytest.mark.timeout(2000)]

ARGUMENTS = [
    "matrix/two_step/qmix",
    "training.learning_starts_episodes=8",
    "logging.report_interval_env_steps=64",
    "checkpoint.interval_env_steps=128",
    "evaluation.final_episodes=4",
    "stop.env_steps=1024",
    "--quiet",
]


#: Room for one or two checkpoints, not for what is there while another is written: in bytes, and in files.
ROOM = {"bytes": "size=1100k", "files": "size=20m,nr_inodes=110"}


@pytest.fixture(params=ROOM)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ROOM[request.param], "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def train(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "rllib_reborn", "train", *ARGUMENTS, "--out", str(out), *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)


def rows(folder: Path) -> list[dict[str, object]]:
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith(("time/", "memory/"))}
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_training_reaches_its_end_says_what_is_missing_and_goes_on_later(disk: Path, tmp_path: Path) -> None:
    reference, run = tmp_path / "reference", disk / "run"
    assert train(reference).returncode == 0
    ended = train(run)
    text = ended.stdout + ended.stderr
    assert ended.returncode == 1, text
    assert "Traceback" not in text
    assert "No space left on device" in text
    assert f"--resume {run}" in text
    assert CheckpointStore(run / "checkpoints").latest_valid() is not None
    subprocess.run(["mount", "-o", "remount,size=20m,nr_inodes=10000", str(disk)], check=True)
    again = train(run, "--resume", "auto")
    assert again.returncode == 0, again.stdout + again.stderr
    assert rows(run) == rows(reference)
