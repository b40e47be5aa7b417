"""Names and options of foreign environments: what they build, in this process and others, and what is said of mistakes."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from rllib_reborn.envs.adapters import names
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.matrix_games import MatrixGame
from rllib_reborn.envs.registry import make_team_env, team_spec
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame
from tests.fakes.multi_agent_game import Falling
from tests.fakes.parallel_games import ScriptedParallelEnv, parallel_env

HERE = __name__
GAMES = "tests.fakes.parallel_games"
OBSERVATIONS = {"state": "observations"}


class Own(TeamGame):
    """Two agents see a number that the seed decides."""

    def __init__(self, limit=3):
        self.spec = TeamSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=0, episode_limit=limit)

    def _game_obs(self):
        obs = np.full((2, 1), self.number, np.float32)
        return GameObs(obs, np.zeros(0, np.float32), np.ones((2, 2), bool))

    def reset(self, seed):
        self.number = seed % 97
        return self._game_obs()

    def step(self, actions):
        return GameStep(self._game_obs(), 1.0, False, False)


def own(limit=3):
    return Own(limit)


def cart_pole():
    return gymnasium.make("CartPole-v1")


def falling(max_steps):
    return Falling(max_steps)


def one_vector_env():
    return MatrixGame([[1, 0], [0, 1]], 1)


def nothing():
    return 3


closed = []


class Closing(ScriptedParallelEnv):
    def close(self):
        closed.append(self)


def without_limit():
    return Closing([], max_cycles=None)


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        (f"{HERE}:own", {"limit": 5}, (2, 1, 0, 5)),
        (f"{HERE}:Own", {}, (2, 1, 0, 3)),
        (f"{GAMES}:parallel_env", {"max_cycles": 6, "team": OBSERVATIONS}, (2, 2, 4, 6)),
        (f"pettingzoo:{GAMES}", {"max_cycles": 6, "team": OBSERVATIONS}, (2, 2, 4, 6)),
        (f"{HERE}:cart_pole", {"team": {"state": "none", "episode_limit": 7}}, (1, 4, 0, 7)),
        ("gymnasium:CartPole-v1", {"team": {"state": "none"}}, (1, 4, 0, 500)),
        ("gymnasium:gymnasium.envs:CartPole-v1", {"team": {"state": "none"}}, (1, 4, 0, 500)),
        (f"{HERE}:falling", {"max_steps": 4, "team": OBSERVATIONS}, (3, 3, 9, 4)),
    ],
)
def test_names_build_teams_by_the_type_of_what_they_return(name, options, sizes):
    spec = team_spec(name, **options)
    assert (spec.n_agents, spec.obs_dim, spec.state_dim, spec.episode_limit) == sizes
    env = make_team_env(name, 3, **options)
    assert (env.num_envs, env.spec) == (3, spec)
    assert env.reset(seed=0).obs.shape == (3, *sizes[:2])
    env.close()


def test_games_are_separate_and_a_death_reaches_the_batch():
    env = make_team_env(f"{GAMES}:parallel_env", 2, max_cycles=3, die_at=1, team=OBSERVATIONS)
    env.reset(seed=0)
    out = env.step(np.zeros((2, 2), np.int64))
    assert out.reward.tolist() == [3, 3]
    assert out.obs.obs.tolist() == [[[0, 0], [2, 1]]] * 2
    env.reset(mask=np.array([True, False]))
    assert env.step(np.zeros((2, 2), np.int64)).obs.obs[:, 1, 1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pettingzoo:", {}, "expected pettingzoo:<module>"),
        ("pettingzoo:no-such", {}, "expected pettingzoo:<module>"),
        ("pettingzoo:no_such.game_v0", {}, "there is no package 'no_such'. The form is pettingzoo:<package>.<game>"),
        ("pettingzoo:simple_spread_v3", {}, "as in mpe2.simple_spread_v3"),
        (
            "pettingzoo:sisl.pursuit_v4",
            {},
            "package 'pettingzoo.sisl' has no module 'pursuit_v4'. Did you mean 'pursuit_v5'",
        ),
        ("pettingzoo:mpe.simple_spread_v3", {}, "Try: pip install mpe2"),
        ("pettingzoo:rllib_reborn.envs.matrix_games", {}, "has neither parallel_env nor env"),
        ("gymnasium:", {}, "expected gymnasium:<id>"),
        (
            "gymnasium:CartPol-v1",
            {},
            "no environment 'CartPol-v1'. Did you mean 'CartPole-v1'.*say gymnasium:<package>",
        ),
        ("gymnasium:no_such:Game-v0", {}, "there is no package 'no_such'"),
        (f"pettingzoo:{GAMES}", {"max_cycle": 3}, "unknown option 'max_cycle' .* did you mean 'max_cycles'"),
        ("gymnasium:CartPole-v1", {"sutton": 3}, "cannot be built with the options .*sutton"),
        (f"{HERE}:own", {"limits": 3}, "unknown option 'limits' .* did you mean 'limit'"),
        (f"{HERE}:falling", {}, "needs the option 'max_steps'"),
        (f"{HERE}:one_vector_env", {}, "takes no keyword argument num_envs and returned a MatrixGame"),
        (f"{HERE}:nothing", {}, "returned a int; expected a VectorTeamEnv .* RLlib MultiAgentEnv"),
        (f"{HERE}:own", {"team": {"reward": "mean"}}, "says itself what its team is"),
        (f"{HERE}:own", {"team": {"rewards": "mean"}}, "unknown option 'rewards' in team. Did you mean 'reward'"),
        (f"{HERE}:own", {"team": "mean"}, "team is 'mean'; expected a mapping"),
    ],
)
def test_mistakes_are_named_with_a_remedy(name, options, message):
    for call in (make_team_env, team_spec):
        with pytest.raises(ValueError, match=message):
            call(name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "max"}, "team.reward is 'max'; expected 'sum', 'mean' or"),
        ({"state": "all"}, "team.state is 'all'; expected one of auto, env, observations, none"),
        ({"workers": "process"}, "team.workers is 'process'; expected one of inline, threads, processes"),
        ({"episode_limit": 0}, "team.episode_limit is 0; expected a whole number >= 1"),
        ({"num_workers": 1.5}, "team.num_workers is 1.5; expected a whole number"),
        ({"step_timeout_s": 0}, "team.step_timeout_s is 0; expected a number of seconds > 0"),
        ({"agents": []}, r"team.agents is \[\]; expected a name"),
        ({"opponents": "clever"}, "team.opponents has 'clever'; expected 'random', 'noop', 'module:function' or"),
        ({"opponents": "policy:"}, "team.opponents has 'policy:'; expected .*'policy:<folder>'"),
        ({"opponents": {"z": 3}}, "team.opponents has 3; expected"),
        ({"opponents": {}}, "team.opponents is {}; expected a policy"),
    ],
)
def test_wrong_team_options(options, message):
    with pytest.raises(ValueError, match=message):
        TeamOptions(**options)


def test_the_package_of_a_missing_suite_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lbforaging", None)  # as if it were not installed
    with pytest.raises(UnknownEnvError, match=r"there is no package 'lbforaging'. Try: pip install lbforaging"):
        make_team_env("gymnasium:Foraging-8x8-2p-3f-v3")


def test_an_environment_that_cannot_become_a_team_is_closed():
    closed.clear()
    with pytest.raises(ValueError, match="does not say how long"):
        team_spec(f"{HERE}:without_limit", team=OBSERVATIONS)
    assert len(closed) == 1


def test_what_builds_a_game_can_be_pickled():
    for name in (f"pettingzoo:{GAMES}", "gymnasium:CartPole-v1", f"{HERE}:own"):
        make_game, _ = names._game_maker(name, {} if "own" in name else {"team": OBSERVATIONS}, ())
        assert isinstance(make_game, functools.partial)
        game = pickle.loads(pickle.dumps(make_game))()
        assert isinstance(game, TeamGame)


def test_a_fresh_process_builds_the_same_team():
    code = (
        "import sys; from rllib_reborn.envs import make_team_env; assert 'ray' not in sys.modules; "
        f"env = make_team_env('pettingzoo:{GAMES}', 2, team={{'state': 'observations', 'reward': 'mean'}}); "
        "print(env.spec.agent_ids, env.reset(seed=5).obs.tolist(), 'ray' in sys.modules, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "('a_0', 'a_1') [[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]]] False False"


def test_games_in_processes_play_as_those_in_this_one():
    team = {"state": "none"}
    inline = make_team_env("gymnasium:CartPole-v1", 2, team=team)
    spread = make_team_env("gymnasium:CartPole-v1", 2, team=team | {"workers": "processes", "num_workers": 2})
    try:
        assert np.array_equal(inline.reset(seed=1).obs, spread.reset(seed=1).obs)
        for action in (0, 1, 1):
            actions = np.full((2, 1), action)
            assert np.array_equal(inline.step(actions).obs.obs, spread.step(actions).obs.obs)
    finally:
        spread.close()


def test_parallel_env_is_what_the_suite_name_means():
    assert isinstance(parallel_env(), ScriptedParallelEnv)
    game, _ = names._game_maker(f"pettingzoo:{GAMES}", {"team": OBSERVATIONS}, ())
    assert game().spec.agent_ids == ("a_0", "a_1")


def any_options(**kwargs):
    """As the makers of the suites are: it takes anything and passes it on."""
    return ScriptedParallelEnv([{}], **kwargs)


class TakesConfig(Falling):
    """As RLlib's own environments are made."""

    def __init__(self, config):
        super().__init__(**config)


def test_a_maker_that_takes_any_option_builds_single_games():
    env = make_team_env(f"{__name__}:any_options", 2)
    assert env.num_envs == 2
    env.close()


def test_a_wrong_option_of_such_a_maker_is_one_sentence():
    with pytest.raises(ValueError, match=r"any_options' cannot be built with the options \{'colour': 1\}: TypeError"):
        make_team_env(f"{__name__}:any_options", colour=1)


def test_an_rllib_class_gets_its_options_as_its_config():
    assert team_spec(f"{__name__}:TakesConfig", max_steps=7, team={"state": "observations"}).episode_limit == 7


@pytest.mark.parametrize("team", [{"num_workers": 2}, {"step_timeout_s": 5.0, "workers": "inline"}])
def test_options_of_workers_that_there_are_not_are_refused_at_once(team):
    with pytest.raises(ValueError, match=r"team\.(num_workers|step_timeout_s) is"):
        team_spec(f"{__name__}:falling", max_steps=5, team=team)


def by_rllibs_convention(config):
    return parallel_env(**config)


def with_another_name(env_config, extra=None):
    return parallel_env(**env_config)


def with_underscore(_):
    return parallel_env()


def context_asked(env_context=None, loud=False):
    assert not loud or env_context is None
    assert env_context is None or env_context.worker_index == 0
    return parallel_env(**(env_context or {}))


class OfOneDict(ScriptedParallelEnv):
    def __init__(self, cfg):
        made = parallel_env(**cfg)
        vars(self).update(vars(made))


def its_own_keyword(config="easy", agents=2):
    assert config == "hard"
    return parallel_env()


def needs_more(config, agents):
    return parallel_env()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("by_rllibs_convention", {}),
        ("with_another_name", {}),
        ("with_underscore", {"anything": 1}),
        ("context_asked", {}),
        ("context_asked", {"loud": True}),
        ("OfOneDict", {}),
        ("its_own_keyword", {"config": "hard"}),
    ],
)
def test_options_come_as_one_dict_where_rllib_gives_them_so(name, options):
    assert team_spec(f"{HERE}:{name}", **options, team=OBSERVATIONS).n_agents >= 2


def test_options_in_that_dict_have_an_effect():
    plain = team_spec(f"{GAMES}:parallel_env", max_cycles=7, team=OBSERVATIONS)
    for name in ("by_rllibs_convention", "with_another_name", "context_asked", "OfOneDict"):
        assert team_spec(f"{HERE}:{name}", max_cycles=7, team=OBSERVATIONS) == plain


def test_a_further_argument_that_is_required_is_asked_for():
    with pytest.raises(ValueError, match="needs the option 'config'"):
        team_spec(f"{HERE}:needs_more", agents=2, team=OBSERVATIONS)
