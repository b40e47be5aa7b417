"""One line of the table of environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from rllib_reborn.envs.known_actions import KnownAction
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvEntry:
    """One line of the table of environments.

    Attributes:
        name: The name, e.g. ``predator_prey/small``.
        summary: One sentence for listings.
        options: Keyword arguments that :func:`make_team_env` takes for it.
        make: ``make(num_envs, **options)`` builds it.
        spec: ``spec(**options)`` gives its spec and starts nothing.
        check: For environments that start programs: ``check(**options)`` raises
            :class:`~rllib_reborn.envs.team_game.GameUnavailableError` where they cannot be played on this machine, as far as
            that can be known without starting one; None: nothing but this package is needed.
        known_action: ``known_action(**options)`` gives an action of which the rules tell whether it pays, or None; None:
            there is no such action.
        remedies: What users may look for among the options, and what to do instead, as the rest of a sentence.
    """

    name: str
    summary: str
    options: tuple[str, ...]
    make: Callable[..., VectorTeamEnv]
    spec: Callable[..., TeamSpec]
    check: Callable[..., None] | None = None
    known_action: Callable[..., KnownAction | None] | None = None
    remedies: Mapping[str, str] = dataclasses.field(default_factory=dict)
