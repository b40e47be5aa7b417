"""A team's own learner outside a run: no Ray cluster, no games; it learns what it is given and is put back at will."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray.cloudpickle
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_OPTIMIZER, DEFAULT_MODULE_ID
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import Tensor

from rllib_reborn.algorithms.iql import IQLModule
from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.learner import ENV_STEPS, EPISODES, ValueFactorizationLearner
from rllib_reborn.algorithms.value_factorization.learner_updates import layout_of, learner_batches
from rllib_reborn.algorithms.value_factorization.settings import RewardSettings
from rllib_reborn.callbacks.team_view import tensors
from rllib_reborn.checkpoints import CheckpointError
from rllib_reborn.replay.episode_replay import EpisodeBlock, ReplaySample
from rllib_reborn.replay.reward_scaling import RewardScaler
from rllib_reborn.runtime.spaces import team_spaces
from rllib_reborn.settings import parse

Array = npt.NDArray[np.float64]

#: Where the learner lies in a checkpoint of its algorithm.
_LEARNER = Path(COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER)
#: Episodes whose values are taken at once.
_CHUNK = 16


@dataclasses.dataclass(frozen=True)
class NetState:
    """Weights, targets included, and what the optimizer remembers; both copies, never changed.

    Attributes:
        weights: By name, as ``state_dict`` gives them.
        optimizer: Of each parameter that is trained, by its name, the optimizer's tensors; empty: nothing is remembered.
    """

    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Any]]


class OfflineLearner:
    """A :class:`~rllib_reborn.studies.probe.fitting.Learns` made of the algorithm's own module, loss and optimizer.

    The interventions of the run are not carried out, and what they add to the loss is left out; parameters that they add
    to the networks stay.

    Args:
        learner: As built.
        env_steps: Clock of the run, for a schedule of the learning rate; it stands still.
        reward_factor: What rewards are multiplied by before the run learns from them.

    Attributes:
        module: The team's module.
        optimizer: Of its trained parameters.
        updates: Since the last :meth:`put`.
    """

    def __init__(self, learner: ValueFactorizationLearner, env_steps: int = 0, reward_factor: float = 1.0) -> None:
        self._learner = learner
        self.reward_factor = reward_factor
        learner.learner_callbacks = []
        self.module: Any = learner.module[DEFAULT_MODULE_ID].unwrapped()
        self.optimizer: torch.optim.Optimizer = learner.get_optimizer(DEFAULT_MODULE_ID)
        self._trained = learner.get_parameters(self.module)
        self.updates = 0
        self._seed = 0
        self._env_steps = env_steps
        self._own = (learner.config.gamma, learner.config.td_lambda)
        self._has_mean_of_agents = isinstance(self.module, IQLModule)

    @property
    def config(self) -> ValueFactorizationConfig:
        config: ValueFactorizationConfig = self._learner.config
        return config

    @property
    def gamma(self) -> float:
        """The run's own discount."""
        return float(self._own[0])

    def use_given_targets(self, given: bool) -> None:
        """Whether the rewards that :meth:`learn` gets are the targets themselves (the loss is taken with a discount of 0, so
        that target networks have no say), or rewards of which the algorithm makes its own TD targets."""
        self.config.gamma, self.config.td_lambda = (0.0, None) if given else self._own

    # ------------------------------------------------------------------ learning

    def learn(self, block: EpisodeBlock) -> None:
        """One update of the algorithm's own loss on whole episodes.

        Raises:
            NonFiniteTrainingError: Too many gradients in a row were not finite.
        """
        sample = ReplaySample(block, np.arange(len(block)))
        clock = {"updates": self.updates, "env_steps": self._env_steps}
        # What an algorithm draws for each batch, e.g. DMIX its fractions, without building the algorithm.
        caller = SimpleNamespace(config=self.config, plasticity_scheduler=SimpleNamespace(seed=self._seed))
        columns = self.config.algo_class.step_columns(caller, sample, clock)  # type: ignore[arg-type, union-attr]
        (batch,) = learner_batches(sample, 1, step_columns=columns)
        self.updates += 1
        episodes = round(self.updates / self.config.updates_per_episode)
        self._learner.update(batch=batch, timesteps={ENV_STEPS: self._env_steps, EPISODES: episodes})

    def values(self, block: EpisodeBlock) -> Array:
        """Q_tot [sum(L)] of the actions taken; of IQL, whose agents each learn the same target, the mean of their values."""
        found = []
        episodes = list(block.episodes())
        for first in range(0, len(episodes), _CHUNK):
            part = EpisodeBlock.of(episodes[first : first + _CHUNK])
            batch = self.tensors(part)
            values = np.zeros(part.env_steps())
            values[layout_of(batch).step_rows.cpu().numpy()] = self.module.observe(batch)["q_tot"].cpu().numpy()
            found.append(values)
        joined = np.concatenate(found)
        return joined / self.module.spec.n_agents if self._has_mean_of_agents else joined

    def tensors(self, block: EpisodeBlock) -> dict[str, Tensor]:
        """Episodes as the module observes them."""
        return tensors(block.columns(), next(self.module.parameters()).device)

    # ------------------------------------------------------------------ its state

    def state(self) -> NetState:
        """Copies of the present weights and of what the optimizer remembers."""
        weights = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        return NetState(weights, copy.deepcopy(self._optimizer_by_name()))

    def put(self, state: NetState, *, seed: int = 0) -> None:
        """Weights and optimizer as in ``state``; all parameters are trained again, and clocks begin anew.

        Args:
            state: From :meth:`state` of the same networks.
            seed: Of what the algorithm draws for its batches.
        """
        self.module.load_state_dict(state.weights)
        for parameter in self._trained:
            parameter.requires_grad_(True)
            parameter.grad = None
        by_name = dict(self.module.named_parameters())
        self.optimizer.state.clear()
        for name, remembered in copy.deepcopy(state.optimizer).items():
            self.optimizer.state[by_name[name]] = remembered
        self.updates = 0
        self._seed = seed
        self._learner.reset_counts()

    def fresh_weights(self, seed: int) -> dict[str, Tensor]:
        """Weights of the same networks as they are when a run begins; targets equal to them."""
        arguments, keywords = self.module.get_ctor_args_and_kwargs()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = type(self.module)(*arguments, **keywords)
        return {name: value.detach().clone() for name, value in made.state_dict().items()}

    def _optimizer_by_name(self) -> dict[str, dict[str, Any]]:
        return {
            name: self.optimizer.state[parameter]
            for name, parameter in self.module.named_parameters()
            if parameter in self.optimizer.state
        }


def offline_learner(config: ValueFactorizationConfig, *, seed: int = 0) -> OfflineLearner:
    """A learner of fresh networks.

    Args:
        config: Of an algorithm and its environment; it is copied.
        seed: Of the first weights.
    """
    spec = config.get_multi_rl_module_spec(spaces={DEFAULT_MODULE_ID: team_spaces(config.team_spec)})
    return OfflineLearner(_built(config.get_default_learner_class(), config, spec, seed))


def saved_learner(checkpoint: Path, module: Any) -> OfflineLearner:
    """The learner of a checkpoint, with its networks and its optimizer as they were saved. Only load checkpoints you trust:
    RLlib pickles.

    Args:
        checkpoint: Folder of a checkpoint of an algorithm.
        module: Its team's module, as :func:`~rllib_reborn.studies.trained_policy.load_team` gives it.

    Raises:
        CheckpointError: The learner's part of it is missing or cannot be read.
    """
    folder = checkpoint / _LEARNER
    try:
        saved = ray.cloudpickle.loads((folder / Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME).read_bytes())
        _, made_with = saved["ctor_args_and_kwargs"]
        state = pickle.loads((folder / "state.pkl").read_bytes())
        learner = _built(saved["class"], made_with["config"], made_with["module_spec"], 0)
        learner.module[DEFAULT_MODULE_ID].unwrapped().load_state_dict(module.state_dict())
        for of_team in state.get(COMPONENT_OPTIMIZER, {}).values():
            optimizer = of_team["state"]
            averages = convert_to_torch_tensor(optimizer["state"])
            learner.get_optimizer(DEFAULT_MODULE_ID).load_state_dict({**optimizer, "state": averages})
        of_run = pickle.loads((checkpoint / "algorithm_state.pkl").read_bytes())["value_factorization"]
        scaler = reward_scaler(learner.config)
        scaler.set_state(of_run["reward_scaler"])
        return OfflineLearner(learner, int(of_run["counters"]["env_steps"]), scaler.scale / scaler.deviation)
    except Exception as error:  # a pickle can raise anything
        raise CheckpointError(
            f"the learner in {checkpoint} cannot be read ({type(error).__name__}: {error})."
        ) from error


def reward_scaler(config: ValueFactorizationConfig) -> RewardScaler:
    """What the config makes of rewards, before any was observed."""
    settings = parse(RewardSettings, config.reward, "reward")
    return RewardScaler(settings.scale, standardise=settings.standardise)


def _built(
    learner_class: type[ValueFactorizationLearner], config: ValueFactorizationConfig, spec: Any, seed: int
) -> ValueFactorizationLearner:
    """In this process, on the CPU, without the run's learner callbacks."""
    config = config.copy(copy_frozen=False)
    config.learners(num_learners=0, num_gpus_per_learner=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = learner_class(config=config, module_spec=spec)
        learner.build()
    return learner
