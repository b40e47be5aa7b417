"""From the module of a trained team to a portable policy (:mod:`rllib_reborn.policy`)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.nets.agent_kinds import AGENT_KINDS, kind_of
from rllib_reborn.nets.agents import AgentNet, AgentTeam
from rllib_reborn.nets.dense import DenseStack, Linear
from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, InputEncoder
from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.nets.hidden_activation import CReLU, NormalisedActivation
from rllib_reborn.nets.risk_agent import RiskLevelPredictor
from rllib_reborn.policy import Policy, PolicyError, PolicySpec
from rllib_reborn.policy.files import Weights
from rllib_reborn.secret_settings import without_secrets

#: Modules that hold other modules, or no weights.
_NO_WEIGHTS = (
    *(AgentTeam, *AGENT_KINDS.values(), RiskLevelPredictor, nn.ModuleList, nn.Sequential, nn.ReLU, nn.Identity),
    *(DenseStack, CReLU, NormalisedActivation, EncodedAgentTeam),
)


def policy_from_module(module: TeamRLModule, *, algorithm: str | None = None) -> Policy:
    """The agents of a module, with copies of its present weights.

    Args:
        module: Full or inference-only; of a live algorithm ``team_from_algo(algo).module``.
        algorithm: Name to be noted; default: the module's class without "Module" (``QMIX``).

    Raises:
        PolicyError: The networks, or a layer in them, are of a kind that a portable policy cannot compute, or a weight is
            not finite.
    """
    team, settings = module.spec, module.agent_settings
    net = cast(AgentNet, module.agents.nets[0])
    kind = kind_of(net)
    if kind is None:
        raise PolicyError(
            f"the agents' network is a {type(net).__name__}, which a portable policy cannot compute; expected one of "
            f"{', '.join(known.__name__ for known in AGENT_KINDS.values())}."
        )
    spec = PolicySpec(
        n_agents=int(team.n_agents),
        n_actions=int(team.n_actions),
        obs_dim=int(team.obs_dim),
        hidden_dim=settings.hidden_dim,
        fc_layers=settings.fc_layers,
        recurrent=settings.recurrent,
        last_action=settings.last_action,
        agent_id=settings.agent_id,
        net_of_agent=module.net_of_agent,
        agent_ids=team.agent_ids,
        agent_groups=team.agent_groups,
        agent=kind,
        agent_settings=net.settings,
        obs_scale=team.obs_scale,
        normalisation=settings.normalisation,
        activation=settings.activation,
        encoder=settings.encoder or "",
        encoder_settings=settings.encoder_settings or {},
        obs_parts=team.obs_parts if settings.encoder else (),
        algorithm=module.algorithm if algorithm is None else algorithm,
        env=str(module.model_config.get("env", "")),
        env_config=without_secrets(module.model_config.get("env_config", {})),
    )
    return Policy(spec, plain_weights(module.agents), trust_encoder=True)  # it is in this process already


def plain_weights(agents: AgentTeam) -> Weights:
    """The weights by which ``agents`` compute, as those of plain layers; they may share memory with ``agents``.

    What interventions allocate is folded: of an injected layer only the sum that it applies is kept, the very one that it
    takes itself at every call; a slotted one (KNIFE) is a Linear already, only wider, and keeps its spare neurons. So the
    values are the same to the bit, as long as products are the same: a plain layer has a faster one for 512 rows (agents
    times games) and more (:mod:`rllib_reborn.nets.dense`), which rounds differently.

    Raises:
        PolicyError: A layer is of a type that is not known here.
    """
    found: dict[str, Tensor] = {}
    in_encoders = {part for module in agents.modules() if isinstance(module, InputEncoder) for part in module.modules()}
    for path, module in agents.named_modules():
        if isinstance(module, InjectedLinear):
            weight, bias = module.effective()
            found |= {f"{path}.weight": weight} | ({} if bias is None else {f"{path}.bias": bias})
        elif type(module) in (Linear, nn.Linear, SlottedLinear, nn.GRU, nn.LayerNorm):
            found |= {f"{path}.{name}": value for name, value in module.named_parameters(recurse=False)}
        elif module in in_encoders:  # made by its own class where the policy is loaded, whatever it is
            found |= {f"{path}.{name}": value for name, value in own_state(module).items()}
        elif type(module) not in _NO_WEIGHTS:
            raise PolicyError(
                f"{path or 'the network'} is a {type(module).__name__}, which a portable policy cannot compute; expected "
                "Linear, ReLU, CReLU, LayerNorm and GRU."
            )
    return {name: value.detach().cpu().numpy() for name, value in found.items()}


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """What a module holds itself and saves, without the modules in it, by name."""
    names = {name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
    return {name: value for name, value in module.state_dict(keep_vars=True).items() if name in names}
