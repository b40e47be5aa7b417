"""mpe2's own games beside ours: the same start, the same actions, all that comes of them."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import pytest

from rllib_reborn.envs.mpe.mpe_env import MpeTeamEnv
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.registry import make_team_env

#: Options that are ours alone.
OURS = ("agents", "opponents", "reward", "curriculum_stage")
SPREAD, REFERENCE, SPEAKER, TAG, WORLD, PUSH, ADVERSARY = (
    f"mpe/simple_{name}"
    for name in ("spread", "reference", "speaker_listener", "tag", "world_comm", "push", "adversary")
)
#: Name and options of what is compared, defaults first.
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    (SPREAD, {}),
    (SPREAD, {"N": 5, "local_ratio": 0.2, "max_cycles": 40, "reward": "mean"}),
    (SPREAD, {"N": 2, "curriculum": True, "terminate_on_success": True, "num_agent_neighbors": 3, "max_cycles": 60}),
    (
        SPREAD,
        {"N": 4, "curriculum": True, "curriculum_stage": 1, "num_agent_neighbors": 2, "num_landmark_neighbors": 1},
    ),
    (SPREAD, {"N": 1, "local_ratio": 0.0, "terminate_on_success": True, "max_cycles": 80, "num_landmark_neighbors": 2}),
    (REFERENCE, {}),
    (REFERENCE, {"max_cycles": 10, "reward": "mean"}),
    (SPEAKER, {}),
    (SPEAKER, {"max_cycles": 33, "reward": "mean"}),
    (TAG, {}),
    (TAG, {"agents": "agent", "num_good": 2, "num_adversaries": 2, "num_obstacles": 1}),
    (TAG, {"opponents": "random", "num_good": 2, "num_adversaries": 4, "num_obstacles": 3, "max_cycles": 50}),
    (TAG, {"agents": "agent", "opponents": "random", "num_good": 3, "num_obstacles": 0, "reward": "mean"}),
    (
        TAG,
        {"opponents": "noop", "curriculum": True, "terminate_on_success": True, "num_adversaries": 5, "max_cycles": 60},
    ),
    (TAG, {"opponents": "random", "curriculum": True, "curriculum_stage": 1, "num_good": 2, "num_agent_neighbors": 2}),
    (TAG, {"agents": "agent", "opponents": "noop", "num_agent_neighbors": 6, "num_landmark_neighbors": 1}),
    (WORLD, {}),
    (WORLD, {"agents": "agent", "num_forests": 3, "max_cycles": 40}),
    (WORLD, {"opponents": "random", "num_good": 3, "num_adversaries": 2, "num_forests": 4, "num_obstacles": 2}),
    (WORLD, {"agents": "agent", "opponents": "random", "num_food": 3, "num_forests": 1, "max_cycles": 40}),
    (WORLD, {"agents": "agent", "opponents": "noop", "num_good": 1, "num_adversaries": 1, "num_forests": 0}),
    (PUSH, {}),
    (PUSH, {"opponents": "random", "max_cycles": 40}),
    (PUSH, {"agents": "adversary", "max_cycles": 40}),
    (ADVERSARY, {}),
    (ADVERSARY, {"agents": "adversary", "N": 3, "max_cycles": 40}),
    (ADVERSARY, {"opponents": "random", "N": 1}),
    (ADVERSARY, {"opponents": "noop", "N": 4, "num_agent_neighbors": 2, "num_landmark_neighbors": 5, "reward": "mean"}),
)


def case_id(case: tuple[str, dict[str, Any]]) -> str:
    name, options = case
    return "-".join([name.removeprefix("mpe/simple_"), *(f"{key}={value}" for key, value in options.items())])


class PackageGame:
    """One game of mpe2.

    Args:
        name: Ours, ``mpe/...``.
        options: Ours; those that are ours alone are left out.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        pytest.importorskip("mpe2", reason="not run: mpe2 is not installed")
        self.name = name
        version = 4 if name == SPEAKER else 3
        module = importlib.import_module(f"mpe2.{name.removeprefix('mpe/')}_v{version}")
        own = {key: value for key, value in options.items() if key not in OURS}
        self.env = module.parallel_env(**own)
        if options.get("curriculum_stage") is not None:
            # Its own setter has no effect in 1.1.1: the base class's property takes it, and stays at 0.
            scenario = self.env.unwrapped.scenario
            scenario.__class__ = type("Staged", (type(scenario),), {"curriculum_stage": options["curriculum_stage"]})
        self.world = self.env.unwrapped.world
        self.agents = list(self.env.possible_agents)

    def begin(self, positions: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
        """Start an episode with agents and landmarks at ``positions`` [E, 2] and the goals [G]."""
        self.env.reset(seed=0)
        world = self.world
        for entity, place in zip(world.entities, positions, strict=True):
            entity.state.p_pos = np.array(place, np.float64)
        marks = world.landmarks
        if self.name == REFERENCE:
            world.agents[0].goal_b, world.agents[1].goal_b = marks[goals[0]], marks[goals[1]]
        elif self.name == SPEAKER:
            world.agents[0].goal_b = marks[goals[0]]
        elif self.name in (PUSH, ADVERSARY):
            for agent in world.agents:
                agent.goal_a = marks[goals[0]]
        if self.name == PUSH:
            color = np.array([0.25, 0.25, 0.25])
            color[1 + goals[0]] += 0.5
            world.agents[1].color = color
        observations = self.observe()
        assert np.array_equal(self.env.state(), np.concatenate(list(observations.values())))
        return observations

    def observe(self) -> dict[str, np.ndarray]:
        return {agent: self.env.unwrapped.observe(agent) for agent in self.agents}

    def step(self, actions: list[int]) -> tuple[dict[str, np.ndarray], list[float], bool, bool]:
        """Observations, rewards, and whether it terminated and was truncated. Agents act one after the other, without the
        wrapper that asks for everybody's observation before each."""
        raw = self.env.unwrapped
        for action in actions:
            raw.step(action)
        terminated, truncated = (set(flags.values()) for flags in (raw.terminations, raw.truncations))
        assert len(terminated) == len(truncated) == 1
        return self.observe(), [raw.rewards[agent] for agent in self.agents], terminated.pop(), truncated.pop()


def overlaps(env: MpeTeamEnv, reach: Any) -> int:
    """Pairs of bodies that are nearer than ``reach`` [E, E], each counted twice."""
    places = env.get_state()["positions"]
    return int((np.linalg.norm(places[:, :, None] - places[:, None], axis=-1) < np.array(reach)).sum())


def team_arrays(env: MpeTeamEnv, game: PackageGame, observations: dict[str, np.ndarray]) -> np.ndarray:
    """[n, d] what the team sees, as the PettingZoo adapter lays it out."""
    rows = [observations[agent] for agent in game.agents[env.scenario.team]]
    spaces = {game.env.action_space(agent).n for agent in game.agents[env.scenario.team]}
    longest = max(map(len, rows))
    out = np.zeros((len(rows), longest), np.float32)
    for row, values in zip(out, rows):
        row[: len(values)] = values
    if len({len(row) for row in rows}) > 1 or len(spaces) > 1:
        out = np.concatenate([out, np.eye(len(rows), dtype=np.float32)], axis=1)
    return out


class Comparison(NamedTuple):
    """What came of playing both."""

    worst: float  #: the largest difference of an observation, state or reward
    episodes: int
    terminated: int  #: episodes that ended with success
    pushes: int  #: pairs of bodies that overlap and push each other, each twice, over all steps


def compare(
    name: str, options: dict[str, Any], episodes: int, *, others: Any, seed: int = 0, num_envs: int = 10
) -> Comparison:
    """Play ``episodes`` whole episodes of both, or a few more, and compare all that they return. Ends must be equal.

    Args:
        others: ``others(env, games)`` gives the opponents' actions [B, k] of this step.
    """
    B = min(num_envs, episodes)
    env = make_team_env(name, B, **options)
    assert isinstance(env, MpeTeamEnv)
    games = [PackageGame(name, options) for _ in range(B)]
    rng = np.random.default_rng(seed)
    worst, finished, ended, pushes = 0.0, 0, 0, 0
    entities = games[0].world.entities
    reach = [[a.size + b.size if a.collide and b.collide and a is not b else 0 for b in entities] for a in entities]

    def far(ours: Any, theirs: Any) -> None:
        nonlocal worst
        assert np.shape(ours) == np.shape(theirs)
        if np.size(ours):
            worst = max(worst, float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max()))

    def begin(which: np.ndarray) -> None:
        state = env.get_state()
        for b in np.flatnonzero(which):
            observations = games[b].begin(state["positions"][b], state["goals"][b])
            far(obs.obs[b], team_arrays(env, games[b], observations))
            far(obs.state[b], np.concatenate(list(observations.values())))

    obs = env.reset(seed=seed)
    begin(np.ones(B, bool))
    team, opponents = env.scenario.team, env.scenario.opponents
    while finished < episodes:
        actions = random_legal_actions(obs.action_mask, rng.random(obs.action_mask.shape[:2]))
        # Now and then the same again, so that agents get somewhere and meet.
        if rng.random() < 0.5:
            toward = rng.integers(env.spec.n_actions, size=(B, 1))
            actions = np.where(toward < obs.action_mask.sum(axis=-1), toward, actions)
        everybody = np.zeros((B, len(games[0].agents)), np.int64)
        everybody[:, team] = actions
        everybody[:, opponents] = others(env, games)
        out = env.step(actions)
        obs = out.obs
        for b, game in enumerate(games):
            observations, rewards, terminated, truncated = game.step(everybody[b].tolist())
            total = sum(rewards[team])
            far(out.reward[b], np.float32(total / len(rewards[team]) if options.get("reward") == "mean" else total))
            far(out.obs.obs[b], team_arrays(env, game, observations))
            far(out.obs.state[b], np.concatenate(list(observations.values())))
            assert out.terminated[b] == terminated
            assert out.truncated[b] == truncated
        pushes += overlaps(env, reach)
        over = out.terminated | out.truncated
        if over.any():
            finished += int(over.sum())
            ended += int(out.terminated.sum())
            obs = env.reset(mask=over)
            begin(over)
    return Comparison(worst, finished, ended, pushes)
