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


# docs/method.md 1: the thresholds of the paper.
DORMANCY = {
    "every": 1000,
    "unit": "env_steps",
    "start": 0,
    "stop": None,
    "layers": "official_code",
    "alpha": 0.1,
    "beta": 3.0,
    "source": "replay",
    "episodes": 32,
    "redormant_within": 200_000,
}
REBORN = {
    "kind": "reborn",
    "every": 2000,
    "unit": "env_steps",
    "start": 0,
    "stop": None,
    "scope": "mixer",
    "layers": "official_code",
    "scoring_source": "replay",
    "scoring_episodes": 32,
    "optimizer": "keep",
    "target_networks": "none",
    "bias_compensation": False,
    "allow_inexact": False,
    "dry_run": False,
    "alpha": 0.1,
    "beta": 3.0,
    "rule": "paper",
    "partners": [2, 5],
    "in_range": None,
    "unpaired": "reinit",
    "initializer": None,
}
REDO = {key: REBORN[key] for key in list(REBORN)[:15]} | {"kind": "redo", "scope": "all", "initializer": "xavier"}


def check(
    env_steps: int, layers: dict[str, list[float]], *, iteration: int = 1, updates: int | None = None
) -> dict[str, Any]:
    """The event of a dormancy check at alpha 0.1 and beta 3, given the scores of each layer."""
    found = {
        key: {
            "scores": scores,
            "dormant": [i for i, score in enumerate(scores) if score <= 0.1],
            "overactive": [i for i, score in enumerate(scores) if score >= 3],
        }
        for key, scores in layers.items()
    }
    clock = _clock(env_steps, updates, iteration)
    return {"iteration": iteration, "event": "dormancy", "clock": clock, "metrics": {}, "layers": found}


def application(
    env_steps: int,
    changes: dict[str, tuple[list[int], list[int]]],
    *,
    kind: str = "reborn",
    iteration: int = 1,
    updates: int | None = None,
    dry_run: bool = False,
    drift: float | None = 0.01,
    q_drift: float | None = None,
    position: int = 0,
) -> dict[str, Any]:
    """The event of an application, given the recycled neurons and the donors of each layer."""
    changes_made = [
        {
            "layer": layer,
            "width": 64,
            "dormant": len(recycled),
            "overactive": len(donors),
            "neurons": [*recycled, *donors],
            "donors": donors,
            "reinitialised": recycled,
        }
        for layer, (recycled, donors) in changes.items()
    ]
    return {
        "iteration": iteration,
        "event": "intervention",
        "kind": kind,
        "dry_run": dry_run,
        "clock": _clock(env_steps, updates, iteration),
        "changes": changes_made,
        "neurons": sum(len(change["neurons"]) for change in changes_made),
        "dormant_before": {"mixer": 0.5},
        "dormant_after": {"mixer": 0.0},
        "function_drift": drift,
        "q_drift": q_drift,
        "position": position,
        "greedy_actions_changed": None if drift is None else drift / 10,
        "seconds": 0.01,
    }


def drift_event(
    applied_at: int,
    updates: int,
    q_drift: float | None,
    untreated: float | None = None,
    *,
    iteration: int = 1,
    position: int = 0,
) -> dict[str, Any]:
    """The event of a drift ``updates`` updates after the application at update ``applied_at``; a step an update."""
    return {
        "iteration": iteration,
        "event": "drift",
        "kind": "reborn",
        "position": position,
        "clock": _clock(applied_at + updates, applied_at + updates, iteration),
        "applied_at": _clock(applied_at, applied_at, iteration),
        "updates": updates,
        "q_drift": q_drift,
        "q_drift_untreated": untreated,
        "not_measured": None if q_drift is not None else "redo was applied before that",
    }


def plasticity(
    *, seed: int = 1, lines: list[dict[str, Any]], treated: bool = False, level: float = 0.7, width: int = 64
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows with dormancy checks in every second one, and the events beside them: the mixer's neurons fall silent up to
    the share ``level``, mostly the same ones; where ``treated``, ReBorn recycles them at every fourth row."""
    rng = np.random.default_rng([seed, 2])
    order = np.random.default_rng(seed).permutation(width)
    result, events, applied, silent = [], [], 0, 0.0
    before: set[int] = set()
    for i, row in enumerate(lines):
        iteration, steps = i + 1, int(row["env_steps"])
        metrics: dict[str, Any] = {f"dormancy/{net}/{name}": None for net in ("mixer", "agent") for name in _OF_NET}
        metrics |= {f"intervention/{name}": None for name in ("neurons", "function_drift", "greedy_actions_changed")}
        dormant: list[int] = []
        silent = min(level, silent + level / 8)
        if i % 2:
            moved = np.concatenate([order[3:], order[:3]]) if i % 6 == 1 else order
            dormant = sorted(int(neuron) for neuron in moved[: round(silent * width)])
            scores = {}
            for layer, share in (("hyper_w_final", 1.0), ("V", 0.5)):
                raw = rng.exponential(1.0, width) ** 2 + 0.3
                raw[dormant[: round(share * len(dormant))]] = 0.0
                scores[f"mixer/{layer}"] = np.round(raw / raw.mean(), 4).tolist()
            raw = rng.exponential(1.0, width) + 0.2
            scores["agent/fc1"] = np.round(raw / raw.mean(), 4).tolist()
            event = check(steps, scores, iteration=iteration, updates=row["updates"] + 1)
            events.append(event)
            nets = {net: [v for k, v in event["layers"].items() if k.startswith(net)] for net in ("mixer", "agent")}
            for net, found in nets.items():
                metrics[f"dormancy/{net}/dormant_fraction"] = sum(len(f["dormant"]) for f in found) / width / len(found)
                metrics[f"dormancy/{net}/overactive_fraction"] = 0.05
                share = sum(sum(f["scores"][neuron] for neuron in f["overactive"]) for f in found)
                metrics[f"dormancy/{net}/overactive_sum"] = share / width / len(found)
            now = set(dormant)
            if before and now:
                metrics["dormancy/mixer/overlap"] = len(before & now) / min(len(before), len(now))
            before = now
        if treated and i % 4 == 3:
            applied, silent = applied + 1, 0.0
            changes = {"mixer/hyper_w_final": (dormant, []), "mixer/V": (dormant[: len(dormant) // 2], [])}
            events.append(application(steps, changes, iteration=iteration, updates=row["updates"] + 1))
            metrics["intervention/neurons"] = events[-1]["neurons"]
            metrics["intervention/function_drift"] = events[-1]["function_drift"]
            metrics["intervention/greedy_actions_changed"] = events[-1]["greedy_actions_changed"]
        result.append({"iteration": iteration, **row, **metrics, "intervention/count": applied})
    return result, events


_OF_NET = ("dormant_fraction", "overactive_fraction", "overactive_sum", "overlap")


def _clock(env_steps: int, updates: int | None, iteration: int) -> dict[str, int]:
    done = env_steps // 100 if updates is None else updates
    return {"env_steps": env_steps, "updates": done, "episodes": env_steps // 50, "iterations": iteration - 1}


def write_run(
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    lines: list[dict[str, Any]] | None = None,
    end: dict[str, Any] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config() if settings is None else settings))
    text = "".join(json.dumps(line) + "\n" for line in (rows() if lines is None else lines))
    (folder / "metrics.jsonl").write_text(text)
    if end is not None:
        (folder / "final_evaluation.json").write_text(json.dumps(end))
    if events is not None:
        (folder / "dormancy").mkdir(exist_ok=True)
        text = "".join(json.dumps(event) + "\n" for event in events)
        (folder / "dormancy" / "events.jsonl").write_text(text)
    return folder


def write_sweep(top: Path, space: dict[str, Any], arms: list[str] | None = None) -> Path:
    """The file of a sweep; its runs are ``top/<point or arm>/s<seed>``."""
    top.mkdir(parents=True, exist_ok=True)
    listed = [{"name": name} for name in arms or []]
    (top / "sweep.yaml").write_text(yaml.safe_dump({"base": "a/b", "space": space, "arms": listed}, sort_keys=False))
    return top
