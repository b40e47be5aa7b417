"""The RLModule of a team: agent networks, mixer and their targets, as ONE module under RLlib's default module id."""

from __future__ import annotations

import abc
from collections.abc import Collection
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_reborn.algorithms.value_factorization.packed_episodes import PackedEpisodes
from rllib_reborn.algorithms.value_factorization.settings import AgentSettings
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.agent_inputs import AgentInputs
from rllib_reborn.nets.agents import AgentNet, AgentTeam, MakeAgentNet
from rllib_reborn.nets.joint_actions import greedy_actions
from rllib_reborn.nets.mixers import Mixer
from rllib_reborn.nets.sequence import PackedLayout
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.units import LayerChoice, UnitLayer

#: Optional column of a learner's batch, [E]: observations and states of an episode are multiplied by it (MARR).
AMPLITUDE = "amplitude"


class TeamRLModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI, abc.ABC):
    """Subclasses say which mixer (:meth:`make_mixer`), and, where theirs differ, which networks the agents have
    (:meth:`make_agent_net`) and what the loss needs (:meth:`step_values`); everything else is shared.

    ``model_config`` (put there by the algorithm's config): ``team_spec`` (:class:`TeamSpec` as a dict), ``agent``
    (:class:`AgentSettings` as a dict), ``mixer`` and ``method`` (the algorithm's own settings as dicts), ``double_q``
    (bool).

    On env runners the module is inference-only: it holds the agent networks alone.
    """

    @override(RLModule)
    def setup(self) -> None:
        config = self.model_config
        self.spec = TeamSpec(**config["team_spec"])
        self.agent_settings = AgentSettings(**config["agent"])
        self.double_q = bool(config["double_q"])
        self.inputs = AgentInputs(
            n_agents=self.spec.n_agents,
            n_actions=self.spec.n_actions,
            obs_dim=self.spec.obs_dim,
            last_action=self.agent_settings.last_action,
            agent_id=self.agent_settings.agent_id,
        )
        self.agents = AgentTeam(
            self.net_of_agent,
            self.input_dim,
            self.spec.n_actions,
            hidden_dim=self.agent_settings.hidden_dim,
            fc_layers=self.agent_settings.fc_layers,
            recurrent=self.agent_settings.recurrent,
            make_net=self.make_agent_net(config.get("method", {})),
        )
        # Made before the targets, so that both rest on the same initial weights; deleted again on env runners.
        self.mixer = self.make_mixer(self.spec, config["mixer"])
        # Methods that add parameters allocate them here, so that targets, optimizer, DDP and runners all know them.
        for data in config.get("interventions", ()):
            make_intervention(data).prepare({"agent": self.agents, "mixer": self.mixer})
        self.make_target_networks()

    @abc.abstractmethod
    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        """The mixer: (values of the chosen actions [rows, n], state [rows, s]) -> Q_tot [rows]."""

    def make_agent_net(self, settings: dict[str, Any]) -> MakeAgentNet:
        """What makes one network of agents, called with the sizes; ``settings``: those of ``training(method=...)``."""
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
        return type(self).__name__.removesuffix("Module")

    @property
    def input_dim(self) -> int:
        """Width of an agent's input: observation, last action and agent id as far as asked for."""
        return self.inputs.width

    # ------------------------------------------------------------------ acting (env runners)

    def initial_hidden(self, num_envs: int) -> Tensor:
        """[num_envs, n, hidden width] zeros."""
        device = next(self.agents.parameters()).device
        return torch.zeros(num_envs, self.spec.n_agents, self.agents.state_dim, device=device)

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
            batch: A :class:`~rllib_reborn.replay.EpisodeReplay` sample as tensors: ``obs`` [E, T+1, n, d], ``state``
                [E, T+1, s], ``action_mask`` [E, T+1, n, A], ``actions`` [E, T, n], ``lengths`` [E].

        Returns:
            :meth:`step_values`, each [E, T, ...], 0 behind the end of an episode.
        """
        episodes = self.packed_episodes(batch)
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
        """The target networks' Q_tot [steps] of the greedy actions after each transition; who is greedy: the online
        networks, which say ``q`` [rows, n, A], with double Q, else the targets."""
        following = episodes.next
        target_q = following(cast(AgentTeam, self.target_agents).unroll(episodes.x, episodes.layout.obs_sizes))
        action_mask = following(episodes.action_mask)
        best = greedy_actions(following(q.detach()) if self.double_q else target_q, action_mask)
        return cast(Mixer, self.target_mixer).of_actions(target_q, best, action_mask, following(episodes.state))

    def packed_episodes(self, batch: dict[str, Any]) -> PackedEpisodes:
        """A learner's batch (as in :meth:`_forward_train`) without its padding."""
        obs, actions = batch["obs"], batch["actions"]
        layout = PackedLayout.of(batch["lengths"].cpu(), actions.shape[1], obs.device)
        taken = actions.flatten(0, 1)[layout.step_rows].long()
        state = batch["state"].flatten(0, 1)[layout.obs_rows].float()
        last_actions = taken.new_full((len(layout.obs_rows), self.spec.n_agents), -1)
        last_actions[layout.next] = taken
        x = self.inputs(obs.flatten(0, 1)[layout.obs_rows], last_actions)
        if AMPLITUDE in batch:
            amplitude = batch[AMPLITUDE][layout.obs_rows // obs.shape[1]]
            state = state * amplitude.unsqueeze(1)
            x[..., : self.spec.obs_dim] *= amplitude.view(-1, 1, 1)
        return PackedEpisodes(
            layout=layout,
            taken=taken,
            x=x,
            state=state,
            action_mask=batch["action_mask"].flatten(0, 1)[layout.obs_rows],
            shape=(actions.shape[0], actions.shape[1]),
        )

    # ------------------------------------------------------------------ plasticity (learners)

    def unit_layers(self, choice: LayerChoice = "released") -> list[UnitLayer]:
        """Hidden layers of the online networks, as scores and interventions see them."""
        return [*self.agents.unit_layers(choice), *self.mixer.unit_layers(choice)]

    def target_unit_layers(self, choice: LayerChoice = "released") -> list[UnitLayer]:
        """The same layers of the target networks."""
        agents, mixer = cast(AgentTeam, self.target_agents), cast(Mixer, self.target_mixer)
        return [*agents.unit_layers(choice), *mixer.unit_layers(choice)]

    def observe(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the online networks say about whole episodes, without gradients and without the targets.

        Args:
            batch: As in :meth:`_forward_train`.

        Returns:
            Packed: ``q_tot`` [steps], the value of the actions taken; ``greedy`` [rows, n], each agent's best allowed
            action at every observation.
        """
        with torch.no_grad():
            episodes = self.packed_episodes(batch)
            q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
            return {"q_tot": self.taken_value(episodes, q), "greedy": greedy_actions(q, episodes.action_mask)}

    def row_masks(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Which rows of :meth:`observe` count for the layers of the agents: those at which the agent has a choice (a dead
        one has its no-op alone); all, for a network whose agents have none anywhere in the batch.

        Returns:
            By layer key (:attr:`UnitLayer.key`): bool, one entry for each row that the layer sees.
        """
        layout = PackedLayout.of(batch["lengths"].cpu(), batch["actions"].shape[1], batch["obs"].device)
        choosing = batch["action_mask"].flatten(0, 1)[layout.obs_rows].sum(2) > 1
        masks: dict[str, Tensor] = {}
        for layers, agents in self.layers_of_agents():
            of_net = choosing[:, agents].flatten()
            if not bool(of_net.any()):  # agents that never have a choice here: better all their rows than none
                of_net = torch.ones_like(of_net)
            masks |= {layer.key: of_net for layer in layers}
        return masks

    def layers_of_agents(self) -> list[tuple[list[UnitLayer], list[int]]]:
        """All hidden layers of each network that reads what agents see, with the agents whose rows it reads."""
        return list(zip(self.agents.layers_by_net("full"), self.agents.members, strict=True))

    # ------------------------------------------------------------------ RLlib's APIs

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
