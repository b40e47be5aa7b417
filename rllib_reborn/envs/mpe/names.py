"""The names ``mpe/<game>``: from a name and plain options to particle worlds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.mpe.adversary import Adversary, AdversaryOptions
from rllib_reborn.envs.mpe.mpe_env import MpeTeamEnv
from rllib_reborn.envs.mpe.options import ELSEWHERE, MpeOptions, TwoSidedOptions
from rllib_reborn.envs.mpe.push import Push
from rllib_reborn.envs.mpe.reference import ReferenceGame
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.speaker_listener import SpeakerListener
from rllib_reborn.envs.mpe.spread import Spread, SpreadOptions
from rllib_reborn.envs.mpe.tag import Tag, TagOptions
from rllib_reborn.envs.mpe.world_comm import WorldComm, WorldCommOptions
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv


class _Game(NamedTuple):
    scenario: Callable[..., ParticleScenario]
    options: type[MpeOptions]
    summary: str
    remedies: Mapping[str, str] = MappingProxyType({})


#: Name of the game, without version -> game, in the order of listings.
_GAMES = {
    "simple_spread": _Game(Spread, SpreadOptions, "3 agents cover 3 landmarks without bumping into each other."),
    "simple_reference": _Game(
        ReferenceGame,
        MpeOptions,
        "2 agents tell each other which of 3 landmarks to go to.",
        {
            "local_ratio": "it deals the same distances out otherwise between the two agents, and the team's reward is the "
            "same whatever it is; leave it out"
        },
    ),
    "simple_speaker_listener": _Game(SpeakerListener, MpeOptions, "A speaker tells a listener where to go."),
    "simple_tag": _Game(Tag, TagOptions, "3 adversaries hunt one faster, scripted prey."),
    "simple_world_comm": _Game(
        WorldComm, WorldCommOptions, "4 adversaries hunt 2 scripted prey; forests hide, one speaks."
    ),
    "simple_push": _Game(Push, TwoSidedOptions, "1 agent reaches a goal past a scripted adversary."),
    "simple_adversary": _Game(Adversary, AdversaryOptions, "2 agents hide their landmark from a scripted adversary."),
}


def entries() -> list[EnvEntry]:
    """One entry for every game, in the order of listings."""
    return [_entry(name, game) for name, game in _GAMES.items()]


def _entry(name: str, game: _Game) -> EnvEntry:
    return EnvEntry(
        name=f"mpe/{name}",
        summary=f"Particle world: {game.summary}",
        options=tuple(field.name for field in dataclasses.fields(game.options)),
        make=functools.partial(_make, game),
        spec=functools.partial(_spec, game),
        remedies={**ELSEWHERE, **game.remedies},
    )


def _make(game: _Game, num_envs: int, **options: Any) -> VectorTeamEnv:
    return MpeTeamEnv(game.scenario(game.options(**options)), num_envs)


def _spec(game: _Game, **options: Any) -> TeamSpec:
    return game.scenario(game.options(**options)).spec()
