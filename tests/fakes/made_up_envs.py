"""Foreign environments made up from a few numbers: one world of named agents, told as PettingZoo, as Gymnasium and as RLlib
tell theirs. The world remembers what it told, and what reached it that should not have."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

#: How an agent's part may end: flagged as the first, the second or both, or gone without a flag.
FATES = ("terminated", "truncated", "both", "leaves")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One observation space and one action space per agent; the rest are chances per step, 0..1.

    Attributes:
        masks: Where masks are given: None, ``info`` or ``observation``.
        mask_dtype: Of the masks.
        max_cycles: Steps after which those who are left are cut.
        ends: That a living agent meets one of :data:`FATES`.
        all_at_once: That all living agents meet the same.
        late_rewards: That a dead agent is still paid.
        waits: That a living agent is shown nothing (RLlib only).
        leaves: Whether agents may leave without a flag (PettingZoo only).
    """

    observation_spaces: tuple[Any, ...]
    action_spaces: tuple[spaces.Discrete, ...]
    masks: str | None = "info"
    mask_dtype: str = "int8"
    max_cycles: int = 6
    ends: float = 0.2
    all_at_once: float = 0.1
    late_rewards: float = 0.5
    waits: float = 0.0
    leaves: bool = False


@dataclasses.dataclass
class Moment:
    """The world at one moment; ``observations`` and ``masks`` have the agents that were shown something."""

    observations: dict[str, Any]
    masks: dict[str, np.ndarray]
    before: tuple[str, ...]  #: who was alive before the step
    alive: tuple[str, ...]  #: who is now
    rewards: dict[str, float] = dataclasses.field(default_factory=dict)
    terminated: dict[str, bool] = dataclasses.field(default_factory=dict)
    truncated: dict[str, bool] = dataclasses.field(default_factory=dict)

    @property
    def same_end_for_all(self) -> tuple[bool, bool] | None:
        """Both flags, where they are the same for all who were alive."""
        flags = {(self.terminated[agent], self.truncated[agent]) for agent in self.before}
        return flags.pop() if len(flags) == 1 else None


class World:
    """All that happens follows from the seed. ``told`` is the latest moment, ``illegal`` says what should not have come."""

    def __init__(self, recipe: Recipe, names: tuple[str, ...]) -> None:
        self.recipe, self.names = recipe, names
        self.observation_spaces = dict(zip(names, recipe.observation_spaces))
        self.action_spaces = dict(zip(names, recipe.action_spaces))
        self.moment: Moment | None = None
        self.illegal: list[str] = []

    def space(self, agent: str) -> Any:
        """Observation space as the env declares it."""
        own_space = self.observation_spaces[agent]
        if self.recipe.masks != "observation":
            return own_space
        return spaces.Dict(
            {"observation": own_space, "action_mask": spaces.MultiBinary(int(self.action_spaces[agent].n))}
        )

    def begin(self, seed: int) -> Moment:
        self.random = np.random.default_rng(seed)
        for space in self.observation_spaces.values():
            space.seed(seed)
        self._time = 0
        self.moment = Moment(*self._look(self.names, self.names), self.names, self.names)
        return self.moment

    def play(self, actions: dict[str, Any]) -> Moment:
        moment = self.moment
        assert moment is not None
        acting = set(moment.alive) & set(moment.observations)
        if set(actions) != acting:
            self.illegal.append(f"actions of {sorted(actions)}; expected {sorted(acting)}")
        for agent, action in actions.items():
            space = self.action_spaces[agent]
            if not space.contains(action) or not moment.masks[agent][action - int(space.start)]:
                self.illegal.append(f"{agent} did {action} of {space} with the mask {moment.masks.get(agent)}")
        self._time += 1
        before = moment.alive
        fates = self._fates(before)
        alive = tuple(agent for agent in before if fates[agent] is None)
        dead = [agent for agent in self.names if agent not in before]
        paid = [*before, *(agent for agent in dead if self.random.random() < self.recipe.late_rewards)]
        self.moment = Moment(
            *self._look(before, alive),
            before,
            alive,
            # Quarters: their sums are exact in float32.
            {agent: int(self.random.integers(-8, 9)) / 4 for agent in paid},
            {agent: fate in ("terminated", "both") for agent, fate in fates.items()},
            {agent: fate in ("truncated", "both") for agent, fate in fates.items()},
        )
        return self.moment

    def _fates(self, agents: tuple[str, ...]) -> dict[str, str | None]:
        recipe, random = self.recipe, self.random
        kinds = FATES if recipe.leaves else FATES[:3]
        if random.random() < recipe.all_at_once:
            return dict.fromkeys(agents, str(random.choice(kinds)))
        fates = {a: str(random.choice(kinds)) if random.random() < recipe.ends else None for a in agents}
        if self._time >= recipe.max_cycles:
            fates = {agent: fate or "truncated" for agent, fate in fates.items()}
        return fates

    def _look(self, agents: tuple[str, ...], alive: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        shown = [a for a in agents if a not in alive or self.random.random() >= self.recipe.waits]
        return {a: self.observation_spaces[a].sample() for a in shown}, {a: self._mask(a, a in alive) for a in shown}

    def _mask(self, agent: str, alive: bool) -> np.ndarray:
        n = int(self.action_spaces[agent].n)
        if self.recipe.masks is None:
            return np.ones(n, np.bool_)
        mask = self.random.random(n) < 0.5
        mask[self.random.integers(n)] |= alive  # many envs leave no action to who is done
        return mask

    def shown(self, agent: str) -> Any:
        """What the env shows ``agent``, with its mask if it is given there."""
        assert self.moment is not None
        if self.recipe.masks != "observation":
            return self.moment.observations[agent]
        return {"observation": self.moment.observations[agent], "action_mask": self.given_mask(agent)}

    def given_mask(self, agent: str) -> np.ndarray:
        assert self.moment is not None
        return self.moment.masks[agent].astype(self.recipe.mask_dtype)

    def infos(self) -> dict[str, Any]:
        assert self.moment is not None
        return {
            a: {"action_mask": self.given_mask(a)} if self.recipe.masks == "info" else {}
            for a in self.moment.observations
        }


class MadeUpParallelEnv(pettingzoo.ParallelEnv):
    """Agents that end leave; the dead may still be paid."""

    def __init__(self, recipe: Recipe) -> None:
        n = len(recipe.action_spaces)
        # Neither sorted nor of one kind.
        self.world = World(recipe, tuple(f"{'ba'[i % 2]}_{n - i}" for i in range(n)))
        self.metadata = {"name": "made_up_v0"}
        self.possible_agents = list(self.world.names)
        self.max_cycles = recipe.max_cycles

    def observation_space(self, agent: str) -> Any:
        return self.world.space(agent)

    def action_space(self, agent: str) -> Any:
        return self.world.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        moment = self.world.begin(seed)
        self.agents = list(moment.alive)
        return {a: self.world.shown(a) for a in moment.observations}, self.world.infos()

    def step(self, actions: dict[str, Any]) -> Any:
        moment = self.world.play(actions)
        self.agents = list(moment.alive)
        observations = {a: self.world.shown(a) for a in moment.observations}
        return observations, moment.rewards, moment.terminated, moment.truncated, self.world.infos()


class MadeUpTupleEnv(gymnasium.Env):
    """Everybody gets an entry in everything, dead or not; ends are one for all where they can be."""

    def __init__(self, recipe: Recipe) -> None:
        n = len(recipe.action_spaces)
        self.world = World(recipe, tuple(f"agent_{i}" for i in range(n)))
        self.observation_space = spaces.Tuple([self.world.space(a) for a in self.world.names])
        self.action_space = spaces.Tuple(recipe.action_spaces)
        self.max_cycles = recipe.max_cycles

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        self.world.begin(seed)
        return self._shown(), self._info()

    def step(self, actions: Any) -> Any:
        world, moment = self.world, self.world.moment
        assert moment is not None
        for agent, action in zip(world.names, actions, strict=True):
            if agent not in moment.alive and action != world.action_spaces[agent].start:
                world.illegal.append(f"{agent}, which is dead, did {action}")
        moment = world.play({a: action for a, action in zip(world.names, actions) if a in moment.alive})
        moment.rewards = {a: moment.rewards.get(a, 0.0) for a in world.names}
        ends: Any = moment.same_end_for_all
        if ends is None:
            # Flags of the dead count no more.
            ends = [[flags.get(a, True) for a in world.names] for flags in (moment.terminated, moment.truncated)]
        return self._shown(), list(moment.rewards.values()), *ends, self._info()

    def _shown(self) -> tuple[Any, ...]:
        world = self.world
        assert world.moment is not None
        return tuple(world.shown(a) if a in world.moment.observations else world.space(a).sample() for a in world.names)

    def _info(self) -> dict[str, Any]:
        world = self.world
        if world.recipe.masks != "info":
            return {}
        assert world.moment is not None
        nothing = {a: np.zeros(int(world.action_spaces[a].n)) for a in world.names}
        return {"action_mask": [world.given_mask(a) if a in world.moment.masks else nothing[a] for a in world.names]}


class MadeUpMultiAgentEnv(MultiAgentEnv):
    """Living agents may wait; an end that is the same for all is told as ``__all__`` alone."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        n = len(recipe.action_spaces)
        self.world = World(recipe, tuple(f"walker_{n - i}" for i in range(n)))
        self.agents = self.possible_agents = list(self.world.names)
        self.observation_spaces = {a: self.world.space(a) for a in self.world.names}
        self.action_spaces = dict(self.world.action_spaces)
        self.max_cycles = recipe.max_cycles

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        moment = self.world.begin(seed)
        return {a: self.world.shown(a) for a in moment.observations}, self.world.infos()

    def step(self, action_dict: dict[str, Any]) -> Any:
        moment = self.world.play(action_dict)
        same = moment.same_end_for_all
        if same is not None:
            flags = [{"__all__": one} for one in same]
        else:
            over = {"__all__": not moment.alive}
            flags = [moment.terminated | over, moment.truncated | over]
        observations = {a: self.world.shown(a) for a in moment.observations}
        return observations, moment.rewards, *flags, self.world.infos()
