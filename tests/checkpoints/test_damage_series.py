"""Series of damages to checkpoints: every byte flip, truncation, deletion, addition and exchange between runs is found.

In ``make test`` a sample on made-up checkpoints; the whole series runs on checkpoints of real training (``make test-long``).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore, resolve_checkpoint
from tests.checkpoints.runs import made_up_run

FULL = {"flips": 500, "truncations": 100, "deletions": 100, "additions": 100, "exchanges": 50}
SAMPLE = {name: count // 25 for name, count in FULL.items()}

#: Names that RLlib looks for, and others.
_ADDED = (
    "state.msgpack",
    "module_state.msgpack",
    "algorithm_state.msgpack",
    "state.pkl",
    ".hidden",
    "x.tmp",
    "metadata.json",
)


def flip(checkpoint: Path, rng: random.Random) -> None:
    path = rng.choice([path for path in _files(checkpoint) if path.stat().st_size])
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def truncate(checkpoint: Path, rng: random.Random) -> None:
    path = rng.choice([path for path in _files(checkpoint) if path.stat().st_size])
    os.truncate(path, rng.randrange(path.stat().st_size))


def delete(checkpoint: Path, rng: random.Random) -> None:
    path = rng.choice([*_files(checkpoint), *_folders(checkpoint)])
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def add(checkpoint: Path, rng: random.Random) -> None:
    folder = rng.choice([checkpoint, *_folders(checkpoint)])
    free = [folder / name for name in (*_ADDED, f"other{rng.random()}") if not (folder / name).exists()]
    path, kind = rng.choice(free), rng.randrange(4)
    if kind == 0:
        path.write_bytes(rng.randbytes(rng.randrange(100)))
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(rng.choice(_files(checkpoint)))
    else:
        shutil.copy(rng.choice(_files(checkpoint)), path)


def exchange(checkpoint: Path, other: Path, rng: random.Random) -> None:
    """Put a whole checkpoint, its manifest, or one or more of its files in the place of this one's."""
    names = sorted({path.relative_to(checkpoint) for path in _files(checkpoint)})
    differing = [
        name
        for name in names
        if (other / name).is_file() and (other / name).read_bytes() != (checkpoint / name).read_bytes()
    ]
    kind = rng.randrange(3)
    if kind == 0:
        shutil.rmtree(checkpoint)
        shutil.copytree(other, checkpoint)
    elif kind == 1:
        shutil.copy(other / "manifest.json", checkpoint / "manifest.json")
    else:
        for name in rng.sample(differing, rng.randrange(1, len(differing) + 1)):
            shutil.copy(other / name, checkpoint / name)


def unnoticed(
    first: Path, second: Path, use: Callable[[Path], object], counts: dict[str, int], seed: int = 0
) -> list[str]:
    """Damage the newest checkpoint of one run again and again, with those of another run at hand.

    Args:
        first, second: Run folders.
        use: Raises CheckpointError for what must not be used.
        counts: How many damages of each kind.

    Returns:
        A line for each damage that was not found.
    """
    rng, missed = random.Random(seed), []
    newest = CheckpointStore(first / "checkpoints").paths()[-1]
    others = CheckpointStore(second / "checkpoints").paths()
    kept = first.parent / "kept"
    shutil.copytree(newest, kept)
    do: dict[str, Callable[[], None]] = {
        "flips": lambda: flip(newest, rng),
        "truncations": lambda: truncate(newest, rng),
        "deletions": lambda: delete(newest, rng),
        "additions": lambda: add(newest, rng),
        "exchanges": lambda: exchange(newest, rng.choice(others), rng),
    }
    for kind, count in counts.items():
        for number in range(count):
            do[kind]()
            try:
                use(newest)
                missed.append(f"{kind} {number}")
            except CheckpointError:
                pass
            shutil.rmtree(newest)
            shutil.copytree(kept, newest)
            if number == 0:
                use(newest)  # what is whole is taken: else nothing would be shown
    return missed


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())


def test_a_sample_of_damages_is_found(tmp_path: Path) -> None:
    for name in ("first", "second"):
        made_up_run(tmp_path / name)
    assert unnoticed(tmp_path / "first", tmp_path / "second", resolve_checkpoint, SAMPLE) == []


@pytest.mark.long
@pytest.mark.parametrize("other_seed", [0, 1])
def test_every_damage_to_a_trained_checkpoint_is_found(tmp_path: Path, other_seed: int) -> None:
    """Runs of one config and two seeds, and of one seed twice."""
    from rllib_reborn.cli.main import main
    from rllib_reborn.experiments.own_config import use_own_checkpoint

    for name, seed in (("first", 0), ("second", other_seed)):
        argv = ["matrix/two_step/qmix", "checkpoint.interval_env_steps=256", "stop.env_steps=512", f"seed={seed}"]
        assert (
            main(["train", *argv, "training.learning_starts_episodes=8", "--out", str(tmp_path / name), "--quiet"]) == 0
        )

    def use(path: Path) -> None:
        use_own_checkpoint(path, lambda checkpoint: None)

    assert unnoticed(tmp_path / "first", tmp_path / "second", use, FULL, seed=other_seed) == []
