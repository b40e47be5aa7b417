"""One team in every process of a run: asked once, expected everywhere, taken from a checkpoint, else refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from rllib_reborn import QMIXConfig, load_team
from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorization
from rllib_reborn.envs import factories, make_team_env
from rllib_reborn.envs.adapters import names
from rllib_reborn.envs.carried_factory import CarriedMaker
from rllib_reborn.envs.factories import UnknownEnvError
from rllib_reborn.envs.same_team import OtherTeamError
from rllib_reborn.runtime.spaces import team_spaces
from tests.fakes import teams_by_process as teams

HERE = "tests.fakes.teams_by_process"
OBSERVATIONS = {"team": {"state": "observations"}}


def config_of(env, *, runners=0, evaluating=0, **env_config):
    config = (
        QMIXConfig()
        .environment(f"{HERE}:{env}", env_config=OBSERVATIONS | env_config if env != "OwnGame" else {})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=1)
        .training(batch_episodes=2, learning_starts_episodes=2, buffer_episodes=20, model={"hidden_dim": 8})
        .evaluation(evaluation_num_env_runners=evaluating, evaluation_duration=4)
        .debugging(seed=1, log_level="ERROR")
    )
    config.min_sample_timesteps_per_iteration = 20
    return config


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """How many times the environment was built, by process: that of the test first."""
    monkeypatch.setenv(teams.BUILDS, str(tmp_path / "builds"))
    # Processes of a Ray that runs already do not see it.

    def count():
        path = tmp_path / "builds"
        found = path.read_text().split() if path.exists() else []
        return found.count(str(os.getpid()))

    return count


@pytest.fixture
def algos():
    made = []

    def build(config):
        made.append(config.build_algo())
        return made[-1]

    yield build
    for algo in made:
        algo.stop()


class TestAskedOnce:
    def test_by_a_config_its_copies_and_pickles(self, builds):
        config = config_of("Named")
        assert config.team_spec.agent_ids == teams.NAMES
        config.validate()
        copies = [config.copy(), config.copy(copy_frozen=True), cloudpickle.loads(cloudpickle.dumps(config))]
        copies.append(QMIXConfig().update_from_dict(config.to_dict()))
        for one in copies:
            assert one.team_spec == config.team_spec
            spaces = {"default_policy": team_spaces(one.team_spec)}
            assert one.get_rl_module_spec(spaces=spaces).model_config["team_spec"] == config.team_of_networks.to_dict()
        assert builds() == 1

    def test_again_where_the_environment_is_another_one(self, builds):
        config = config_of("Named")
        assert len(config.team_spec.agent_ids) == 3
        config.environment(env_config=OBSERVATIONS | {"agents": ("bob", "ann")})
        assert config.team_spec.agent_ids == ("bob", "ann")
        assert builds() == 2

    def test_again_where_it_is_given_again(self, builds):
        config = config_of("Named")
        for _ in range(2):
            config.environment(f"{HERE}:Named")
            _ = config.team_spec
        assert builds() == 2

    def test_with_arrays_as_options(self):
        config = QMIXConfig().environment("matrix/two_step", env_config={"payoff": np.zeros((2, 2))})
        config.known_team = None
        with pytest.raises(ValueError, match="payoff"):
            _ = config.team_spec

    def test_a_run_builds_what_it_plays_and_one_for_the_team(self, builds, algos):
        algo = algos(config_of("Named"))
        assert builds() == 2
        algo.train()
        assert builds() == 2
        algo.evaluate()  # one game, as in training, though four episodes are played
        assert builds() == 3
        algo.evaluate()
        assert builds() == 3


class TestAClassOfTheMainScript:
    @pytest.fixture
    def mine(self, monkeypatch):
        provided: dict[str, object] = {}
        monkeypatch.setattr(factories, "_PROVIDED", provided)
        made = type("Mine", (teams.Named,), {"__module__": "__main__"})
        return made, provided

    @pytest.mark.parametrize("as_dict", [False, True])
    def test_means_the_same_wherever_its_config_arrives(self, mine, as_dict):
        made, provided = mine
        config = QMIXConfig().update_from_dict({"env": made, "env_config": OBSERVATIONS})
        if not as_dict:
            config = config_of("Named").environment(made)
        assert config.env == "__main__:Mine"
        sent = cloudpickle.dumps(config.to_dict() if as_dict else config)
        provided.clear()
        with pytest.raises(UnknownEnvError, match="'__main__' has no 'Mine'"):
            make_team_env("__main__:Mine")
        arrived = cloudpickle.loads(sent)
        arrived = QMIXConfig().update_from_dict(arrived) if as_dict else arrived
        assert arrived.team_spec.agent_ids == teams.NAMES
        again = cloudpickle.dumps(arrived)
        provided.clear()
        assert cloudpickle.loads(again).team_spec.agent_ids == teams.NAMES
        assert "__main__:Mine" in provided

    def test_goes_into_the_processes_of_games(self, mine):
        make, _ = names._game_maker("__main__:Mine", OBSERVATIONS, ())
        assert not isinstance(make, CarriedMaker)  # it is not known here, and refused when it is built
        factories.provide("__main__:Mine", mine[0])
        make, _ = names._game_maker("__main__:Mine", OBSERVATIONS, ())
        sent = pickle.dumps(make)
        mine[1].clear()
        assert pickle.loads(sent)().spec.agent_ids == teams.NAMES

    def test_another_environment_takes_its_place(self, mine):
        config = config_of("Named").environment(mine[0])
        assert config.carried_env is not None
        config.environment("matrix/two_step")
        assert config.carried_env is None


@pytest.mark.slow
class TestInOtherProcesses:
    """Each in a process of its own with a Ray of its own, which gets the environment variables."""

    def run(self, tmp_path, body, **variables):
        script = tmp_path / "body.py"
        script.write_text(
            "import os\n"
            f"os.environ['{teams.FIRST}'] = str(os.getpid())\n"
            f"os.environ['{teams.BUILDS}'] = {str(tmp_path / 'builds')!r}\n"
            "from tests.algorithms.test_one_team import *\n" + body
        )
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables
        done = subprocess.run(
            [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    @pytest.mark.long  # its sample: the next one, and the rest of this file in one process
    def test_another_order_is_put_right_and_another_team_is_refused_and_builds_are_few(self, tmp_path):
        printed = self.run(
            tmp_path,
            """
import ray
from rllib_reborn.envs.contract import EnvContractError
ray.init(num_cpus=8, include_dashboard=False, logging_level="ERROR")
algo = config_of("reversed_elsewhere", runners=2, evaluating=1).build_algo()
found = algo.env_runner_group.foreach_env_runner(lambda r: (os.getpid(), r.env.spec), local_env_runner=False)
assert {spec.agent_ids for _, spec in found} == {teams.NAMES}, found
algo.train()
algo.evaluate()
algo.stop()
lines = open(os.environ[teams.BUILDS]).read().split()
print("BUILDS", {"driver" if pid == str(os.getpid()) else "runner": lines.count(pid) for pid in set(lines)}, len(set(lines)))
for name in ("smaller_elsewhere", "failing_elsewhere", "OwnGame"):
    try:
        config_of(name, runners=1).build_algo()
    except EnvContractError as error:
        print("REFUSED", name, error)
""",
        )
        assert "BUILDS {'driver': 1, 'runner': 1} 4" in printed.replace(
            "{'runner': 1, 'driver': 1}", "{'driver': 1, 'runner': 1}"
        )
        refused = dict(line.split(" ", 2)[1:] for line in printed.splitlines() if line.startswith("REFUSED"))
        assert "n_agents is 2 here and 3 there" in refused["smaller_elsewhere"]
        assert "no licence on this machine" in refused["failing_elsewhere"]
        assert "env runner 1 on" in refused["failing_elsewhere"]
        assert "agent_ids is cat, bob, ann here and ann, bob, cat there" in refused["OwnGame"]

    @pytest.mark.parametrize("trains_on", [False, pytest.param(True, marks=pytest.mark.long)])
    def test_a_class_of_the_script_is_trained_by_runners_and_played_by_another_script(self, tmp_path, trains_on):
        first = """
from tests.fakes.teams_by_process import Named as Base
class Mine(Base):
    max_cycles = 3
if __name__ == "__main__":
    in_processes = {"team": {"state": "observations", "workers": "processes"}}
    config = config_of("Named", runners=1).environment(Mine, env_config=in_processes)
    algo = config.build_algo()
    algo.train()
    algo.save_to_path(os.environ["CHECKPOINT"])
    algo.stop()
"""
        self.run(tmp_path, first, CHECKPOINT=str(tmp_path / "saved"))
        second = """
if __name__ == "__main__":
    found = load_team(os.environ["CHECKPOINT"]).evaluate(2, seed=0)
    assert found.lengths.tolist() == [3, 3]
"""
        if trains_on:
            second += """
    algo = ValueFactorization.from_checkpoint(os.environ["CHECKPOINT"])
    algo.train()
    algo.stop()
"""
        self.run(tmp_path, second, CHECKPOINT=str(tmp_path / "saved"))


class TestCheckpoints:
    def test_a_restored_algorithm_and_a_loaded_team_have_the_order_that_was_saved(self, algos, tmp_path, monkeypatch):
        algo = algos(config_of("reversed_elsewhere"))
        algo.train()
        algo.save_to_path(tmp_path / "saved")
        monkeypatch.setenv(teams.FIRST, "0")
        assert config_of("reversed_elsewhere").team_spec.agent_ids == teams.NAMES[::-1]
        restored = ValueFactorization.from_checkpoint(tmp_path / "saved")
        try:
            assert restored.env_runner.env.spec.agent_ids == teams.NAMES
        finally:
            restored.stop()
        team = load_team(tmp_path / "saved")
        env = team.make_env(1)
        assert env.spec.agent_ids == team.spec.agent_ids == teams.NAMES
        env.close()

    def test_the_state_of_another_team_is_refused_before_anything_is_taken(self, algos, tmp_path):
        algos(config_of("Named")).save_to_path(tmp_path / "saved")
        other = algos(config_of("Named", agents=("bob", "ann", "cat")))
        before = other.runners.learner_weights().rl_module
        with pytest.raises(OtherTeamError, match="agent_ids is bob, ann, cat here and ann, bob, cat there"):
            other.restore_from_path(tmp_path / "saved")
        after = other.runners.learner_weights().rl_module
        for name, value in before["default_policy"].items():
            assert np.array_equal(value, after["default_policy"][name])

    def test_a_trained_team_refuses_an_environment_of_another_size(self, algos, tmp_path):
        algos(config_of("Named")).save_to_path(tmp_path / "saved")
        team = load_team(tmp_path / "saved")
        team.env_config = OBSERVATIONS | {"agents": ("ann", "bob")}
        with pytest.raises(OtherTeamError, match="n_agents is 2 here and 3 there"):
            team.evaluate(1, seed=0)


class TestEvaluationWithOtherOptions:
    def test_is_played_by_the_same_team(self, algos):
        config = config_of("Named").evaluation(
            evaluation_config={"explore": False, "env_config": OBSERVATIONS | {"agents": ("cat", "bob", "ann")}}
        )
        algo = algos(config)
        assert algo.evaluation_config.team_spec.agent_ids == teams.NAMES

    def test_and_not_by_another_one(self):
        config = config_of("Named").evaluation(
            evaluation_config={"explore": False, "env_config": OBSERVATIONS | {"agents": ("cat", "bob")}}
        )
        with pytest.raises(OtherTeamError, match="n_agents is 2 here and 3 there"):
            config.build_algo()
