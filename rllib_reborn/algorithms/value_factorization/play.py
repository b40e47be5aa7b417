"""Play episodes with a trained team, without a Ray cluster: evaluation, comparison with random play, films."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_reborn.algorithms.value_factorization import runners
from rllib_reborn.envs.failure_budget import FailureBudget
from rllib_reborn.envs.random_policy import epsilon_greedy
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.registry import make_team_env, starts_programs
from rllib_reborn.envs.team_env import TeamSpec

_EXPLORATION_SALT = 0xF1
#: Games side by side where nobody says how many.
_MOST_GAMES, _MOST_PROGRAMS = 32, 8


@dataclasses.dataclass(frozen=True)
class EpisodeOutcomes:
    """Finished episodes, in the order of the games: E of them."""

    returns: npt.NDArray[np.float64]  #: [E]
    lengths: npt.NDArray[np.int64]  #: [E], env steps
    won: npt.NDArray[np.bool_] | None  #: [E]; None where the env has no notion of winning
    frames: list[npt.NDArray[np.uint8]] | None = None  #: pictures of the first game's first episode, if recorded


class Team:
    """A trained team and its environment.

    Args:
        module: The (inference-only or full) module.
        env: Name of the environment.
        env_config: Its keyword arguments.
    """

    def __init__(self, module: Any, env: str, env_config: dict[str, Any]) -> None:
        self.module = module
        self.env_name = env
        self.env_config = dict(env_config)
        self.spec: TeamSpec = module.spec

    def play(
        self,
        episodes: int,
        seed: int,
        *,
        num_envs: int | None = None,
        epsilon: float = 0.0,
        record: bool = False,
    ) -> EpisodeOutcomes:
        """Play exactly ``episodes`` episodes, each game a fixed share of them (so that short ones are not favoured).

        Args:
            episodes: >= 1.
            seed: Seed of all games; equal arguments give equal outcomes.
            num_envs: Games side by side; default: as many as episodes, at most 32 (8 where each is a program).
            epsilon: Share of uniformly random legal actions, 0..1; 1 is the random policy.
            record: Keep pictures of the first game's first episode (that is finished: a crashed one is dropped).

        Raises:
            EnvContractError: The games, or one of them, fail again and again without a finished episode in between.
            ValueError: ``episodes`` below 1, ``epsilon`` outside 0..1, or ``record`` where the env cannot be drawn.
        """
        if episodes < 1:
            raise ValueError(f"episodes is {episodes}; expected at least 1.")
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is {epsilon}; expected a number in 0..1.")
        most = _MOST_PROGRAMS if starts_programs(self.env_name) else _MOST_GAMES
        count = min(episodes, most) if num_envs is None else num_envs
        quotas = np.full(count, episodes // count)
        quotas[: episodes % count] += 1
        env = make_team_env(self.env_name, num_envs=count, **self.env_config)
        streams = RandomStreams(count, seed, salt=_EXPLORATION_SALT)
        device = next(self.module.parameters()).device
        n = self.spec.n_agents
        played = np.zeros(count, np.int64)
        returns, lengths = np.zeros(count), np.zeros(count, np.int64)
        finished: list[tuple[int, float, int, bool]] = []
        frames: list[npt.NDArray[np.uint8]] | None = [] if record else None
        budget = FailureBudget(self.env_name, count)
        obs = env.reset(seed=seed)
        hidden = self.module.initial_hidden(count)
        last_actions = np.full((count, n), -1, np.int64)
        try:
            while (played < quotas).any():
                if frames is not None and played[0] == 0:
                    frames.append(env.render(0))
                out = self.module._forward_inference(
                    {
                        "obs": torch.from_numpy(obs.obs).to(device),
                        "action_mask": torch.from_numpy(obs.action_mask).to(device),
                        "last_actions": torch.from_numpy(last_actions).to(device),
                        "hidden": hidden,
                    }
                )
                hidden = out["hidden"]
                actions = epsilon_greedy(out["actions"].cpu().numpy(), obs.action_mask, streams.uniform(n), epsilon)
                step = env.step(actions)
                returns += step.reward
                lengths += 1
                last_actions = actions
                failed = step.info.get("failed", np.zeros(count, bool))
                done = step.terminated | step.truncated | failed
                if (lengths >= self.spec.episode_limit)[~done].any():
                    raise ValueError(f"a game of {self.env_name!r} runs on after its {self.spec.episode_limit} steps.")
                if frames is not None and played[0] == 0 and done[0]:
                    if failed[0]:
                        frames.clear()
                    else:
                        frames.append(env.render(0))
                budget.note(done, failed, env)
                for i in np.flatnonzero(done & ~failed & (played < quotas)):
                    won = bool(step.info["won"][i]) if self.spec.has_win else False
                    finished.append((int(i), float(returns[i]), int(lengths[i]), won))
                obs = step.obs
                if done.any():
                    played += done & ~failed  # a crashed episode is played again, never scored
                    obs = env.reset(mask=done)
                    returns[done] = 0
                    lengths[done] = 0
                    last_actions[done] = -1
                    hidden[torch.from_numpy(done).to(device)] = 0
        finally:
            env.close()
        finished.sort(key=lambda item: item[0])  # stable: episodes of one game stay in order
        return EpisodeOutcomes(
            returns=np.array([item[1] for item in finished]),
            lengths=np.array([item[2] for item in finished]),
            won=np.array([item[3] for item in finished]) if self.spec.has_win else None,
            frames=frames,
        )


def load_team(checkpoint: str | Path) -> Team:
    """The team of a checkpoint folder (written by ``algo.save_to_path``); only load checkpoints you trust: RLlib pickles.

    Raises:
        FileNotFoundError: The folder is no checkpoint of an algorithm.
    """
    folder = Path(checkpoint).absolute()  # RLlib takes a relative path for a URI without a scheme
    module_folder = folder / COMPONENT_LEARNER_GROUP / COMPONENT_LEARNER / COMPONENT_RL_MODULE / DEFAULT_MODULE_ID
    if not module_folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no checkpoint of an algorithm: it has no {module_folder.relative_to(folder)}."
        )
    module = RLModule.from_checkpoint(module_folder)
    return Team(module, module.model_config["env"], module.model_config["env_config"])


def team_from_algo(algorithm: Any) -> Team:
    """The team of a live algorithm, with its present weights (a copy)."""
    spec = algorithm.config.get_rl_module_spec(spaces=algorithm.spaces, inference_only=True)
    module = spec.build()
    module.set_state(runners.learner_weights(algorithm).rl_module[DEFAULT_MODULE_ID])
    return Team(module, algorithm.config.env, algorithm.config.env_config)
