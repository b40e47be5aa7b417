"""Every private name of Ray 2.60 that this package touches, and nothing else; one test each.

When Ray changes, ``tests/algorithms/test_ray_internals.py`` says which of these broke.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils import force_list


def make_callbacks(config: Any) -> list[Any]:
    """Instances of the callback classes (or factories) given to ``config.callbacks(...)``."""
    return [make() for make in force_list(config.callbacks_class)]


def accept_any_weights(learner: Any, state: dict[str, Any]) -> None:
    """Make ``Learner.set_state(state)`` take the weights of ``state`` even when they are older than its own.

    RLlib keeps the newer weights silently but takes the older optimizer state (learner.py, ``set_state``).
    """
    if "weights_seq_no" in state:
        learner._weights_seq_no = -1


def count_env_steps(env_runner: Any, steps: int) -> None:
    """Raise RLlib's own Prometheus counter of sampled env steps."""
    if steps > 0:
        env_runner._metrics_num_env_steps_sampled.inc(value=steps)


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
