"""QPLEX: values and advantages of the agents are mixed apart, so that every task's best joint action can be represented
(Wang et al., ICLR 2021)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from rllib_reborn.algorithms.value_factorization.settings import Settings
from rllib_reborn.algorithms.value_factorization.team_rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.value_factorization import (
    ValueFactorization,
    ValueFactorizationConfig,
)
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.nets.mixers import Mixer, QPLEXMixer


class QPLEXMixerSettings(Settings):
    """``training(mixer=...)`` of QPLEX; what each does: :class:`~rllib_reborn.nets.mixers.QPLEXMixer`. Defaults are those of
    the published code for StarCraft (``wjh720/QPLEX``, ``qplex_sc2.yaml``).

    Attributes:
        hypernet_dim: Hidden width of the nets that weight and shift the agents' values, 1..4096. Default 64.
        adv_hypernet_layers: Layers of the nets that weight the agents' advantages, 1..3. Default 1; the released ReBorn code
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


class QPLEXModule(TeamRLModule):
    def make_mixer(self, spec: TeamSpec, settings: dict[str, Any]) -> Mixer:
        return QPLEXMixer(spec.n_agents, spec.n_actions, spec.state_dim, **settings)


class QPLEXConfig(ValueFactorizationConfig):
    """Config of :class:`QPLEX`; see :class:`ValueFactorizationConfig` for all settings, :class:`QPLEXMixerSettings` for
    ``training(mixer=...)``.

    The loss is the mean squared TD error with 1-step targets, as in the published code; the released ReBorn code has half of
    it, and TD(lambda) targets with lambda 0.6 (``td_lambda``; method reference 7.4, D15).

    Example:
        >>> from rllib_reborn import QPLEXConfig
        >>> config = QPLEXConfig().environment("matrix/nonmonotonic").training(mixer={"n_head": 10})
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    mixer_needs_state = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or QPLEX)

    def mixer_settings(self) -> type[Settings]:
        return QPLEXMixerSettings

    def module_class(self) -> type[TeamRLModule]:
        return QPLEXModule


class QPLEX(ValueFactorization):
    """Duplex dueling value factorization."""

    @classmethod
    def get_default_config(cls) -> QPLEXConfig:
        return QPLEXConfig()
