"""Numbers that are read of a run folder, of its checkpoint, of a policy and of training that goes on."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.evaluation import runs
from rllib_reborn.policy import Policy
from rllib_reborn.studies.trained_policy import load_team

#: Columns of the last row of a run.
COLUMNS = (
    "env_steps",
    "episodes",
    "updates",
    "train/return_mean",
    "train/loss",
    "train/grad_norm",
    "dormancy/mixer/dormant_fraction",
    "dormancy/agent/encoder.0/effective_rank",
)
#: The run goes on to so many env steps.
FURTHER = 640


def unpack(archive: Path, folder: Path) -> Path:
    """The run folder of ``run.zip`` in ``folder``; zipped, so that no tool changes a byte of it."""
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    return folder / "run"


def of_run(run: Path) -> dict[str, Any]:
    """What a report reads of a run folder."""
    found = runs.read_run(run)
    assert found.final is not None
    return {
        "algorithm": found.algorithm,
        "env": found.env,
        "seed": found.seed,
        "rows": len(found.metrics),
        "last_row": last_row(run),
        "notes": list(found.notes),
        "final_returns": found.final.policy.returns.tolist(),
        "random_returns": [] if found.final.random is None else found.final.random.returns.tolist(),
        "checks": len(found.events.checks),
        "applications": len(found.events.applications),
    }


def last_row(run: Path) -> dict[str, float]:
    """Some columns of the last row."""
    row = runs.read_run(run).metrics.iloc[-1]
    return {name: float(row[name]) for name in COLUMNS}


def of_checkpoint(run: Path) -> dict[str, Any]:
    """What the team of the newest checkpoint values and does."""
    (checkpoint,) = CheckpointStore(run / "checkpoints", keep=1).paths()
    team = load_team(checkpoint)
    outcomes = team.evaluate(episodes=4, seed=3)
    return of_policy(team.portable()) | {"returns": [float(one) for one in outcomes.returns]}


def of_policy(policy: Policy) -> dict[str, Any]:
    """Values and actions on two made-up observations one after another."""
    spec = policy.spec
    agents, numbers = len(spec.agent_ids), spec.obs_dim
    first = np.linspace(-1.0, 1.0, agents * numbers, dtype=np.float32).reshape(agents, numbers)
    allowed = np.ones((agents, spec.n_actions), bool)
    actions, state = policy.act(first, allowed)
    return {
        "values": policy.values(first).tolist(),
        "actions": actions.tolist(),
        "next_values": policy.values(first[::-1].copy(), state).tolist(),
    }


def of_further_training(run: Path) -> dict[str, float]:
    """The last row after the run went on; its folder is changed."""
    command = [sys.executable, "-m", "rllib_reborn", "train", str(run / "config.yaml"), "--resume", str(run)]
    subprocess.run([*command, f"stop.env_steps={FURTHER}"], check=True, capture_output=True, text=True)
    return last_row(run)
