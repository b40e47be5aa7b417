"""What keeps no contract from being kept and still makes learning fail or a machine too small: advice before training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_policy import RandomActor
from rllib_reborn.envs.rollout import Rollout, Transition
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, VectorTeamEnv

#: Larger inputs make activations and gradients of the usual initial weights that large, too.
_LARGE = 1_000.0
#: Widths of the layers that read an observation and a state: PyMARL's agents, and QMIX's four hypernetworks.
_READ_OBS, _READ_STATE = 64, 64 + 64 + 32 + 32
#: Weights, gradients, an optimizer's average, target networks and the copy that acts, 4 bytes each.
_BYTES_PER_WEIGHT = 4 * 5
_GIGABYTE = 10**9
_STEPS = 600
#: Keeps the policy's draws apart from those of the games under one seed.
_POLICY_SALT = 2


class _Largest:
    """The largest magnitudes of a rollout."""

    def __init__(self, spec: TeamSpec) -> None:
        self._spec = spec
        self.obs = self.state = self.reward = 0.0
        self.steps = 0

    def see(self, obs: TeamObs) -> None:
        self.obs = max(self.obs, _largest(obs.obs) * self._spec.obs_scale)
        self.state = max(self.state, _largest(obs.state) * self._spec.state_scale)

    def on_step(self, transition: Transition) -> None:
        self.see(transition.step.obs)
        self.reward = max(self.reward, _largest(transition.step.reward))
        self.steps += transition.step.reward.size


def learning_advice(env: VectorTeamEnv, name: str, seed: int = 0, steps: int | None = None) -> list[str]:
    """Play at random and say what to change before training; empty where there is nothing. ``env`` keeps its contract; it is
    reset and played, and not closed.

    Args:
        env: The environment.
        name: Its name.
        seed: Seed of games and policy.
        steps: Steps to play; default: the episode limit and a bit, at most 600.
    """
    spec = env.spec
    found = _Largest(spec)
    actor = RandomActor(env.num_envs, spec.n_agents, seed, salt=_POLICY_SALT)
    rollout = Rollout(env, actor, name, on_begin=found.see, on_step=found.on_step)
    rollout.begin(seed)
    rollout.run(steps=min(spec.episode_limit + 20, _STEPS) if steps is None else steps)
    return [*_of_magnitudes(found), *_of_rewards(found), *_of_sizes(spec)]


def _of_magnitudes(found: _Largest) -> list[str]:
    return [
        f"the largest {what} is {value:.3g}: networks learn from numbers of about 1; divide by what is usual, in the "
        f"environment or a wrapper{remedy}."
        for what, value, remedy in (
            ("number in an observation", found.obs, ""),
            ("number in the state", found.state, ", or take team={'state': 'observations'} for environments of others"),
            ("reward of a step", found.reward, ", or set training.reward.scale or training.reward.standardise"),
        )
        if value > _LARGE
    ]


def _of_rewards(found: _Largest) -> list[str]:
    if found.reward > 0:
        return []
    return [
        f"the team's reward was 0 in all {found.steps} steps of random play: where agents play against each other, their "
        "rewards cancel, and team.agents must say which side is trained; where rewards are rare, exploration must find them."
    ]


def _of_sizes(spec: TeamSpec) -> list[str]:
    size = (spec.obs_dim * _READ_OBS + spec.state_dim * _READ_STATE) * _BYTES_PER_WEIGHT
    if size < _GIGABYTE:
        return []
    return [
        f"observations of {spec.obs_dim:,} numbers and a state of {spec.state_dim:,} make first layers of about "
        f"{size / _GIGABYTE:.1f} GB (QMIX, with the optimizer and the copies); make them smaller, pictures for instance "
        "by a wrapper that shrinks them or makes them grey."
    ]


def _largest(array: npt.NDArray[np.generic]) -> float:
    return float(np.abs(np.asarray(array, np.float64)).max(initial=0.0))
