"""ReBorn as a callback class for ``config.callbacks(...)``."""

from __future__ import annotations

from rllib_reborn.callbacks.interventions import InterventionCallback


class ReBornCallback(InterventionCallback):
    """Performs ReBorn on the Learner's model every so many env steps (or updates, episodes, iterations).

    ``config.callbacks(partial(ReBornCallback, every=200_000, unit="env_steps", alpha=0.1, beta=3.0, rule="paper"))`` is
    sugar for ``config.training(interventions=[{"kind": "reborn", "every": 200_000, ...}])``: the settings become data of the
    config, where Tune can search them and checkpoints keep them. All settings are those of
    :class:`~rllib_reborn.plasticity.interventions.ReBorn`; without any, its defaults.
    """

    #: What ``config.callbacks`` writes into ``interventions``.
    kind = "reborn"
