"""The contract of a team environment: many games of one cooperative team, stepped together as arrays.

Symbols used throughout the package: ``B`` games stepped side by side, ``n`` agents of the team, ``d`` numbers
in one agent's observation, ``s`` numbers in the global state, ``A`` actions of one agent.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.state_views import StateView
from rllib_reborn.obs_parts import ObsPart, obs_parts

STORAGE_DTYPES = ("uint8", "int8", "float16", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeamSpec:
    """Everything static about a team, known without starting a game.

    Attributes:
        n_agents: Number of agents, ``n >= 1``; their order never changes.
        n_actions: Actions of one agent, ``A >= 2`` (the largest where they differ; the mask forbids the
            rest).
        obs_dim: Numbers in one agent's observation, ``d >= 1``.
        state_dim: Numbers in the global state; 0 means that there is none (a mixer that needs it is refused).
        episode_limit: Steps after which an episode is truncated, ``>= 1``.
        agent_ids: Names of the agents, in their fixed order. Default ``agent_0 ...``.
        agent_groups: One group name per agent; agents of a group are of one kind. Default: one group.
        obs_dtype: Storage dtype of observations, one of :data:`STORAGE_DTYPES`. ``uint8`` only where every
            value is a whole number in 0..255: it is stored and shipped as it is, and turned to float32 in
            front of the network.
        state_dtype: The same for the state.
        has_win: Whether ``info["won"]`` is given at the end of an episode, so that a win rate exists.
        obs_scale: What observations are multiplied by in front of the networks, > 0; 1/255 where they are pictures kept as
            bytes.
        state_scale: The same for the state.
        obs_parts: What the numbers of an observation are, in their order, for encoders (``training.model.encoder``); empty:
            not said. The same for all agents, and no part of what makes two teams equal.
        state_views: Smaller states that the mixer may read instead (``training.mixer.state``), no two of one name. They are
            no part of what makes two teams equal.

    Raises:
        ValueError: A size, dtype or length is not as above; the message names it.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
    agent_ids: tuple[str, ...] = ()
    agent_groups: tuple[str, ...] = ()
    obs_dtype: str = "float32"
    state_dtype: str = "float32"
    has_win: bool = False
    obs_scale: float = 1.0
    state_scale: float = 1.0
    state_views: tuple[StateView, ...] = dataclasses.field(default=(), compare=False)
    obs_parts: tuple[ObsPart, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name, low in (
            ("n_agents", 1),
            ("n_actions", 2),
            ("obs_dim", 1),
            ("state_dim", 0),
            ("episode_limit", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < low:
                raise ValueError(f"TeamSpec.{name} is {value!r}; expected a whole number >= {low}.")
        for name in ("obs_dtype", "state_dtype"):
            if getattr(self, name) not in STORAGE_DTYPES:
                raise ValueError(f"TeamSpec.{name} is {getattr(self, name)!r}; expected one of {STORAGE_DTYPES}.")
        for name in ("obs_scale", "state_scale"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"TeamSpec.{name} is {value!r}; expected a number > 0.")
        if not self.agent_ids:
            object.__setattr__(self, "agent_ids", tuple(f"agent_{i}" for i in range(self.n_agents)))
        if not self.agent_groups:
            object.__setattr__(self, "agent_groups", ("team",) * self.n_agents)
        for name in ("agent_ids", "agent_groups"):
            value = getattr(self, name)
            if len(value) != self.n_agents:
                raise ValueError(f"TeamSpec.{name} has {len(value)} entries; expected n_agents = {self.n_agents}.")
        if len(set(self.agent_ids)) != self.n_agents:
            raise ValueError(f"TeamSpec.agent_ids has repeated names: {self.agent_ids}.")
        object.__setattr__(self, "obs_parts", obs_parts(self.obs_parts, self.obs_dim))
        views = tuple(StateView(**view) if isinstance(view, dict) else view for view in self.state_views)
        object.__setattr__(self, "state_views", views)
        names = [view.name for view in views]
        if len(set(names)) != len(names) or (names and self.state_dim == 0):
            raise ValueError(
                f"TeamSpec.state_views is {names} with state_dim {self.state_dim}; expected different names, and a state to "
                "make them of."
            )

    @property
    def group_indices(self) -> tuple[int, ...]:
        """For each agent the number of its group, groups numbered in order of first appearance."""
        names = list(dict.fromkeys(self.agent_groups))
        return tuple(names.index(group) for group in self.agent_groups)

    def to_dict(self) -> dict[str, Any]:
        """Plain data (for JSON, YAML and model configs); ``TeamSpec(**spec.to_dict())`` gives the spec
        back."""
        return dataclasses.asdict(self)


class IllegalActionError(ValueError):
    """Actions that the env cannot or must not play: the caller's mistake, and no failure of the game."""


class TeamObs(NamedTuple):
    """What a team sees. Arrays may be views of the env's own buffers: copy what must outlive the next
    call."""

    obs: npt.NDArray[Any]  #: [B, n, d], dtype ``spec.obs_dtype``
    state: npt.NDArray[Any]  #: [B, s], dtype ``spec.state_dtype``
    action_mask: npt.NDArray[np.bool_]  #: [B, n, A]; at least one True per agent


class TeamStep(NamedTuple):
    """The outcome of one step of every game.

    ``terminated`` means that the episode's value ends here; ``truncated`` that only the recording ends (a
    time limit): the learner then bootstraps from the final observation, which is what ``obs`` holds for every
    finished game. Both True counts as terminated. ``info`` holds arrays of length B: ``won`` (bool, only
    where ``spec.has_win``) and ``failed`` (bool; a game that crashed in this step: its episode is dropped,
    never learnt from).
    """

    obs: TeamObs
    reward: npt.NDArray[np.float32]  #: [B], the team's reward
    terminated: npt.NDArray[np.bool_]  #: [B]
    truncated: npt.NDArray[np.bool_]  #: [B]
    info: Mapping[str, npt.NDArray[Any]]


class VectorTeamEnv(abc.ABC):
    """``num_envs`` games of one cooperative team. See ``docs/architecture.md``, "The contract of a team
    environment".

    Rules that the env runner relies on:

    * ``step`` never resets by itself: it returns the final observation, and the runner calls
      ``reset(mask=done)``.
    * Agents keep a fixed order; a dead agent stays in the arrays with only its no-op available.
    * Each game has a random stream of its own, so that its trajectory depends on its seed and not on
      ``num_envs``.
    * Construction starts nothing expensive; the spec is known before any game runs.
    """

    spec: TeamSpec
    num_envs: int
    #: Failures of games since the env was made that cost no episode and that no ``step`` has reported: a game that could
    #: not be started and was tried again.
    failed_resets: int = 0
    #: Whether equal seeds and actions give equal games. False for programs that draw numbers of their own.
    repeatable: bool = True

    @abc.abstractmethod
    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
    ) -> TeamObs:
        """Start new episodes.

        Args:
            seed: Seed of the random streams: one whole number (game ``i`` then gets the stream ``(seed, i)``)
                or one per game. None continues the streams where they are (an unseeded env starts from fresh
                entropy).
            mask: [B] bool, which games to reset; None resets all. The seed of a game that is not reset is not
                touched.

        Returns:
            The observation of all games; for games that were not reset, the current one.
        """

    @abc.abstractmethod
    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """Play one joint action in every game.

        Args:
            actions: [B, n], each in 0..A-1 and allowed by the mask of the last observation.

        Raises:
            IllegalActionError: An action is outside its mask, or the shape is wrong; nothing was stepped.
        """

    def get_state(self) -> dict[str, Any] | None:
        """All that decides the future (boards, counters, random streams) as numpy arrays and plain data; None
        when the game cannot give it (StarCraft): its running episode is then restarted after a restore."""
        return None

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """Put back what :meth:`get_state` gave; returns the current observation of all games."""
        raise ValueError(f"{type(self).__name__} cannot restore running games; reset it instead.")

    def provenance(self) -> Mapping[str, str]:
        """On which programs outside of this package the games run, such as ``{"game_version": "4.10.0.75689"}``; several
        values with a comma between them. Empty where there are none, and before the first reset."""
        return {}

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index`` as [height, width, 3] uint8.

        Raises:
            ValueError: The environment cannot be drawn.
        """
        raise ValueError(f"{type(self).__name__} cannot be drawn.")

    def close(self) -> None:  # noqa: B027  (most envs hold nothing to close)
        """Release processes and files. May be called twice."""


def check_actions(actions: npt.NDArray[np.integer[Any]], action_mask: npt.NDArray[np.bool_], num_envs: int) -> None:
    """Raise IllegalActionError, naming the first offender, unless every action is allowed by ``action_mask`` [B, n, A]."""
    expected = (num_envs, action_mask.shape[1])
    if actions.shape != expected:
        raise IllegalActionError(f"actions have shape {actions.shape}; expected {expected} (games, agents).")
    if actions.dtype.kind not in "iu":
        raise IllegalActionError(f"actions have dtype {actions.dtype}; expected whole numbers.")
    n_actions = action_mask.shape[2]
    flat = actions.reshape(-1).astype(np.int64, copy=False)
    # As unsigned numbers negative ones are huge, so that one comparison finds both ends of the range.
    # (count_nonzero is several times faster than all() on arrays of this size.)
    if np.count_nonzero(flat.view(np.uint64) < n_actions) == flat.size:
        allowed = action_mask.reshape(-1)[_row_starts(flat.size, n_actions) + flat]
        if np.count_nonzero(allowed) == flat.size:
            return
    game, agent = next((g, i) for g, i in np.ndindex(expected) if not _allows(action_mask[g, i], int(actions[g, i])))
    legal = np.flatnonzero(action_mask[game, agent]).tolist()
    action = int(actions[game, agent])
    raise IllegalActionError(f"action {action} of agent {agent} in game {game} is not allowed; allowed are {legal}.")


def checked_reset_mask(
    mask: npt.NDArray[np.bool_] | None, num_envs: int, *, started: bool
) -> npt.NDArray[np.bool_] | None:
    """Which games :meth:`VectorTeamEnv.reset` resets: ``mask`` [B], or None where it is all of them.

    Raises:
        ValueError: The mask has a wrong shape, or leaves out a game although none was ``started``.
    """
    if mask is None:
        return None
    mask = np.asarray(mask, np.bool_)
    if mask.shape != (num_envs,):
        raise ValueError(f"reset mask has shape {mask.shape}; expected ({num_envs},).")
    if mask.all():
        return None
    if not started:
        raise ValueError("the first reset must start all games; give no mask.")
    return mask


def _allows(mask: npt.NDArray[np.bool_], action: int) -> bool:
    return 0 <= action < len(mask) and bool(mask[action])


@functools.lru_cache(maxsize=64)
def _row_starts(rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Where the rows of a [rows, columns] array begin in it. Shared, so never written to."""
    starts = np.arange(rows, dtype=np.int64) * columns
    starts.flags.writeable = False
    return starts
