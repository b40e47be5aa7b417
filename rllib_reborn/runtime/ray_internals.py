"""Every private name of Ray (2.58.1 to 2.60) that this package touches, and nothing else; one test each.

When Ray changes, ``tests/runtime/test_ray_internals.py`` says which of these broke.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import ray
from ray._common.deprecation import DEPRECATED_VALUE
from ray._private import ray_constants
from ray.exceptions import RayError, RayTaskError
from ray.rllib.algorithms import algorithm as rllib_algorithm
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import ALL_MODULES
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils import force_list
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.rllib.utils.metrics import NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME
from ray.tune.registry import register_trainable
from ray.util import log_once


class NoFolderAtHome(Algorithm):
    """An algorithm without a folder in ``~/ray_results``, which RLlib makes for each one outside of Tune, and where ours put
    nothing: the home may be read-only or full. One that is asked for its ``logdir`` gets a temporary one."""

    _logdir: str | None

    def _setup_logdir(self) -> None:
        if self._storage:
            super()._setup_logdir()

    def setup(self, config: Any) -> None:
        """As RLlib's, which gives ``logdir`` to env runners; ours write nothing there, so no folder is made for them."""
        made, self._logdir = self._logdir, self._logdir or tempfile.gettempdir()
        try:
            super().setup(config)
        finally:
            self._logdir = made

    @property
    def logdir(self) -> str:
        """Tune's folder of the trial, or a temporary one."""
        if self._logdir is None:
            self._logdir = tempfile.mkdtemp(prefix=f"{type(self).__name__}_")
        return self._logdir


class _ConfigByValue(EnvRunnerGroup):
    """Runners that get the config itself. RLlib gives them a reference to it in Ray's object store; then Ray prints for each
    group that a runner cannot be restarted once the store has lost it."""

    def _make_worker(self, *, config: Any, **kwargs: Any) -> Any:
        return super()._make_worker(config=self._remote_config, **kwargs)


class ConfigByValueAlgorithm(NoFolderAtHome):
    """An algorithm whose runners are such."""

    def setup(self, config: Any) -> None:
        # RLlib's own setup() names the class of the groups.
        before = rllib_algorithm.EnvRunnerGroup
        rllib_algorithm.EnvRunnerGroup = _ConfigByValue
        try:
            super().setup(config)
        finally:
            rllib_algorithm.EnvRunnerGroup = before


def register_algorithm(name: str, algorithm: type | None) -> None:
    """Make Tune know an algorithm by its name, also in a second Ray of the same process: with a cluster Tune forgets what
    was registered, and looks into RLlib's own table (in which "IQL" is another algorithm)."""
    register_trainable(name, algorithm)
    ALGORITHMS[name] = lambda: (algorithm, None)


def no_word_on_the_api_stack(config: Any) -> None:
    """RLlib's checks would warn once that an algorithm runs on the new API stack, as if there were a choice."""
    log_once(f"{config.algo_class.__name__}_on_new_api_stack")


def no_word_on_module_configs() -> None:
    """RLlib's own module class makes an object of a deprecated class of its own, and would warn of that once."""
    log_once("RLModule(config=[RLModuleConfig object])")


def make_callbacks(config: Any) -> list[Any]:
    """Instances of the callback classes (or factories) given to ``config.callbacks(...)``."""
    # RLlib's default, a class whose methods do nothing, would be called for every batch.
    return [make() for make in force_list(config.callbacks_class) if make is not RLlibCallback]


def accept_any_weights(learner: Any, state: dict[str, Any]) -> None:
    """Make ``Learner.set_state(state)`` take the weights of ``state`` even when they are older than its own.

    RLlib keeps the newer weights silently but takes the older optimizer state (learner.py, ``set_state``).
    """
    if "weights_seq_no" in state:
        learner._weights_seq_no = -1


def count_update(learner: Any) -> None:
    """What RLlib's ``Learner.update`` counts at each update: the number that its weights go by."""
    learner._weights_seq_no += 1


def gradient_step(learner: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """One gradient step of a torch learner on tensors by module: forward pass, losses, gradients, ``apply_gradients``. Gives
    the losses."""
    _, losses, _ = learner._update(batch)
    found: dict[str, Any] = losses
    return found


def count_trained_steps(learner: Any, env_steps: int) -> None:
    """Env steps of an update's batch, in the results and the Prometheus counter that RLlib's ``Learner.update`` keeps."""
    learner._metrics_all_modules_num_env_steps_trained.inc(value=env_steps)
    learner.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), env_steps, reduce="sum")
    learner.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), env_steps, reduce="lifetime_sum")


def env_steps_counter(env_runner: Any) -> Any:
    """RLlib's own Prometheus counter of sampled env steps; ``counter.inc(value=steps)`` for ``steps > 0``."""
    return env_runner._metrics_num_env_steps_sampled


def env_runner_seed(env_runner: Any) -> int | None:
    """RLlib's seed of this runner: config seed + worker index (+ 1,000,000 in evaluation); None if unseeded."""
    seed: int | None = env_runner._seed
    return seed


def run_callbacks(name: str, callbacks: list[Any], functions: Any, **kwargs: Any) -> None:
    """Call ``name`` on RLlib callback objects and on the functions registered for it."""
    make_callback(name, callbacks, functions, kwargs=kwargs)


def wants_component(component: Any, name: str, components: Any, not_components: Any) -> bool:
    """Is part ``name`` of a Checkpointable asked for by ``get_state(components, not_components)``?"""
    return bool(component._check_component(name, components, not_components))


def settings(config: Any) -> dict[str, Any]:
    """Every setting of an RLlib config as it was given, by its name without a leading underscore; some are properties with a
    value of their own where nothing was given, and these are kept under a private name."""
    return {name.removeprefix("_"): value for name, value in vars(config).items()}


def is_deprecated_setting(name: str) -> bool:
    """Whether RLlib itself keeps a setting only to say that it is gone."""
    return (
        name == "replay_sequence_length"
        or vars(AlgorithmConfig()).get(name) == DEPRECATED_VALUE
        or (vars(AlgorithmConfig()).get(f"_{name}") == DEPRECATED_VALUE)
    )


@contextlib.contextmanager
def nodes_on_localhost() -> Iterator[None]:
    """A local Ray that ``ray.init`` starts inside has the address 127.0.0.1, and all its processes listen there and nowhere
    else. Ray does that where it cannot be a cluster (macOS, Windows); elsewhere it would
    listen on every interface, and take ``_node_ip_address="127.0.0.1"`` for the machine's address in the network."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def default_dashboard() -> dict[str, Any]:
    """The Grafana dashboard that Ray's own page shows below "Metrics", with the ``uid`` by which it finds it there
    (``RAY_GRAFANA_DEFAULT_DASHBOARD_UID``)."""
    from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_default_grafana_dashboard

    text, _ = generate_default_grafana_dashboard()
    dashboard: dict[str, Any] = json.loads(text)
    return dashboard


class CallWatcher(Protocol):
    """Who is notified of calls to remote actors that are not answered."""

    limit_s: float

    def late(self, workers: Sequence[int], waited_s: float) -> None:
        """Actors that count as alive have not answered within that time."""

    def lost(self, worker: int, error: Exception) -> None:
        """A call to an actor that counted as alive has ended with an error of Ray's."""


class WatchedActorManager(FaultTolerantActorManager):
    """RLlib's manager of remote actors, with an end to every wait; made by :func:`watch_calls`."""

    watcher: CallWatcher

    def _fetch_result(
        self,
        *,
        remote_actor_ids: list[int],
        remote_calls: list[Any],
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> Any:
        limit = self.watcher.limit_s if timeout_seconds is None else timeout_seconds
        alive = set(self.healthy_actor_ids())
        ready, results = super()._fetch_result(
            remote_actor_ids=remote_actor_ids, remote_calls=remote_calls, timeout_seconds=limit, **kwargs
        )
        for result in results:
            if not result.ok and result.actor_id in alive:
                alive.discard(result.actor_id)
                self.watcher.lost(result.actor_id, result.get())
        if limit > 0 and len(ready) < len(remote_calls):
            answered = set(ready)
            late = {actor for actor, call in zip(remote_actor_ids, remote_calls) if call not in answered}
            if late & alive:
                self.watcher.late(sorted(late & alive), limit)
        return ready, results


def watch_calls(manager: FaultTolerantActorManager, watcher: CallWatcher) -> None:
    """From now on calls through ``manager`` without a limit have that of ``watcher``, which is notified of the others."""
    manager.__class__ = WatchedActorManager
    manager.watcher = watcher


def actor_manager(group: Any) -> Any:
    """RLlib's manager of the remote actors of an EnvRunnerGroup or a LearnerGroup."""
    return group._worker_manager


def watcher_of(group: Any) -> Any:
    """What :func:`watch_calls` was given for the actors of a group; None: nothing was."""
    return getattr(getattr(group, "_worker_manager", None), "watcher", None)


def end_actor(manager: FaultTolerantActorManager, worker: int) -> None:
    """End the process of a remote actor, also one that is stopped or hangs; Ray starts another where it may."""
    ray.kill(manager._actors[worker], no_restart=False)
    manager.set_actor_state(worker, healthy=False)


def is_death(error: Exception) -> bool:
    """Whether an error of a remote call says that the actor is dead, and not what it has raised."""
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def reason_of(error: Exception) -> str:
    """The first line of an error of a remote call that says why; for a dead actor Ray's reason."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    stated = [line for line in lines if line.startswith(("The actor", "Worker", "Owner"))] or lines
    return stated[-1].rstrip(".") if stated else type(error).__name__
