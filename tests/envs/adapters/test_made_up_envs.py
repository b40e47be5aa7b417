"""Whatever a foreign environment is like: what it says is what the team gets, and no illegal action reaches it."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rllib_reborn.envs.adapters.gymnasium_tuple import GymnasiumGame
from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame
from rllib_reborn.envs.adapters.rllib import RLlibGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.vectorize import VectorizedTeamEnv
from tests.fakes.made_up_envs import MadeUpMultiAgentEnv, MadeUpParallelEnv, MadeUpTupleEnv, Recipe

STEPS = 12
LIBRARIES = {
    "pettingzoo": (MadeUpParallelEnv, PettingZooGame),
    "gymnasium": (MadeUpTupleEnv, GymnasiumGame),
    "rllib": (MadeUpMultiAgentEnv, RLlibGame),
}


def of_the_first(rewards):
    return next(iter(rewards.values()), 0.0)


REWARDS = {
    "sum": lambda given, n: sum(given),
    "mean": lambda given, n: sum(given) / n,
    f"{__name__}:of_the_first": lambda given, n: given[0] if given else 0.0,
}

shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
simple_spaces = st.one_of(
    shapes.map(lambda shape: spaces.Box(-np.inf, np.inf, shape, np.float32)),
    shapes.map(lambda shape: spaces.Box(0, 1, shape, np.float32)),
    shapes.map(lambda shape: spaces.Box(0, 255, shape, np.uint8)),
    shapes.map(lambda shape: spaces.Box(-3, 300, shape, np.int64)),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 4), st.integers(-2, 3)),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 3).map(spaces.MultiBinary),
)
parts = st.lists(simple_spaces, min_size=1, max_size=3)
observation_spaces = st.one_of(
    simple_spaces,
    parts.map(spaces.Tuple),
    parts.map(lambda some: spaces.Dict({f"part {len(some) - i}": part for i, part in enumerate(some)})),
)
action_spaces = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(2, 5), st.integers(-1, 2))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe, and the team that is made of it: the first ``n`` agents, or all but the first."""

    recipe: Recipe
    foes: str = "none"  #: ``none``, ``first`` or ``last``
    reward: str = "sum"
    limit: int | None = None
    state: str = "observations"


@st.composite
def plans(draw):
    n = draw(st.integers(1, 4))
    alike = draw(st.booleans())
    observed, done = (draw(st.lists(one, min_size=n, max_size=n)) for one in (observation_spaces, action_spaces))
    chances = st.sampled_from([0.0, 0.1, 0.3])
    recipe = Recipe(
        tuple(observed[:1] * n if alike else observed),
        tuple(done[:1] * n if alike else done),
        masks=draw(st.sampled_from([None, "info", "observation"])),
        mask_dtype=draw(st.sampled_from(["bool", "int8", "float32"])),
        max_cycles=draw(st.integers(1, 8)),
        ends=draw(chances),
        all_at_once=draw(chances),
        late_rewards=draw(st.sampled_from([0.0, 0.7])),
        waits=draw(chances),
        leaves=draw(st.booleans()),
    )
    return Plan(
        recipe,
        draw(st.sampled_from(["none", "first", "last"] if n > 1 else ["none"])),
        draw(st.sampled_from(sorted(REWARDS))),
        draw(st.none() | st.integers(1, 10)),
        draw(st.sampled_from(["observations", "none"])),
    )


OF_ALL_KINDS = Plan(
    Recipe(
        (
            spaces.Dict({"b": spaces.Discrete(3, start=1), "a": spaces.Box(-1, 1, (2,))}),
            spaces.Box(0, 255, (2, 2, 3), np.uint8),
            spaces.Tuple((spaces.MultiBinary(2), spaces.Box(0, 1, (1,)))),
            spaces.MultiDiscrete([2, 3]),
        ),
        (spaces.Discrete(2), spaces.Discrete(5, start=1), spaces.Discrete(3, start=-1), spaces.Discrete(3)),
        max_cycles=5,
        waits=0.2,
        leaves=True,
    ),
    foes="last",
    limit=4,
)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_team_gets_what_the_environment_says(library):
    happened = collections.Counter()

    @settings(
        deadline=None, max_examples=40, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(plans(), st.integers(1, 3), st.integers(0, 2**40))
    @example(OF_ALL_KINDS, 3, 0)
    def check(plan, num_envs, seed):
        happened.update(play(library, plan, num_envs, seed))

    check()
    kinds = {"terminated", "truncated", "cut at the team's limit", "death", "late reward", "foe acted", "number added"}
    assert kinds | ({"wait"} if library == "rllib" else set()) <= set(happened)


def play(library, plan, num_envs, seed):
    """Play at random through adapter and executor, and compare; returns what happened, to see that plans are not tame."""
    make_env, make_game = LIBRARIES[library]
    recipe = dataclasses.replace(
        plan.recipe,
        waits=plan.recipe.waits if library == "rllib" else 0.0,
        leaves=plan.recipe.leaves and library == "pettingzoo",
    )
    names = make_env(recipe).world.names
    team = {"none": names, "first": names[1:], "last": names[:-1]}[plan.foes]
    options = TeamOptions(
        agents=team,
        opponents=None if team == names else "random",
        reward=plan.reward,
        episode_limit=plan.limit,
        state=plan.state,
    )
    built = []

    def make():
        env = make_env(recipe)
        built.append(env.world)
        return make_game(env, options)

    env = VectorizedTeamEnv(make, num_envs)
    limit = plan.limit or recipe.max_cycles
    assert (env.spec.agent_ids, env.spec.episode_limit) == (team, limit)
    policy = RandomStreams(num_envs, seed)
    obs = env.reset(seed=seed)
    worlds = [world for world in built if world.moment is not None]  # one was built for its spec alone
    assert len(worlds) == num_envs
    taken, happened = np.zeros(num_envs, int), []
    for game, world in enumerate(worlds):
        assert_observed(obs, game, world, team, world.moment.alive, plan)
    for _ in range(STEPS):
        foes = [set(world.moment.alive) & set(world.moment.observations) - set(team) for world in worlds]
        step = env.step(random_legal_actions(obs.action_mask, policy.uniform(len(team))))
        assert not step.info["failed"].any(), env.last_failure
        taken += 1
        for game, world in enumerate(worlds):
            assert world.illegal == []
            moment = world.moment
            rewards = [moment.rewards[agent] for agent in team if agent in moment.rewards]
            assert step.reward[game] == np.float32(REWARDS[plan.reward](rewards, len(team)))
            left = [agent for agent in team if agent in moment.before and agent not in moment.alive]
            cut = [agent for agent in left if moment.truncated[agent] and not moment.terminated[agent]]
            over = not set(team) & set(moment.alive)
            assert step.terminated[game] == (over and not cut)
            assert step.truncated[game] == (bool(cut) if over else taken[game] == limit)
            assert_observed(step.obs, game, world, team, cut if over else moment.alive, plan)
            happened += what_happened(moment, team, step.terminated[game], step.truncated[game], over)
            happened += ["foe acted"] if foes[game] else []
        ended = step.terminated | step.truncated
        obs = env.reset(mask=ended) if ended.any() else step.obs
        for game in np.flatnonzero(ended):
            assert_observed(obs, game, worlds[game], team, worlds[game].moment.alive, plan)
        taken[ended] = 0
    env.close()
    return happened + (["number added"] if env.spec.obs_dim > vector_dim(worlds[0], team) else [])


def what_happened(moment, team, terminated, truncated, over):
    kinds = {
        "terminated": terminated,
        "truncated": truncated and over,
        "cut at the team's limit": truncated and not over,
        "death": not over and not set(team) <= set(moment.alive),
        "late reward": any(
            moment.rewards[agent] for agent in team if agent in set(moment.rewards) - set(moment.before)
        ),
        "wait": not set(moment.alive) <= set(moment.observations),
    }
    return [kind for kind, happened in kinds.items() if happened]


def vector_dim(world, team):
    return max(spaces.flatdim(world.observation_spaces[agent]) for agent in team)


def scales(space):
    """What each number of ``spaces.flatten`` is multiplied by: those of pictures are divided by 255."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return np.concatenate([scales(part) for part in parts])
    picture = isinstance(space, spaces.Box) and (space.low == 0).all() and (space.high == 255).all()
    return np.full(spaces.flatdim(space), 1 / 255 if picture else 1.0, np.float32)


def assert_observed(team_obs, game, world, team, shown, plan):
    """What the team sees in ``game`` is, padded and numbered, what ``world`` showed to those of ``shown``; the others see
    zeros and have the no-op alone."""
    moment = world.moment
    pairs = [(world.observation_spaces[agent], world.action_spaces[agent]) for agent in team]
    unlike = any(pair != pairs[0] for pair in pairs)
    size = vector_dim(world, team)
    obs = np.zeros((len(team), size + len(team) * unlike), np.float32)
    mask = np.zeros((len(team), max(int(done.n) for _, done in pairs)), np.bool_)
    for i, (agent, (space, _)) in enumerate(zip(team, pairs)):
        if agent in shown and agent in moment.observations:
            flat = spaces.flatten(space, moment.observations[agent])
            obs[i, : len(flat)] = flat * scales(space)
            if unlike:
                obs[i, size + i] = 1
            mask[i, : len(moment.masks[agent])] = moment.masks[agent]
        if not mask[i].any():
            mask[i, 0] = True
    # Kept as bytes they are multiplied in front of the networks only.
    later = (
        np.float32(1 / 255) if team_obs.obs.dtype == np.uint8 and (scales(pairs[0][0]) != 1).all() else np.float32(1)
    )
    np.testing.assert_allclose(team_obs.obs[game].astype(np.float32) * later, obs, rtol=1e-6)
    np.testing.assert_array_equal(team_obs.action_mask[game], mask)
    np.testing.assert_allclose(
        team_obs.state[game].astype(np.float32) * later,
        obs[:, :size].ravel() if plan.state == "observations" else [],
        rtol=1e-6,
    )
