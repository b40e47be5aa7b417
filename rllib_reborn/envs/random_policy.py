"""Playing at random among the available actions: exploration, and the yardstick of what needs no skill."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.failure_budget import FailureBudget
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.registry import make_team_env

IntArray = npt.NDArray[np.intp]

#: Separates the policy's random streams from the game's, which have the same seed.
_POLICY_SALT = 1


def random_legal_actions(action_mask: npt.NDArray[np.bool_], uniforms: npt.NDArray[np.float64]) -> IntArray:
    """Uniformly random available actions.

    Args:
        action_mask: [..., A] bool, at least one True in each row.
        uniforms: [...] numbers in [0, 1), one per agent.

    Returns:
        [...] actions: with c actions available, the number floor(c * uniform) of them, in ascending order.

    >>> random_legal_actions(np.array([[False, True, True]]), np.array([0.6]))
    array([2])
    """
    # Rows are short, where numpy's running sums are slow: eight actions at a time become a byte, and a table
    # tells how many of them are available and which is the k-th.
    counts_of, choice_of = _byte_tables()
    shape, n_actions = action_mask.shape[:-1], action_mask.shape[-1]
    n_bytes = -(-n_actions // 8)
    padded = np.zeros((*shape, 8 * n_bytes), np.bool_)
    padded[..., :n_actions] = action_mask
    packed = np.packbits(padded.reshape(-1), bitorder="little").reshape(-1, n_bytes)
    columns = np.ascontiguousarray(packed.T).astype(np.intp)
    counts = counts_of[columns]
    k = (uniforms.reshape(-1) * np.add.reduce(counts, axis=0)).astype(np.intp)
    columns <<= 3
    actions = choice_of[columns[0] + np.minimum(k, 7)]
    for byte in range(1, n_bytes):
        k -= counts[byte - 1]
        later = (k >= 0).nonzero()[0]  # the k-th is in this byte or a later one
        actions[later] = choice_of[columns[byte, later] + np.minimum(k[later], 7)] + 8 * byte
    return actions.reshape(shape)


def epsilon_greedy(
    greedy: npt.NDArray[np.integer[Any]],
    action_mask: npt.NDArray[np.bool_],
    uniforms: npt.NDArray[np.float64],
    epsilon: float,
) -> npt.NDArray[np.int64]:
    """Each agent's greedy action, or with probability ``epsilon`` a uniformly random available one.

    Args:
        greedy: [B, n] actions.
        action_mask: [B, n, A] bool, at least one True in each row.
        uniforms: [B, n] numbers in [0, 1), one per agent: it explores where its number is below ``epsilon``, and the
            number divided by ``epsilon`` is then uniform again and chooses the action.
        epsilon: 0..1.

    Returns:
        [B, n] int64 actions.
    """
    actions = greedy.astype(np.int64)
    explore = uniforms < epsilon
    if explore.any():
        actions[explore] = random_legal_actions(action_mask[explore], uniforms[explore] / epsilon)
    return actions


@functools.lru_cache(maxsize=1)
def _byte_tables() -> tuple[IntArray, IntArray]:
    """By byte of a mask: [256] how many bits are set; [256 * 8] at ``byte * 8 + k`` which is the k-th."""
    counts = np.zeros(256, np.intp)
    choices = np.zeros((256, 8), np.intp)
    for byte in range(256):
        bits = [i for i in range(8) if byte >> i & 1]
        counts[byte] = len(bits)
        choices[byte, : len(bits)] = bits
    return counts, choices.reshape(-1)


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
        EnvContractError: The games, or one of them, fail again and again, and no episode of theirs is finished in between.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; give a whole number >= 1.")
    num_envs = min(num_envs, episodes)
    env = make_team_env(name, num_envs, **kwargs)
    policy = RandomStreams(num_envs, seed, salt=_POLICY_SALT)
    left = np.full(num_envs, episodes // num_envs)
    left[: episodes % num_envs] += 1
    running = np.zeros(num_envs)
    returns: list[float] = []
    budget = FailureBudget(name, num_envs)
    try:
        seen = env.reset(seed=seed)
        while left.any():
            out = env.step(random_legal_actions(seen.action_mask, policy.uniform(env.spec.n_agents)))
            seen = out.obs
            running += out.reward
            failed = out.info.get("failed", np.zeros(num_envs, np.bool_))
            over = out.terminated | out.truncated | failed
            budget.note(over, failed, env)
            if over.any():
                counted = over & (left > 0) & ~failed
                returns.extend(running[counted])
                left[counted] -= 1
                running[over] = 0.0
                seen = env.reset(mask=over)
    finally:
        env.close()
    return np.array(returns)
