"""The outcomes of docs/results/sweep.md out of the packed sweep: python docs/results/sweep/levels.py"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.evaluation.statistics import mean_interval

PACKED = Path(__file__).with_name("fig9.tar.xz")
LEVELS = {"alpha": ("0.025", "0.1", "0.25"), "beta": ("2", "3", "5"), "every": ("10000", "20000", "40000")}
SEEDS = (0, 1, 2)
FROM_ENV_STEPS = 50_000


def outcomes(run: Path) -> tuple[float, float, int]:
    """Mean greedy return from FROM_ENV_STEPS on, the mixer's dormant share at the last check, neurons treated."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    played = [row["eval/return_mean"] for row in rows if row["env_steps"] >= FROM_ENV_STEPS]
    events = [json.loads(line) for line in (run / "dormancy" / "events.jsonl").read_text().splitlines()]
    dormant = [e["metrics"]["dormancy/mixer/dormant_fraction"] for e in events if e["event"] == "dormancy"]
    treated = sum(e["neurons"] for e in events if e["event"] == "intervention")
    return float(np.mean([value for value in played if value is not None])), dormant[-1], treated


def interval(differences: np.ndarray) -> str:
    """Mean and 95 % t interval of one number per seed; a star where it excludes zero."""
    found = mean_interval(differences)
    star = "  *" if found.low > 0 or found.high < 0 else ""
    return f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{star}"


def main() -> None:
    """Print the tables."""
    with opened(PACKED) as folder:
        (root,) = {path.parent for path in folder.rglob("none")}
        control = np.array([outcomes(root / "none" / f"s{seed}") for seed in SEEDS])
        grid = np.array(
            [
                [outcomes(root / f"alpha={a},beta={b},every={t}" / f"s{seed}") for seed in SEEDS]
                for a, b, t in itertools.product(*LEVELS.values())
            ]
        ).reshape(3, 3, 3, len(SEEDS), 3)
    print("control by seed:", control[:, 0].round(2), "dormant", control[:, 1].round(3))
    print("all 27 points by seed:", grid[..., 0].mean((0, 1, 2)).round(2))
    print("all 27 points - control:", interval(grid[..., 0].mean((0, 1, 2)) - control[:, 0]))
    for axis, (key, values) in enumerate(LEVELS.items()):
        by_level = np.moveaxis(grid, axis, 0).reshape(3, 9, len(SEEDS), 3).mean(1)
        for value, level in zip(values, by_level):
            print(
                f"{key}={value}: by seed {level[:, 0].round(2)} - control {interval(level[:, 0] - control[:, 0])}; dormant "
                f"{level[:, 1].mean():.3f}, neurons treated {level[:, 2].mean():.0f}"
            )
        for one, other in itertools.combinations(range(3), 2):
            print(f"  {values[one]} - {values[other]}: {interval(by_level[one, :, 0] - by_level[other, :, 0])}")
    singles = grid[..., 0] - control[:, 0]
    print(f"single points - control, standard deviation over points and seeds: {singles.std(ddof=1):.2f}")


if __name__ == "__main__":
    main()
