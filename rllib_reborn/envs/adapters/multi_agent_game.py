"""The interface that adapters give a foreign environment: a game of named agents, with dictionaries by name. One
:class:`~rllib_reborn.envs.adapters.adapted_game.AdaptedGame` then makes a team of any of them."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class MultiAgentStep(NamedTuple):
    """What a game of named agents returns from a reset or a step; after a reset the first three that follow
    ``observations`` are empty. Their keys are names of agents (no ``__all__``)."""

    observations: Mapping[Any, Any]
    rewards: Mapping[Any, float]
    terminated: Mapping[Any, Any]  #: agents that are missing are not terminated
    truncated: Mapping[Any, Any]
    infos: Mapping[Any, Any]
    present: Collection[Any]  #: agents that are in the game; a dead one may still be listed if it is flagged


class MultiAgentGame(abc.ABC):
    """One game of named agents. Construction resets nothing."""

    title: str  #: name of the environment, for messages
    agents: tuple[Any, ...]  #: all that may ever appear, in their fixed order
    state_space: Any = None  #: space of :meth:`state`, where it is known before a reset
    has_state: bool = False  #: whether :meth:`state` can be called once the game is reset
    may_probe: bool = False  #: whether that is so sure that a reset to learn the state's size is not in vain
    rewards_all: bool = False  #: whether a living agent that acted must get a reward (else none is 0)
    may_wait: bool = False  #: whether a living agent without an observation waits (else that is a fault)

    @abc.abstractmethod
    def observation_space(self, agent: Any) -> Any: ...

    @abc.abstractmethod
    def action_space(self, agent: Any) -> Any: ...

    @abc.abstractmethod
    def reset(self, seed: int) -> MultiAgentStep: ...

    @abc.abstractmethod
    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        """Play one joint action of the agents that are asked to act, in the values of their action spaces."""

    def state(self) -> Any:
        """The global state now, a value of ``state_space``."""
        raise ValueError(f"{self.title} gives no global state.")

    def render(self) -> npt.NDArray[np.uint8]:
        """Picture [height, width, 3].

        Raises:
            ValueError: The environment cannot be drawn.
        """
        raise ValueError(f"{self.title} cannot be drawn.")

    def close(self) -> None:  # noqa: B027  (most games hold nothing to close)
        """Release processes and files."""


def drawn_by(env: Any, title: str) -> npt.NDArray[np.uint8]:
    """The picture [height, width, 3] of a foreign environment. Those that are asked at the call, as Gym's once were
    (``render(mode=...)``: lbforaging, rware), are asked so.

    Raises:
        ValueError: It gives none.
    """
    inner = getattr(env, "unwrapped", env)
    try:
        asked_at_the_call = "mode" in inspect.signature(inner.render).parameters
    except (TypeError, ValueError):  # a builtin that does not say
        asked_at_the_call = False
    return as_picture(inner.render(mode="rgb_array") if asked_at_the_call else env.render(), title)


def as_picture(picture: Any, title: str) -> npt.NDArray[np.uint8]:
    """What a foreign ``render()`` returned, as [height, width, 3] uint8.

    Raises:
        ValueError: It is no picture.
    """
    array: npt.NDArray[Any] = np.asarray(0 if picture is None else picture)
    if array.ndim != 3 or array.shape[2] < 3:
        what = type(picture).__name__
        raise ValueError(f"{title} drew {what}, no picture; build it with render_mode='rgb_array', if it has that.")
    return array[:, :, :3].astype(np.uint8, copy=False)
