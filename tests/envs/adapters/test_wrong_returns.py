"""What environments of others raise and return that they must not: one sentence that names them, and a remedy."""

from __future__ import annotations

import re
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn.cli.main import main
from rllib_reborn.envs.adapters.gymnasium_tuple import GymnasiumGame
from rllib_reborn.envs.adapters.pettingzoo import PettingZooGame
from rllib_reborn.envs.adapters.rllib import RLlibGame
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.matrix_games import MatrixGame
from rllib_reborn.envs.team_game import FaultyGameError
from rllib_reborn.envs.vectorize import VectorizedTeamEnv

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

AGENTS = ("a", "b")
BOX = spaces.Box(-9, 9, (1,), np.float32)
HERE = __name__


def each(value):
    return dict.fromkeys(AGENTS, value)


class Parallel(pettingzoo.ParallelEnv):
    """``wrong`` maps what is returned (a name of a part, ``reset``, ``step`` or ``agents``) to what is in its place."""

    metadata: ClassVar = {"name": "wrong_v0"}
    possible_agents = AGENTS
    max_cycles = 5

    def __init__(self, **wrong):
        self.wrong = wrong

    def observation_space(self, agent):
        return BOX

    def action_space(self, agent):
        return spaces.Discrete(2)

    def _of(self, **parts):
        return tuple(self.wrong.get(name, value) for name, value in parts.items())

    def reset(self, seed=None, options=None):
        self.t = 0
        self.agents = self.wrong.get("agents", list(AGENTS))
        out = each(np.zeros(1)), self.wrong.get("infos", each({}))
        return self.wrong["reset"](out) if "reset" in self.wrong else out

    def step(self, actions):
        self.t += 1
        parts = {
            "observations": each(np.zeros(1)),
            "rewards": each(1.0),
            "terminated": each(False),
            "truncated": each(False),
            "infos": each({}),
        }
        out = self._of(**parts)
        return self.wrong["step"](out) if "step" in self.wrong else out


class InTurns(pettingzoo.AECEnv):
    """The same, played in turns."""

    metadata: ClassVar = {"name": "wrong_in_turns_v0", "is_parallelizable": True}
    possible_agents = AGENTS
    max_cycles, render_mode = 5, None

    def __init__(self, **wrong):
        super().__init__()
        self.wrong = wrong

    observation_space, action_space = Parallel.observation_space, Parallel.action_space

    def observe(self, agent):
        return self.wrong.get("observe", np.zeros(1))

    def reset(self, seed=None, options=None):
        self.agents, self.agent_selection = list(AGENTS), "a"
        self.rewards, self._cumulative_rewards = self.wrong.get("rewards", each(1.0)), each(0.0)
        self.terminations, self.truncations = self.wrong.get("terminated", each(False)), each(False)
        self.infos = each({})

    def step(self, action):
        if "raises" in self.wrong:
            raise self.wrong["raises"]
        self.agent_selection = "b" if self.agent_selection == "a" else "a"


class Multi(MultiAgentEnv):
    """The same for RLlib."""

    max_steps = 5

    def __init__(self, **wrong):
        super().__init__()
        self.wrong = wrong
        self.agents = self.possible_agents = list(AGENTS)
        self.observation_spaces, self.action_spaces = each(BOX), each(spaces.Discrete(2))

    reset, step, _of = Parallel.reset, Parallel.step, Parallel._of


class Pair(gymnasium.Env):
    """The same for Gymnasium."""

    max_steps = 5
    observation_space, action_space = spaces.Tuple([BOX] * 2), spaces.Tuple([spaces.Discrete(2)] * 2)

    def __init__(self, **wrong):
        self.wrong = wrong

    def reset(self, *, seed=None, options=None):
        out = ([0.0], [0.0]), self.wrong.get("infos", {})
        return self.wrong["reset"](out) if "reset" in self.wrong else out

    def step(self, actions):
        parts = {
            "observations": ([0.0], [0.0]),
            "rewards": [1.0, 1.0],
            "terminated": False,
            "truncated": False,
            "infos": {},
        }
        out = tuple(self.wrong.get(name, value) for name, value in parts.items())
        return self.wrong["step"](out) if "step" in self.wrong else out


class Single(Pair):
    observation_space, action_space = BOX, spaces.Discrete(2)


GAMES = {
    Parallel: PettingZooGame,
    InTurns: PettingZooGame,
    Multi: RLlibGame,
    Pair: GymnasiumGame,
    Single: GymnasiumGame,
}


def game(env):
    return GAMES[type(env)](env, TeamOptions(state="observations"))


def play(env):
    team = game(env)
    team.reset(0)
    return team.step(np.zeros(team.spec.n_agents, np.int64))


def fails(error):
    def step(out):
        raise error

    return step


NAMES = {Parallel: "wrong_v0", InTurns: "wrong_in_turns_v0", Multi: "Multi", Pair: "Pair", Single: "Single"}
LIBRARIES = (Parallel, Multi, Pair)
BY_NAME = (Parallel, Multi)

WRONG = [
    # how many values
    *((kind, {"reset": lambda out: out[0]}, r": reset\(\) returned .*expects two values: obs") for kind in BY_NAME),
    *((kind, {"reset": lambda out: None}, r": reset\(\) returned None; \w+ expects two values") for kind in LIBRARIES),
    *(
        (kind, {"reset": lambda out: (*out, 1)}, r": reset\(\) returned 3 values; \w+ expects two")
        for kind in LIBRARIES
    ),
    *(
        (kind, {"reset": lambda out: list(out[:1])}, r": reset\(\) returned 1 values; \w+ expects")
        for kind in LIBRARIES
    ),
    *((kind, {"step": lambda out: None}, r": step\(\) returned None; \w+ expects five: obs") for kind in LIBRARIES),
    *((kind, {"step": lambda out: out[0]}, r": step\(\) returned .*; \w+ expects five") for kind in LIBRARIES),
    *(
        (kind, {"step": lambda out: out[:4]}, r": step\(\) returned 4 values; .* infos \(what was done is two")
        for kind in LIBRARIES
    ),
    # no dictionaries
    *(
        (kind, {name: value}, rf": step\(\) returned {value} as \w+; expected a dict: return one")
        for kind in BY_NAME
        for name in ("observations", "rewards", "terminated", "truncated")
        for value in (None, 1.0, False)
    ),
    *((kind, {"rewards": [1.0, 1.0]}, r": step\(\) returned a list of 2 as rewards") for kind in BY_NAME),
    *((kind, {"infos": [{}, {}]}, r": reset\(\) returned a list of 2 as infos") for kind in BY_NAME),
    # names that nobody has
    *(
        (kind, {what: each(0.0) | {"c": 0.0}}, f" gave {what} under the name 'c', which none of its agents has")
        for kind in BY_NAME
        for what in ("observations", "rewards", "terminated", "truncated")
    ),
    (Parallel, {"agents": ["a", "b", "c"]}, " gave agents under the name 'c', which none of its agents has"),
    (Parallel, {"agents": None}, r": agents is None after reset\(\); set it to the list"),
    (Parallel, {"agents": "a"}, r": agents is 'a' after reset\(\)"),
    (
        Multi,
        {"reset": lambda out: (each(None), {})},
        r": reset\(\) returned None as the observation of every agent; return",
    ),
    # agents that are missing
    *((Parallel, {"rewards": rewards}, "'b' acted, is alive and got no reward") for rewards in ({"a": 1.0}, {"a": 0})),
    (Parallel, {"observations": {"a": np.zeros(1)}}, ": agent 'b' is alive and has no observation"),
    # rewards that are no numbers
    *(
        (kind, {"rewards": {"a": 1.0, "b": reward}}, f": the reward of 'b' is {shown}; expected one number")
        for kind in BY_NAME
        for reward, shown in (
            (None, "None"),
            ("1.0", "'1.0'"),
            ("high", "'high'"),
            ({"x": 1.0}, "a dict with the keys 'x'"),
            ([1.0, 2.0], "a list of 2"),
            (object(), "an object"),
        )
    ),
    (Pair, {"rewards": [1.0, "1.0"]}, ": the reward of 'agent_1' is '1.0'; expected one number"),
    (Pair, {"rewards": None}, " returned None as rewards; wrap it so that it returns one per agent"),
    (Pair, {"rewards": {"agent_0": 1.0}}, " returned a dict with the keys 'agent_0' as rewards"),
    (Pair, {"rewards": [1.0]}, " returned 1 rewards; expected 2, one per agent"),
    (
        Single,
        {"reset": lambda out: ([0.0], {}), "observations": [0.0], "rewards": "1"},
        ": the reward of 'agent_0' is '1'",
    ),
    # flags that are none
    *(
        (kind, {name: {"a": flag}}, f": the flag {name} of agent 'a' is {shown}; expected True or False")
        for kind in BY_NAME
        for name in ("terminated", "truncated")
        for flag, shown in (("False", "'False'"), (0.5, "0.5"), (np.nan, "nan"), ([True, False], "a list of 2"))
    ),
    (Multi, {"terminated": {"__all__": "no"}}, r": the flag terminateds\['__all__'\] is 'no'; expected True or False"),
    (Pair, {"terminated": None}, " returned None as terminated; expected True or False"),
    (Pair, {"terminated": "yes"}, ": the flag terminated is 'yes'; expected True or False"),
    (Pair, {"truncated": [True]}, " returned 1 truncated; expected 2, one per agent"),
    (Pair, {"truncated": [True, "yes"]}, ": the flag truncated of agent 'agent_1' is 'yes'"),
    (Pair, {"infos": [1]}, r": reset\(\) returned a list of 1 as info; expected a dict"),
    (Pair, {"reset": lambda out: out[0]}, r": reset\(\) returned a list of 1 as info; expected a dict"),
    # exceptions
    *(
        (kind, {"step": fails(RuntimeError("no\nconnection"))}, r": step\(\) raised RuntimeError: no connection; fix")
        for kind in LIBRARIES
    ),
    *((kind, {"reset": fails(AssertionError())}, r": reset\(\) raised AssertionError; fix") for kind in LIBRARIES),
    (Parallel, {"step": fails(KeyError("b"))}, r": step\(\) raised KeyError: 'b'; fix"),  # b's action was there
    (Pair, {"step": fails(ValueError("not enough values to unpack"))}, r"unpack; it, or what it wraps, .*in Gymnasium"),
    # played in turns
    (InTurns, {"observe": None}, ": agent 'a' is alive and has no observation"),
    (InTurns, {"observe": "north"}, ": the observation of agent 'a' does not fit: it is 'north'; its space expects"),
    (InTurns, {"rewards": {"a": 1.0}}, r": step\(\) raised KeyError: 'b'; fix"),
    (InTurns, {"rewards": each(np.zeros(2))}, ": the reward of 'a' is an array of shape"),
    (InTurns, {"terminated": each(False) | {"c": False}}, " gave terminated under the name 'c'"),
    (InTurns, {"raises": ZeroDivisionError("x")}, r": step\(\) raised ZeroDivisionError: x; fix"),
]


@pytest.mark.parametrize(("kind", "wrong", "sentence"), WRONG)
def test_a_wrong_return_is_one_sentence(kind, wrong, sentence):
    with pytest.raises(FaultyGameError) as caught:
        play(kind(**wrong))
    assert re.search(f"^{NAMES[kind]}{sentence}" if sentence[0] in ": " else sentence, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_reset_that_takes_no_seed(kind):
    class NoSeed(kind):
        def reset(self):
            return super().reset()

    class OnlySeed(kind):
        def reset(self, options):
            return super().reset()

    for env in (NoSeed(), OnlySeed()):
        with pytest.raises(
            FaultyGameError, match=r"reset\(\) takes no seed; \w+ calls reset\(seed=\.\.\., options=.*def"
        ):
            GAMES[kind](env, TeamOptions(state="observations")).reset(0)


def test_an_environment_that_wants_an_action_of_the_dead():
    def step(self, actions):
        self.t += 1
        total = sum(actions[agent] for agent in AGENTS)
        return each(np.zeros(1)), each(float(total)), {"a": True, "b": False}, each(False), {}

    for kind in BY_NAME:
        team = GAMES[kind](type("Wants", (kind,), {"step": step})(), TeamOptions(state="observations"))
        team.reset(0)
        team.step(np.zeros(2, np.int64))
        with pytest.raises(FaultyGameError, match=r"step\(\) looked for an action of agent 'a', which has ended .*get"):
            team.step(np.zeros(2, np.int64))


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        *((kind, {"infos": None}) for kind in LIBRARIES),
        *((kind, {"reset": list, "step": list}) for kind in LIBRARIES),
        (Parallel, {"terminated": {}, "truncated": {"a": np.bool_(False), "b": 0}}),
        (Parallel, {"rewards": {"a": np.ones((1, 1)), "b": True}}),
        (Multi, {"rewards": {"a": 2}}),  # who is not paid gets nothing
        (Multi, {"terminated": {"a": None, "__all__": np.array([False])}}),
        (Pair, {"rewards": np.ones(2), "terminated": np.zeros(2), "truncated": (False, 0)}),
        (Pair, {"terminated": np.bool_(False), "truncated": np.array(0)}),
        (Single, {"reset": lambda out: ([0.0], {}), "observations": [0.0], "rewards": [2], "terminated": [False]}),
    ],
)
def test_what_has_one_honest_reading_is_taken(kind, other):
    step = play(kind(**other))
    assert (step.reward, step.terminated, step.truncated) == (2.0, False, False)


def old_reset():
    return Parallel(reset=lambda out: out[0])


def fails_later():
    return Parallel(step=lambda out: out[:4])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "old_reset",
            "could not be reset 3 times in a row, last with: wrong_v0: reset() returned a dict with the keys 'a', 'b'",
        ),
        ("fails_later", "game 0 failed at observation 1: wrong_v0: step() returned 4 values"),
    ],
)
def test_the_command_line_says_a_fault_once(name, sentence, capsys, caplog):
    assert main(["envs", f"{HERE}:{name}", "team.state=observations"]) == 1
    shown = capsys.readouterr().out
    [warning] = caplog.records
    assert "Traceback" not in warning.getMessage()
    assert shown.count("FAILED") == 1
    assert shown.count("wrong_v0") == 1
    assert sentence in shown
    assert "not run  shapes: not checked, because games fail; see no_failures." in shown
    assert not re.search("TypeError|ValueError|Traceback|FaultyGameError|GameFailedError", shown)


@pytest.mark.parametrize(("fault", "sentence"), [("WrongSize", "obs of shape (2, 5)"), ("Breaks", "the game died")])
def test_a_fault_of_an_own_game_is_printed_once_too(fault, sentence, capsys):
    name = f"{HERE}:Breaks" if fault == "Breaks" else f"tests.fakes.broken_games:{fault}"
    assert main(["envs", name]) == 1
    shown = capsys.readouterr().out
    assert shown.count(sentence) == 1
    assert "FAILED   shapes: the same as no_failures." in shown


class Breaks(MatrixGame):
    def __init__(self, num_envs):
        super().__init__([[1, 0], [0, 1]], num_envs)

    def step(self, actions):
        raise RuntimeError("the game died")


def best(rewards):
    return None


def test_a_function_for_the_teams_reward_that_returns_no_number():
    team = PettingZooGame(Parallel(), TeamOptions(state="observations", reward=f"{HERE}:best"))
    team.reset(0)
    with pytest.raises(FaultyGameError, match=r"wrong_v0: team.reward '.*:best' returned None; expected one number"):
        team.step(np.zeros(2, np.int64))


def test_where_an_environment_raised_is_logged_once(capsys, caplog):
    assert main(["envs", f"{HERE}:breaks_in_step", "team.state=observations"]) == 1
    assert capsys.readouterr().out.count("RuntimeError: no connection") == 1
    [warning] = caplog.records
    assert "Traceback" in warning.getMessage()
    assert "in step\n" in warning.getMessage()


def breaks_in_step():
    return Parallel(step=fails(RuntimeError("no connection")))


def test_checks_that_could_not_be_made_say_where_the_fault_is():
    results = check_team_env(VectorizedTeamEnv(lambda: game(old_reset())))
    assert [result.name for result in results if result.ok is False] == ["no_failures"]
    later = [result for result in results if result.same_as is not None]
    assert {result.same_as for result in later} == {"no_failures"}
    assert {"shapes", "values", "action_mask", "determinism"} <= {result.name for result in later}
    assert all(result.ok is None for result in later)
