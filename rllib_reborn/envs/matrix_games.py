"""Matrix games: the smallest cooperative tasks, each made to show one thing about value factorization.

Payoffs are published numbers:

* ``climbing``, ``penalty``: Claus and Boutilier, "The dynamics of reinforcement learning in cooperative
  multiagent systems", AAAI 1998.
* ``nonmonotonic``: Son et al., "QTRAN", ICML 2019; also in Wang et al., "QPLEX", ICLR 2021. The best joint
  action is hidden behind punishments for missing it, so no monotonic mixing fits.
* ``monotonic``: a sum of one term per agent, which every factorization can represent; made for this package.
* two-step: Rashid et al., "QMIX", ICML 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.render import CAPTION_HEIGHT, GRID_LINE, INK, ORANGE, PICTURE_SIZE, as_array, blank, pillow
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions

OBSERVATIONS = ("constant", "agent_id")

#: Name -> payoff of agent 0's action (row) and agent 1's action (column).
PAYOFFS = MappingProxyType(
    {
        "climbing": ((11.0, -30.0, 0.0), (-30.0, 7.0, 6.0), (0.0, 0.0, 5.0)),
        "penalty": ((10.0, 0.0, -100.0), (0.0, 2.0, 0.0), (-100.0, 0.0, 10.0)),
        "nonmonotonic": ((8.0, -12.0, -12.0), (-12.0, 0.0, 0.0), (-12.0, 0.0, 0.0)),
        "monotonic": ((0.0, 1.0, 2.0), (2.0, 3.0, 4.0), (4.0, 5.0, 6.0)),
    }
)

#: The second step of the two-step game, by agent 0's first action.
TWO_STEP_PAYOFFS = (((7.0, 7.0), (7.0, 7.0)), ((0.0, 1.0), (1.0, 8.0)))


class _PlainVectorEnv(VectorTeamEnv):
    """What the games of this file share: every action is always available, and nothing is random."""

    def __init__(self, spec: TeamSpec, num_envs: int) -> None:
        if not isinstance(num_envs, int) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
        self.spec = spec
        self.num_envs = num_envs
        self._steps = np.zeros(num_envs, np.int64)
        self._ready = False
        self._all_legal = np.ones((num_envs, spec.n_agents, spec.n_actions), np.bool_)

    def _start(self, mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
        """Check ``mask`` and set the chosen games' clocks to 0; returns the mask [B]."""
        if mask is None:
            mask = np.ones(self.num_envs, np.bool_)
        mask = np.asarray(mask, np.bool_)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"reset mask has shape {mask.shape}; expected ({self.num_envs},).")
        if not self._ready and not mask.all():
            raise ValueError("the first reset must start all games; give no mask.")
        self._ready = True
        self._steps[mask] = 0
        return mask

    def _checked(self, actions: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
        if not self._ready:
            raise ValueError("step was called before reset; call reset first.")
        actions = np.asarray(actions)
        check_actions(actions, self._all_legal, self.num_envs)
        return actions

    def _outcome(self, obs: TeamObs, reward: npt.NDArray[Any], over: npt.NDArray[np.bool_]) -> TeamStep:
        nothing = np.zeros(self.num_envs, np.bool_)
        return TeamStep(obs, reward.astype(np.float32), over, nothing, {"failed": nothing})

    def _draw(self, index: int, tables: Sequence[npt.NDArray[Any]], chosen: int) -> npt.NDArray[np.uint8]:
        caption = f"step {self._steps[index]} / {self.spec.episode_limit}"
        size, top = PICTURE_SIZE, CAPTION_HEIGHT + 10
        image, draw = blank(size, size, caption)
        font = pillow()[2].load_default(24)
        width = size // len(tables)
        for number, table in enumerate(tables):
            # More than two agents: the first agent's actions are the rows, all others' together the columns.
            rows = table.reshape(len(table), -1)
            cell_x, cell_y = (width - 20) / rows.shape[1], (size - 20) / len(rows)
            for (row, column), payoff in np.ndenumerate(rows):
                x, y = number * width + 10 + column * cell_x, top + row * cell_y
                fill = ORANGE if payoff == table.max() and number == chosen else None
                draw.rectangle((x, y, x + cell_x, y + cell_y), fill=fill, outline=GRID_LINE)
                draw.text((x + cell_x / 2, y + cell_y / 2), f"{payoff:g}", INK, font=font, anchor="mm")
        return as_array(image)


class MatrixGame(_PlainVectorEnv):
    """A one-step game: all agents act once, the payoff of the joint action is the team's reward.

    Args:
        payoff: Array of n axes, one per agent, each as long as that agent has actions (all equally many, >=
            2).
        num_envs: Games stepped side by side, >= 1.
        observation: ``constant``: each agent sees the number 1; ``agent_id``: each sees its number as a
            one-hot of length n. The state is the number 1.

    Raises:
        ValueError: The payoff is not such an array of finite numbers, or another argument is out of range.

    >>> game = MatrixGame([[8, -12], [-12, 0]])
    >>> _ = game.reset()
    >>> float(game.step(np.array([[0, 0]])).reward[0])
    8.0
    """

    def __init__(self, payoff: npt.ArrayLike, num_envs: int = 1, *, observation: str = "constant") -> None:
        self.payoff = np.array(payoff, np.float64)
        super().__init__(matrix_spec(self.payoff, observation), num_envs)
        n = self.spec.n_agents
        one_agent = np.ones((n, 1)) if observation == "constant" else np.eye(n)
        obs = np.tile(one_agent.astype(np.float32), (num_envs, 1, 1))
        self._obs = TeamObs(obs, np.ones((num_envs, 1), np.float32), self._all_legal.copy())

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`; nothing here is random, so the seed plays no part."""
        self._start(mask)
        return self._obs

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`; every step terminates."""
        actions = self._checked(actions)
        self._steps += 1
        return self._outcome(self._obs, self.payoff[tuple(actions.T)], np.ones(self.num_envs, np.bool_))

    def get_state(self) -> dict[str, Any]:
        """Steps played of every game, and whether they were started."""
        return {"steps": self._steps.copy(), "ready": self._ready}

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`."""
        self._steps[:] = _of_length(state["steps"], self.num_envs)
        self._ready = bool(state["ready"])
        return self._obs

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """The payoff table, its best entries coloured; [height, width, 3] uint8. Needs Pillow."""
        return self._draw(index, [self.payoff], 0)


class TwoStepGame(_PlainVectorEnv):
    """Agent 0's first action picks the matrix of the second step: 7 everywhere, or [[0, 1], [1, 8]].

    The first step pays nothing. The best return is 8; additive factorization (VDN) settles for the safe 7.
    All agents and the state see which of the 3 situations (first step, matrix A, matrix B) the game is in, as
    a one-hot.

    Args:
        num_envs: Games stepped side by side, >= 1.
    """

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(two_step_spec(), num_envs)
        self._payoffs = np.array(TWO_STEP_PAYOFFS)
        self._situation = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`; nothing here is random, so the seed plays no part."""
        self._situation[self._start(mask)] = 0
        return self._look()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`; the second step terminates."""
        actions = self._checked(actions)
        first = self._steps == 0
        matrix = np.maximum(self._situation - 1, 0)
        reward = np.where(first, 0.0, self._payoffs[matrix, actions[:, 0], actions[:, 1]])
        self._situation = np.where(first, 1 + actions[:, 0], self._situation)
        self._steps += 1
        return self._outcome(self._look(), reward, ~first)

    def get_state(self) -> dict[str, Any]:
        """Steps played and situation 0..2 of every game, and whether they were started."""
        return {"steps": self._steps.copy(), "situation": self._situation.copy(), "ready": self._ready}

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`."""
        self._steps[:] = _of_length(state["steps"], self.num_envs)
        self._situation = np.array(_of_length(state["situation"], self.num_envs))
        self._ready = bool(state["ready"])
        return self._look()

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Both matrices, the best entry of the one in play coloured; [height, width, 3] uint8. Needs
        Pillow."""
        situation = int(self._situation[index])
        return self._draw(index, list(self._payoffs), situation - 1 if situation else 1)

    def _look(self) -> TeamObs:
        state = np.eye(3, dtype=np.float32)[self._situation]
        return TeamObs(np.repeat(state[:, None], 2, axis=1), state, self._all_legal.copy())


def matrix_spec(payoff: npt.ArrayLike, observation: str = "constant") -> TeamSpec:
    """Spec of a :class:`MatrixGame` with these arguments.

    Raises:
        ValueError: As :class:`MatrixGame`.
    """
    payoff = np.asarray(payoff, np.float64)
    if payoff.ndim < 1 or len(set(payoff.shape)) != 1 or payoff.shape[0] < 2 or not np.isfinite(payoff).all():
        raise ValueError(
            f"payoff has shape {payoff.shape}; give finite numbers with one axis per agent, all of one length >= 2."
        )
    if observation not in OBSERVATIONS:
        raise ValueError(f"observation is {observation!r}; give one of {OBSERVATIONS}.")
    return TeamSpec(
        n_agents=payoff.ndim,
        n_actions=payoff.shape[0],
        obs_dim=1 if observation == "constant" else payoff.ndim,
        state_dim=1,
        episode_limit=1,
    )


def two_step_spec() -> TeamSpec:
    """Spec of :class:`TwoStepGame`."""
    return TeamSpec(n_agents=2, n_actions=2, obs_dim=3, state_dim=3, episode_limit=2)


def _of_length(values: Any, count: int) -> npt.NDArray[np.int64]:
    array = np.asarray(values, np.int64)
    if array.shape != (count,):
        raise ValueError(f"state holds {array.size} games; this env has {count}.")
    return array
