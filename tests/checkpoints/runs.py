"""Run folders with made-up checkpoints, for tests of what is read of them."""

from __future__ import annotations

import json
from pathlib import Path

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.checkpoints.run_record import new_run_record


def made_up_run(root: Path, *, checkpoints: int = 2, settings: str = "lr: 1", begun: bool = True) -> CheckpointStore:
    """A run folder with the files that every run has; ``begun``: it does not exist yet."""
    if begun:
        root.mkdir(parents=True)
        (root / "run.json").write_text(new_run_record())
        (root / "config.yaml").write_text(settings)
    store = CheckpointStore(root / "checkpoints", keep=99)
    for number in range(1, checkpoints + 1):

        def write(folder: Path, number: int = number) -> None:
            (folder / "learner" / "module").mkdir(parents=True)
            (folder / "learner" / "module" / "weights.pkl").write_bytes(f"{root} {number} ".encode() * 50)
            (folder / "learner" / "state.pkl").write_bytes(bytes(range(256)))
            (folder / "state.json").write_text(json.dumps({"number": number}))
            (folder / "empty").write_bytes(b"")

        store.save(write, iteration=number, env_steps=10 * number, config_hash=settings)
    return store
