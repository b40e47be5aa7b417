"""The team's reward from the rewards of its agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rllib_reborn.envs.adapters.by_path import load_callable
from rllib_reborn.envs.adapters.foreign_calls import shown

#: From the rewards of the team's agents (those that got one in this step) to the team's.
TeamReward = Callable[[Mapping[Any, float]], float]


def team_reward(kind: str, n_agents: int) -> TeamReward:
    """The function that ``kind`` names: ``sum``, ``mean`` (over all ``n_agents``, so that an agent's death does not
    make the others' rewards larger) or ``module:function``.

    Raises:
        ValueError: There is no such function.
    """
    if kind == "sum":
        return lambda rewards: float(sum(rewards.values()))
    if kind == "mean":
        return lambda rewards: float(sum(rewards.values())) / n_agents
    function = load_callable(kind, "team.reward")

    def of_function(rewards: Mapping[Any, float]) -> float:
        reward = function(rewards)
        try:
            return float(reward)
        except (TypeError, ValueError) as error:
            raise ValueError(f"team.reward {kind!r} returned {shown(reward)}; expected one number.") from error

    return of_function
