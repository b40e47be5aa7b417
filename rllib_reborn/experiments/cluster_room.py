"""Is there room on the cluster for all that a run starts? A wait that says what for, and that can end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.runtime.idle_watch import FIRST_S, THEN_S
from rllib_reborn.runtime.room import Resources, alive_nodes, booked_by_learner, shortage_of

_LOOK_EVERY_S = 1.0


def processes_of(experiment: Experiment) -> dict[str, list[Resources]]:
    """What the run's processes book, by what they are called; the driver's own core is not among them."""
    resources = experiment.resources
    runner = {"CPU": resources.num_cpus_per_env_runner, **resources.custom_resources_per_env_runner}
    learner = booked_by_learner(resources.num_cpus_per_learner, resources.num_gpus_per_learner)
    return {
        "env runners": [runner] * resources.num_env_runners,
        "evaluation runners": [runner] * experiment.evaluation.num_env_runners,
        "learners": [learner] * resources.num_learners,
    }


def shortage(experiment: Experiment, nodes: Sequence[Resources], own: Resources | None = None) -> str | None:
    """``waiting for 5 of 8 env runners: 1 CPU each, the cluster has 3 CPU``; None: there is room for all.

    Args:
        experiment: The run.
        nodes: What they have.
        own: What the run's own process books, where it is none of those that are there already.
    """
    own_process: list[Resources] = [] if own is None else [own]
    return shortage_of({"training processes": own_process, **processes_of(experiment)}, nodes)


def wait_for_room(
    experiment: Experiment,
    say: Callable[[str], None],
    *,
    own: Resources | None = None,
    nodes: Callable[[], Sequence[Resources]] | None = None,
    demand: Callable[[Sequence[Resources]], contextlib.AbstractContextManager[None]] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once the cluster's nodes have room for all processes; say what is waited for after 30 s, then every minute.

    While it waits, an autoscaler sees what is wanted. Only what the nodes have is looked at, not what other runs hold: they
    end, or are queued by Ray as this one is.

    Args:
        experiment: ``resources.wait_timeout_s`` ends the wait.
        say: Is given each message.
        own: As of :func:`shortage`.
        nodes, demand, clock, sleep: Replaced in tests.

    Raises:
        ExperimentError: There was no room in ``resources.wait_timeout_s`` seconds.
    """
    if own is None and (not any(processes_of(experiment).values()) or (nodes is None and _has_its_room())):
        return
    there = alive_nodes if nodes is None else nodes
    start, due, is_shown = clock(), FIRST_S, False
    with contextlib.ExitStack() as demanded:
        while True:
            reason = shortage(experiment, there(), own)
            if reason is None:
                return
            waited, limit = clock() - start, experiment.resources.wait_timeout_s
            if not is_shown:
                is_shown = True
                processes = [one for kind in processes_of(experiment).values() for one in kind]
                demanded.enter_context((demand or shown_to_autoscaler)([own, *processes] if own else processes))
            if limit is not None and waited >= limit:
                raise ExperimentError(
                    f"gave up after {waited:.0f} s (resources.wait_timeout_s={limit:g}), {reason}; start nodes, or take "
                    "fewer."
                )
            if waited >= due:
                say(reason)
                due = waited + THEN_S
            sleep(_LOOK_EVERY_S if limit is None else min(_LOOK_EVERY_S, max(limit - waited, 0.01)))


@contextlib.contextmanager
def shown_to_autoscaler(processes: Sequence[Resources]) -> Iterator[None]:
    """While inside, Ray counts ``processes`` as work that waits for a place, and an autoscaler starts nodes for them.

    Nothing else would show it: none of a run's processes is started before there is room for all. It is a placement group,
    which is removed at the end, whether or not it has got its place. (``request_resources`` would be one number for the
    whole cluster, which the last run to call it sets for all.)
    """
    bundles = [{name: amount for name, amount in one.items() if amount} for one in processes]
    group = placement_group([bundle for bundle in bundles if bundle], strategy="PACK")
    try:
        yield
    finally:
        remove_placement_group(group)


def _has_its_room() -> bool:
    """A run of a sweep: its placement group holds all that it starts."""
    return ray.util.get_current_placement_group() is not None
