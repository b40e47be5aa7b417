"""A Ray to run on: the cluster that is there, or a small local one that ends with the run."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import ray
import torch

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.own_ray import OWN_RAY, cluster_address, listening_on_localhost, own_ray_options
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.limits import CLUSTER_S

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 300
_LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def ray_session(experiment: Experiment) -> Iterator[None]:
    """Connect to Ray or start it; what was started here is shut down again.

    Where ``RAY_ADDRESS`` is set (inside ``ray job submit``, by ``--address``) that cluster is used. Otherwise a local
    Ray of its own with as many CPUs and custom resources as the experiment books is started, so that no worker waits for a
    core that never comes.

    Raises:
        ExperimentError: Ray does not start, or its nodes lack a custom resource.
    """
    # Read when Ray starts; a user who wants to send Ray's usage statistics can still set it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        check_custom_resources(experiment)
        yield
        return
    level = experiment.logging.level
    options: dict[str, Any] = {
        "logging_level": level.upper(),
        # Workers repeat RLlib's warnings, which no logging level of the driver reaches.
        "log_to_driver": level != "error",
    }
    if cluster_address() is None:
        options |= own_ray_options(
            cpus_needed(experiment), custom_resources_needed(experiment), dashboard=experiment.logging.dashboard
        )
    start_ray(options)
    try:
        check_custom_resources(experiment)
        yield
    finally:
        ray.shutdown()


def start_ray(options: dict[str, Any]) -> None:
    """``ray.init(**options)``; where Ray does not come up, as on a machine that is busy just then, once more.

    Raises:
        ExperimentError: It did not come up twice, or nobody answers where the user's cluster should be; or as
            :func:`listening_on_localhost`.
    """
    address = None if "address" in options else cluster_address()
    if address is not None:
        _require_somebody_at(address)
    with listening_on_localhost() if options.get("address") == OWN_RAY else contextlib.nullcontext():
        _start_or_try_again(options, address)


def _start_or_try_again(options: dict[str, Any], address: str | None) -> None:
    for is_last in (False, True):
        try:
            ray.init(**options)
            return
        except Exception as error:
            ray.shutdown()  # what has come up of it
            what = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_CHARACTERS].rstrip(". ")
            if is_last and address is not None:
                raise _unreachable(address, what) from error
            if is_last:
                folder = os.path.join(os.environ.get("RAY_TMPDIR", "/tmp"), "ray")
                raise ExperimentError(
                    f"Ray did not start, nor when it was tried again: {what}; its logs are below "
                    f"{folder}/session_latest/logs. Memory, processes and space in {folder} are what it lacks most often "
                    "('rllib-reborn doctor')."
                ) from error
            logger.warning("Ray did not start (%s); it is tried once more.", what)


def _require_somebody_at(address: str) -> None:
    """Raise where nothing listens at ``host:port``, for which Ray would look for minutes.

    Raises:
        ExperimentError: Nothing does, within :data:`~rllib_reborn.limits.CLUSTER_S`.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # 'auto', which Ray looks up on this machine
        return
    deadline = time.monotonic() + CLUSTER_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CLUSTER_S).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise _unreachable(address, f"{type(error).__name__}: {error}") from error
        time.sleep(_LOOK_EVERY_S)


def _unreachable(address: str, what: str) -> ExperimentError:
    # Ray sends its token to a cluster that is named by its address only where it was given the mode.
    with_token = any(map(os.environ.get, ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")))
    token = "" if with_token else "set RAY_AUTH_MODE=token where it asks for a token (its file is ~/.ray/auth_token), "
    return ExperimentError(
        f"the Ray cluster {address!r} (RAY_ADDRESS, --address) cannot be reached: {what}; see whether it runs "
        f"('ray status'), {token}or leave the address out for a Ray of its own."
    )


def show_ray_messages(level: str) -> None:
    """Show messages of Ray and RLlib from ``level`` on; RLlib warns of its own past at every start."""
    for name in ("ray", "ray.rllib"):
        logging.getLogger(name).setLevel(level.upper())


def cpus_needed(experiment: Experiment) -> int:
    """Whole cores that the experiment's processes book, and one for the driver."""
    resources = experiment.resources
    runners = resources.num_env_runners + experiment.evaluation.num_env_runners
    per_learner = 1.0 if resources.num_cpus_per_learner is None else resources.num_cpus_per_learner
    booked = runners * resources.num_cpus_per_env_runner + resources.num_learners * per_learner
    return math.ceil(booked) + 1


def custom_resources_needed(experiment: Experiment) -> dict[str, float]:
    """What the experiment's sampling and evaluating processes book of custom resources, by name."""
    booked = experiment.resources.custom_resources_per_env_runner
    return {name: _shares(experiment) * amount for name, amount in booked.items()}


def _shares(experiment: Experiment) -> int:
    """How many processes book at the same time. At least one: the episodes after training are played by a task that books as
    a runner does, when these are gone."""
    return max(1, experiment.resources.num_env_runners + experiment.evaluation.num_env_runners)


def check_custom_resources(experiment: Experiment) -> None:
    """Raise unless the nodes of the running Ray have what all runners book together; one that is left over would wait for
    ever. What other runs hold is not looked at: they end.

    Raises:
        ExperimentError: They have not.
    """
    shares = _shares(experiment)
    for name, amount in experiment.resources.custom_resources_per_env_runner.items():
        nodes = [node["Resources"].get(name, 0.0) for node in ray.nodes() if node["Alive"]]
        most = max(nodes, default=0.0)
        if most < amount:
            raise ExperimentError(
                f"each runner books {amount:g} of {name!r} (resources.custom_resources_per_env_runner), and no node of this "
                f"Ray has more than {most:g}; start nodes with: ray start --resources='{{\"{name}\": {amount:g}}}'"
            )
        room = sum(int(there // amount) for there in nodes)
        if room < shares:
            raise ExperimentError(
                f"the experiment books {shares} x {amount:g} = {shares * amount:g} of {name!r} "
                f"(resources.num_env_runners={experiment.resources.num_env_runners} and evaluation.num_env_runners="
                f"{experiment.evaluation.num_env_runners}, each resources.custom_resources_per_env_runner), and the nodes "
                f"of this Ray have {sum(nodes):g}, room for {room} of these; take fewer runners or fewer games in each, or "
                f"start nodes with more: ray start --resources='{{\"{name}\": {shares * amount:g}}}' on one node"
            )


def gpus_needed(experiment: Experiment) -> float:
    """GPUs that the learners use; a learner in the driver counts as one."""
    resources = experiment.resources
    return max(resources.num_learners, 1) * resources.num_gpus_per_learner


def check_gpus(experiment: Experiment) -> None:
    """Raise unless the GPUs that the learners need are there, as far as that can be known before Ray is asked.

    Raises:
        ExperimentError: There are too few.
    """
    needed = gpus_needed(experiment)
    in_driver = experiment.resources.num_learners == 0
    if needed == 0 or (cluster_address() is not None and not in_driver):
        return
    # Learner processes may sit anywhere in a cluster; a learner in the driver needs a GPU of this machine.
    whole_cluster = ray.is_initialized() and not in_driver
    there = ray.cluster_resources().get("GPU", 0) if whole_cluster else torch.cuda.device_count()
    if needed > there:
        raise ExperimentError(
            f"the learners need {needed:g} GPUs and {there:g} are here; set "
            "resources.num_gpus_per_learner=0, or run where the GPUs are ('doctor' shows what is here)."
        )
