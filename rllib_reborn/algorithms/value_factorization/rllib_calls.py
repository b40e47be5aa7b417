"""What RLlib's users call on an algorithm and its module that no training loop needs: it works, or says what to call."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.runtime.runner_pool import RunnerPool

_ACT = "team_from_algo(algo).act(obs, action_mask, state) of rllib_reborn.studies.trained_policy"
_MODULE = "algo.get_module(), or " + _ACT


class AlgorithmCalls(Algorithm):
    """Calls of :class:`ValueFactorization`."""

    learner_group: LearnerGroup
    runners: RunnerPool
    counters: Any

    @override(Algorithm)
    def get_weights(self, policies: Any = None) -> dict[str, Any]:
        """Weights of all networks, mixer and targets among them: ``{"default_policy": {name: array}}``."""
        weights: dict[str, Any] = self.learner_group.get_weights()
        return weights

    @override(Algorithm)
    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Give learners and runners these weights, as :meth:`get_weights` has them, or some of them; what the optimizer has
        averaged stays.

        Raises:
            ValueError: There is no such network, or it has another shape.
        """
        present = self.get_weights()[DEFAULT_MODULE_ID]
        given = weights.get(DEFAULT_MODULE_ID, weights)
        for name, value in given.items():
            if name not in present:
                raise ValueError(
                    f"set_weights(): there is no weight {name!r} here; get_weights() has those that there are."
                )
            if np.shape(value) != np.shape(present[name]):
                raise ValueError(
                    f"set_weights(): {name!r} has shape {np.shape(value)}; expected {np.shape(present[name])}, as "
                    "get_weights() has it."
                )
        self.learner_group.set_weights({DEFAULT_MODULE_ID: {**present, **given}})
        self.runners.sync_all_weights(self.counters.env_steps)

    @override(Algorithm)
    def get_policy(self, policy_id: Any = None) -> NoReturn:
        """Refused: policies are RLlib's old stack."""
        _refuse("get_policy()", _MODULE)

    @override(Algorithm)
    def compute_single_action(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: it knows nothing of a team."""
        _refuse("compute_single_action()", _ACT)

    @override(Algorithm)
    def compute_actions(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: it knows nothing of a team."""
        _refuse("compute_actions()", _ACT)

    @override(Algorithm)
    def export_policy_model(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: policies are RLlib's old stack."""
        _refuse(
            "export_policy_model()", "team_from_algo(algo).portable().save(folder), or 'rllib-reborn export CHECKPOINT'"
        )

    @override(Algorithm)
    def add_policy(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: there is one module, the team's."""
        _refuse("add_policy()", "another algorithm: the team is the one module of this one")

    @override(Algorithm)
    def add_module(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: there is one module, the team's."""
        _refuse("add_module()", "another algorithm: the team is the one module of this one")

    @override(Algorithm)
    def remove_module(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: there is one module, the team's."""
        _refuse("remove_module()", "algo.stop(): the team is the one module of this algorithm")


def _refuse(call: str, remedy: str) -> NoReturn:
    raise NotImplementedError(f"{call} is not there for a team; use {remedy}.")


class ModuleCalls(RLModule):
    """Calls of :class:`TeamRLModule`."""

    spec: TeamSpec

    @abc.abstractmethod
    def initial_hidden(self, num_envs: int) -> Tensor:
        """[num_envs, n, hidden width] zeros."""

    @override(RLModule)
    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """One greedy step of a team, by RLlib's public call.

        Args:
            batch: ``obs`` [B, n, d], or the dict of the module's observation space; ``action_mask`` [B, n, A] (default:
                everything is allowed), ``last_actions`` [B, n] (-1 where an episode has just begun; default) and ``hidden``,
                which the call before returned (default: that of an episode's beginning). Tensors or arrays.
            **kwargs: RLlib's.

        Returns:
            ``actions`` [B, n] int64, ``q`` [B, n, A], ``action_dist_inputs`` (``q``, -inf where forbidden), ``hidden``.

        Raises:
            ValueError: A shape is another one; the message says which was expected.
        """
        complete = self.complete(batch)
        out: dict[str, Any] = self._forward_inference(complete, **kwargs)
        return out | {Columns.ACTION_DIST_INPUTS: out["q"].masked_fill(~complete["action_mask"], -torch.inf)}

    @override(RLModule)
    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """As :meth:`forward_inference`: env runners explore by themselves."""
        return self.forward_inference(batch, **kwargs)

    def complete(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """``batch`` with everything that one step needs, as :meth:`forward_inference` describes it."""
        given = dict(batch)
        if isinstance(given.get(Columns.OBS), Mapping):
            given |= given.pop(Columns.OBS)
        if Columns.OBS not in given:
            raise ValueError(f"the batch has {', '.join(map(repr, given)) or 'nothing'}; expected 'obs' at least.")
        spec = self.spec
        obs = torch.as_tensor(given[Columns.OBS])
        games = len(obs) if obs.dim() else 0
        hidden = self.initial_hidden(games)
        n, device = spec.n_agents, hidden.device
        found = {
            Columns.OBS: obs,
            "action_mask": torch.as_tensor(given.get("action_mask", torch.ones(games, n, spec.n_actions))).bool(),
            "last_actions": torch.as_tensor(given.get("last_actions", torch.full((games, n), -1))).long(),
            "hidden": torch.as_tensor(given.get("hidden", hidden)),
        }
        shapes = {
            Columns.OBS: (games, n, spec.obs_dim),
            "action_mask": (games, n, spec.n_actions),
            "last_actions": (games, n),
            "hidden": tuple(hidden.shape),
        }
        for name, expected in shapes.items():
            if tuple(found[name].shape) != expected:
                raise ValueError(
                    f"{name!r} has shape {list(found[name].shape)}; expected {list(expected)}: games, agents"
                    f"{'' if name == 'last_actions' else ', numbers'}."
                )
        return {name: value.to(device) for name, value in found.items()}
