"""A shadow of a learner: what its networks would be without something that was done to them, update by update.

It is a copy of all that an update changes. For an update of its own it is put in the learner's place, so that the learner's
own code makes that update: forward pass (DDP's, with its sum of gradients over ranks), loss, clipping, guard, optimizer
step, target copies.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from rllib_reborn.callbacks.copies import copied_to


class Shadow:
    """Copies, made now, of a learner's networks (targets and buffers included), optimizer state and counts, and of what its
    callbacks hold (:meth:`~rllib_reborn.callbacks.LearnerCallback.in_shadow`). Three times the memory of the weights.

    Args:
        learner: A :class:`~.learner_setup.LearnerSetup` that is built.
    """

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        self._tensors = {name: tensor.detach().clone() for name, tensor in self._live_tensors().items()}
        self._averages: list[dict[str, Any]] = copy.deepcopy(self._live_averages())
        self._counts: dict[str, Any] = copy.deepcopy(learner.update_counts())
        self._callbacks = [callback.in_shadow() for callback in learner.learner_callbacks]

    def update(self, batch: dict[str, Any]) -> None:
        """One gradient step on ``batch``, the learner's own of the same update: tensors, under the module's id. The learner
        stays as it is, its gradients, counts and metrics included; random streams are the caller's to keep."""
        learner, metrics, scalars = self._learner, self._learner.metrics, self._learner.scalars
        gradients = [parameter.grad for parameter in self._parameters()]
        try:
            learner.metrics, learner.scalars = MetricsLogger(), {}  # what the shadow logs is nobody's
            with self.in_place():
                outputs = learner.module.forward_train(batch)
                losses = learner.compute_losses(fwd_out=outputs, batch=batch)
                learner.apply_gradients(learner.postprocess_gradients(learner.compute_gradients(losses)))
        finally:
            learner.metrics, learner.scalars = metrics, scalars
            for parameter, gradient in zip(self._parameters(), gradients, strict=True):
                parameter.grad = gradient

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the learner holds the shadow's networks, optimizer state and counts, and the shadow the learner's."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def get_state(self) -> dict[str, Any]:
        """Copies on the CPU."""
        state: dict[str, Any] = copied_to(
            "cpu",
            {
                "tensors": self._tensors,
                "averages": self._averages,
                "counts": self._counts,
                "callbacks": [callback.get_learner_state() for callback in self._callbacks],
            },
        )
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        live = self._live_tensors()
        self._tensors = {name: tensor.to(live[name].device, copy=True) for name, tensor in state["tensors"].items()}
        counts_beside = self._optimizer().param_groups[0]["capturable"]
        self._averages = [
            # Step counters stay on the CPU, unless the optimizer keeps them beside the parameters.
            {
                name: value if name == "step" and not counts_beside else copied_to(parameter.device, value)
                for name, value in averages.items()
            }
            for parameter, averages in zip(self._parameters(), copied_to("cpu", state["averages"]), strict=True)
        ]
        self._counts = copied_to(next(iter(live.values())).device, state["counts"])
        for callback, of_callback in zip(self._callbacks, state["callbacks"], strict=True):
            callback.set_learner_state(of_callback)

    # ------------------------------------------------------------------ what is exchanged

    def _exchange(self) -> None:
        learner = self._learner
        with torch.no_grad():
            for name, live in self._live_tensors().items():
                kept = live.detach().clone()
                live.copy_(self._tensors[name])
                self._tensors[name] = kept
        # Whole dicts change hands: the optimizer has no entry for a parameter that never had a gradient.
        averages, state = self._live_averages(), self._optimizer().state
        for parameter, of_shadow in zip(self._parameters(), self._averages, strict=True):
            state.pop(parameter, None)
            if of_shadow:
                state[parameter] = of_shadow
        self._averages = averages
        counts = learner.update_counts()
        learner.set_update_counts(self._counts)
        self._counts = counts
        learner.learner_callbacks, self._callbacks = self._callbacks, learner.learner_callbacks

    def _live_tensors(self) -> dict[str, Tensor]:
        module = self._learner.module[DEFAULT_MODULE_ID].unwrapped()
        return {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def _live_averages(self) -> list[dict[str, Any]]:
        """Of each parameter, in the optimizer's order; {}: it has none."""
        state = self._optimizer().state
        return [state.get(parameter, {}) for parameter in self._parameters()]

    def _parameters(self) -> list[Tensor]:
        return [p for group in self._optimizer().param_groups for p in group["params"]]

    def _optimizer(self) -> torch.optim.Optimizer:
        found: torch.optim.Optimizer = self._learner.get_optimizer(DEFAULT_MODULE_ID)
        return found
