"""The hook that RLlib lacks: a callback that runs in each Learner, on the device of the model."""

from __future__ import annotations

from typing import Any


class LearnerCallback:
    """Mix into an ``RLlibCallback`` given to ``config.callbacks(...)``; each Learner builds an instance of its own.

    With several learners every rank calls it at the same updates with equal weights; what it does must be equal on all
    ranks (draw random numbers from ``(seed, num_updates)``, never from the rank).
    """

    def on_learner_update(
        self,
        *,
        learner: Any,
        module_id: str,
        module: Any,
        num_updates: int,
        timesteps: dict[str, Any],
        metrics_logger: Any,
    ) -> None:
        """Called after every gradient step, targets updated.

        Args:
            learner: The Learner this runs in.
            module_id: Id of the module.
            module: The module itself, without a DDP wrapper; change parameters in place only.
            num_updates: Gradient steps so far, this one included.
            timesteps: Env-step and episode clocks sent with the update.
            metrics_logger: The Learner's logger.
        """

    def get_learner_state(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback."""
        return {}

    def set_learner_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_learner_state` gave."""
