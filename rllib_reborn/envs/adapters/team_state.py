"""Where the global state of a team comes from."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.foreign_calls import shown
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame
from rllib_reborn.envs.adapters.spaces import FlatSpace, TeamLayout, flat_space
from rllib_reborn.envs.team_game import FaultyGameError

_PROBE_SEED = 0
#: What to do where an environment's own state cannot be used.
NO_STATE = "fix it, or take the observations for the state: team={'state': 'observations'}"


class TeamState:
    """The global state of one game.

    ``env`` needs its size before the first reset. It is that of ``state_space`` where the environment declares one;
    where it has a state without declaring it, the game is reset once, at construction, to look.

    Args:
        kind: ``TeamOptions.state``. ``auto`` takes the environment's own state if it has one; else the team's
            observations (without the agents' numbers) in a row, and says so once per environment.
        game: The game.
        layout: Of the team.
        scaled: See :func:`~rllib_reborn.envs.adapters.spaces.flat_space`.

    Raises:
        ValueError: ``env`` was asked for and the environment has no state.
    """

    def __init__(self, kind: str, game: MultiAgentGame, layout: TeamLayout, *, scaled: bool = True) -> None:
        self._game = game
        self._layout = layout
        self._own: FlatSpace | None = None
        if kind == "auto":
            kind = "env" if game.has_state and (game.state_space is not None or game.may_probe) else "observations"
            if kind == "observations":
                _say_that_observations_are_the_state(game.title)
        if kind == "env":
            if not game.has_state:
                raise ValueError(
                    f"team.state is 'env', and {game.title} gives no global state; take 'observations' or 'none'."
                )
            self._own = _own_space(game, scaled=scaled)
        self.kind = kind
        self.dim = {"env": self._own.size if self._own else 0, "none": 0}.get(kind, layout.n_agents * layout.vector_dim)
        self.dtype, self.scale = "float32", 1.0
        if self._own is not None:
            self.dtype, self.scale = self._own.dtype, self._own.scale
        elif kind == "observations":
            self.dtype, self.scale = layout.obs_dtype, layout.obs_scale

    def read(self, obs: npt.NDArray[Any], *, terminated: bool = False) -> npt.NDArray[Any]:
        """The state now, [s].

        Args:
            obs: [n, d], what the team sees.
            terminated: The episode has ended: the value of this state is never needed, and environments may no longer be
                able to give it; zeros are returned.
        """
        if self.kind == "observations":
            return obs[:, : self._layout.vector_dim].reshape(-1).copy()
        state = np.zeros(self.dim, self.dtype)
        if self._own is not None and not terminated:
            try:
                self._own.write(self._game.state(), state)
            except FaultyGameError:
                raise
            except ValueError as error:
                raise FaultyGameError(f"the state of {self._game.title} does not fit: {error}") from error
        return state


def _own_space(game: MultiAgentGame, *, scaled: bool) -> FlatSpace:
    if game.state_space is not None:
        return flat_space(game.state_space, f"state space of {game.title}", scaled=scaled)
    from gymnasium import spaces

    game.reset(_PROBE_SEED)
    given = game.state()
    state = np.asarray(given) if not isinstance(given, dict) else np.asarray(None)
    if state.dtype.kind not in "biuf":
        raise FaultyGameError(
            f"{game.title}: state() returned {shown(given)}; expected an array of numbers, or a state_space that says what "
            f"it is; {NO_STATE}."
        )
    return flat_space(spaces.Box(-np.inf, np.inf, state.shape, np.float32), f"state of {game.title}")


@functools.lru_cache(maxsize=256)
def _say_that_observations_are_the_state(title: str) -> None:
    """Once per environment and process: a runner has many games."""
    warnings.warn(
        f"{title} gives no global state: the observations of the team, in a row, are taken for it "
        "(team={'state': 'observations'} says so without this warning).",
        UserWarning,
        stacklevel=2,
    )
