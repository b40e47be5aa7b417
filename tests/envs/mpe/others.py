"""What opponents do, said once more: one game at a time, from mpe2's own world."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.envs.adapters.scripted_prey import flee
from rllib_reborn.envs.random_streams import RandomStreams
from tests.envs.mpe.package import ADVERSARY, PUSH, TAG, PackageGame

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)


def noop(env: Any, games: list[PackageGame]) -> np.ndarray:
    count = env.scenario.opponents.stop - env.scenario.opponents.start
    return np.zeros((len(games), count), np.int64)


def drawn(env: Any, games: list[PackageGame]) -> np.ndarray:
    """As the random streams, whose state is public, decide."""
    team = range(len(games[0].agents))[env.scenario.opponents]
    streams = RandomStreams(env.num_envs, 0)
    streams.set_state(env.get_state()["streams"])
    counts = [games[0].env.action_space(games[0].agents[agent]).n for agent in team]
    return (streams.uniform(len(team)) * counts).astype(np.int64)


def scripted(env: Any, games: list[PackageGame]) -> np.ndarray:
    team = range(len(games[0].agents))[env.scenario.opponents]
    return np.array([[scripted_action(game, agent) for agent in team] for game in games])


def head_for(agent: Any, place: np.ndarray) -> int:
    aim = place - agent.state.p_pos - 0.3 * agent.state.p_vel
    if np.abs(aim).max() < 0.02:
        return 0
    if abs(aim[0]) > abs(aim[1]):
        return 1 if aim[0] < 0 else 2
    return 3 if aim[1] < 0 else 4


def away(a: Any, b: Any) -> float:
    return float(np.hypot(*(a.state.p_pos - b.state.p_pos)))


def scripted_action(game: PackageGame, number: int) -> int:
    world = game.world
    agent = world.agents[number]
    good = [other for other in world.agents if not other.adversary]
    adversaries = [other for other in world.agents if other.adversary]
    if game.name == PUSH:
        if not agent.adversary:
            return head_for(agent, agent.goal_a.state.p_pos)
        return head_for(agent, min(world.landmarks, key=lambda mark: away(mark, good[0])).state.p_pos)
    if game.name == ADVERSARY:
        marks = world.landmarks
        if agent.adversary:
            guess = min(marks, key=lambda mark: min(away(mark, other) for other in good))
            return head_for(agent, guess.state.p_pos)
        return head_for(agent, marks[(marks.index(agent.goal_a) + good.index(agent)) % len(marks)].state.p_pos)
    observed = game.env.unwrapped.observe(agent.name).astype(np.float64)
    if game.name == TAG and not agent.adversary and len(good) == 1 and len(world.landmarks) == 2:
        return flee(observed, None, game.env.action_space(agent.name), np.random.default_rng(0))
    visible = [other for other in world.agents if other is not agent and sees(game, agent, other)]
    if agent.adversary:
        prey = [other for other in visible if not other.adversary]
        return head_for(agent, min(prey, key=lambda other: away(other, agent)).state.p_pos) if prey else 0
    place, velocity = observed[2:4], observed[:2]
    others = [other for other in world.agents if other is not agent]
    start = 4 + 2 * len(world.landmarks)
    ways = {id(other): observed[start + 2 * i : start + 2 * i + 2] for i, other in enumerate(others)}
    threats = [ways[id(other)] for other in visible if other in adversaries]
    worth = []
    for move in 0.3 * MOVES:
        near = min((np.hypot(*(threat - move)) for threat in threats), default=0.0)
        outside = np.maximum(np.abs(place + 0.1 * velocity + move) - 0.9, 0).sum()
        worth.append(near - 20 * outside)
    return int(np.argmax(worth))


def sees(game: PackageGame, agent: Any, other: Any) -> bool:
    """Forests hide whoever is not in the same one."""
    forests = getattr(game.world, "forests", [])
    mine = {i for i, forest in enumerate(forests) if away(agent, forest) < agent.size + forest.size}
    theirs = {i for i, forest in enumerate(forests) if away(other, forest) < other.size + forest.size}
    return bool(mine & theirs) or not (mine or theirs) or agent.leader


OTHERS = {"scripted": scripted, "random": drawn, "noop": noop}
