"""What random play earns in an environment: the baseline of everything that is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_policy import RandomActor
from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.envs.rollout import Rollout, Transition, equal_quotas

#: Separates the policy's random streams from the game's, which have the same seed.
_POLICY_SALT = 1


def random_policy_returns(
    name: str, episodes: int, seed: int = 0, num_envs: int = 32, **kwargs: Any
) -> npt.NDArray[np.float64]:
    """Undiscounted returns of episodes played at random.

    Every game plays the same number of episodes (one more in some), whatever their lengths: the first to
    finish are not a fair sample. The result depends on ``num_envs`` only through which game plays which
    episode.

    Args:
        name: Name of the environment, as in :func:`make_team_env`.
        episodes: Number of episodes, >= 1.
        seed: Seed of games and policy.
        num_envs: Games stepped side by side, >= 1.
        **kwargs: Options of the environment.

    Returns:
        [episodes] returns.

    Raises:
        ValueError: ``episodes`` is below 1, or as :func:`make_team_env`.
        EnvContractError: The games, or one of them, fail again and again, and no episode of theirs is finished in between;
            or one does not end at its limit.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; give a whole number >= 1.")
    num_envs = min(num_envs, episodes)
    returns: list[float] = []

    def on_step(transition: Transition) -> None:
        returns.extend(transition.returns[transition.counted])

    env = make_team_env(name, num_envs, **kwargs)
    try:
        actor = RandomActor(num_envs, env.spec.n_agents, seed, salt=_POLICY_SALT)
        rollout = Rollout(env, actor, name, on_step=on_step)
        rollout.begin(seed)
        rollout.run(quotas=equal_quotas(episodes, num_envs))
    finally:
        env.close()
    return np.array(returns)
