"""Who is of our team, who plays the others, and of which kind each agent is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rllib_reborn.suggestions import did_you_mean

#: Environments (by name, without version) in which agents play against each other -> its sides, each as beginnings of
#: names. They cannot be told from cooperative ones by their spaces, so they are listed.
MIXED = MappingProxyType(
    {
        "simple_adversary": (("agent",), ("adversary",)),
        "simple_crypto": (("alice", "bob"), ("eve",)),
        "simple_push": (("agent",), ("adversary",)),
        "simple_tag": (("adversary",), ("agent",)),
        "simple_world_comm": (("leadadversary", "adversary"), ("agent",)),
        "adversarial_pursuit": (("predator",), ("prey",)),
        "battle": (("red",), ("blue",)),
        "battlefield": (("red",), ("blue",)),
        "combined_arms": (("red",), ("blue",)),
        "tiger_deer": (("tiger",), ("deer",)),
    }
)
_PARTS = re.compile(r"\d+|\D+")
#: Ready policies for sides of these games, for the advice in messages.
_SCRIPTED = MappingProxyType({"simple_tag": "rllib_reborn.envs.adapters.scripted_prey:flee"})


def matches(agent: Any, pattern: str, agents: Sequence[Any]) -> bool:
    """Whether ``pattern`` means ``agent``: its name, or, where no agent has exactly that name, its beginning."""
    if any(str(other) == pattern for other in agents):
        return str(agent) == pattern
    return str(agent).startswith(pattern)


def select_team(
    title: str, agents: Sequence[Any], ours: str | Sequence[str] | None
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Our team and the others, both in the order of ``agents``.

    Args:
        title: Name of the environment, such as ``simple_tag_v3``.
        agents: All agents.
        ours: ``TeamOptions.agents``.

    Raises:
        ValueError: An entry means nobody, or agents of several sides (None means all) are asked for in a game that is
            known to be mixed.
    """
    teams = MIXED.get(_without_version(title))
    if ours is None:
        if teams is None:
            return tuple(agents), ()
        raise ValueError(_mixed_game(title, teams))
    patterns = [ours] if isinstance(ours, str) else list(ours)
    for pattern in patterns:
        if not any(matches(agent, pattern, agents) for agent in agents):
            raise ValueError(
                f"team.agents has {pattern!r}, which is no agent of {title} and begins the name of none."
                f"{did_you_mean(pattern, map(str, agents))}"
            )
    team = tuple(agent for agent in agents if any(matches(agent, pattern, agents) for pattern in patterns))
    if teams is not None and sum(any(str(agent).startswith(side) for agent in team) for side in teams) > 1:
        raise ValueError(f"team.agents is {ours!r}, which means agents of several sides: {_mixed_game(title, teams)}")
    return team, tuple(agent for agent in agents if agent not in team)


def in_order_of(names: Sequence[str], agents: Sequence[Any]) -> tuple[Any, ...]:
    """``agents`` in the order of ``names``, where these are their names; else as they are."""
    by_name = {str(agent): agent for agent in agents}
    return tuple(by_name[name] for name in names) if set(names) == set(by_name) else tuple(agents)


def by_name(agents: Sequence[Any]) -> tuple[Any, ...]:
    """``agents`` by their names, numbers in them by their size: the same order in every process, whatever the game lists."""
    return tuple(
        sorted(agents, key=lambda agent: [(part.isdigit(), part.zfill(20)) for part in _PARTS.findall(str(agent))])
    )


def _mixed_game(title: str, teams: Sequence[tuple[str, ...]]) -> str:
    named = " and ".join(" with ".join(side) for side in teams)
    ours = teams[0][0] if len(teams[0]) == 1 else list(teams[0])
    policy = _SCRIPTED.get(_without_version(title), "random")
    return (
        f"{title} is a mixed game of {named}; a team has one shared reward. Say who our team is and who plays the others, "
        f"for example team={{'agents': {ours!r}, 'opponents': {policy!r}}}."
    )


def policies_of(
    title: str, others: Sequence[Any], agents: Sequence[Any], given: str | Mapping[str, str] | None
) -> dict[Any, str]:
    """For each agent that is not ours the name of the policy that plays it.

    Raises:
        ValueError: An agent has no policy, or an entry means no such agent.
    """
    if isinstance(given, str):
        given = {"": given}
    given = given or {}
    for pattern in given:
        if not any(matches(agent, pattern, agents) for agent in others):
            raise ValueError(
                f"team.opponents has {pattern!r}, which means no agent outside our team in {title}."
                f"{did_you_mean(pattern, map(str, others))}"
            )
    chosen = {}
    for agent in others:
        # The longest beginning is the most particular: "adversary_0" goes before "adversary".
        fitting = sorted((p for p in given if matches(agent, p, agents)), key=len)
        if not fitting:
            raise ValueError(
                f"agent {agent!r} of {title} is not of our team, and nobody plays it. Give team.opponents, for example "
                f"{{{kind_prefix(agent) or str(agent)!r}: {_SCRIPTED.get(_without_version(title), 'random')!r}}}."
            )
        chosen[agent] = given[fitting[-1]]
    return chosen


def kind_prefix(agent: Any) -> str:
    """The name without its number: ``adversary`` of ``adversary_0``; empty where it has none."""
    found = re.fullmatch(r"(.*?)[_\-]?\d+", str(agent))
    return found.group(1) if found else ""


def group_names(agents: Sequence[Any], space_pairs: Sequence[tuple[Any, Any]]) -> tuple[str, ...]:
    """A group name per agent: agents are of one kind if their spaces are equal and their names differ by a number only
    (names without a number say nothing of the kind)."""
    kinds: list[tuple[str, Any]] = []
    names = []
    for agent, pair in zip(agents, space_pairs):
        prefix = kind_prefix(agent)
        kind = next((i for i, (p, s) in enumerate(kinds) if p == prefix and s == pair), None)
        if kind is None:
            kinds.append((prefix, pair))
            kind = len(kinds) - 1
        twins = [i for i, (p, _) in enumerate(kinds) if p == prefix]
        base = prefix or "team"
        names.append(base if twins[0] == kind else f"{base}_kind{twins.index(kind)}")
    return tuple(names)


def _without_version(title: str) -> str:
    return re.sub(r"_v\d+$", "", title)
