"""What a learner is made of before its first update: optimizer, settings, callbacks, counts, restored state."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray.rllib.core import COMPONENT_OPTIMIZER, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.captured_updates import captured_updates
from rllib_reborn.algorithms.value_factorization.replay_mirror import ReplayMirror
from rllib_reborn.algorithms.value_factorization.settings import OptimizerSettings, TargetUpdateSettings
from rllib_reborn.algorithms.value_factorization.shadow import Shadow
from rllib_reborn.callbacks import DormancyCallback, InterventionCallback, LearnerCallback, PlasticityRequest
from rllib_reborn.plasticity.interventions.preflight import first_refusal
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.process_tuning import tune_for_dense_math
from rllib_reborn.settings import parse

#: Attributes that count updates.
_COUNTS = (
    "num_updates",
    "num_target_updates",
    "last_target_update_episodes",
    "_nonfinite_steps",
    "_nonfinite_in_row",
)


class NonFiniteTrainingError(RuntimeError):
    """Too many updates in a row had a gradient that is not finite."""


class LearnerSetup(TorchLearner):
    """The parts of :class:`ValueFactorizationLearner` that no update runs through."""

    #: For :class:`LearnerCallback`, which refuses Learners that would not call it.
    runs_learner_callbacks: ClassVar[bool] = True

    #: Keys that :meth:`team_loss` logs beyond the usual ones; in ``metrics.jsonl`` they are ``train/<key>``.
    own_metrics: ClassVar[tuple[str, ...]] = ()

    @override(Learner)
    def build(self) -> None:
        tune_for_dense_math(self.config.num_cpus_per_learner)
        super().build()
        self.algorithm_settings = self.config.parse_algorithm_settings()
        self._target_update = parse(TargetUpdateSettings, self.config.target_update, "target_update")
        self.reset_counts()
        self._timesteps: dict[str, Any] = {}
        self.last_batch: dict[str, Any] = {}
        self._request: PlasticityRequest | None = None
        self._env_steps = 0  #: Of batches, not counted for RLlib yet.
        #: What the update under way logs, by name, and whether it leaves that to who asked for it.
        self.scalars: dict[str, Any] = {}
        self._scalars_only = False
        self.captured = captured_updates(self)
        #: The replay on this learner's device, for batches that name episodes of it; the algorithm gives it.
        self.replay_mirror: ReplayMirror | None = None
        self.learner_callbacks = _learner_callbacks(self.config)
        for callback in self.learner_callbacks:
            callback.on_learner_build(
                learner=self, module_id=DEFAULT_MODULE_ID, module=self.module[DEFAULT_MODULE_ID].unwrapped()
            )

    def reset_counts(self) -> None:
        """Counts as they are before the first update."""
        self.num_updates = 0
        self.num_target_updates = 0
        self.last_target_update_episodes: int = 0
        self._nonfinite_steps: Tensor = torch.zeros((), dtype=torch.int64, device=self.device)
        self._nonfinite_in_row: Tensor = torch.zeros((), dtype=torch.int64, device=self.device)

    def capture_key(self) -> tuple[Any, ...]:
        """What else than the batch's size decides, in Python, what an update computes; algorithms whose loss does."""
        return ()

    def inference_copy(self) -> Any:
        """The agents' networks as a module of their own, on the CPU."""
        return self.module[DEFAULT_MODULE_ID].unwrapped().inference_copy().to("cpu")

    @property
    def nonfinite_in_row(self) -> int:
        """How many of the last updates were skipped without one that was taken since."""
        return int(self._nonfinite_in_row)

    def refused_intervention(self) -> str | None:
        """Why an intervention of the config cannot be applied to these networks: found before training and not at its first
        application, perhaps hours later. None: all can."""
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        return module.refusal or first_refusal(self.config.parse_interventions(), module)

    @override(TorchLearner)
    def get_parameters(self, module: RLModule) -> list[Tensor]:
        # Targets are parameters of the module too, but nothing trains them.
        return [p for p in module.parameters() if p.requires_grad]

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self.module[module_id])
        optimizer = make_optimizer(config, parameters)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    # ------------------------------------------------------------------ shadows

    def make_shadow(self) -> Shadow:
        """What this learner is now, to be kept as it would be without what comes next (drift over updates)."""
        return Shadow(self)

    def update_counts(self) -> dict[str, Any]:
        """What an update counts, by attribute."""
        return {name: getattr(self, name) for name in _COUNTS}

    def set_update_counts(self, counts: dict[str, Any]) -> None:
        """Put other counts in the place of these; tensors are taken as they are, not copied."""
        for name in _COUNTS:
            setattr(self, name, counts[name])

    # ------------------------------------------------------------------ state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        ray_internals.accept_any_weights(self, state)
        super().set_state(as_optimized_here(state, self.get_optimizer(DEFAULT_MODULE_ID)))
        if self.captured is not None:
            self.captured.forget()
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

    def stop_with_dump(self) -> None:
        """Write the last batch to disk and raise :class:`NonFiniteTrainingError`."""
        folder = Path(tempfile.mkdtemp(prefix="rllib_reborn_nonfinite_"))
        torch.save({k: v.cpu() for k, v in self.last_batch.items() if isinstance(v, Tensor)}, folder / "batch.pt")
        largest = {
            name: float(self.last_batch[name].abs().max())
            for name in ("obs", "state", "reward")
            if isinstance(self.last_batch.get(name), Tensor) and self.last_batch[name].numel()
        }
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in largest.items())
        raise NonFiniteTrainingError(
            f"{int(self._nonfinite_in_row)} updates in a row (update {self.num_updates}) had a gradient that is not "
            f"finite; the last batch is in {folder / 'batch.pt'}. The largest numbers in it are: {numbers or 'none'}. "
            "Where they are far from 1, scale them in the environment ('rllib-reborn envs NAME' says which), rewards also "
            "by training.reward; else lower training.lr or training.grad_clip."
        )


def make_optimizer(config: Any, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of a config; its learning rate is set by RLlib."""
    settings = parse(OptimizerSettings, config.team_optimizer, "optimizer")
    on_gpu = parameters[0].is_cuda
    common = {"eps": settings.used_eps, "weight_decay": settings.weight_decay, "capturable": on_gpu}
    if settings.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=settings.alpha, foreach=True, **common)
    # On the CPU one call does it for all parameters, also with a schedule's tensor as lr.
    on_cpu = parameters[0].device.type == "cpu"
    return torch.optim.Adam(parameters, foreach=not on_cpu, fused=on_cpu, **common)


def as_optimized_here(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A learner's state as ``optimizer`` can take it up: on a GPU it counts its steps there (``capturable``), on the CPU it
    cannot, and a checkpoint brings the choice of where it was written."""
    if COMPONENT_OPTIMIZER not in state:
        return state
    here = optimizer.param_groups[0]
    optimizers = {}
    for name, saved in state[COMPONENT_OPTIMIZER].items():
        groups = [
            group | {key: here[key] for key in ("capturable", "foreach", "fused") if key in here}
            for group in saved["state"]["param_groups"]
        ]
        optimizers[name] = saved | {"state": saved["state"] | {"param_groups": groups}}
    return state | {COMPONENT_OPTIMIZER: optimizers}


def _learner_callbacks(config: Any) -> list[LearnerCallback]:
    """Those given to ``config.callbacks``, and the two that the config's data ask for. The dormancy check comes first:
    at an update at which both are due it shows what the intervention found."""
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
