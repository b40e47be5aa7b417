"""Run folders as training leaves them, and rows as training makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.checkpoints.run_record import new_run_record
from rllib_reborn.monitoring import RunFacts, RunListener

CONFIG: dict[str, Any] = {
    "algorithm": "QMIX",
    "env": "matrix/climbing",
    "env_config": {"api_key": "***"},
    "training": {"lr": 0.001, "td_lambda": None},
    "interventions": [{"kind": "reborn", "beta": 3.0}],
    "logging": {"trackers": []},
}
#: As ``rllib_reborn.experiments.final_evaluation`` makes it.
FINAL = {
    "policy": {"returns": [6.0, 8.0], "won": [True, False]},
    "random": {"returns": [-1.0, -1.0], "won": None},
    "env": "matrix/climbing",
    "env_steps": 200,
    "episodes": 2,
    "seed": 5,
}


def new_run(folder: Path) -> Path:
    """A folder with the record of a new run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(new_run_record())
    return folder


def row(iteration: int, **further: Any) -> dict[str, Any]:
    """A row at 100 env steps for each iteration; returns are 10 times the iteration."""
    return {
        "iteration": iteration,
        "env_steps": 100 * iteration,
        "train/return_mean": 10.0 * iteration,
        "eval/return_mean": None,
        "eval/returns": None,
        **further,
    }


def evaluated(iteration: int) -> dict[str, Any]:
    """A row with an evaluation."""
    return row(iteration) | {"eval/return_mean": float(iteration), "eval/returns": [iteration - 1.0, iteration + 1.0]}


def facts(folder: Path, rows: Sequence[dict[str, Any]] = (), **changes: Any) -> RunFacts:
    """What listeners are handed at the start."""
    return RunFacts(folder, CONFIG | changes, "QMIX", "matrix/climbing", 3, tuple(rows))


def train(
    tracker: RunListener,
    folder: Path,
    rows: Sequence[dict[str, Any]],
    before: Sequence[dict[str, Any]] = (),
    *,
    to_the_end: bool = False,
) -> None:
    """A whole run, or a part of one: its rows, those that it goes on from, and perhaps the final evaluation."""
    tracker.on_start(facts(folder, before))
    for one in rows:
        tracker.on_iteration(one, ())
        tracker.on_checkpoint(folder / "checkpoints" / "checkpoint_000001")
    if to_the_end:
        tracker.on_final_evaluation(FINAL)
    tracker.close()


def a_png(path: Path, colour: str = "red") -> Path:
    """A picture of 4 x 3 pixels."""
    from PIL import Image

    Image.new("RGB", (4, 3), colour).save(path)
    return path
