"""From the settings of a team to its inputs and its networks of agents, with an encoder in front of them where one is asked
for."""

from __future__ import annotations

from typing import Any

import torch

from rllib_reborn.algorithms.value_factorization.settings import AgentSettings
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.agents import AgentInputs, AgentTeam, MakeAgentNet


def agent_inputs(spec: TeamSpec, settings: AgentSettings) -> AgentInputs:
    """How the input of the agents' networks is put together."""
    make: type[AgentInputs] = AgentInputs
    if settings.encoder is not None:
        from rllib_reborn.nets.encoded_agents import EncodedInputs

        make = EncodedInputs
    return make(
        n_agents=spec.n_agents,
        n_actions=spec.n_actions,
        obs_dim=spec.obs_dim,
        last_action=settings.last_action,
        agent_id=settings.agent_id,
        obs_scale=spec.obs_scale,
    )


def agent_team(
    spec: TeamSpec, settings: AgentSettings, net_of_agent: tuple[int, ...], make_net: MakeAgentNet
) -> AgentTeam:
    """The networks of agents, which read :func:`agent_inputs`.

    Args:
        spec: The team.
        settings: ``training.model``.
        net_of_agent: For each agent the number of its network.
        make_net: Makes one network from the sizes, without encoder.

    Raises:
        ValueError: The encoder cannot be made, or does not give what it says.
    """
    make_team: type[AgentTeam] = AgentTeam
    make_net = settings.shaped(make_net)
    if settings.encoder is not None:
        from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, encoded

        make_team = EncodedAgentTeam
        make_net = encoded(make_net, lambda: _checked_encoder(spec, settings), spec.obs_dim)
    return make_team(
        net_of_agent,
        agent_inputs(spec, settings).width,
        spec.n_actions,
        hidden_dim=settings.hidden_dim,
        fc_layers=settings.fc_layers,
        recurrent=settings.recurrent,
        make_net=make_net,
    )


def _checked_encoder(spec: TeamSpec, settings: AgentSettings) -> Any:
    from rllib_reborn.algorithms.value_factorization.encoder_settings import obs_layout
    from rllib_reborn.nets.encoders import check_encoder, make_encoder

    name, layout = str(settings.encoder), obs_layout(spec)
    try:
        encoder = make_encoder(name, settings.encoder_settings or {}, layout)
        check_encoder(name, encoder, layout, getattr(torch, spec.obs_dtype))
    except ValueError as error:
        raise ValueError(f"model.{error}") from error
    return encoder
