"""The learner: TD loss on whole episodes, guarded steps, target copies and the hook for learner callbacks."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from ray.rllib.core import COMPONENT_OPTIMIZER, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.utils import update_target_network
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from rllib_reborn.algorithms.value_factorization import ray_internals
from rllib_reborn.algorithms.value_factorization.guarded_step import global_norm, guarded_step
from rllib_reborn.algorithms.value_factorization.process_tuning import flushed_denormals, tune_for_dense_math
from rllib_reborn.algorithms.value_factorization.settings import OptimizerSettings, TargetUpdateSettings, parse
from rllib_reborn.callbacks import DormancyCallback, InterventionCallback, LearnerCallback, Probe
from rllib_reborn.losses import masked_mean, td_lambda_targets, td_targets

#: Keys of the ``timesteps`` dict that the algorithm sends with every update.
ENV_STEPS = NUM_ENV_STEPS_SAMPLED_LIFETIME
EPISODES = "num_episodes_lifetime"

#: Column of a learner's batch: env steps in the whole batch, the parts of other learners included; in every row the same.
STEPS_OF_ALL_LEARNERS = "steps_of_all_learners"

#: Keys of what a learner logs per update.
TD_ERROR_ABS = "td_error_abs"
GRAD_NORM = "grad_norm"
Q_TOT_MEAN = "q_tot_mean"
NUM_UPDATES = "num_updates"
NUM_TARGET_UPDATES = "num_target_updates"
NONFINITE_STEPS = "num_nonfinite_steps"


class NonFiniteTrainingError(RuntimeError):
    """Too many updates in a row had a gradient that is not finite."""


class ValueFactorizationLearner(TorchLearner):
    """Trains a :class:`TeamRLModule` on batches of whole episodes.

    Counts, target copies and learner callbacks are per gradient step. With several learners each takes a part of the
    batch, and the loss is normalised by the step count of all parts, so that n learners do what one does.
    """

    #: Keys that :meth:`team_loss` tells beyond the usual ones; in ``metrics.jsonl`` they are ``train/<key>``.
    own_metrics: ClassVar[tuple[str, ...]] = ()

    @override(Learner)
    def build(self) -> None:
        tune_for_dense_math(self.config.num_cpus_per_learner)
        super().build()
        self.num_updates = 0
        self.num_target_updates = 0
        self.last_target_update_episodes = 0
        self._nonfinite_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self._nonfinite_in_row = torch.zeros((), dtype=torch.int64, device=self.device)
        self._timesteps: dict[str, Any] = {}
        self._last_batch: dict[str, Any] = {}
        self._probe: Probe | None = None
        self.learner_callbacks = _learner_callbacks(self.config)
        for callback in self.learner_callbacks:
            callback.on_learner_build(
                learner=self, module_id=DEFAULT_MODULE_ID, module=self.module[DEFAULT_MODULE_ID].unwrapped()
            )

    # ------------------------------------------------------------------ optimizer

    @override(TorchLearner)
    def get_parameters(self, module: RLModule) -> list[Tensor]:
        # Targets are parameters of the module too, but nothing trains them.
        return [p for p in module.parameters() if p.requires_grad]

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self.module[module_id])
        settings = parse(OptimizerSettings, config.team_optimizer, "optimizer")
        optimizer: torch.optim.Optimizer
        if settings.kind == "rmsprop":
            optimizer = torch.optim.RMSprop(
                parameters, alpha=settings.alpha, eps=settings.eps, weight_decay=settings.weight_decay, foreach=True
            )
        else:
            # RLlib puts the values of a schedule in as tensors, which Adam's fused loop refuses.
            constant_lr = not isinstance(config.lr, list | tuple)
            optimizer = torch.optim.Adam(
                parameters, eps=settings.eps, weight_decay=settings.weight_decay, foreach=constant_lr
            )
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    # ------------------------------------------------------------------ one update

    @override(Learner)
    def update(self, *args: Any, probe: Probe | None = None, **kwargs: Any) -> Any:
        """As RLlib's; ``probe`` says what is due at this update, see :class:`~rllib_reborn.callbacks.Probe`."""
        self._probe = probe
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        try:
            with ExitStack() as watching:
                watching.enter_context(flushed_denormals())
                for callback in self.learner_callbacks if probe is not None else ():
                    watching.enter_context(callback.watch_update(module=module, probe=probe))
                return super().update(*args, **kwargs)
        finally:
            self._probe = None

    @override(Learner)
    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        self._timesteps = timesteps

    @override(Learner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """:meth:`team_loss`, what it tells for the log, and the terms of learner callbacks."""
        self._last_batch = batch
        horizon = batch["reward"].shape[1]
        mask = (torch.arange(horizon, device=self.device) < batch["lengths"].to(self.device).unsqueeze(1)).float()
        # DDP averages gradients over ranks, so each rank divides by the mean number of steps per rank. The batch brings
        # the sum over all ranks with it: asking them for it would make every rank wait for the slowest once more.
        count = batch[STEPS_OF_ALL_LEARNERS][0] / _world_size()
        loss, told = self.team_loss(config, batch, fwd_out, mask, count)
        self.metrics.log_dict(told, key=module_id, window=1)
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        for callback in self.learner_callbacks:
            term = callback.on_learner_loss(learner=self, module_id=module_id, module=module)
            if term is not None:
                loss = loss + term
        return loss

    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked mean squared TD error (method reference 7.3); algorithms with another loss override this.

        Args:
            config: The algorithm's config.
            batch: As :class:`TeamRLModule` takes it, with ``reward`` and ``terminated`` [E, T].
            fwd_out: What the module gave, [E, T, ...] each.
            mask: [E, T], 1 for env steps and 0 behind the end.
            count: Env steps to divide sums by: the mean over learners.

        Returns:
            The loss, a scalar, and scalars for the log, without gradient: :data:`TD_ERROR_ABS` and :data:`Q_TOT_MEAN` at
            least.
        """
        error = fwd_out["q_tot"] - self.targets(config, batch, fwd_out["next_q_tot"], mask)
        told = {
            TD_ERROR_ABS: masked_mean(error.detach().abs(), mask, count),
            Q_TOT_MEAN: masked_mean(fwd_out["q_tot"].detach(), mask, count),
        }
        return masked_mean(error.square(), mask, count), told

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
        norm = global_norm([g for g in gradients_dict.values() if g is not None])
        taken = guarded_step(self.get_optimizer(DEFAULT_MODULE_ID), norm, self.config.grad_clip)
        skipped = (~taken).long()
        self._nonfinite_steps += skipped
        self._nonfinite_in_row = (self._nonfinite_in_row + 1) * skipped
        self.num_updates += 1
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        for callback in self.learner_callbacks:
            callback.after_gradient_step(module=module)
        self._update_targets(module)
        self.metrics.log_dict({GRAD_NORM: norm.detach()}, key=DEFAULT_MODULE_ID, window=1)
        probe, self._probe = self._probe, None
        for callback in self.learner_callbacks:
            callback.on_learner_update(
                learner=self,
                module_id=DEFAULT_MODULE_ID,
                module=module,
                num_updates=self.num_updates,
                timesteps=self._timesteps,
                probe=probe,
                metrics_logger=self.metrics,
            )

    def take_events(self) -> list[dict[str, Any]]:
        """What learner callbacks have to tell since this was last asked, in their order."""
        return [event for callback in self.learner_callbacks for event in callback.take_events()]

    def _update_targets(self, module: RLModule) -> None:
        settings = parse(TargetUpdateSettings, self.config.target_update, "target_update")
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
        # Equal on every rank: with the usual sum over learners they would be counted once per learner.
        for key, value in (
            (NUM_UPDATES, self.num_updates),
            (NUM_TARGET_UPDATES, self.num_target_updates),
            (NONFINITE_STEPS, self._nonfinite_steps),
        ):
            self.metrics.log_value((DEFAULT_MODULE_ID, key), value, reduce="max", window=1)
        if int(self._nonfinite_in_row) >= self.config.nonfinite_patience:
            self._stop_with_dump()
        self._last_batch = {}

    def _stop_with_dump(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="rllib_reborn_nonfinite_"))
        torch.save({k: v.cpu() for k, v in self._last_batch.items() if isinstance(v, Tensor)}, folder / "batch.pt")
        raise NonFiniteTrainingError(
            f"{int(self._nonfinite_in_row)} updates in a row (update {self.num_updates}) had a gradient that is not "
            f"finite; the last batch is in {folder / 'batch.pt'}. Lower training.lr or training.grad_clip, or scale the "
            "rewards (training.reward)."
        )

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
        if COMPONENT_OPTIMIZER in state:
            # RLlib hands out views of live tensors; a state kept in memory must not change.
            state[COMPONENT_OPTIMIZER] = copy.deepcopy(state[COMPONENT_OPTIMIZER])
        if not ray_internals.wants_component(self, "value_factorization", components, not_components):
            return state  # weights are asked for after every training step; the rest stays here
        state["value_factorization"] = {
            "num_updates": self.num_updates,
            "num_target_updates": self.num_target_updates,
            "last_target_update_episodes": self.last_target_update_episodes,
            "nonfinite_steps": int(self._nonfinite_steps),
            "nonfinite_in_row": int(self._nonfinite_in_row),
            "callbacks": [callback.get_learner_state() for callback in self.learner_callbacks],
        }
        return state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        ray_internals.accept_any_weights(self, state)
        super().set_state(state)
        ours = state.get("value_factorization")
        if ours is None:
            return
        self.num_updates = ours["num_updates"]
        self.num_target_updates = ours["num_target_updates"]
        self.last_target_update_episodes = ours["last_target_update_episodes"]
        self._nonfinite_steps.fill_(ours["nonfinite_steps"])
        self._nonfinite_in_row.fill_(ours["nonfinite_in_row"])
        if len(ours["callbacks"]) != len(self.learner_callbacks):
            raise ValueError(
                f"the checkpoint holds the state of {len(ours['callbacks'])} learner callbacks, this config has "
                f"{len(self.learner_callbacks)}; restore with the same callbacks, interventions and dormancy check."
            )
        for callback, callback_state in zip(self.learner_callbacks, ours["callbacks"], strict=True):
            callback.set_learner_state(callback_state)


def _learner_callbacks(config: Any) -> list[LearnerCallback]:
    """Those given to ``config.callbacks``, and the two that the config's data ask for. The dormancy check comes first: at
    an update at which both are due it shows what the intervention found."""
    given = [made for made in ray_internals.make_callbacks(config) if isinstance(made, LearnerCallback)]
    dormancy = [made for made in given if isinstance(made, DormancyCallback)]
    interventions = [made for made in given if isinstance(made, InterventionCallback)]
    others = [made for made in given if not isinstance(made, DormancyCallback | InterventionCallback)]
    if not dormancy and config.dormancy is not None:
        dormancy = [DormancyCallback()]
    if not interventions and config.interventions:
        interventions = [InterventionCallback()]
    # One performs all interventions of the config, however many were given as sugar.
    return [*others, *dormancy[:1], *interventions[:1]]


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
