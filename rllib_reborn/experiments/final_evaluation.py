"""After training: the greedy policy and a random one on the same number of fresh episodes, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.metrics_log import plain

if TYPE_CHECKING:
    from rllib_reborn.algorithms import EpisodeOutcomes, Team

# Keeps the episodes of the final evaluation apart from those of training and of evaluation in between.
_FINAL_STREAM = 0xF17A1


def final_evaluation_seed(seed: int) -> int:
    """Seed of the final evaluation of a run with ``seed``."""
    return int(np.random.SeedSequence([seed, _FINAL_STREAM]).generate_state(1)[0] >> 1)


def evaluate_final(team: Team, *, env: str, env_steps: int, episodes: int, seed: int) -> dict[str, Any]:
    """The content of ``final_evaluation.json``; ``seed`` is the run's."""
    own_seed = final_evaluation_seed(seed)
    return {
        "policy": _outcomes(team.play(episodes, own_seed, epsilon=0.0)),
        "random": _outcomes(team.play(episodes, own_seed, epsilon=1.0)),
        "env": env,
        "env_steps": env_steps,
        "episodes": episodes,
        "seed": own_seed,
    }


def write_final_evaluation(content: dict[str, Any], path: Path) -> None:
    """Write it in one atomic step: a report never sees half of it."""
    write_text_atomically(path, json.dumps(content, allow_nan=False) + "\n")


def _outcomes(outcomes: EpisodeOutcomes) -> dict[str, Any]:
    return {"returns": plain(outcomes.returns), "won": plain(outcomes.won)}
