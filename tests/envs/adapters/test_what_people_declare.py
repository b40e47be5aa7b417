"""Spaces, names, states and close() as people write them: taken where there is one reading, else refused in a sentence."""

from __future__ import annotations

import logging
import re
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn.cli.main import main
from rllib_reborn.envs.adapters import adapted_game
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.matrix_games import MatrixGame
from rllib_reborn.envs.registry import make_team_env, team_spec

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

AGENTS = ("a", "b")
BOX = spaces.Box(0, 9, (1,), np.float32)
HERE = __name__
TEAM = {"state": "observations"}


def each(value):
    return dict.fromkeys(AGENTS, value)


def broken(self, *args):
    raise RuntimeError("connect to the simulator first")


class Parallel(pettingzoo.ParallelEnv):
    """A game of five steps; subclasses declare something otherwise."""

    metadata: ClassVar = {"name": "declared_v0"}
    possible_agents = AGENTS
    max_cycles = 5

    def observation_space(self, agent):
        return BOX

    def action_space(self, agent):
        return spaces.Discrete(2)

    def see(self):
        return np.zeros(1, np.float32)

    def reset(self, seed=None, options=None):
        self.t, self.agents = 0, list(AGENTS)
        return each(self.see()), {}

    def step(self, actions):
        self.t += 1
        return each(self.see()), each(1.0), {}, each(self.t >= 5), {}


class InTurns(pettingzoo.AECEnv):
    """Played in turns, with spaces that are attributes."""

    metadata: ClassVar = {"name": "declared_in_turns_v0", "is_parallelizable": True}
    possible_agents = AGENTS
    max_cycles, render_mode = 5, None
    observation_space, action_space = BOX, spaces.Discrete(2)

    def observe(self, agent):
        return np.zeros(1, np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.agent_selection = list(AGENTS), "a"
        self.rewards, self._cumulative_rewards, self.infos = each(1.0), each(0.0), each({})
        self.terminations, self.truncations = each(False), each(False)

    def step(self, action):
        self.agent_selection = "b" if self.agent_selection == "a" else "a"


class Multi(MultiAgentEnv):
    max_steps = 5

    def __init__(self):
        super().__init__()
        self.agents = self.possible_agents = list(AGENTS)
        self.observation_spaces, self.action_spaces = each(BOX), each(spaces.Discrete(2))

    def reset(self, *, seed=None, options=None):
        return Parallel.reset(self)

    see, step = Parallel.see, Parallel.step


class Pair(gymnasium.Env):
    max_steps = 5
    observation_space, action_space = spaces.Tuple([BOX] * 2), spaces.Tuple([spaces.Discrete(2)] * 2)

    def reset(self, *, seed=None, options=None):
        return (np.zeros(1), np.zeros(1)), {}

    def step(self, actions):
        return (np.zeros(1), np.zeros(1)), [1.0, 1.0], False, False, {}


class SpaceProperties(Parallel):
    observation_space = property(lambda self: BOX)
    action_space = property(lambda self: spaces.Discrete(2))


class SpaceAttributes(Parallel):
    def __init__(self):
        self.observation_space, self.action_space = BOX, spaces.Discrete(2)


class SpacesByName(Parallel):
    observation_space, action_space = each(BOX), each(spaces.Discrete(2))


class DictOfAgents(Parallel):
    observation_space, action_space = spaces.Dict(each(BOX)), spaces.Dict(each(spaces.Discrete(2)))


class RLlibMethods(Multi):
    observation_spaces = action_spaces = None

    def __init__(self):
        super().__init__()
        self.observation_spaces = self.action_spaces = None

    observation_space, action_space = Parallel.observation_space, Parallel.action_space


class PairOfLists(Pair):
    observation_space, action_space = [BOX] * 2, [spaces.Discrete(2)] * 2


class SetOfNames(Parallel):
    possible_agents: ClassVar = {"b", "a"}


@pytest.mark.parametrize(
    "env",
    [SpaceProperties, SpaceAttributes, SpacesByName, DictOfAgents, InTurns, RLlibMethods, PairOfLists, SetOfNames],
)
def test_another_way_of_declaring_is_taken(env):
    name = f"{HERE}:{env.__name__}"
    spec = team_spec(name, team=TEAM)
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.episode_limit) == (2, 2, 1, 5)
    assert spec.agent_ids in (AGENTS, ("agent_0", "agent_1"))
    results = check_team_env(make_team_env(name, 2, team=TEAM))
    assert [result for result in results if result.ok is False] == []


class SpaceOfOne(Parallel):
    def observation_space(self, agent):
        return {"a": BOX}[agent]


class SpaceByNameOfOne(Parallel):
    action_space: ClassVar = {"a": spaces.Discrete(2)}


class SpaceRefuses(Parallel):
    def action_space(self, agent):
        raise ValueError(f"{agent!r} is not in list")


class SpaceIsNumber(Parallel):
    action_space = 2


class SpaceIsShape(Parallel):
    def observation_space(self, agent):
        return (4,)


class SpaceIsNone(Parallel):
    def observation_space(self, agent):
        return None


class SpacePropertyRaises(Parallel):
    observation_space = property(broken)


class NamesRaise(Parallel):
    possible_agents = property(broken)


class NamesInTurnsRaise(InTurns):
    possible_agents = property(broken)


class NamesRaiseRLlib(Multi):
    possible_agents = property(broken)

    def __init__(self):
        """RLlib's own is not called, as many do not."""


class NamesAreNumber(Parallel):
    possible_agents = 2


class NamesAreText(Parallel):
    possible_agents = "ab"


class NamesAreNone(Parallel):
    possible_agents = None


class NoNames(Parallel):
    possible_agents = ()


class NamesTwice(Parallel):
    possible_agents = ("a", "a")


class NamesAreLists(Parallel):
    possible_agents = (["a"], ["b"])


class NamesInTurnsAreNumbers(InTurns):
    possible_agents = (0, 1)


class StateRaises(Parallel):
    state = broken


class StateIsNone(Parallel):
    def state(self):
        return None


class StateIsDict(Parallel):
    def state(self):
        return {"a": 1.0}


class StateNeedsMore(Parallel):
    def reset(self, seed=None, options=None):
        raise ConnectionError("no server")

    def state(self):
        return np.zeros(2)


class LimitRaises(Parallel):
    max_cycles = property(broken)


class RLlibSpaceOfOne(Multi):
    def __init__(self):
        super().__init__()
        self.observation_spaces = {"a": BOX}


class RLlibNoSpace(Multi):
    def __init__(self):
        super().__init__()
        self.action_spaces = None


class PairWithoutActions(Pair):
    action_space = property(broken)


class PairOfMethods(Pair):
    def action_space(self):
        return spaces.Discrete(2)


def batch_breaks(num_envs):
    raise ConnectionError("no server")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "SpaceOfOne",
            r"declared_v0: observation_space\('b'\) raised KeyError: 'b'; observation_space\(agent\) must give",
        ),
        (
            "SpaceByNameOfOne",
            "declared_v0: action_space is a dict with the keys 'a'; it has no entry for agent 'b'; give one for each",
        ),
        (
            "SpaceRefuses",
            r"declared_v0: action_space\('a'\) raised ValueError: 'a' is not in list; action_space\(agent\)",
        ),
        ("SpaceIsNumber", "declared_v0: action_space of agent 'a' is 2; expected a space of gymnasium"),
        ("SpaceIsShape", "declared_v0: observation_space of agent 'a' is a tuple of 1; expected a space of gymnasium"),
        ("SpaceIsNone", "observation space of agent 'a' is None; expected a Box"),
        (
            "SpacePropertyRaises",
            "declared_v0: observation_space raised RuntimeError: connect to the simulator first; fix",
        ),
        ("NamesRaise", "declared_v0: possible_agents raised RuntimeError: connect to the simulator first; fix"),
        ("NamesInTurnsRaise", "declared_in_turns_v0: possible_agents raised RuntimeError: connect"),
        ("NamesRaiseRLlib", "NamesRaiseRLlib: possible_agents raised RuntimeError: connect"),
        ("NamesAreNumber", "declared_v0: possible_agents is 2; expected the list of the names of all agents"),
        ("NamesAreText", "declared_v0: possible_agents is 'ab'; expected the list of the names"),
        ("NamesAreNone", "declared_v0: possible_agents is None; expected the list of the names"),
        ("NoNames", "declared_v0: possible_agents is empty; set it to the list of all agents"),
        ("NamesTwice", "declared_v0: possible_agents is a tuple of 2, in which a name occurs twice; give every agent"),
        ("NamesAreLists", "declared_v0: possible_agents is a tuple of 2, whose entries are no names"),
        ("NamesInTurnsAreNumbers", "declared_in_turns_v0: possible_agents has 0; PettingZoo converts .* strings"),
        ("StateRaises", r"declared_v0: state\(\) raised RuntimeError: connect .*; fix it, or take .*'observations'"),
        ("StateIsNone", r"declared_v0: state\(\) returned None; expected an array of numbers, or a state_space .*'obs"),
        ("StateIsDict", r"declared_v0: state\(\) returned a dict with the keys 'a'; expected an array"),
        ("StateNeedsMore", r"declared_v0: reset\(\) raised ConnectionError: no server; fix"),
        ("LimitRaises", ":LimitRaises' cannot become a team, because it raised RuntimeError: connect .*; fix"),
        ("RLlibSpaceOfOne", r"get_observation_space\('b'\) raised KeyError: 'b'; give observation_spaces an entry for"),
        ("RLlibNoSpace", "RLlibNoSpace has no action space for agent 'a'|raised .* give action_spaces an entry"),
        ("PairWithoutActions", "PairWithoutActions: action_space raised RuntimeError: connect .*; set action_space to"),
        ("PairOfMethods", "PairOfMethods: action_space is a method; set it to a space of gymnasium.spaces"),
        ("batch_breaks", ":batch_breaks' cannot be built with the options {}: ConnectionError: no server"),
    ],
)
def test_what_cannot_be_taken_is_one_sentence_and_a_mistake(name, sentence, capsys):
    assert main(["envs", f"{HERE}:{name}"]) == 2
    shown = capsys.readouterr().err
    assert re.search(sentence, shown), shown
    assert "Traceback" not in shown
    for call in (team_spec, make_team_env):
        with pytest.raises(ValueError, match=sentence):
            call(f"{HERE}:{name}")


# ----------------------------------------------------------------------------------------------------------
# close() before a reset


class Viewer(Parallel):
    """As environments are that open their window at the first render."""

    metadata: ClassVar = {"name": "viewer_v0"}
    viewer = None

    def close(self):
        self.viewer.close()


class ViewerInTurns(InTurns):
    metadata: ClassVar = InTurns.metadata | {"name": "viewer_v0"}
    viewer, close = None, Viewer.close


class ViewerRLlib(Multi):
    viewer, close = None, Viewer.close


class ViewerPair(Pair):
    viewer, close = None, Viewer.close


class Refused(Viewer):
    def action_space(self, agent):
        return spaces.Box(-1, 1, (2,))


class Batch(MatrixGame):
    def __init__(self, num_envs):
        super().__init__([[1, 0], [0, 1]], num_envs)

    def close(self):
        raise RuntimeError("no server")


class TooFew(Batch):
    def __init__(self, num_envs):
        super().__init__(num_envs + 1)


@pytest.fixture(autouse=True)
def _as_in_a_new_process():
    adapted_game._warn_of_close.cache_clear()


@pytest.mark.parametrize("env", [Viewer, ViewerInTurns, ViewerRLlib, ViewerPair])
def test_what_close_raises_is_a_warning_once(env, caplog):
    caplog.set_level(logging.WARNING)
    name = f"{HERE}:{env.__name__}"
    assert team_spec(name, team=TEAM).n_agents == 2
    team = make_team_env(name, 2, team=TEAM)
    team.reset(seed=0)
    assert not team.step(np.zeros((2, 2), np.int64)).info["failed"].any()
    team.close()
    [record] = caplog.records
    assert re.search(
        r"^(viewer_v0|ViewerRLlib|ViewerPair): close\(\) raised AttributeError: 'NoneType' .*; it must work",
        record.getMessage(),
    )


def test_what_close_raises_hides_no_refusal(caplog):
    for name, sentence in (
        ("Refused", "continuous actions are out of scope"),
        ("TooFew", "asked for 1 games and returned 2"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make_team_env(f"{HERE}:{name}")
    assert [f":{name}" in record.getMessage() for name, record in zip(("Refused", "TooFew"), caplog.records)] == [
        True
    ] * 2


@pytest.mark.parametrize("name", ["Viewer", "Batch"])
def test_the_command_line_goes_on(name, capsys):
    assert main(["envs", f"{HERE}:{name}"] + (["team.state=observations"] if name == "Viewer" else [])) in (0, 1)
    shown = capsys.readouterr()
    assert "ok       no_failures" in shown.out
    assert "Traceback" not in shown.err


# ----------------------------------------------------------------------------------------------------------
# observations that are a dict where the space is none

MASK = [1, 0]


class Masked(Parallel):
    """As PettingZoo's tutorial: the mask lies beside the observation, whose space is that of what is seen alone."""

    space = spaces.MultiDiscrete([4, 4])
    seen_as = staticmethod(lambda: {"observation": (1, 2), "action_mask": MASK})

    def observation_space(self, agent):
        return self.space

    def see(self):
        return self.seen_as()


class MaskedRLlib(Multi):
    space, seen_as = Masked.space, Masked.seen_as

    def __init__(self):
        super().__init__()
        self.observation_spaces = each(self.space)

    def see(self):
        return self.seen_as()


ONE_HOT = [0, 1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("env", [Masked, MaskedRLlib])
@pytest.mark.parametrize(
    ("space", "observation", "row"),
    [
        *(
            (spaces.MultiDiscrete([4, 4]), {key: (1, 2), "action_mask": MASK}, ONE_HOT)
            for key in ("observation", "observations", "obs", "state_of_the_board")
        ),
        (spaces.Box(0, 9, (2,), np.float32), {"action_mask": np.array(MASK), "obs": [3, 4]}, [3, 4]),
        (spaces.Discrete(3), {"observation": 2, "action_mask": MASK}, [0, 0, 1]),
        (spaces.Tuple((BOX, BOX)), {"observation": ([3], [4]), "action_mask": MASK}, [3, 4]),
        (spaces.Box(0, 9, (2,), np.float32), {"obs": [3, 4]}, [3, 4]),  # without a mask, under a name that says it
    ],
)
def test_the_part_beside_the_mask_is_the_observation(env, space, observation, row, monkeypatch):
    monkeypatch.setattr(env, "space", space)
    monkeypatch.setattr(env, "seen_as", staticmethod(lambda: observation))
    team = make_team_env(f"{HERE}:{env.__name__}", team=TEAM)
    obs = team.reset(seed=0)
    assert obs.obs[0, 0].tolist() == row
    mask = MASK if "action_mask" in observation else [1, 1]
    assert obs.action_mask[0].tolist() == [[bool(entry) for entry in mask]] * 2


BOX_2 = spaces.Box(0, 9, (2,), np.float32)


@pytest.mark.parametrize(
    ("space", "observation", "sentence"),
    [
        (
            spaces.MultiDiscrete([4, 4]),
            {"observation": (1, 2), "state": 3, "action_mask": MASK},
            r"it is a dict with the keys 'observation', 'state', 'action_mask', and its space is a MultiDiscrete; declare a",
        ),
        (BOX_2, {"action_mask": MASK}, "a dict with the keys 'action_mask', and its space is a Box; declare a Dict"),
        (BOX_2, {"x": 1.0}, "a dict with the keys 'x', and its space is a Box"),
        (spaces.Tuple((BOX, BOX)), {"x": 1, "y": 2}, "a dict with the keys 'x', 'y', and its space is a Tuple"),
        (
            spaces.Dict({"x": BOX_2}),
            {"x": {"y": 1}},
            "it is a dict with the keys 'y' at 'x'; its space expects numbers",
        ),
        (spaces.Dict({"x": spaces.Discrete(2)}), {"x": {"y": 1}}, "keys 'y' at 'x'; its space expects choices"),
        (
            spaces.Dict({"x": BOX_2}),
            {"y": [1, 2]},
            "it is a dict with the keys 'y' and has no part at 'x', which its space",
        ),
        (spaces.Dict({"x": BOX_2}), np.zeros(2), r"it is an array of shape \(2,\) .* and has no part at 'x'"),
        (BOX_2, "ab", "it is 'ab'; its space expects numbers"),
        (BOX_2, [1.0, None], "it is a list of 2; its space expects numbers"),
        (BOX_2, [1.0, np.nan], None),  # which the check of values finds
        (BOX_2, [[1.0], [1.0, 2.0]], "it is a list of 2; its space expects numbers"),
        (spaces.Discrete(2), "left", "it is 'left'; its space expects choices"),
    ],
)
def test_any_other_thing_is_named(space, observation, sentence, monkeypatch):
    monkeypatch.setattr(Masked, "space", space)
    monkeypatch.setattr(Masked, "seen_as", staticmethod(lambda: observation))
    results = check_team_env(make_team_env(f"{HERE}:Masked", team=TEAM))
    [fault] = [result.sentence for result in results if result.ok is False]
    assert re.search(sentence or "obs holds a number that is not finite", fault), fault
    if sentence:
        assert "declared_v0: the observation of agent 'a' does not fit: it is" in fault
