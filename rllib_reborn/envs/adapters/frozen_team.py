"""Opponents that are a trained team: a folder written by ``rllib-reborn export``, played greedily."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_reborn.envs.adapters.agent_layout import AgentLayout
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep
from rllib_reborn.envs.adapters.spaces import team_layout
from rllib_reborn.envs.adapters.team_selection import in_order_of

if TYPE_CHECKING:
    from rllib_reborn.policy import Policy, PolicyState

#: A policy of ``team.opponents`` that begins so goes on with a folder.
PREFIX = "policy:"

#: Games on threads must not take each other's one thread for what it was before.
_ASKING = threading.Lock()


class FrozenTeam:
    """Agents of one game that a trained team plays, as the team that it was trained as: what they see and may do is laid
    out as that of a team which is trained, and its memory starts again with each episode.

    Agents are in the order of the policy's own where they have its names, and otherwise in that of the game: a side may
    play another one that is like it.

    Args:
        kind: ``policy:<folder>``.
        agents: Whom it plays, in the order of the game.
        game: Their game.

    Raises:
        ValueError: The folder holds no policy, or one of other sizes.
    """

    def __init__(self, kind: str, agents: Sequence[Any], game: MultiAgentGame) -> None:
        self._policy = _load(kind)
        self._state: PolicyState | None = None
        spec = self._policy.spec
        agents = in_order_of(spec.agent_ids, agents)
        layout = team_layout(
            agents, [game.observation_space(a) for a in agents], [game.action_space(a) for a in agents]
        )
        for what, ours, of_policy in (
            ("agents", len(agents), spec.n_agents),
            ("numbers in an observation", layout.obs_dim, spec.obs_dim),
            ("actions", layout.n_actions, spec.n_actions),
        ):
            if ours != of_policy:
                raise ValueError(
                    f"team.opponents has {kind!r}, a policy of {of_policy} {what}, to play {', '.join(map(str, agents))} of "
                    f"{game.title}, with {ours} {what}; expected a team that was trained on this side of this game, given "
                    "to all agents of it."
                )
        self._agent_layout = AgentLayout(agents, layout, may_wait=game.may_wait)

    def begin(self, outcome: MultiAgentStep) -> None:
        """A new episode."""
        self._state = None
        self._agent_layout.begin(outcome)

    def advance(self, outcome: MultiAgentStep) -> None:
        """Take in the outcome of a step."""
        self._agent_layout.advance(outcome)

    def chosen(self) -> dict[Any, int]:
        """The actions of those who act. To be asked once a step: the team remembers what it saw and did."""
        if not self._agent_layout.alive.any():
            return {}
        with _one_torch_thread():
            actions, self._state = self._policy.act(self._agent_layout.obs, self._agent_layout.mask, self._state)
        return self._agent_layout.chosen(actions)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """A few rows are not worth more: where all cores are busy, torch's threads wait for each other 30 times as long."""
    import torch

    with _ASKING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _load(kind: str) -> Policy:
    from rllib_reborn.policy import Policy, PolicyError  # torch, which nobody needs who plays no such opponents

    folder = Path(kind.removeprefix(PREFIX)).expanduser()
    try:
        return Policy.load(folder)
    except PolicyError as error:
        raise ValueError(
            f"team.opponents has {kind!r}, but {folder.absolute()} holds no usable policy: {error} Say the folder's "
            "whole path where games are played from another folder or on other machines."
        ) from error
