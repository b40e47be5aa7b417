"""The learner: TD loss on whole episodes, guarded steps, target copies and the hook for learner callbacks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from ray.rllib.core import COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.utils import update_target_network
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.conditional_step import step_if
from rllib_reborn.algorithms.value_factorization.learner_setup import LearnerSetup
from rllib_reborn.algorithms.value_factorization.learner_updates import (
    STEPS_OF_ALL_LEARNERS,
    as_numbers,
    as_tensors,
    dense_steps,
    last_steps,
    packed_columns,
)
from rllib_reborn.algorithms.value_factorization.replay_mirror import on_device
from rllib_reborn.callbacks import PlasticityRequest
from rllib_reborn.losses import masked_mean, td_lambda_targets, td_targets
from rllib_reborn.runtime import ray_internals

#: Keys of the ``timesteps`` dict that the algorithm sends with every update.
ENV_STEPS = NUM_ENV_STEPS_SAMPLED_LIFETIME
EPISODES = "num_episodes_lifetime"

#: Keys of what a learner logs per update.
TD_ERROR_ABS = "td_error_abs"
GRAD_NORM = "grad_norm"
Q_TOT_MEAN = "q_tot_mean"
NUM_UPDATES = "num_updates"
NUM_TARGET_UPDATES = "num_target_updates"
NONFINITE_STEPS = "num_nonfinite_steps"


class ValueFactorizationLearner(LearnerSetup):
    """Trains a :class:`TeamRLModule` on batches of whole episodes.

    Counts, target copies and learner callbacks are per gradient step. With several learners each takes a part of the
    batch, and the loss is normalised by the step count of all parts, so that n learners do what one does.
    """

    # ------------------------------------------------------------------ one update

    @override(Learner)
    def update(
        self, *args: Any, request: PlasticityRequest | None = None, scalars_only: bool = False, **kwargs: Any
    ) -> Any:
        """As RLlib's.

        Args:
            request: What is due at this update, see :class:`~rllib_reborn.callbacks.PlasticityRequest`.
            scalars_only: Give what this update logs as plain numbers by name, and leave the rest for :meth:`take_metrics`.
                RLlib's way, one tree of objects for each number of each update, takes a tenth of a small update.

        Raises:
            ValueError: ``scalars_only``, and it is no update on one whole batch of the team's.
        """
        self._request, self.scalars, self._scalars_only = request, {}, scalars_only
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        try:
            with ExitStack() as watching:
                watching.enter_context(flushed_denormals())
                for callback in self.learner_callbacks:
                    watching.enter_context(callback.watch_update(module=module, request=request))
                batch = self._whole_batch(args, kwargs)
                if batch is None and scalars_only:
                    raise ValueError(
                        f"scalars_only is True; expected timesteps and one batch, of {DEFAULT_MODULE_ID!r}, and no more."
                    )
                if batch is None:
                    return super().update(*args, **kwargs)
                self._update_on(batch, kwargs["timesteps"])
                return as_numbers(self.scalars) if scalars_only else self.metrics.reduce()
        finally:
            self._request = None

    def _whole_batch(self, args: tuple[Any, ...], given: dict[str, Any]) -> MultiAgentBatch | None:
        """The batch of an update that is one gradient step on all of it, as the algorithm asks for; None: RLlib's own
        ``update`` shall do what was asked for, minibatches or epochs."""
        training_data = given.get("training_data")
        if training_data is not None:
            training_data.solve_refs()
        batch = given.get("batch") if training_data is None else training_data.batch
        asked = {name for name, value in given.items() if value} - {"batch", "training_data", "timesteps"}
        if args or asked or not isinstance(batch, MultiAgentBatch) or set(batch.policy_batches) != {DEFAULT_MODULE_ID}:
            return None
        return batch if given.get("timesteps") is not None else None

    def take_metrics(self) -> dict[str, Any]:
        """What updates with ``scalars_only`` have logged, as RLlib's ``MetricsLogger.aggregate`` takes it."""
        self._log_counts()
        reduced: dict[str, Any] = self.metrics.reduce()
        # The driver logs these itself, and a key is either logged or aggregated. They are here, perhaps empty, if an update
        # without scalars_only, or somebody else, has ever logged them.
        of_module = reduced.get(DEFAULT_MODULE_ID, {})
        for name in self.scalars.keys() & of_module.keys():
            del of_module[name]
        return reduced

    def _update_on(self, batch: MultiAgentBatch, timesteps: dict[str, Any]) -> None:
        """RLlib's update on a whole batch: what it does before and behind its loop over minibatches, without the loop and
        without what it logs of sizes and times beside env steps."""
        self.before_gradient_based_update(timesteps=timesteps)
        ray_internals.count_update(self)
        padded = None if self.captured is None else self.captured.batch_of(self._request, batch)
        metrics = self._uncaptured_step(batch) if padded is None else self._captured_step(padded)
        self._env_steps += batch.env_steps()
        self.scalars.update(metrics)
        self.after_gradient_based_update(timesteps=timesteps)

    def _uncaptured_step(self, batch: MultiAgentBatch) -> dict[str, Any]:
        """A gradient step as RLlib composes it; the loss for the log."""
        if self.device.type != "cpu" or self.replay_mirror is not None:
            batch = on_device(batch, self.device, self.replay_mirror)
        tensors = as_tensors(batch.policy_batches[DEFAULT_MODULE_ID])
        losses = ray_internals.gradient_step(self, {DEFAULT_MODULE_ID: tensors})
        return {self.TOTAL_LOSS_KEY: losses[DEFAULT_MODULE_ID].detach()}

    def _captured_step(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """A gradient step on a batch of :mod:`.captured_updates`; scalars for the log."""
        assert self.captured is not None
        self.last_batch = batch
        loss, norm, metrics = self.captured.run(batch)
        self._after_step()
        return metrics | {GRAD_NORM: norm, self.TOTAL_LOSS_KEY: loss}

    def _log_counts(self) -> None:
        if self._env_steps:
            ray_internals.count_trained_steps(self, self._env_steps)
            self._env_steps = 0
        # Equal on every rank: with the usual sum over learners they would be counted once per learner.
        for key, value in (
            (NUM_UPDATES, self.num_updates),
            (NUM_TARGET_UPDATES, self.num_target_updates),
            (NONFINITE_STEPS, self._nonfinite_steps),
        ):
            self.metrics.log_value((DEFAULT_MODULE_ID, key), value, reduce="max", window=1)

    @override(Learner)
    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self._timesteps = timesteps

    @override(Learner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """:meth:`team_loss`, what it gives for the log, and the terms of learner callbacks."""
        self.last_batch = batch
        loss, metrics = self.batch_loss(config, batch, fwd_out)
        self.scalars.update(metrics)
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        for callback in self.learner_callbacks:
            term = callback.on_learner_loss(learner=self, module_id=module_id, module=module)
            if term is not None:
                loss = loss + term
        return loss

    def batch_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """:meth:`team_loss` of a learner's batch, see :func:`~.learner_updates.learner_batches`."""
        columns = packed_columns(batch)
        mask, dense = dense_steps(columns, ("reward", "terminated"))
        if not config.bootstrap_at_limit:
            dense["terminated"] = dense["terminated"].bool() | last_steps(mask)
        # DDP averages gradients over ranks, so each rank divides by the mean number of steps per rank. The batch brings
        # the sum over all ranks with it: asking them for it would make every rank wait for the slowest once more.
        count = columns[STEPS_OF_ALL_LEARNERS][0] / _world_size()
        return self.team_loss(config, dense, fwd_out, mask.float(), count)

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked mean squared TD error (docs/method.md); algorithms with another loss override this.

        Args:
            config: The algorithm's config.
            batch: ``reward`` and ``terminated`` [E, T], zeros behind the end of an episode.
            fwd_out: What the module gave, [E, T, ...] each.
            mask: [E, T], 1 for env steps and 0 behind the end.
            count: Env steps to divide sums by: the mean over learners.

        Returns:
            The loss, a scalar, and scalars for the log, without gradient: :data:`TD_ERROR_ABS` and :data:`Q_TOT_MEAN`
            at least.
        """
        error = fwd_out["q_tot"] - self.targets(config, batch, fwd_out["next_q_tot"], mask)
        metrics = {
            TD_ERROR_ABS: masked_mean(error.detach().abs(), mask, count),
            Q_TOT_MEAN: masked_mean(fwd_out["q_tot"].detach(), mask, count),
        }
        return masked_mean(error.square(), mask, count), metrics

    def targets(self, config: Any, batch: dict[str, Any], next_value: Tensor, mask: Tensor) -> Tensor:
        """TD targets [E, T, ...], without gradient, from the next observation's value [E, T, ...]."""
        next_value = next_value.detach()
        terminated = batch["terminated"].bool()
        if config.td_lambda is not None:
            return td_lambda_targets(
                batch["reward"], next_value, terminated, mask, gamma=config.gamma, td_lambda=config.td_lambda
            )
        return td_targets(batch["reward"], next_value, terminated, mask, gamma=config.gamma, n_step=config.n_step)

    @override(Learner)
    def postprocess_gradients(self, gradients_dict: dict[Any, Tensor]) -> dict[Any, Tensor]:
        """Nothing here: the norm is taken once, fused, in :meth:`apply_gradients`."""
        return gradients_dict

    @override(TorchLearner)
    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """One gradient step: clip, guard, step, then targets and callbacks."""
        norm = self.take_step([g for g in gradients_dict.values() if g is not None])
        self.scalars[GRAD_NORM] = norm.detach()
        self._after_step()

    def take_step(self, gradients: Sequence[Tensor]) -> Tensor:
        """Clip, guard, step and count; on a GPU without waiting for it. Returns the gradients' norm, a scalar."""
        norm = global_norm(gradients)
        taken = guarded_step(self.get_optimizer(DEFAULT_MODULE_ID), norm, self.config.grad_clip)
        skipped = (~taken).long()
        self._nonfinite_steps += skipped
        self._nonfinite_in_row.add_(1).mul_(skipped)
        return norm

    def _after_step(self) -> None:
        """What follows a gradient step: targets and callbacks."""
        self.num_updates += 1
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        for callback in self.learner_callbacks:
            callback.after_gradient_step(module=module)
        self._update_targets(module)
        request, self._request = self._request, None
        for callback in self.learner_callbacks:
            callback.on_learner_update(
                learner=self,
                module_id=DEFAULT_MODULE_ID,
                module=module,
                num_updates=self.num_updates,
                timesteps=self._timesteps,
                request=request,
                metrics_logger=self.metrics,
            )
        if self.captured is not None and request is not None and request.interventions:
            self.captured.forget()

    def take_events(self) -> list[dict[str, Any]]:
        """What happened in learner callbacks since this was last asked, in their order."""
        return [event for callback in self.learner_callbacks for event in callback.take_events()]

    def _update_targets(self, module: RLModule) -> None:
        settings = self._target_update
        if settings.tau is not None:
            tau = settings.tau
        elif settings.unit == "updates":
            if self.num_updates % settings.every:
                return
            tau = 1.0
        else:
            episodes = int(self._timesteps.get(EPISODES, 0))
            if episodes - self.last_target_update_episodes < settings.every:
                return
            self.last_target_update_episodes = episodes
            tau = 1.0
        for main, target in module.get_target_network_pairs():
            if next(main.parameters(), None) is not None:  # VDN's mixer has none
                update_target_network(main_net=main, target_net=target, tau=tau)
        self.num_target_updates += 1

    @override(Learner)
    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        if not self._scalars_only:
            for name, value in self.scalars.items():  # log_dict walks every mapping as a tree, which takes longer
                self.metrics.log_value((DEFAULT_MODULE_ID, name), value, window=1)
            self._log_counts()
        for callback in self.learner_callbacks:
            callback.after_update(learner=self, module_id=DEFAULT_MODULE_ID, batch=self.last_batch)
        if int(self._nonfinite_in_row) >= self.config.nonfinite_patience:
            self.stop_with_dump()
        self.last_batch = {}

    # ------------------------------------------------------------------ state

    @override(Learner)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        asked = {components} if isinstance(components, str) else set(components or ())
        if asked == {COMPONENT_RL_MODULE}:
            return state  # weights are asked for after every training step
        if COMPONENT_OPTIMIZER in state:
            # RLlib hands out views of live tensors; a state kept in memory must not change.
            state[COMPONENT_OPTIMIZER] = copy.deepcopy(state[COMPONENT_OPTIMIZER])
        if not ray_internals.wants_component(self, "value_factorization", components, not_components):
            return state
        state["value_factorization"] = {
            "num_updates": self.num_updates,
            "num_target_updates": self.num_target_updates,
            "last_target_update_episodes": self.last_target_update_episodes,
            "nonfinite_steps": int(self._nonfinite_steps),
            "nonfinite_in_row": int(self._nonfinite_in_row),
            "callbacks": [callback.get_learner_state() for callback in self.learner_callbacks],
        }
        return state


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Inside, the calling thread takes denormal numbers for zero.

    Gradients that fade over hundreds of time steps end as numbers below 1e-38, with which a CPU calculates many times
    slower; flushing them saved a fifth of an update on the stag hunt. Only inside, because everything else that the process
    does (a local learner shares it with the user's code) may rely on IEEE arithmetic.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar tensor; NaN or inf if any gradient holds one."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))


def looking_is_free(tensor: Tensor) -> bool:
    """Whether the host may look at numbers of ``tensor`` without waiting for a device."""
    return tensor.device.type == "cpu"


def guarded_step(optimizer: torch.optim.Optimizer, norm: Tensor, grad_clip: float | None) -> Tensor:
    """Clip the gradients by their global norm and step, unless the norm is not finite: then nothing changes at all.

    Zeroing bad gradients, as RLlib does, still moves the weights (momentum) and the optimizer's averages; skipping on the
    host costs a device synchronisation. So the step is done and, where ``norm`` is not finite, undone with element-wise
    selects on the device; on the CPU, where looking costs nothing, it is skipped outright.

    Args:
        optimizer: All its parameters that have a gradient take part.
        norm: :func:`global_norm` of those gradients.
        grad_clip: Largest norm, > 0; None does not clip.

    Returns:
        Scalar bool tensor: was the step taken?
    """
    finite = torch.isfinite(norm)
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for p in parameters:
        # Adam's one call for all goes through the numbers in the order of memory.
        if p.grad is not None and p.grad.stride() != p.stride():
            p.grad = torch.empty_like(p).copy_(p.grad)
    gradients = [p.grad for p in parameters if p.grad is not None]
    may_look = looking_is_free(norm)
    if may_look and not bool(finite):
        return finite
    if grad_clip is not None:
        scale = (grad_clip / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    if may_look:
        optimizer.step()
    else:
        step_if(optimizer, parameters, finite)
    return finite
