"""Makes the golden run and the golden policy of a version: ``python -m tests.golden.make tests/golden/0.2.0``.

A tiny run of QMIX with ReBorn on the two-step game, its exported policy, and ``expected.json`` with the numbers that were
read of both when they were made. What is there is never overwritten: a released version stays as it is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rllib_reborn.policy import Policy
from tests.golden import reading

EXPERIMENT = "matrix/two_step/qmix+reborn"
SETTINGS = (
    "stop.env_steps=512",
    "seed=7",
    "training.batch_episodes=8",
    "training.learning_starts_episodes=8",
    "training.buffer_episodes=32",
    "training.updates_per_episode=0.25",
    "training.model.hidden_dim=8",
    "training.mixer.embed_dim=4",
    "training.mixer.hypernet_dim=8",
    "training.dormancy.every=128",
    "training.dormancy.episodes=8",
    "interventions.0.every=256",
    "interventions.0.scoring_episodes=8",
    "evaluation.interval_env_steps=256",
    "evaluation.episodes=4",
    "evaluation.final_episodes=4",
    "resources.num_envs_per_env_runner=4",
    "checkpoint.interval_env_steps=256",
    "checkpoint.keep=1",
    "logging.report_interval_env_steps=128",
)


def main(arguments: list[str]) -> int:
    """Train, export, read, pack."""
    target = Path(arguments[0]).absolute()
    if target.exists():
        print(
            f"{target} is there already, and stays as it is; remove it first if it was never released.", file=sys.stderr
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="golden-") as name:
        folder = Path(name)
        program = [sys.executable, "-m", "rllib_reborn"]
        # Relative names: config.yaml has the command.
        subprocess.run([*program, "train", EXPERIMENT, *SETTINGS, "--out", "run"], cwd=folder, check=True)
        subprocess.run([*program, "export", "run", "--out", "policy"], cwd=folder, check=True)
        target.mkdir(parents=True)
        with zipfile.ZipFile(target / "run.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for path in sorted((folder / "run").rglob("*")):
                inside = path.relative_to(folder)
                # The report is made anew from the rest.
                if path.is_file() and inside.parts[1] != "report" and path.name != ".lock":
                    packed.write(path, inside.as_posix())
        shutil.copytree(folder / "policy", target / "policy")
        run = folder / "run"
        expected = {
            "run": reading.of_run(run),
            "checkpoint": reading.of_checkpoint(run),
            "policy": reading.of_policy(Policy.load(target / "policy")),
            "further_training": reading.of_further_training(run),
        }
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
