"""Step by step, ours and mpe2's own games are the same."""

from __future__ import annotations

import pytest
from scipy import stats

from rllib_reborn.envs.registry import make_team_env, team_spec
from tests.envs.mpe.others import OTHERS
from tests.envs.mpe.package import (
    ADVERSARY,
    CASES,
    PUSH,
    REFERENCE,
    SPEAKER,
    SPREAD,
    TAG,
    WORLD,
    PackageGame,
    case_id,
    compare,
)

#: Observations and states are float32 in both; of positions of some units they differ by a rounding at most. (On the
#: machines where this was written, they do not differ at all.)
TOLERANCE = 1e-6
FLEE = "rllib_reborn.envs.adapters.scripted_prey:flee"
#: Of which team the PettingZoo adapter has to be told.
TEAMS = {
    TAG: {"agents": "adversary", "opponents": {"agent": FLEE}},
    WORLD: {"agents": ["leadadversary", "adversary"], "opponents": "random"},
    PUSH: {"agents": "agent", "opponents": "random"},
    ADVERSARY: {"agents": "agent", "opponents": "random"},
}
NAMES = (SPREAD, REFERENCE, SPEAKER, TAG, WORLD, PUSH, ADVERSARY)


def others_of(options):
    return OTHERS[options.get("opponents", "scripted")]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_few_episodes(case):
    name, options = case
    found = compare(name, options, 3, others=others_of(options), seed=1)
    assert found.worst <= TOLERANCE


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_two_hundred_episodes(case):
    name, options = case
    found = compare(name, options, 200, others=others_of(options), seed=2)
    assert found.worst <= TOLERANCE
    assert found.episodes >= 200
    if name in (SPREAD, TAG, WORLD, PUSH) and options.get("N") != 1:
        assert found.pushes > 0
    if options.get("terminate_on_success"):
        assert found.terminated > 0


def test_crowds_touch_and_succeed():
    """What the cases above meet now and then: here many times."""
    crowd = {"N": 10, "max_cycles": 30}
    found = compare(SPREAD, crowd, 3, others=OTHERS["noop"], seed=3)
    assert found.worst <= TOLERANCE
    assert found.pushes > 50
    hunt = {"num_adversaries": 12, "opponents": "noop", "terminate_on_success": True, "max_cycles": 60}
    found = compare(TAG, hunt, 4, others=OTHERS["noop"], seed=3)
    assert found.worst <= TOLERANCE
    assert found.pushes > 50
    assert found.terminated > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_team_is_that_of_the_adapter(name):
    pytest.importorskip("mpe2", reason="not run: mpe2 is not installed")
    suite = f"pettingzoo:mpe2.{name.removeprefix('mpe/')}_v{4 if name == SPEAKER else 3}"
    team = {"team": TEAMS[name]} if name in TEAMS else {}
    assert team_spec(name) == team_spec(suite, **team)
    assert team_spec(name, max_cycles=7) == team_spec(suite, max_cycles=7, **team)


STARTS = 400


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (SPREAD, {"N": 2}),
        (REFERENCE, {}),
        (SPEAKER, {}),
        (TAG, {"num_adversaries": 1}),
        (WORLD, {"num_adversaries": 1, "num_good": 1}),
        (PUSH, {}),
        (ADVERSARY, {"N": 3}),
    ],
)
def test_games_start_alike(name, options):
    """Each coordinate of each body is distributed as in the package, and each goal."""
    game = PackageGame(name, options)
    env = make_team_env(name, STARTS, **options)
    env.reset(seed=0)
    state = env.get_state()
    assert not state["velocities"].any()
    assert not state["messages"].any()
    theirs, goals = [], []
    for seed in range(STARTS):
        game.env.reset(seed=seed)
        theirs.append([entity.state.p_pos.copy() for entity in game.world.entities])
        goals.append([game.world.landmarks.index(goal) for goal in goals_of(game)])
    samples = state["positions"].shape[1] * 2
    for body in range(samples // 2):
        for coordinate in range(2):
            one = state["positions"][:, body, coordinate]
            two = [place[body][coordinate] for place in theirs]
            assert stats.ks_2samp(one, two).pvalue > 1e-3 / samples
    marks = range(len(game.world.landmarks))
    for goal in range(state["goals"].shape[1]):
        pair = state["goals"][:, goal], [chosen[goal] for chosen in goals]
        counts = [[[*chosen].count(mark) for mark in marks] for chosen in pair]
        assert stats.chi2_contingency(counts).pvalue > 1e-3


def goals_of(game):
    agents = game.world.agents
    if game.name == REFERENCE:
        return [agents[0].goal_b, agents[1].goal_b]
    if game.name == SPEAKER:
        return [agents[0].goal_b]
    return [agents[0].goal_a] if game.name in (PUSH, ADVERSARY) else []
