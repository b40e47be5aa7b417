"""A team's module as plasticity looks at it: its networks by name, their layers of neurons, and their outputs."""

from __future__ import annotations

import abc
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.algorithms.value_factorization.learner_updates import PackedEpisodes, layout_of
from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers.mixer import Mixer, greedy_actions
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.neuron_layers import LayerChoice, NeuronLayer


class PlasticityView(abc.ABC):
    """What a :class:`TeamRLModule` shows to scores and interventions; used in learners."""

    agents: AgentTeam
    mixer: Mixer
    target_agents: Any
    target_mixer: Any

    @abc.abstractmethod
    def packed_episodes(self, columns: dict[str, Any]) -> PackedEpisodes:
        """Whole episodes as the networks read them."""

    @abc.abstractmethod
    def taken_value(self, episodes: PackedEpisodes, q: Tensor) -> Tensor:
        """Q_tot [steps] of the actions taken."""

    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained, by the names that an intervention's ``scope`` takes: "agent", "mixer" and, where
        the algorithm has one, "critic". A network may be a part of another one and then calls its parameters as that does
        (the critics of WQMIX and ResQ live inside the mixer)."""
        return {"agent": self.agents, "mixer": self.mixer}

    def target_networks(self) -> dict[str, nn.Module]:
        """The target networks of :meth:`networks`, by the same names."""
        return {"agent": cast(nn.Module, self.target_agents), "mixer": cast(nn.Module, self.target_mixer)}

    def neuron_layers(self, choice: LayerChoice = "official_code", *, target: bool = False) -> list[NeuronLayer]:
        """Hidden layers of the online networks, as scores and interventions see them; or of the target networks."""
        networks = self.target_networks() if target else self.networks()
        return [layer for name in ("agent", "mixer") for layer in declared_layers(name, networks[name], choice)]

    def observe(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the online networks say about whole episodes, without gradients and without the targets.

        Args:
            batch: As in :meth:`packed_episodes`.

        Returns:
            Packed: ``q_tot`` [steps], the value of the actions taken; ``greedy`` [rows, n], each agent's best allowed
            action at every observation.
        """
        with torch.no_grad():
            episodes = self.packed_episodes(batch)
            q = self.agents.unroll(episodes.x, episodes.layout.obs_sizes)
            return {"q_tot": self.taken_value(episodes, q), "greedy": greedy_actions(q, episodes.action_mask)}

    def row_masks(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Which rows of :meth:`observe` count for the layers of the agents: those at which the agent has a choice (a
        dead one has its no-op alone); all, for a network whose agents have none anywhere in the batch.

        Returns:
            By layer key (:attr:`NeuronLayer.key`): bool, one entry for each row that the layer sees.
        """
        choosing = batch["action_mask"][layout_of(batch).obs_rows].sum(2) > 1
        masks: dict[str, Tensor] = {}
        for keys, agents in self.layer_keys_of_agents():
            of_net = choosing[:, agents].flatten()
            if not bool(of_net.any()):  # agents that never have a choice here: better all their rows than none
                of_net = torch.ones_like(of_net)
            masks |= dict.fromkeys(keys, of_net)
        return masks

    def layer_keys_of_agents(self) -> list[tuple[list[str], list[int]]]:
        """For each network that reads what agents see: keys of all its hidden layers, and the agents whose rows it reads."""
        by_net = self.agents.hidden_layers_by_net()
        keys = [[f"agent/{layer.name}" for layer in layers] for layers in by_net]
        return list(zip(keys, self.agents.members, strict=True))
