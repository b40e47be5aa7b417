"""Run folders made of known numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml


def config(
    *,
    algorithm: str = "qmix",
    env: str = "predator_prey/small",
    seed: int | None = 1,
    **sections: Any,
) -> dict[str, Any]:
    base: dict[str, Any] = {
        "extends": None,
        "algorithm": algorithm,
        "env": env,
        "env_config": {},
        "training": {"lr": 0.0005, "gamma": 0.99, "epsilon": [1.0, 0.05]},
        "evaluation": {"episodes": 8, "interval_env_steps": 1000},
        "resources": {"num_env_runners": 0},
        "stop": {"env_steps": 10_000},
        "seed": seed,
    }
    return base | sections


def rows(
    *,
    seed: int = 1,
    iterations: int = 20,
    every: int = 2,
    step: int = 500,
    top: float = 10.0,
    episodes: int = 8,
    wins: bool = True,
) -> list[dict[str, Any]]:
    """A return that rises from 0 to ``top``, with a little noise and steps that differ from seed to seed."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(iterations):
        done = (i + 1) / iterations
        row: dict[str, Any] = {
            "env_steps": (i + 1) * step + int(rng.integers(0, step // 10)),
            "episodes": 10 * (i + 1),
            "updates": 10 * i,
            "train/return_mean": top * done * 0.8 + rng.normal(0, 0.6),
            "train/win_rate": None,
            "train/loss": None if i == 0 else float(np.exp(3 - 6 * done + rng.normal(0, 0.2))),
            "train/td_error_abs": 2 - done + rng.normal(0, 0.05),
            "train/grad_norm": 5 + rng.normal(),
            "train/epsilon": max(0.05, 1 - done),
            "time/total_s": 3.0 * (i + 1),
            "memory/rss_bytes": 10**8,
            "eval/return_mean": None,
            "eval/win_rate": None,
            "eval/return_std": None,
            "eval/episodes": None,
            "eval/returns": None,
        }
        if i % every == every - 1:
            luck = 1 + 0.08 * ((seed * 7) % 5 - 2)
            returns = top * luck * done + rng.normal(0, 1, episodes)
            row["eval/returns"] = returns.tolist()
            row["eval/return_mean"] = float(returns.mean())
            row["eval/return_std"] = float(returns.std())
            row["eval/episodes"] = episodes
            if wins:
                row["eval/win_rate"] = float((returns > 0.6 * top).mean())
        result.append(row)
    return result


def final(
    *, seed: int = 1, top: float = 10.0, wins: bool = True, episodes: int = 16, random: bool = True
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 1])
    returns = rng.normal(top * (1 + 0.04 * (seed % 3 - 1)), 1, episodes)
    chance = rng.normal(2.0, 1, episodes)
    return {
        "policy": {
            "returns": returns.tolist(),
            "won": [bool(r > 0.6 * top) for r in returns] if wins else None,
        },
        "random": {"returns": chance.tolist(), "won": [False] * episodes if wins else None} if random else None,
        "env": "predator_prey/small",
        "env_steps": 10_000,
        "episodes": 200,
        "seed": seed,
    }


def write_run(
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    lines: list[dict[str, Any]] | None = None,
    end: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config() if settings is None else settings))
    text = "".join(json.dumps(line) + "\n" for line in (rows() if lines is None else lines))
    (folder / "metrics.jsonl").write_text(text)
    if end is not None:
        (folder / "final_evaluation.json").write_text(json.dumps(end))
    return folder
