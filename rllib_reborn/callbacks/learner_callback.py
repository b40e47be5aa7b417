"""The hook that RLlib lacks: a callback that runs in each Learner, on the device of the model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_reborn.callbacks.request import PlasticityRequest

#: Attribute of a Learner class: whether it calls the methods of :class:`LearnerCallback`.
RUNS_LEARNER_CALLBACKS = "runs_learner_callbacks"


class LearnerCallback(RLlibCallback):
    """A callback for ``config.callbacks(...)``, of which each Learner builds an instance of its own.

    Only the Learners of our own algorithms call it. With another one, ``build_algo()`` refuses it: it would do nothing.

    With several learners every rank calls it at the same updates with equal weights; what it does must be equal on all
    ranks (draw random numbers from what the request or ``(seed, num_updates)`` gives, never from the rank).
    """

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Called in the algorithm's process, when it is built.

        Raises:
            ValueError: The algorithm's Learners do not call this callback.
        """
        # The class, and not a Learner: remote ones are of the same.
        learner_class = algorithm.config.learner_class
        if not getattr(learner_class, RUNS_LEARNER_CALLBACKS, False):
            raise ValueError(
                f"callbacks has {type(self).__name__}, which {algorithm.__class__.__name__}'s learner "
                f"({learner_class.__name__}) never calls. {self.instead(learner_class)}"
            )

    def instead(self, learner_class: type) -> str:
        """What to do where ``learner_class`` does not call this callback, as sentences."""
        return "Use it with an algorithm of rllib_reborn, or leave it out."

    def on_learner_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        """Called once, when the Learner, its module and its optimizers exist and nothing is trained yet.

        Args:
            learner: The Learner this runs in.
            module_id: Id of the module.
            module: The module itself, without a DDP wrapper.
        """

    def leaves_updates_alone(self, base: type | None = None) -> bool:
        """Whether an update at which nothing is due may be made without :meth:`watch_update` and :meth:`on_learner_loss`, as
        one captured call on a GPU: by default where ``base`` (None: this class) has them and no subclass overrides them."""
        base, own = base or LearnerCallback, type(self)
        return own.watch_update is base.watch_update and own.on_learner_loss is base.on_learner_loss  # type: ignore

    def watch_update(self, *, module: Any, request: PlasticityRequest | None) -> AbstractContextManager[Any]:
        """A context around the whole of every update, forward and backward pass included; ``request``: what is due at it, or
        None."""
        return nullcontext()

    def in_shadow(self) -> LearnerCallback:
        """What takes this callback's place in the updates of a shadow that is made now: a copy of the networks that is
        updated beside them, without what is done to them from here on (``drift_updates`` of an intervention). Of it, only
        :meth:`on_learner_loss` and :meth:`after_gradient_step` are called, with the shadow's weights in the module, and its
        state is kept in checkpoints. By default those two are this callback's own; one that remembers something from step
        to step gives a copy of itself."""
        return _InShadow(self)

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Any:
        """Called before every gradient is taken; a scalar tensor to add to the loss, or None."""
        return None

    def after_gradient_step(self, *, module: Any) -> None:
        """Called right after every gradient step, BEFORE targets follow: to hold weights as they were put."""

    def on_learner_update(
        self,
        *,
        learner: Any,
        module_id: str,
        module: Any,
        num_updates: int,
        timesteps: dict[str, Any],
        request: PlasticityRequest | None,
        metrics_logger: Any,
    ) -> None:
        """Called after every gradient step, targets updated.

        Args:
            learner: The Learner this runs in.
            module_id: Id of the module.
            module: The module itself, without a DDP wrapper; change parameters in place only.
            num_updates: Gradient steps so far, this one included.
            timesteps: Env-step and episode clocks sent with the update.
            request: What is due at this update and the batches for it, equal on all ranks; None: nothing is due.
            metrics_logger: The Learner's logger. In training by our algorithms it is read after each round of updates, not
                after each update: with ``window=1`` the last value of a round counts.
        """

    def after_update(self, *, learner: Any, module_id: str, batch: dict[str, Any]) -> None:
        """Called at the end of every update, when all that is left to do is to hand out what it has logged.

        Args:
            learner, module_id: As in :meth:`on_learner_update`.
            batch: What was learnt from: the module's columns, as tensors.
        """

    def on_intervention(
        self, *, learner: Any, module_id: str, module: Any, request: PlasticityRequest, report: Any
    ) -> None:
        """Called on all callbacks of a Learner after each application of an intervention (dry runs included).

        Args:
            learner, module_id, module, request: As in :meth:`on_learner_update`.
            report: Its :class:`~rllib_reborn.plasticity.interventions.apply.InterventionReport`.
        """

    def take_events(self) -> list[dict[str, Any]]:
        """What happened since this was last asked, as plain JSON data; asked on all ranks after updates with a request."""
        return []

    def get_learner_state(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback."""
        return {}

    def set_learner_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_learner_state` gave."""


class _InShadow(LearnerCallback):
    """A callback's loss and what it holds, and nothing else of it."""

    def __init__(self, callback: LearnerCallback) -> None:
        super().__init__()
        self._callback = callback

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Any:
        return self._callback.on_learner_loss(learner=learner, module_id=module_id, module=module)

    def after_gradient_step(self, *, module: Any) -> None:
        self._callback.after_gradient_step(module=module)
