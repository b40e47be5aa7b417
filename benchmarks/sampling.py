"""How much CPU does one env step of sampling take, beside a bare loop and beside the environment alone?

- ours: ``TeamEnvRunner.sample`` (acting, stepping, storing, whole episodes out);
- ``limit``: a bare numpy and torch loop that does the same: one forward for all games and agents, epsilon-greedy,
  the environment, storing every array;
- rows ``.../env_only``: the environment with ready-made legal actions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.common import interleaved, main

import numpy as np  # isort: skip  (after the thread settings of benchmarks.common)
import torch  # isort: skip
from torch.nn.functional import linear, one_hot  # isort: skip

from rllib_reborn import QMIXConfig, make_team_env
from rllib_reborn.envs.random_policy import epsilon_greedy, random_legal_actions
from rllib_reborn.runtime.env_creator import create
from rllib_reborn.runtime.env_runner import TeamEnvRunner

EPSILON = 0.05
ENVS = {"stag_hunt": "predator_prey/stag_hunt", "predator_prey_small": "predator_prey/small"}
#: Env steps per timed piece of work.
STEPS = 6_400


class BareLoop:
    """The least that sampling can do with this environment and this network."""

    def __init__(self, name: str, num_envs: int, module: Any) -> None:
        self.env = make_team_env(name, num_envs=num_envs)
        self.module = module
        spec = self.env.spec
        self.rng = np.random.default_rng(0)
        self.obs = self.env.reset(seed=0)
        self.hidden = torch.zeros(num_envs * spec.n_agents, 64)
        self.last = torch.zeros(num_envs, spec.n_agents, spec.n_actions)
        self.time = np.zeros(num_envs, np.int64)
        self.rows = np.arange(num_envs)
        horizon = spec.episode_limit + 1
        self.store = {
            "obs": np.zeros((num_envs, horizon, *self.obs.obs.shape[1:]), self.obs.obs.dtype),
            "state": np.zeros((num_envs, horizon, *self.obs.state.shape[1:]), self.obs.state.dtype),
            "mask": np.zeros((num_envs, horizon, *self.obs.action_mask.shape[1:]), bool),
            "actions": np.zeros((num_envs, horizon, spec.n_agents), np.int8),
            "reward": np.zeros((num_envs, horizon), np.float32),
        }

    @torch.no_grad()
    def run(self, steps: int) -> None:
        spec, count = self.env.spec, self.env.num_envs
        net = self.module.agents.nets[0]
        gru, encoder, head = net.memory, net.encoder[0], net.head
        identity = torch.eye(spec.n_agents).expand(count, -1, -1)
        for _ in range(steps // count):
            obs = torch.from_numpy(self.obs.obs).float()
            mask = torch.from_numpy(self.obs.action_mask)
            x = torch.cat([obs, self.last, identity], 2).flatten(0, 1)
            x = linear(x, encoder.weight, encoder.bias).relu_()
            self.hidden = torch.gru_cell(x, self.hidden, *gru.parameters())
            q = linear(self.hidden, head.weight, head.bias).view(count, spec.n_agents, -1)
            actions = q.masked_fill_(~mask, -torch.inf).argmax(2).numpy()
            uniforms = self.rng.random((count, spec.n_agents))
            actions = epsilon_greedy(actions, self.obs.action_mask, uniforms, EPSILON)
            for name, array in (("obs", self.obs.obs), ("state", self.obs.state), ("mask", self.obs.action_mask)):
                self.store[name][self.rows, self.time] = array
            step = self.env.step(actions)
            self.store["actions"][self.rows, self.time] = actions
            self.store["reward"][self.rows, self.time] = step.reward
            self.obs = step.obs
            self.last = one_hot(torch.from_numpy(actions), spec.n_actions).float()
            self.time += 1
            done = step.terminated | step.truncated
            if done.any():
                self.obs = self.env.reset(mask=done)
                self.time[done] = 0
                self.hidden.view(count, spec.n_agents, -1)[torch.from_numpy(done)] = 0
                self.last[torch.from_numpy(done)] = 0


def sampling(env: str, num_envs: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    name = ENVS[env]
    config = (
        QMIXConfig()
        .environment(name)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs)
        .training(epsilon={"start": EPSILON, "end": EPSILON})
        .debugging(seed=0)
    )
    runner = TeamEnvRunner(config=config, env_creator=partial(create, name), worker_index=0, num_workers=0)
    bare = BareLoop(name, num_envs, runner.module)
    steps = max(STEPS, 100 * num_envs) if num_envs > 1 else STEPS // 8
    seconds = interleaved(repeats, ours=lambda: runner.sample(num_timesteps=steps), limit=lambda: bare.run(steps))
    taken = -(-steps // num_envs) * num_envs
    return {
        "shape": f"{num_envs} games, {name}",
        "cpu_us": 1e6 * seconds["ours"] / taken,
        "limit": 1e6 * seconds["limit"] / (steps // num_envs * num_envs),
        "ratio_to_limit": seconds["ours"] / seconds["limit"],
        "threads": 1,
        "repeats": repeats,
    }


def env_only(env: str, num_envs: int, repeats: int) -> dict[str, Any]:
    made = make_team_env(ENVS[env], num_envs=num_envs)
    rng = np.random.default_rng(0)
    obs = made.reset(seed=0)
    spent: list[float] = []
    import time

    for _ in range(repeats):
        total = 0.0
        for _ in range(STEPS // num_envs):
            actions = random_legal_actions(obs.action_mask, rng.random(obs.action_mask.shape[:2]))
            begin = time.process_time()
            step = made.step(actions)
            done = step.terminated | step.truncated
            obs = made.reset(mask=done) if done.any() else step.obs
            total += time.process_time() - begin
        spent.append(total / (STEPS // num_envs * num_envs))
    return {
        "shape": f"{num_envs} games, {ENVS[env]}",
        "cpu_us": 1e6 * float(np.median(spent)),
        "threads": 1,
        "repeats": repeats,
    }


ROWS = {
    "stag_hunt/B64": partial(sampling, "stag_hunt", 64),
    "stag_hunt/B8": partial(sampling, "stag_hunt", 8),
    "stag_hunt/B1": partial(sampling, "stag_hunt", 1),
    "stag_hunt/B64/env_only": partial(env_only, "stag_hunt", 64),
    "predator_prey_small/B64": partial(sampling, "predator_prey_small", 64),
    "predator_prey_small/B64/env_only": partial(env_only, "predator_prey_small", 64),
}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=7)
