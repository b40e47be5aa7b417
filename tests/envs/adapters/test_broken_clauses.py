"""One clause of the contract broken at a time, in random environments of each library: the fault is named in one sentence by
``envs`` and by training, and nothing is trained on in silence."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn import VDNConfig
from rllib_reborn.cli.main import main
from rllib_reborn.envs import check_team_env, make_team_env
from rllib_reborn.envs.contract import EnvContractError
from tests.fakes.made_up_envs import MadeUpMultiAgentEnv, MadeUpParallelEnv, MadeUpTupleEnv, Recipe

conversions = pytest.importorskip("pettingzoo.utils.conversions", reason="not run: pettingzoo is not installed")

HERE = "tests.envs.adapters.test_broken_clauses"
STEPS = 4
#: By name where parts are dicts; "aec" is the first one, played in turns.
BY_NAME = ("pettingzoo", "rllib")
ALL = (*BY_NAME, "gymnasium")
EVERYWHERE = (*ALL, "aec")


@dataclasses.dataclass(frozen=True)
class Clause:
    """One clause and how it is broken.

    Attributes:
        name: What is wrong.
        libraries: Where it can be.
        damage: Changes a sound environment; the second argument says how its parts are addressed.
        masks: Where the environment gives masks.
    """

    name: str
    libraries: tuple[str, ...]
    damage: Callable[[Any, Parts], None]
    masks: str | None = None


class Parts:
    """The first agent's entry in what an environment returns: by name, or by its place in a list."""

    def __init__(self, agent: Any, *, by_name: bool) -> None:
        self.agent, self.by_name = agent, by_name
        self.key = agent if by_name else 0

    def put(self, part: Any, value: Any) -> Any:
        """``part`` with ``value`` as the first agent's entry."""
        changed: Any = dict(part) if self.by_name else list(part)
        changed[self.key] = value
        return changed if self.by_name else tuple(changed)

    def drop(self, part: Any) -> Any:
        """``part`` without the first agent."""
        return {key: value for key, value in part.items() if key != self.key} if self.by_name else part[1:]


def on_reset(env: Any, change: Callable[[Any], Any]) -> None:
    original = env.reset
    env.reset = lambda *, seed=None, options=None: change(original(seed=seed, options=options))


def on_step(env: Any, change: Callable[[Any], Any]) -> None:
    original = env.step
    env.step = lambda actions: change(original(actions))


def on_part(index: int, change: Callable[[Any, Parts], Any], *, reset: bool = False) -> Callable[[Any, Parts], None]:
    """Change a value of ``step`` (0 observations, 1 rewards, 2 terminated, 3 truncated, 4 infos), or of ``reset``."""

    def damage(env: Any, parts: Parts) -> None:
        def changed(out: Any) -> Any:
            out = list(out)
            out[index] = change(out[index], parts)
            return tuple(out)

        (on_reset if reset else on_step)(env, changed)

    return damage


def entry(value: Any) -> Callable[[Any, Parts], Any]:
    """The first agent's entry is ``value``."""
    return lambda part, parts: parts.put(part, value)


def whole(value: Any) -> Callable[[Any, Parts], Any]:
    """The part is ``value``."""
    return lambda part, parts: value


def stranger(value: Any) -> Callable[[Any, Parts], Any]:
    """There is an entry under a name that nobody has."""
    return lambda part, parts: {**part, "nobody": value}


def raises(error: BaseException) -> Callable[[Any], Any]:
    def change(out: Any) -> Any:
        raise error

    return change


def attribute(name: str, value: Any) -> Callable[[Any, Parts], None]:
    return lambda env, parts: setattr(env, name, value)


def all_agents(value: Callable[[Any], Any]) -> Callable[[Any, Parts], None]:
    """``possible_agents`` is something else, made of what it is."""
    return lambda env, parts: setattr(env, "possible_agents", value(env.possible_agents))


def space_of_the_first(which: str, value: Callable[[Any], Any]) -> Callable[[Any, Parts], None]:
    """The first agent's space is another one."""

    def damage(env: Any, parts: Parts) -> None:
        name = f"{which}_space"
        if hasattr(env, f"{name}s"):  # RLlib
            getattr(env, f"{name}s")[parts.agent] = value(getattr(env, f"{name}s")[parts.agent])
        elif parts.by_name:
            original = getattr(env, name)
            setattr(env, name, lambda agent: value(original(agent)) if agent == parts.agent else original(agent))
        else:
            first, *others = getattr(env, name).spaces
            changed = [value(first), *others]
            are_spaces = all(isinstance(one, spaces.Space) for one in changed)
            setattr(env, name, spaces.Tuple(changed) if are_spaces else changed)

    return damage


def raising_space(env: Any, parts: Parts) -> None:
    def fails(agent: Any) -> Any:
        raise KeyError(agent)

    env.observation_space = fails


def other_observations(change: Callable[[Any], Any]) -> Callable[[Any, Parts], Any]:
    return lambda part, parts: parts.put(part, change(part[parts.key]))


def flagged_and_back(env: Any, parts: Parts) -> None:
    """Ends in the first step, and has an observation and no flag in the second."""
    steps = [0]

    def change(out: Any) -> Any:
        steps[0] += 1
        out = list(out)
        out[2] = {**out[2], parts.agent: steps[0] == 1, "__all__": False}
        if not hasattr(env, "observation_spaces"):
            del out[2]["__all__"]
        return tuple(out)

    on_step(env, change)


def mask_is(value: Callable[[Any], Any]) -> Callable[[Any, Parts], None]:
    """The first agent's mask, in its info or in the one info."""

    def change(infos: Any, parts: Parts) -> Any:
        if parts.by_name:
            return parts.put(infos, {"action_mask": value(infos[parts.agent]["action_mask"])})
        first, *others = infos["action_mask"]
        return {"action_mask": [value(first), *others]}

    def damage(env: Any, parts: Parts) -> None:
        on_part(4, change)(env, parts)

    return damage


def without_mask(infos: Any, parts: Parts) -> Any:
    return parts.put(infos, {}) if parts.by_name else {}


def unlike_by_seed(env: Any, parts: Parts) -> None:
    """What is shown does not follow from the seed."""
    numbers = np.random.default_rng()
    env.reset = (lambda original: lambda *, seed=None, options=None: original(seed=int(numbers.integers(2**31))))(
        env.reset
    )


SHORT, LONG = (lambda value: np.zeros(0)), (lambda value: np.zeros(np.size(value) + 40))

CLAUSES = [
    # what reset returns
    Clause("reset returns None", ALL, lambda env, parts: on_reset(env, lambda out: None)),
    Clause("reset returns observations alone", ALL, lambda env, parts: on_reset(env, lambda out: out[0])),
    Clause("reset returns three values", ALL, lambda env, parts: on_reset(env, lambda out: (*out, {}))),
    Clause("reset raises", EVERYWHERE, lambda env, parts: on_reset(env, raises(RuntimeError("no\nconnection")))),
    Clause(
        "reset takes no seed",
        ALL,
        lambda env, parts: setattr(env, "reset", (lambda original: lambda: original(seed=0))(env.reset)),
    ),
    Clause("reset: observations are an array", BY_NAME, on_part(0, whole(np.zeros(3)), reset=True)),
    Clause("reset: observations are a number", ("gymnasium",), on_part(0, whole(3.0), reset=True)),
    Clause(
        "reset: too few observations",
        ("pettingzoo", "gymnasium"),
        on_part(0, lambda p, parts: parts.drop(p), reset=True),
    ),
    Clause("reset: an observation of nobody", BY_NAME, on_part(0, stranger(np.zeros(1)), reset=True)),
    Clause("reset: an observation is None", ("pettingzoo", "gymnasium"), on_part(0, entry(None), reset=True)),
    Clause("reset: infos are a number", EVERYWHERE[:3], on_part(1, whole(7), reset=True)),
    # what step returns
    Clause("step returns None", ALL, lambda env, parts: on_step(env, lambda out: None)),
    Clause("step returns four values", ALL, lambda env, parts: on_step(env, lambda out: out[:4])),
    Clause("step raises", EVERYWHERE, lambda env, parts: on_step(env, raises(ValueError("boom\nboom")))),
    Clause("step raises KeyError", ALL, lambda env, parts: on_step(env, raises(KeyError("x")))),
    Clause("step: observations are a list", BY_NAME, on_part(0, whole([1, 2]))),
    Clause(
        "step: a living agent has no observation",
        ("pettingzoo", "gymnasium"),
        on_part(0, lambda p, parts: parts.drop(p)),
    ),
    Clause("step: an observation is too short", EVERYWHERE, on_part(0, other_observations(SHORT))),
    Clause("step: an observation is too long", EVERYWHERE, on_part(0, other_observations(LONG))),
    Clause("step: an observation is a text", EVERYWHERE, on_part(0, entry("north"))),
    Clause("step: an observation is an object", EVERYWHERE, on_part(0, entry(object()))),
    Clause("step: an observation of nobody", BY_NAME, on_part(0, stranger(np.zeros(1)))),
    # rewards
    Clause("rewards are one number", BY_NAME, on_part(1, whole(1.0))),
    Clause("a living agent gets no reward", ("pettingzoo",), on_part(1, lambda p, parts: parts.drop(p))),
    Clause("too few rewards", ("gymnasium",), on_part(1, lambda p, parts: list(p)[1:] or [])),
    Clause("a reward of nobody", BY_NAME, on_part(1, stranger(1.0))),
    Clause("a reward is None", EVERYWHERE, on_part(1, entry(None))),
    Clause("a reward is a text", EVERYWHERE, on_part(1, entry("much"))),
    Clause("a reward is two numbers", ALL, on_part(1, entry(np.zeros(2)))),
    Clause("a reward is NaN", EVERYWHERE, on_part(1, entry(math.nan))),
    Clause("a reward is infinite", EVERYWHERE, on_part(1, entry(math.inf))),
    # flags
    Clause("terminated is one flag", BY_NAME, on_part(2, whole(False))),
    Clause("a flag terminated is a text", BY_NAME, on_part(2, entry("no"))),
    Clause("a flag truncated is 2", BY_NAME, on_part(3, entry(2))),
    Clause("terminated of nobody", BY_NAME, on_part(2, stranger(False))),
    Clause("truncated of nobody", BY_NAME, on_part(3, stranger(False))),
    Clause("truncated is a text", ("gymnasium",), on_part(3, whole("no"))),
    Clause("more flags than agents", ("gymnasium",), on_part(2, whole([False] * 9))),
    Clause("step: infos are a text", ALL, on_part(4, whole("none"))),
    # masks
    Clause("a mask is too long", ALL, mask_is(lambda mask: np.ones(len(mask) + 3)), masks="info"),
    Clause("a mask allows nothing", ALL, mask_is(np.zeros_like), masks="info"),
    Clause("a mask holds 7", ALL, mask_is(lambda mask: np.full(len(mask), 7)), masks="info"),
    Clause("a mask is a text", ALL, mask_is(lambda mask: "all"), masks="info"),
    Clause("a mask is given once and not again", ALL, on_part(4, without_mask), masks="info"),
    # names, lifetimes
    Clause("no possible_agents", BY_NAME, all_agents(lambda agents: None)),
    Clause("possible_agents is empty", BY_NAME, all_agents(lambda agents: [])),
    Clause("possible_agents is a text", BY_NAME, all_agents(lambda agents: "ab")),
    Clause("possible_agents names one twice", BY_NAME, all_agents(lambda agents: [*agents, agents[0]])),
    Clause("possible_agents are lists", BY_NAME, all_agents(lambda agents: [[agent] for agent in agents])),
    Clause(
        "agents is a number after reset",
        ("pettingzoo",),
        lambda env, parts: on_reset(env, lambda out: (setattr(env, "agents", 3), out)[1]),
    ),
    Clause(
        "agents has nobody's name after reset",
        ("pettingzoo",),
        lambda env, parts: on_reset(env, lambda out: (env.agents.append("nobody"), out)[1]),
    ),
    Clause("an agent ends and is back at once", BY_NAME, flagged_and_back),
    # spaces, types
    Clause("an observation space is None", EVERYWHERE, space_of_the_first("observation", lambda space: None)),
    Clause("an observation space is a class", ALL, space_of_the_first("observation", lambda space: spaces.Box)),
    Clause(
        "an observation space of texts", EVERYWHERE, space_of_the_first("observation", lambda space: spaces.Text(3))
    ),
    Clause("observation_space raises", ("pettingzoo",), raising_space),
    Clause("an action space is None", EVERYWHERE, space_of_the_first("action", lambda space: None)),
    Clause("continuous actions", EVERYWHERE, space_of_the_first("action", lambda space: spaces.Box(-1, 1, (2,)))),
    Clause("several choices", EVERYWHERE, space_of_the_first("action", lambda space: spaces.MultiDiscrete([2, 2]))),
    Clause("actions of several kinds", ALL, space_of_the_first("action", lambda space: spaces.Dict({"a": space}))),
    Clause("no episode limit", ALL, attribute("max_cycles", None)),
    Clause("the episode limit is a text", ALL, attribute("max_cycles", "long")),
    # seeds: envs says it; training cannot know
    Clause("equal seeds, unequal games", ALL, unlike_by_seed),
]
#: Training cannot see these.
ONLY_ENVS = {"equal seeds, unequal games"}
CASES = [(clause, library) for clause in CLAUSES for library in clause.libraries]
IDS = [f"{clause.name}-{library}" for clause, library in CASES]
MAKERS = {
    "pettingzoo": MadeUpParallelEnv,
    "aec": MadeUpParallelEnv,
    "rllib": MadeUpMultiAgentEnv,
    "gymnasium": MadeUpTupleEnv,
}
EXAMPLES = 3


def random_recipe(example: int, masks: str | None) -> Recipe:
    """Two or three agents that live to the end, who see and do something random, by the number of the example."""
    rng = np.random.default_rng(example)

    def space(depth: int = 0) -> Any:
        shape = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))
        kinds = [
            lambda: spaces.Box(-np.inf, np.inf, shape, np.float32),
            lambda: spaces.Box(0, 255, shape, np.uint8),
            lambda: spaces.Discrete(int(rng.integers(2, 5)), start=int(rng.integers(-2, 3))),
            lambda: spaces.MultiBinary(int(rng.integers(1, 4))),
            lambda: spaces.Tuple([space(1), space(1)]),
            lambda: spaces.Dict({"x": space(1), "y": space(1)}),
        ]
        return kinds[int(rng.integers(4 if depth else 6))]()

    n = int(rng.integers(2, 4))
    done = [spaces.Discrete(int(rng.integers(2, 5)), start=int(rng.integers(-1, 2))) for _ in range(n)]
    observed = [space() for _ in range(n)]
    return Recipe(tuple(observed), tuple(done), masks=masks, max_cycles=STEPS, ends=0.0, all_at_once=0.0)


def make(clause: str, library: str, example: int) -> Any:
    """The environment of a case; "" breaks nothing."""
    found = next((one for one in CLAUSES if one.name == clause), Clause("", EVERYWHERE, lambda env, parts: None))
    env = MAKERS[library](random_recipe(example, found.masks))
    found.damage(env, Parts(env.world.names[0], by_name=library != "gymnasium"))
    if library != "aec":
        return env
    env.render_mode = None
    env.metadata["is_parallelizable"] = True
    return conversions.parallel_to_aec(env)


def options(clause: str, library: str, example: int) -> dict[str, Any]:
    return {"clause": clause, "library": library, "example": example, "team": {"state": "observations"}}


def assert_one_sentence(text: str) -> None:
    assert "\n" not in text
    assert "Traceback" not in text
    assert re.search(r"[.)]$", text), text
    assert len(text) > 30


@pytest.mark.parametrize("library", EVERYWHERE)
@pytest.mark.parametrize("masks", [None, "info"])
def test_without_a_fault_nothing_is_said(library, masks, monkeypatch):
    for example in range(EXAMPLES):
        env = make_team_env(f"{HERE}:make", 2, **options("", library, example))
        results = check_team_env(env, steps=12)
        assert [result.sentence for result in results if result.ok is False] == []
        env.close()


@pytest.mark.parametrize(("clause", "library"), CASES, ids=IDS)
def test_envs_names_the_fault(clause, library):
    for example in range(EXAMPLES):
        try:
            env = make_team_env(f"{HERE}:make", 2, **options(clause.name, library, example))
        except ValueError as error:
            assert_one_sentence(str(error))
            continue
        found = [result.sentence for result in check_team_env(env, steps=12) if result.ok is False]
        env.close()
        assert found, f"example {example}: nothing was found"
        for sentence in found:
            assert_one_sentence(sentence)


def train(clause: str, library: str, example: int) -> None:
    config = VDNConfig().environment(f"{HERE}:make", env_config=options(clause, library, example))
    config.env_runners(num_envs_per_env_runner=1).debugging(seed=0, log_level="ERROR")
    config.training(batch_episodes=1, learning_starts_episodes=1, buffer_episodes=4, model={"hidden_dim": 4})
    config.min_sample_timesteps_per_iteration = 3 * STEPS
    algo = config.build_algo()
    try:
        algo.train()
    finally:
        algo.stop()


#: Every eighth in `make test`, all of them in `make test-long`.
TRAINED = [
    pytest.param(*case, marks=() if number % 8 == 0 else pytest.mark.long)
    for number, case in enumerate(CASES)
    if case[0].name not in ONLY_ENVS
]


@pytest.mark.slow
@pytest.mark.parametrize(("clause", "library"), TRAINED)
def test_training_names_the_fault(clause, library):
    with pytest.raises((ValueError, EnvContractError)) as caught:
        train(clause.name, library, 0)
    assert_one_sentence(str(caught.value))


@pytest.mark.slow
def test_without_a_fault_it_trains():
    for library in EVERYWHERE:
        train("", library, 0)


def test_there_are_forty_clauses_and_more():
    assert len({clause.name for clause in CLAUSES}) == len(CLAUSES) >= 40


@pytest.mark.parametrize("number", range(0, len(CASES), 29))
def test_the_command_line_is_one_sentence_too(number, capsys):
    clause, library = CASES[number]
    given = ["example=0", f"library={library}", f"clause='{clause.name}'"]
    status = main(["envs", f"{HERE}:make", "team.state=observations", *given])
    printed = capsys.readouterr()
    assert status in (1, 2)
    assert "Traceback" not in printed.out + printed.err
    assert "FAILED" in printed.out or printed.err.startswith("error: ")
