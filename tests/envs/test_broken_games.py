"""What the checker says to the author of a game: each of these faults is named."""

import json
import re

import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.registry import make_team_env

FOLDER = "tests.fakes.broken_games"


def _check(fault):
    name = f"{FOLDER}:{fault}"
    env = make_team_env(name, 2)
    try:
        return {one.name: one for one in check_team_env(env, make=lambda games: make_team_env(name, games))}
    finally:
        env.close()


def test_the_good_game_they_are_made_of_is_good():
    assert [one for one in _check("Whole").values() if one.ok is not True] == []


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        (
            "NotANumber",
            "values",
            r"obs holds .* finite: obs\[2\] of agent 1 of game 0 is nan at observation 3; return finite",
        ),
        (
            "InfiniteReward",
            "values",
            "reward holds .* finite: reward of game 0 is inf at observation 1; return finite numbers",
        ),
        ("WrongSize", "shapes", r"obs.*\(2, 5\).*\(2, 4\)"),
        ("GrowsOnTheWay", "shapes", r"state.*\(6,\).*\(5,\)"),
        ("FractionsAsBytes", "shapes", "obs.*uint8"),
        ("NoActionLeft", "action_mask", "agent 1.*no.*action"),
        ("DishonestMask", "no_failures", "IndexError: agent 1 cannot do action 2 here"),
        ("DiesLate", "no_failures", "ConnectionError: the simulator has gone away"),
        (
            "NotSeeded",
            "determinism",
            r"two runs .* differ from observation 0 on: obs\[0\] of agent 0 of game 0 is 0\.\d+ once and 0\.",
        ),
        (
            "SharesWithItsNeighbours",
            "num_envs",
            r"game that is played alone .* from step \d+ on: obs\[0\] of agent 0 of game 0 is",
        ),
        (
            "ForgetsItsRandomness",
            "get_state",
            r"otherwise after set_state\(get_state\(\)\): at step 1 obs\[0\] of agent 0 of game 0 is",
        ),
    ],
)
def test_each_fault_is_named(fault, check, sentence):
    found = _check(fault)[check]
    assert found.ok is False
    assert re.search(sentence, found.sentence), found.sentence


def test_the_command_line_says_it_too(capsys):
    assert main(["envs", f"{FOLDER}:DiesLate", "--json"]) == 1
    [line] = capsys.readouterr().out.splitlines()
    faults = {check["name"]: check["sentence"] for check in json.loads(line)["checks"] if check["ok"] is False}
    assert "the simulator has gone away" in faults["no_failures"]


def test_options_of_the_environment_are_given_behind_its_name(capsys):
    pytest.importorskip("mpe2", reason="not run: mpe2 is not installed")
    name = "pettingzoo:mpe2.simple_tag_v3"
    flee = "rllib_reborn.envs.adapters.scripted_prey:flee"
    given = ["max_cycles=10", "team.agents=adversary", f"team.opponents={{agent: '{flee}'}}"]
    assert main(["envs", name, *given, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["n_agents"], shown["episode_limit"]) == (3, 10)


def test_a_refusal_is_one_sentence_and_no_traceback(capsys):
    pytest.importorskip("mpe2", reason="not run: mpe2 is not installed")
    assert main(["envs", "pettingzoo:mpe2.simple_spread_v3", "continuous_actions=true"]) == 2
    shown = capsys.readouterr()
    assert "continuous" in shown.err
    assert "Traceback" not in shown.err
