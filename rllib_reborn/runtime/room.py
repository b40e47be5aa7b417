"""Whether the nodes of a cluster have room for what an algorithm or a run starts."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray

logger = logging.getLogger(__name__)

Resources = Mapping[str, float]
#: When a shortage is said, and how often again.
_FIRST_S, _THEN_S = 10.0, 60.0


def booked_by_learner(cpus: float | None, gpus: float) -> dict[str, float]:
    """What one learner books, by RLlib's own rule where nothing is given: a core, or none beside a GPU."""
    booked = {"CPU": cpus if cpus is not None else 0.0 if gpus else 1.0, "GPU": gpus}
    return {name: amount for name, amount in booked.items() if amount}


def processes_of_config(config: Any) -> dict[str, list[Resources]]:
    """What the processes of an RLlib config book, by what they are called; this process is not among them."""
    runner = {"CPU": float(config.num_cpus_per_env_runner), **config.custom_resources_per_env_runner}
    if config.num_gpus_per_env_runner:
        runner["GPU"] = float(config.num_gpus_per_env_runner)
    cpus = config.num_cpus_per_learner
    learner = booked_by_learner(None if cpus == "auto" else float(cpus), float(config.num_gpus_per_learner))
    return {
        "env runners": [runner] * config.num_env_runners,
        "evaluation runners": [runner] * config.evaluation_num_env_runners,
        "learners": [learner] * config.num_learners,
    }


def without_room(processes: Sequence[Resources], nodes: Sequence[Resources]) -> int:
    """How many of ``processes`` find no place on ``nodes``, each taking the first that has room."""
    left = [dict(node) for node in nodes]
    missing = 0
    for asked in processes:
        fits = next((node for node in left if all(node.get(name, 0.0) >= need for name, need in asked.items())), None)
        if fits is None:
            missing += 1
            continue
        for name, need in asked.items():
            if need:
                fits[name] -= need
    return missing


def shortage_of(processes: Mapping[str, Sequence[Resources]], nodes: Sequence[Resources]) -> str | None:
    """``waiting for 5 of 8 env runners: 1 CPU each, the cluster has 3 CPU``; None: there is room for all.

    Args:
        processes: What they book, by what they are called.
        nodes: What the nodes have.
    """
    every = [one for kind in processes.values() for one in kind]
    if not without_room(every, nodes):
        return None
    before: list[Resources] = []
    for name, kind in processes.items():
        missing = without_room([*before, *kind], nodes) - without_room(before, nodes)
        if missing:
            asked = ", ".join(f"{need:g} {resource}" for resource, need in kind[0].items() if need)
            there = ", ".join(
                f"{sum(node.get(resource, 0.0) for node in nodes):g} {resource}"
                for resource, need in kind[0].items()
                if need
            )
            return f"waiting for {missing} of {len(kind)} {name}: {asked} each, the cluster has {there}"
        before += kind
    return None


def alive_nodes() -> list[Resources]:
    """What each node of the cluster has that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextlib.contextmanager
def shortage_announced(
    config: Any,
    say: Callable[[str], None] = logger.warning,
    nodes: Callable[[], Sequence[Resources]] = alive_nodes,
    first_s: float = _FIRST_S,
) -> Iterator[None]:
    """While the processes of ``config`` are started inside, which waits for room for ever: say after 10 seconds, and then
    every minute, for what there is none.

    Args:
        config: An RLlib config.
        say: Is given each message.
        nodes, first_s: Replaced in tests.
    """
    processes = processes_of_config(config)
    if not any(processes.values()):
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        wait = first_s
        while not is_over.wait(wait):
            reason = shortage_of(processes, nodes()) if ray.is_initialized() else None
            if reason is not None:
                say(f"{reason}; start nodes, or set fewer.")
            wait = _THEN_S

    thread = threading.Thread(target=watch, name="room for an algorithm", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
