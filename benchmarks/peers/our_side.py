"""Our side of :mod:`benchmarks.peers`: ``python -m benchmarks.peers.our_side REQUEST``, which answers as ``epymarl_side.py``
does, with a REQUEST of ``env``, ``settings`` (a list of ``key.path=value``), ``first`` and ``last``."""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

from benchmarks.end_to_end import algorithm_of, train  # first: it sets the threads of numpy and torch

import numpy as np  # isort: skip
import ray  # isort: skip
import torch  # isort: skip

from benchmarks.common import cpu_seconds


def update(algorithm: Any, number: int) -> dict[str, float]:
    return {"cpu_s": cpu_seconds(lambda: algorithm.update(number)), "updates": number}


def sampling(algorithm: Any, number: int) -> dict[str, float]:
    runner = algorithm.env_runner
    before = runner.num_env_steps_sampled_lifetime
    seconds = cpu_seconds(lambda: runner.sample(num_timesteps=number))
    return {"cpu_s": seconds, "env_steps": runner.num_env_steps_sampled_lifetime - before}


WORKS = {"update": update, "sampling": sampling}


def answer(reply: dict[str, Any]) -> None:
    print(json.dumps(reply), flush=True)


def main() -> None:
    request = json.loads(sys.argv[1])
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "ray": ray.__version__,
    }
    answer({"versions": versions})
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = algorithm_of(request["env"], request["settings"])
    try:
        train(algorithm, request["first"])
        answer(train(algorithm, request["last"] - request["first"]))
        for line in sys.stdin:
            name, number = line.split()
            answer(WORKS[name](algorithm, int(number)))
    finally:
        algorithm.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
