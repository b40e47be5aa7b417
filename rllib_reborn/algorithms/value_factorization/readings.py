"""Numbers of a run's present state that its rows lack, for those who watch it; cheap, and read from any thread."""

from __future__ import annotations

from typing import Any


def readings(algo: Any) -> dict[str, float]:
    """The present state of a :class:`~.value_factorization.ValueFactorization`.

    Returns:
        ``replay/episodes`` and ``replay/capacity_episodes``; ``runners/healthy`` and ``runners/waiting``, sampling processes
        that work and that are being started (0 and 0 where the driver samples); ``seconds/sampling``, ``seconds/learning``
        and ``seconds/waiting`` since this process began, see
        :class:`~rllib_reborn.algorithms.value_factorization.activity_clock.ActivityClock`.
    """
    group, activity = algo.env_runner_group, algo.activity
    healthy, wanted = group.num_healthy_remote_env_runners(), group.num_remote_env_runners()
    return {
        "replay/episodes": len(algo.replay),
        "replay/capacity_episodes": algo.replay.capacity,
        "runners/healthy": healthy,
        "runners/waiting": wanted - healthy,
        "seconds/sampling": activity.sampling,
        "seconds/learning": activity.learning,
        "seconds/waiting": activity.waiting,
    }
