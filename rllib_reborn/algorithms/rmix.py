"""RMIX: agents that act by the conditional value at risk of their returns (Qiu et al., NeurIPS 2021, arXiv:2102.08159).

Every agent i has a distribution Z_i of returns, N atoms for each action, and compares actions by ``C_i = CVaR(Z_i)`` at
a risk level that is fixed or predicted (:mod:`rllib_reborn.nets.risk_agent`). Two losses train it:

- the squared error of ``QMIX(C_1, ..., C_n)`` against ``r + gamma * QMIX'(C'_1, ..., C'_n)``, as QMIX's;
- now and then, quantile regression of each Z_i towards ``C_i + gamma * Z'_i``: its own CVaR as a local reward
  (:mod:`rllib_reborn.losses.risk`).

**What the risk level does, and what it does not.** The first loss is a squared error, so what it fits is the *mean* of
``r + gamma * C'_tot``, whatever the level; and the second loss has no reward in it (alone it would grow what it fits: ``Z =
C + gamma * Z'`` has no fixed point unless the CVaR of Z' is 0). So as published a low level makes no agent cautious: in a
game whose risky action is better on average all levels choose that one (tests/algorithms/test_rmix.py). Agents to whom the
level matters need distributions of returns that are fitted to rewards: ``training(algorithm_settings={"auxiliary_reward":
"team"})``, ours and not the paper's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.learner import (
    ENV_STEPS,
    ValueFactorizationLearner,
)
from rllib_reborn.algorithms.value_factorization.learner_updates import PackedEpisodes
from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.settings import AgentSettings, MixerSettings
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.losses import masked_mean
from rllib_reborn.losses.risk import local_distribution_loss, local_targets
from rllib_reborn.nets.agents import AgentTeam, MakeAgentNet
from rllib_reborn.nets.cvar import tail_weights
from rllib_reborn.nets.mixers import Mixer, QMixer
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.nets.risk_agent import Chosen, RiskAgentNet, of_each_net
from rllib_reborn.settings import REASON_GIVEN, Settings, parse

#: Keys of what the learner logs beside the usual ones: the mean risk level of the actions taken; the local loss, 0 at
#: updates without it.
RISK_LEVEL_MEAN = "risk_level_mean"
LOCAL_LOSS = "local_loss"


class RMIXMixerSettings(MixerSettings):
    """QMIX's (:class:`MixerSettings`), with the ``embed_dim`` of RMIX's official configuration, 48 (the ReBorn paper's
    Table 2: 64)."""

    embed_dim: Annotated[int, Field(ge=1, le=4096)] = 48


class RMIXSettings(Settings):
    """What is RMIX's own, ``training(algorithm_settings=...)``. Defaults are the official configuration's
    (docs/method.md) unless another source is named.

    Attributes:
        risk: The risk level of every step, in (0, 1], low for cautious agents, 1 for the mean; or ``dynamic``:
            predicted at every step from what the agent has seen (needs recurrent agents). Default ``dynamic``.
        atoms: Equally probable values that make up the return's distribution for each action, 1..1000. Default 100.
        levels: Risk levels that the predictor chooses from, 1/levels, 2/levels, ..., 1; 1..100. Default 10.
        embedding_dim: Width in which the predictor compares the present distribution with the past, 1..1024. Default 16
            (ours; the official code has the number of agents there).
        auxiliary_every: Env steps between two updates with the local loss, >= 1; None: never. Default 1,000. Updates
            are made after each round of sampling, so of those of one round the first has it.
        auxiliary_start: Env steps before the first of them, >= 0. Default 100,000.
        auxiliary_weight: Factor of the local loss beside the squared error, > 0. The local loss is the mean over steps
            and agents of the quantile Huber loss, which sums over atoms. Default 1e-3: a tenth, which is the ratio of
            the official code's two learning rates, over 100 atoms.
        auxiliary_reward: What stands for an agent's reward in the local loss: ``cvar``, its own CVaR, as in the paper
            (default); or ``team``, the team's reward, as if the agent learnt alone: ours, for agents that are to mind
            the risk level (see the module). The squared error, which fits means, must not drown it: in the game of
            tests/fakes/risky_game.py a weight of 30 at every update is enough and 3 is not.
        compat: ``official_code``: as the official code has it, for comparison. CVaR divides by one atom too few (D17),
            the predictor stays random (D16), the local loss swaps prediction and target (D25) and takes the *place* of
            the squared error at its updates. Not reproduced: its second Adam for these (a tenth of the learning rate,
            averages of its own), its predictor's exact shape, and its division by three agents (D18). Default None: as
            the paper.
    """

    risk: Literal["dynamic"] | float = "dynamic"
    atoms: Annotated[int, Field(ge=1, le=1000)] = 100
    levels: Annotated[int, Field(ge=1, le=100)] = 10
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 16
    auxiliary_every: Annotated[int, Field(ge=1)] | None = 1_000
    auxiliary_start: Annotated[int, Field(ge=0)] = 100_000
    auxiliary_weight: Annotated[float, Field(gt=0)] = 1e-3
    auxiliary_reward: Literal["cvar", "team"] = "cvar"
    compat: Literal["official_code"] | None = None

    @field_validator("risk", mode="before")
    @classmethod
    def _risk_is_a_level(cls, risk: Any) -> Any:
        if risk == "dynamic" or (isinstance(risk, int | float) and not isinstance(risk, bool) and 0 < risk <= 1):
            return risk
        # A union's own message would name its two branches and not the setting.
        raise PydanticCustomError(
            REASON_GIVEN, "{risk} is no risk level; expected 'dynamic' or a number in (0, 1].", {"risk": repr(risk)}
        )

    @field_validator("compat")
    @classmethod
    def _official_code_divides_by_something(cls, compat: str | None, others: ValidationInfo) -> str | None:
        if compat is not None and {"risk", "atoms", "levels"} <= others.data.keys():
            lowest = others.data["risk"] if others.data["risk"] != "dynamic" else 1 / others.data["levels"]
            try:
                tail_weights([lowest], others.data["atoms"], official_code=True)
            except ValueError as error:
                raise PydanticCustomError(REASON_GIVEN, "{reason}", {"reason": str(error)}) from None
        return compat


class RMIXModule(TeamRLModule):
    """``local_loss_due``: whether the next training pass must also give what the local loss needs; its Learner sets
    it."""

    @override(TeamRLModule)
    def setup(self) -> None:
        super().setup()
        self.local_loss_due = False

    @override(TeamRLModule)
    def make_agent_net(self, settings: dict[str, Any]) -> MakeAgentNet:
        own = ("atoms", "risk", "levels", "embedding_dim", "compat")
        return functools.partial(RiskAgentNet, **{name: settings[name] for name in own if name in settings})

    @override(TeamRLModule)
    def step_values(self, episodes: PackedEpisodes) -> dict[str, Tensor]:
        """``q_tot`` and ``next_q_tot`` [steps], both of CVaR values; ``risk_level`` [steps, n]; where the local loss is
        due also ``value`` [steps, n], ``atoms`` and ``next_atoms`` [steps, n, N]: C_i and Z_i of the actions taken, and
        the target networks' Z_i of the best ones after them."""
        features = _features(self.agents, episodes)
        taken = _chosen(self.agents, episodes.now(features), episodes.taken)
        values = {
            "q_tot": self.mixer(taken.value, episodes.now(episodes.state)),
            "risk_level": taken.level,
        }
        with torch.no_grad():
            targets = cast(AgentTeam, self.target_agents)
            after = episodes.next(_features(targets, episodes))
            (compared,) = of_each_net(
                self.agents if self.double_q else targets,
                lambda net, rows: (net.values(rows),),
                episodes.next(features) if self.double_q else after,
            )
            best = _chosen(targets, after, greedy_actions(compared, episodes.next(episodes.action_mask)))
            values["next_q_tot"] = cast(Mixer, self.target_mixer)(best.value, episodes.next(episodes.state))
        if self.local_loss_due:
            values |= {"value": taken.value.detach(), "atoms": taken.atoms, "next_atoms": best.atoms}
        return values


def _features(team: AgentTeam, episodes: PackedEpisodes) -> Tensor:
    """What the networks compare actions by, [rows, n, width]."""
    return team.unroll_features(episodes.x, episodes.layout.obs_sizes)


def _chosen(team: AgentTeam, features: Tensor, actions: Tensor) -> Chosen:
    """:meth:`RiskAgentNet.chosen` of every agent: [steps, n], [steps, n, N], [steps, n]."""
    return Chosen(*of_each_net(team, lambda net, rows, of_rows: net.chosen(rows, of_rows), features, actions))


class RMIXLearner(ValueFactorizationLearner):
    """Adds the local loss at its interval. All ranks get the same clock, so they decide alike."""

    own_metrics = (RISK_LEVEL_MEAN, LOCAL_LOSS)

    @override(ValueFactorizationLearner)
    def reset_counts(self) -> None:
        super().reset_counts()
        self.last_local_loss_env_steps: int = 0

    @override(ValueFactorizationLearner)
    def capture_key(self) -> tuple[bool, ...]:
        """Whether the local loss is due."""
        return tuple(module.unwrapped().local_loss_due for module in self.module.values())

    @override(ValueFactorizationLearner)
    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        settings = cast(RMIXSettings, self.algorithm_settings)
        env_steps = int(timesteps.get(ENV_STEPS, 0))
        due = (
            settings.auxiliary_every is not None
            and env_steps > settings.auxiliary_start
            and env_steps - self.last_local_loss_env_steps >= settings.auxiliary_every
        )
        for module in self.module.values():
            module.unwrapped().local_loss_due = due
        if due:
            self.last_local_loss_env_steps = env_steps

    @override(ValueFactorizationLearner)
    def team_loss(
        self, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor], mask: Tensor, count: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of the mixed CVaR (with n_step and td_lambda as in QMIX) and, where it is due, the local loss,
        whose targets are one step ahead always."""
        loss, metrics = super().team_loss(config, batch, fwd_out, mask, count)
        n_agents = fwd_out["risk_level"].shape[2]
        metrics[RISK_LEVEL_MEAN] = masked_mean(fwd_out["risk_level"].mean(2), mask, count)
        metrics[LOCAL_LOSS] = torch.zeros_like(loss.detach())
        if "atoms" not in fwd_out:
            return loss, metrics
        settings = self.algorithm_settings
        chosen, weight = _real_steps(mask) if mask.device.type == "cpu" else _weighted_steps(mask)
        reward = chosen(fwd_out["value"])
        if settings.auxiliary_reward == "team":
            reward = chosen(batch["reward"]).unsqueeze(1).expand_as(reward)
        terminated = chosen(batch["terminated"]).bool()
        targets = local_targets(reward, chosen(fwd_out["next_atoms"]), terminated, gamma=config.gamma)
        official_code = settings.compat == "official_code"
        local = local_distribution_loss(chosen(fwd_out["atoms"]), targets, official_code=official_code)
        local = (local if weight is None else local * weight).sum() / (n_agents * count)
        metrics[LOCAL_LOSS] = local.detach()
        # Released: in place of the squared error. Times 0, so that every parameter still gets a gradient (DDP waits for it).
        return (0.0 if official_code else 1.0) * loss + settings.auxiliary_weight * local, metrics

    @override(Learner)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if "value_factorization" in state:
            state["value_factorization"]["last_local_loss_env_steps"] = self.last_local_loss_env_steps
        return state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        ours = state.get("value_factorization")
        if ours is not None:
            self.last_local_loss_env_steps = ours["last_local_loss_env_steps"]


#: What chooses steps from [E, T, ...] -> [steps, ...], and their weights [steps, 1]; None: all 1.
_Steps = tuple[Callable[[Tensor], Tensor], Tensor | None]


def _real_steps(mask: Tensor) -> _Steps:
    real = mask.bool()
    return lambda values: values[real], None


def _weighted_steps(mask: Tensor) -> _Steps:
    """All steps, those behind an end with weight 0: a GPU need not tell the host how many are real."""
    return lambda values: values.flatten(0, 1), mask.flatten().unsqueeze(1)


class RMIXConfig(ValueFactorizationConfig):
    """Config of :class:`RMIX`; see :class:`ValueFactorizationConfig` for all settings, :class:`RMIXMixerSettings` for
    ``training(mixer=...)`` and :class:`RMIXSettings` for ``training(algorithm_settings=...)``. The optimizer is Adam
    with torch's eps, 1e-8, as in the official configuration.

    Example:
        >>> from rllib_reborn import RMIXConfig
        >>> config = RMIXConfig().environment("matrix/two_step").training(algorithm_settings={"risk": 0.3})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    algorithm_name = "RMIX"
    mixer_class = QMixer
    mixer_settings_class = RMIXMixerSettings
    algorithm_settings_class = RMIXSettings
    rl_module_class = RMIXModule
    default_learner_class = RMIXLearner

    default_optimizer = MappingProxyType({"kind": "adam"})

    @override(ValueFactorizationConfig)
    def validate(self) -> None:
        """As :meth:`ValueFactorizationConfig.validate`.

        Raises:
            ValueError: Also where the risk level is to be predicted for agents without memory.
        """
        settings = cast(RMIXSettings, self.parse_algorithm_settings())
        if settings.risk == "dynamic" and not parse(AgentSettings, self.team_model, "model").recurrent:
            raise ValueError(
                "algorithm_settings.risk is 'dynamic' with model.recurrent False, but the level is chosen by what agents "
                "remember; set model.recurrent to True, or algorithm_settings.risk to a number in (0, 1]."
            )
        super().validate()


class RMIX(ValueFactorization):
    """Monotonic factorization of risk-sensitive values."""

    config_class = RMIXConfig
