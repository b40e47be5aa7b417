"""A team that acts by its ONNX file and the documented lines, beside the algorithm's module."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch

from rllib_reborn.envs import make_team_env
from rllib_reborn.studies.model_card import ONNX_LINES


def documented(data: bytes) -> dict[str, Any]:
    """What the lines of the model card define, with ``data`` in place of the file."""
    assert ONNX_LINES.count('"my_policy/policy.onnx"') == 1
    names: dict[str, Any] = {"data": data}
    exec(ONNX_LINES.replace('"my_policy/policy.onnx"', 'data, providers=["CPUExecutionProvider"]'), names)
    return names


def outputs(data: bytes, **inputs: Any) -> dict[str, Any]:
    """One call of onnxruntime."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return dict(zip((made.name for made in session.get_outputs()), session.run(None, inputs), strict=True))


class ByOnnx:
    """Acts with the documented lines."""

    def __init__(self, data: bytes) -> None:
        self._lines = documented(data)

    def begin(self, done: Any) -> None:
        start = self._lines["begin"](len(done))
        if done.all():
            self._state = start
        for name in self._state:
            self._state[name] = np.where(
                done.reshape(-1, *[1] * (start[name].ndim - 1)), start[name], self._state[name]
            )

    def act(self, obs: Any, mask: Any) -> Any:
        actions, self._state = self._lines["act"](obs, mask, self._state)
        return actions


class ByModule:
    """Acts as an env runner does."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def begin(self, done: Any) -> None:
        if done.all():
            self._hidden = self._module.initial_hidden(len(done))
            self._last = np.full((len(done), self._module.spec.n_agents), -1)
        self._hidden[torch.from_numpy(done)] = 0
        self._last[done] = -1

    def act(self, obs: Any, mask: Any) -> Any:
        self._last, self._hidden = self._module.act(obs, mask, self._last, self._hidden)
        return self._last.copy()


def episodes_of(actor: Any, module: Any, *, games: int, seed: int = 3) -> list[tuple[float, list[Any]]]:
    """One whole episode of each of ``games`` games, played greedily: its return, and all joint actions."""
    env = make_team_env(module.model_config["env"], num_envs=games, **module.model_config.get("env_config", {}))
    obs = env.reset(seed=seed)
    actor.begin(np.ones(games, bool))
    returns, actions = np.zeros(games), [[] for _ in range(games)]
    over = np.zeros(games, bool)
    while not over.all():
        done_actions = actor.act(obs.obs, obs.action_mask)
        assert np.take_along_axis(obs.action_mask, done_actions[..., None], -1).all()
        step = env.step(done_actions)
        for game in np.flatnonzero(~over):
            returns[game] += step.reward[game]
            actions[game].append(done_actions[game].tolist())
        done = step.terminated | step.truncated
        over |= done
        obs = step.obs
        if done.any() and not over.all():
            obs = env.reset(mask=done)
            actor.begin(done)
    env.close()
    return list(zip(returns.tolist(), actions, strict=True))
