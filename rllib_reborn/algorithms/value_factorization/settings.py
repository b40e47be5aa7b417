"""Grouped training settings: one documented, validated model for each nested ``training(...)`` argument.

The config of RLlib holds them as plain dicts (so that Tune can search inside them); ``validate()`` and the experiment
schema both parse them with these models, which are the single source of defaults, ranges and meanings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from rllib_reborn.envs.state_views import FULL
from rllib_reborn.nets.agents import MakeAgentNet
from rllib_reborn.nets.hidden_activation import Activation, Normalisation, shaped
from rllib_reborn.settings import REASON_GIVEN, NoSettings, Settings

_EPS = {"rmsprop": 1e-5, "adam": 1e-8}


class TargetUpdateSettings(Settings):
    """When target networks follow the online ones: a hard copy every ``every`` updates or collected episodes (PyMARL:
    200 episodes), or, with ``tau``, a soft step ``target += tau * (online - target)`` after each update."""

    every: Annotated[int, Field(ge=1)] = 200
    unit: Literal["episodes", "updates"] = "episodes"
    tau: Annotated[float, Field(gt=0, le=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Self:
        # Resolved experiments write defaults out, so that these are no wish for hard copies.
        if self.tau is not None and (self.every, self.unit) != (200, "episodes"):
            raise PydanticCustomError(
                REASON_GIVEN,
                "every is {every} {unit} and tau {tau}; expected one of them, since soft steps leave nothing to copy. "
                "Leave out tau, or every and unit (in YAML: every: 200, unit: episodes).",
                {"every": self.every, "unit": self.unit, "tau": self.tau},
            )
        return self


class OptimizerSettings(Settings):
    """``rmsprop`` with PyMARL's constants (alpha 0.99, eps 1e-5) or ``adam`` with torch's, which PyMARL2 and EPyMARL use
    (betas 0.9 and 0.999, eps 1e-8); ``lr`` is RLlib's. ``eps``: added to the denominator; None: the kind's own, so that
    a change of the kind alone does not keep the other's."""

    kind: Literal["rmsprop", "adam"] = "rmsprop"
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    eps: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    @property
    def used_eps(self) -> float:
        """``eps``, or the kind's own."""
        return _EPS[self.kind] if self.eps is None else self.eps


class HiddenLayerSettings(Settings):
    """What stands behind the Linear of every hidden layer that is edited neuron by neuron (not in a GRU, not QMIX's mixing
    neurons, not DMIX's quantile embedding): a control beside interventions.

    Attributes:
        normalisation: ``layer``: layer normalisation between Linear and activation. ``none``: nothing.
        activation: ``relu``, or ``crelu``: relu(z) and relu(-z), two outputs for each neuron, and a reader twice as wide.

    With either, neurons are measured as before and cannot be treated one by one: interventions that do are refused.
    """

    normalisation: Normalisation = "none"
    activation: Activation = "relu"


class AgentSettings(HiddenLayerSettings):
    """The agents' network: Linear-ReLU (``fc_layers`` times), GRU (or Linear-ReLU when not ``recurrent``), Linear to
    one value per action. Input is the observation, plus the last action and the agent's number as one-hot vectors where
    asked for. ``parameter_sharing``: one network for ``all``, one per ``group`` of ``TeamSpec.agent_groups``, or
    ``none`` (one per agent). The agents of a critic (WQMIX, ResQ) are made alike.

    ``encoder``: what reads the observation in front of the first layer, a network of its own in each of the agents'
    networks: None, nothing; ``cnn`` (:class:`~.encoder_settings.CNNSettings`), ``per_field``
    (:class:`~.encoder_settings.PerFieldSettings`), or ``module:Class`` of one's own
    (:mod:`rllib_reborn.nets.encoders.named`); ``encoder_settings``: its settings."""

    hidden_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    fc_layers: Annotated[int, Field(ge=1, le=4)] = 1
    recurrent: bool = True
    agent_id: bool = True
    last_action: bool = True
    parameter_sharing: Literal["all", "group", "none"] = "all"
    encoder: str | None = None
    encoder_settings: dict[str, Any] | None = None

    @pydantic.model_validator(mode="after")
    def _encoder_has_settings(self) -> Self:
        if self.encoder is not None or self.encoder_settings:
            from rllib_reborn.algorithms.value_factorization.encoder_settings import complete_settings

            try:
                given = complete_settings(self.encoder, self.encoder_settings or {})
            except ValueError as error:
                raise PydanticCustomError(REASON_GIVEN, "{reason}", {"reason": str(error)}) from None
            object.__setattr__(self, "encoder_settings", given)
        return self

    def shaped(self, make_net: MakeAgentNet) -> MakeAgentNet:
        """``make_net`` whose networks have the hidden layers that are asked for."""
        return shaped(make_net, self.normalisation, self.activation)


class NoMixerSettings(NoSettings):
    """``training(mixer=...)`` of VDN and IQL: Q_tot is the sum of the agents' values, and nothing about it can be set."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _reads_no_state(cls, given: Any) -> Any:
        for key in StateSettings.model_fields:
            if isinstance(given, dict) and key in given:
                lacks = "has no mixing network" if key in HiddenLayerSettings.model_fields else "reads no state"
                raise PydanticCustomError(
                    REASON_GIVEN,
                    "{key} is {value}, but this algorithm sums the agents' values and {lacks}; leave it out, or use "
                    "an algorithm whose mixer does (QMIX, WQMIX, QPLEX, ResQ, DMIX, RMIX).",
                    {"key": key, "value": repr(given[key]), "lacks": lacks},
                )
        return given


class StateSettings(HiddenLayerSettings):
    """What a mixer reads of the global state, and what its hidden layers are made of; ``training(mixer=...)`` of every
    algorithm whose mixer reads one.

    Attributes:
        state: ``full``: the state as it is. ``none``: zeros in its place, so that the mixer is the same in every state, a
            control; nothing that depends on the state is then left for interventions to treat. Else one of the smaller
            states that the environment defines (``TeamSpec.state_views``; predator-prey: ``pooled``, ``compact``,
            ``counts``; battles: ``compact``). The unrestricted mixers of WQMIX and ResQ read the same.
        state_encoder_dim: Width of a learned encoder (Linear, ReLU, Linear) that all hypernetworks of the mixer read the
            state through, 1..4096; None: each reads it itself. The layers ``official_code`` leave its neurons out,
            ``editable`` and ``full`` do not.
    """

    state: str = FULL
    state_encoder_dim: Annotated[int, Field(ge=1, le=4096)] | None = None

    def without_state(self, *left_out: str) -> dict[str, Any]:
        """What a mixer's own networks are made with: all other settings but ``left_out``."""
        return self.model_dump(exclude={*StateSettings.model_fields, *left_out})


class MixerSettings(StateSettings):
    """QMIX's mixing network: ``embed_dim`` mixing neurons (PyMARL 32, the ReBorn paper's Table 2: 64), whose weights come
    from hypernetworks of ``hypernet_layers`` layers, ``hypernet_dim`` wide when there are two; and what it reads of the
    state (:class:`StateSettings`). VDN has none of these."""

    embed_dim: Annotated[int, Field(ge=1, le=4096)] = 32
    hypernet_layers: Literal[1, 2] = 2
    hypernet_dim: Annotated[int, Field(ge=1, le=4096)] = 64


class QPLEXMixerSettings(StateSettings):
    """``training(mixer=...)`` of QPLEX beside :class:`StateSettings`; what each does:
    :class:`~rllib_reborn.nets.mixers.QPLEXMixer`. Defaults are those of the published code for StarCraft (``wjh720/QPLEX``,
    ``qplex_sc2.yaml``).

    Attributes:
        hypernet_dim: Hidden width of the nets that weight and shift the agents' values, 1..4096. Default 64.
        adv_hypernet_layers: Layers of the nets that weight the agents' advantages, 1..3. Default 1; the official ReBorn code
            2, the published code for matrix games 3.
        adv_hypernet_dim: Their hidden width, where there are more than 1, 1..4096. Default 64.
        n_head: Heads whose weights of the advantages are summed, 1..64. Default 4; for matrix games 10.
        weighted_head: Weight and shift the agents' values. Default True.
        is_minus_one: Advantages count by their weight minus 1, so that a weight of 1 gives the sum of the agents' values.
            Default True.
        stop_gradient: No gradient through the advantages. Default True.
    """

    hypernet_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    adv_hypernet_layers: Literal[1, 2, 3] = 1
    adv_hypernet_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    n_head: Annotated[int, Field(ge=1, le=64)] = 4
    weighted_head: bool = True
    is_minus_one: bool = True
    stop_gradient: bool = True

    @pydantic.model_validator(mode="after")
    def _has_hidden_layers_where_they_are_set(self) -> Self:
        has_none = not self.weighted_head and self.adv_hypernet_layers == 1 and self.state_encoder_dim is None
        for name, field in HiddenLayerSettings.model_fields.items():
            if has_none and getattr(self, name) != field.default:
                raise PydanticCustomError(
                    REASON_GIVEN,
                    "{name} is {value}, but a mixer without weighted_head, with adv_hypernet_layers 1 and no "
                    "state_encoder_dim has no hidden layer; leave it out, or set one of these.",
                    {"name": name, "value": repr(getattr(self, name))},
                )
        return self


class ReplayWeightingSettings(Settings):
    """How likely an episode of the replay is in a batch to learn from; ``training(replay_weighting=...)``.

    Attributes:
        kind: ``uniform``: all alike. ``age``: Sample Weight Decay (Wu et al. 2026, arXiv 2604.01913): the probability is
            proportional to ``max(min_weight, 1 - age / decay_env_steps)``, where the age of an episode is the number of env
            steps of all episodes that were added after it. No episode comes twice in a batch with either.
        decay_env_steps: The paper's T, 1..1,000,000,000 env steps. Default 80,000, as in the authors' training scripts,
            whose runs and buffers have 1,000,000.
        min_weight: The paper's least weight, above 0 and below 1. Default 0.1, as in the authors' code.
    """

    kind: Literal["uniform", "age"] = "uniform"
    decay_env_steps: Annotated[int, Field(ge=1, le=10**9)] = 80_000
    min_weight: Annotated[float, Field(gt=0, le=1)] = 0.1

    @pydantic.model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        # Resolved experiments write defaults out, so that these are no wish for weights.
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if self.kind == "uniform" and name != "kind" and value != field.default:
                raise PydanticCustomError(
                    REASON_GIVEN,
                    "{name} is {value}, but kind is 'uniform', which weighs all episodes alike; set kind: age, or leave "
                    "{name} out.",
                    {"name": name, "value": value},
                )
        if self.min_weight == 1:
            raise PydanticCustomError(
                REASON_GIVEN,
                "min_weight is {value}, at which age makes no difference; expected a number below 1, or kind: uniform.",
                {"value": self.min_weight},
            )
        return self


class RewardSettings(Settings):
    """What the learner sees of the reward: divided by the running standard deviation of the rewards collected so far
    when ``standardise`` (mean kept: subtracting it would change the task), then times ``scale``."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    standardise: bool = False
