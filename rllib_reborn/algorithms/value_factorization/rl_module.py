"""The RLModule of a team: agent networks, mixer and their targets, as ONE module under RLlib's default module id."""

from __future__ import annotations

import copy
import importlib
import operator
from collections.abc import Collection
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_reborn.algorithms.value_factorization.agent_networks import agent_inputs, agent_team
from rllib_reborn.algorithms.value_factorization.learner_updates import (
    AMPLITUDE,
    PackedEpisodes,
    layout_of,
    longest_episode,
    packed_columns,
)
from rllib_reborn.algorithms.value_factorization.mixer_state import MixerState
from rllib_reborn.algorithms.value_factorization.plasticity_view import PlasticityView
from rllib_reborn.algorithms.value_factorization.rllib_calls import ModuleCalls
from rllib_reborn.algorithms.value_factorization.settings import AgentSettings
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.agents import AgentNet, AgentTeam, MakeAgentNet
from rllib_reborn.nets.mixers import Mixer
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.nets.sequence import rows_of
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.runtime import ray_internals

ray_internals.no_word_on_module_configs()  # before any is made, also by RLlib around ours


class TeamRLModule(ModuleCalls, PlasticityView, TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Subclasses say, where theirs differ, which networks the agents have (:meth:`make_agent_net`), how the mixer is made
    (:meth:`make_mixer`) and what the loss needs (:meth:`step_values`); everything else is shared.

    ``model_config`` (put there by the algorithm's config): ``algorithm`` (its name), ``team_spec`` (:class:`TeamSpec` as a
    dict), ``agent`` (:class:`AgentSettings` as a dict), ``mixer_class`` (``module:Class``), ``mixer`` and
    ``algorithm_settings`` (the algorithm's own settings as dicts), ``double_q`` (bool).

    On env runners the module is inference-only: it holds the agent networks alone.
    """

    @override(RLModule)
    def setup(self) -> None:
        config = self.model_config
        self.spec = TeamSpec(**config["team_spec"])
        self.agent_settings = AgentSettings(**config["agent"])
        self.double_q = bool(config["double_q"])
        self.inputs = agent_inputs(self.spec, self.agent_settings)
        self.agents = self.make_agents(self.make_agent_net(config.get("algorithm_settings", {})))
        # Made before the targets, so that both rest on the same initial weights; deleted again on env runners.
        self.mixer_state = MixerState.of(self.spec, config["mixer"])
        self.mixer = self.mixer_state.build(self.make_mixer, config["mixer"])
        # Methods that add parameters allocate them here, so that targets, optimizer, DDP and runners all know them.
        self.refusal: str | None = None
        for data in config.get("interventions", ()):
            try:
                make_intervention(data).prepare(self.networks())
            except ValueError as error:  # told by the algorithm, also where this is the process of a learner
                self.refusal = self.refusal or f"interventions: {error}"
        self.make_target_networks()

    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        """The mixer: (values of the chosen actions [rows, n], what it reads [rows, spec.state_dim]) -> Q_tot [rows]."""
        module, _, name = self.model_config["mixer_class"].partition(":")
        mixer_class: type[Mixer] = operator.attrgetter(name)(importlib.import_module(module))
        return mixer_class.for_team(spec.n_agents, spec.n_actions, spec.state_dim, **settings)

    def make_agents(self, make_net: MakeAgentNet) -> AgentTeam:
        """Networks of all agents, each made by ``make_net``."""
        return agent_team(self.spec, self.agent_settings, self.net_of_agent, make_net)

    def make_agent_net(self, settings: dict[str, Any]) -> MakeAgentNet:
        """What makes one network of agents, called with the sizes; ``settings``: those of
        ``training(algorithm_settings=...)``."""
        return AgentNet

    @property
    def net_of_agent(self) -> tuple[int, ...]:
        """For each agent the number of its network."""
        sharing = self.agent_settings.parameter_sharing
        if sharing == "all":
            return (0,) * self.spec.n_agents
        if sharing == "group":
            return self.spec.group_indices
        return tuple(range(self.spec.n_agents))

    @property
    def algorithm(self) -> str:
        """Name of the algorithm that this is the module of, as ``ALGORITHMS`` has it."""
        return str(self.model_config["algorithm"])

    # ------------------------------------------------------------------ acting (env runners)

    def initial_hidden(self, num_envs: int) -> Tensor:
        """[num_envs, n, hidden width] zeros."""
        device = next(self.agents.parameters()).device
        return torch.zeros(num_envs, self.spec.n_agents, self.agents.state_dim, device=device)

    def inference_copy(self) -> TeamRLModule:
        """A copy that holds the agents' networks alone, as an inference-only module does, without building any."""
        left_out = self.get_non_inference_attributes()
        memo: dict[int, Any] = {id(getattr(self, name)): None for name in left_out}
        twin = copy.deepcopy(self, memo)
        for name in left_out:
            delattr(twin, name)
        twin.inference_only = True
        return twin

    def act(
        self,
        obs: npt.NDArray[Any],
        action_mask: npt.NDArray[np.bool_],
        last_actions: npt.NDArray[np.int64],
        hidden: Tensor,
    ) -> tuple[npt.NDArray[np.int64], Tensor]:
        """One step for all games and agents.

        Args:
            obs: [B, n, d] in its storage dtype.
            action_mask: [B, n, A].
            last_actions: [B, n]; -1 where an episode has just begun.
            hidden: [B, n, h], on the networks' device.

        Returns:
            Greedy allowed actions [B, n], and the hidden states for the next call.
        """
        arrays = {"obs": obs, "action_mask": action_mask, "last_actions": last_actions}
        out = self._forward_inference(
            {name: torch.from_numpy(array).to(hidden.device) for name, array in arrays.items()} | {"hidden": hidden}
        )
        return out["actions"].cpu().numpy(), out["hidden"]

    @override(TorchRLModule)
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """One step for all envs and agents: ``obs`` [B, n, d], ``action_mask`` [B, n, A] bool, ``last_actions`` [B, n],
        ``hidden`` [B, n, h] -> greedy ``actions`` [B, n] int64 (allowed ones only), ``q`` [B, n, A], ``hidden``."""
        with torch.no_grad():
            x = self.inputs(batch["obs"], batch["last_actions"])
            q, hidden = self.agents.step(x, batch["hidden"])
            actions = greedy_actions(q, batch["action_mask"])
        return {"actions": actions, "q": q, "hidden": hidden}

    @override(TorchRLModule)
    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The same as inference: epsilon-greedy draws come from the random stream of each env, which the env runner
        keeps, so that a trajectory depends on its seed and not on the envs beside it."""
        return self._forward_inference(batch, **kwargs)

    # ------------------------------------------------------------------ training (learners)

    @override(TorchRLModule)
    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Unroll online and target networks over whole episodes from a zero hidden state.

        Everything with a gradient happens in here, because DDP wraps this call.

        Args:
            batch: A learner's batch, see :func:`~.learner_updates.learner_batches`.

        Returns:
            :meth:`step_values`, each [E, T, ...], 0 behind the end of an episode.
        """
        episodes = self.packed_episodes(packed_columns(batch))
        return {name: episodes.dense(value) for name, value in self.step_values(episodes).items()}

    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """What the loss needs of every transition, by name, [steps, ...]; ``q_tot`` [steps], the value of the actions
        taken, and ``next_q_tot`` [steps], the target networks' value of the following observation, without gradient.
        Algorithms with another loss give other values."""
        q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
        return {"q_tot": self.taken_value(episodes, q), "next_q_tot": self.next_value(episodes, q)}

    def taken_value(self, episodes: PackedEpisodes, q: Tensor) -> Tensor:
        """Q_tot [steps] of the actions taken, from all values ``q`` [rows, n, A]."""
        now = episodes.now
        return self.mixer.of_actions(now(q), episodes.taken, now(episodes.action_mask), now(episodes.state))

    @torch.no_grad()
    def next_value(self, episodes: PackedEpisodes, q: Tensor) -> Tensor:
        """The target networks' Q_tot [steps] of the best actions after each transition. Double Q-learning: the online
        networks, whose values are ``q`` [rows, n, A], pick the actions; without it the target networks do."""
        following = episodes.next
        target_q = following(cast(AgentTeam, self.target_agents).unroll(episodes.x, episodes.layout.obs_sizes))
        action_mask = following(episodes.action_mask)
        best = greedy_actions(following(q.detach()) if self.double_q else target_q, action_mask)
        return cast(Mixer, self.target_mixer).of_actions(target_q, best, action_mask, following(episodes.state))

    def packed_episodes(self, columns: dict[str, Any]) -> PackedEpisodes:
        """Whole episodes as the networks read them.

        Args:
            columns: :attr:`ReplaySample.batch` as tensors, perhaps with :data:`AMPLITUDE`.
        """
        layout = layout_of(columns)
        taken = rows_of(columns["actions"], layout.step_rows).long()
        state = rows_of(columns["state"], layout.obs_rows).float()
        if self.spec.state_scale != 1:
            state *= self.spec.state_scale
        if self.mixer_state.reduce is not None:
            state = self.mixer_state.reduce(state)
        last_actions = taken.new_full((len(layout.obs_rows), self.spec.n_agents), -1)
        if self.agent_settings.last_action:
            last_actions[layout.next] = taken
        x = self.inputs(rows_of(columns["obs"], layout.obs_rows), last_actions)
        if AMPLITUDE in columns:
            amplitude = columns[AMPLITUDE][layout.obs_episodes]
            state = state * amplitude.unsqueeze(1)
            x = self.inputs.scaled(x, amplitude)
        return PackedEpisodes(
            layout=layout,
            taken=taken,
            x=x,
            state=state,
            action_mask=rows_of(columns["action_mask"], layout.obs_rows),
            shape=(len(columns["lengths"]), longest_episode(columns)),
        )

    # ------------------------------------------------------------------ RLlib's APIs

    @override(nn.Module)
    def train(self, mode: bool = True) -> TeamRLModule:
        # RLlib asks for it at every update, where every part is in that mode already; writing that down takes longer.
        if all(part.training is mode for part in self.modules()):
            return self
        return super().train(mode)

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        return ["mixer", "target_agents", "target_mixer"]

    @override(TargetNetworkAPI)
    def make_target_networks(self) -> None:
        self.target_agents = make_target_network(self.agents)
        self.target_mixer = make_target_network(self.mixer)

    @override(TargetNetworkAPI)
    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.agents, self.target_agents), (self.mixer, self.target_mixer)]

    @override(TargetNetworkAPI)
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Target values come with :meth:`_forward_train`, since both unrolls share their inputs."""
        return {"next_q_tot": self._forward_train(batch)["next_q_tot"]}

    @override(TorchRLModule)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, inference_only=inference_only, **kwargs)
        # RLlib hands out views of the live parameters, so that a state kept in memory would change with training.
        # np.array: RLlib makes a plain bool of a buffer without dimensions.
        return {name: np.array(value) for name, value in state.items()}
