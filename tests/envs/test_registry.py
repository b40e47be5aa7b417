"""The open door: names, options, callables by path, and what is said when they are wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.matrix_games import MatrixGame
from rllib_reborn.envs.registry import env_names, launches_external_process, make_team_env, team_spec

HERE = __name__


def small_game(num_envs: int, *, bonus: float = 0.0) -> MatrixGame:
    return MatrixGame([[1 + bonus, 0], [0, 1]], num_envs)


def needs_map(map_name: str, num_envs: int) -> MatrixGame:
    return small_game(num_envs)


def without_num_envs() -> MatrixGame:
    return small_game(1)


def always_one(num_envs: int) -> MatrixGame:
    return small_game(1)


def no_env(num_envs: int) -> list:
    return []


NOT_CALLABLE = 3


def test_every_name_is_built_with_the_spec_that_is_promised():
    assert len(env_names()) == len(set(env_names())) >= 12
    for name in env_names():
        env = make_team_env(name, num_envs=2)
        assert env.num_envs == 2
        assert env.spec == team_spec(name)
        if not launches_external_process(name) and not name.startswith(
            "battle/"
        ):  # of these a few are played in tests/envs/battle
            assert env.reset().obs.shape == (2, env.spec.n_agents, env.spec.obs_dim)
        env.close()


def test_which_names_start_programs():
    programs = [name for name in env_names() if launches_external_process(name)]
    assert len(programs) == 23 + 15
    assert {name.split("/")[0] for name in programs} == {"smac", "smacv2"}
    assert not launches_external_process(f"{HERE}:small_game")


def test_options_reach_the_rules_and_the_spec():
    env = make_team_env("predator_prey/small", obs_radius=1, episode_limit=7)
    assert (env.spec.obs_dim, env.spec.episode_limit) == (27, 7)
    assert team_spec("predator_prey/small", obs_radius=1, episode_limit=7) == env.spec
    assert team_spec("matrix/climbing", observation="agent_id").obs_dim == 2


def test_callables_by_path():
    env = make_team_env(f"{HERE}:small_game", num_envs=3, bonus=4.0)
    assert env.num_envs == 3
    assert env.payoff[0, 0] == 5
    assert team_spec(f"{HERE}:small_game").n_agents == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predator_prey/smal", "did you mean 'predator_prey/small'"),
        ("matrix/two_stp", "did you mean 'matrix/two_step'"),
        ("zzz", "there are matrix/two_step"),
        ("pettingzoo:no_such_suite.game_v1", "there is no package 'no_such_suite'"),
        ("gymnasium:no_such_package:Game-v3", "there is no package 'no_such_package'"),
        ("smac/3mm", "did you mean 'smac/3m'"),
        ("smacv2/zerg_5_vs_6", "did you mean 'smacv2/zerg_5_vs_5'"),
        ("battle/3mm", "did you mean 'battle/3m'"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        ("rllib_reborn.no_such:make", "there is no module 'rllib_reborn.no_such'"),
        (f"{HERE}:smal_game", "has no 'smal_game'; did you mean 'small_game'"),
        (f"{HERE}:NOT_CALLABLE", "is a int; expected a callable"),
        (":make", "the form is 'module.path:callable'"),
        (3, "environment name is 3; give a string"),
    ],
)
def test_unknown_names_are_named_with_a_remedy(name, message):
    for call in (make_team_env, team_spec):
        with pytest.raises(UnknownEnvError, match=message):
            call(name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("predator_prey/small", {"heigth": 3}, "unknown option 'heigth' .* did you mean 'height'"),
        ("matrix/climbing", {"obs": 3}, "unknown option 'obs' .* did you mean 'observation'"),
        ("matrix/two_step", {"obs": 3}, "unknown option 'obs' .* it takes none"),
        (f"{HERE}:small_game", {"bonnus": 3}, "unknown option 'bonnus' .* did you mean 'bonus'"),
        (f"{HERE}:needs_map", {}, "needs the option 'map_name'"),
        (f"{HERE}:without_num_envs", {}, "takes no keyword argument num_envs"),
        (f"{HERE}:no_env", {}, "returned a list; expected a VectorTeamEnv"),
        ("predator_prey/small", {"obs_radius": 0}, "obs_radius is 0"),
    ],
)
def test_wrong_options_are_named_with_a_remedy(name, options, message):
    for call in (make_team_env, team_spec):
        with pytest.raises(ValueError, match=message):
            call(name, **options)


def test_number_of_games_is_checked():
    with pytest.raises(ValueError, match="num_envs is 0"):
        make_team_env("matrix/climbing", 0)
    with pytest.raises(ValueError, match="asked for 2 games and returned 1"):
        make_team_env(f"{HERE}:always_one", 2)


def test_a_module_that_fails_to_import_something_else_says_so(tmp_path, monkeypatch):
    (tmp_path / "broken_game.py").write_text("import not_installed_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownEnvError, match="not_installed_thing"):
        make_team_env("broken_game:make")


def test_importing_the_room_loads_nothing_heavy():
    code = (
        "import sys, rllib_reborn.envs; "
        "heavy = {'ray', 'torch', 'gymnasium', 'PIL', 'pandas', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
