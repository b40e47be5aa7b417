"""Each private name of Ray that this package touches still does what we use it for."""

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from ray.rllib.algorithms import algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.actor_manager import FaultTolerantActorManager
from ray.tune.registry import get_trainable_cls
from ray.tune.trainable import trainable
from ray.util import get_node_ip_address
from ray.util.debug import reset_log_once

from rllib_reborn import QMIXConfig
from rllib_reborn.algorithms.value_factorization.learner_updates import as_tensors, learner_batches
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, quick
from tests.algorithms.test_learner import make_learner, make_sample, module_of, update
from tests.runtime.test_env_runner import runner

CLOCK = {"num_env_steps_sampled_lifetime": 0, "num_episodes_lifetime": 0}


class Listener(RLlibCallback):
    def __init__(self):
        self.heard = []

    def on_sample_end(self, *, samples, **kwargs):
        self.heard.append(sum(len(block) for block in samples))


def test_make_callbacks_takes_none_one_or_many():
    assert ray_internals.make_callbacks(quick()) == []  # RLlib's default does nothing
    assert [type(c) for c in ray_internals.make_callbacks(quick().callbacks([RLlibCallback]))] == []
    assert [type(c) for c in ray_internals.make_callbacks(quick().callbacks(Listener))] == [Listener]
    assert len(ray_internals.make_callbacks(quick().callbacks([Listener, Listener]))) == 2


def test_run_callbacks_calls_objects_and_functions():
    listener, heard = Listener(), []

    def function(*, samples, **kwargs):
        heard.append(len(samples))

    ray_internals.run_callbacks(
        "on_sample_end", [listener], [function], env_runner=None, metrics_logger=None, samples=[[1, 2]]
    )
    assert listener.heard == [2]
    assert heard == [1]


def test_env_runners_run_their_callbacks():
    config = quick(env=WALK).callbacks(Listener)
    made = runner()
    made._callbacks = ray_internals.make_callbacks(config)
    made.sample(num_episodes=3)
    assert made._callbacks[0].heard[0] >= 3


def test_accept_any_weights_lets_an_older_state_in():
    learner = make_learner()
    state = learner.get_state()
    update(learner, make_sample(learner.config))
    assert learner._weights_seq_no == 1
    ray_internals.accept_any_weights(learner, state)
    assert learner._weights_seq_no == -1


def test_count_update_counts_as_rllibs_update_does():
    learner = make_learner()
    update(learner, make_sample(learner.config))
    ray_internals.count_update(learner)
    assert learner._weights_seq_no == learner.get_state()["weights_seq_no"] == 2


def test_count_trained_steps_counts_as_rllibs_update_does():
    """In results under the same keys, and in the same Prometheus counter."""
    learner, counted = make_learner(), []
    (batch,) = learner_batches(make_sample(learner.config), 1)
    theirs = Learner.update(learner, batch=batch, timesteps=CLOCK)[ALL_MODULES]
    learner._metrics_all_modules_num_env_steps_trained.inc = lambda value: counted.append(value)
    ray_internals.count_trained_steps(learner, batch.env_steps())
    ours = learner.metrics.reduce()[ALL_MODULES]
    assert counted == [batch.env_steps()]
    for name in ("num_env_steps_trained", "num_env_steps_trained_lifetime"):
        assert type(ours[name]) is type(theirs[name])
        assert ours[name].peek() == theirs[name].peek() == batch.env_steps()


def test_gradient_step_is_what_rllibs_update_does_with_a_batch():
    ours, theirs = make_learner(), make_learner()
    (batch,) = learner_batches(make_sample(ours.config), 1)
    ours.before_gradient_based_update(timesteps=CLOCK)
    losses = ray_internals.gradient_step(ours, {DEFAULT_MODULE_ID: as_tensors(batch.policy_batches[DEFAULT_MODULE_ID])})
    result = Learner.update(theirs, batch=batch, timesteps=CLOCK)
    assert float(losses[DEFAULT_MODULE_ID].detach()) == float(result[DEFAULT_MODULE_ID]["total_loss"].peek())
    for mine, wanted in zip(module_of(ours).parameters(), module_of(theirs).parameters()):
        assert torch.equal(mine, wanted)


def test_env_runner_seed_is_config_seed_plus_index():
    assert ray_internals.env_runner_seed(runner(seed=5)) == 5
    assert ray_internals.env_runner_seed(runner(seed=None)) is None


def test_env_steps_counter_is_the_prometheus_counter_and_sampling_raises_it(monkeypatch):
    made, counted = runner(), []
    counter = ray_internals.env_steps_counter(made)
    assert counter is made._metrics_num_env_steps_sampled
    monkeypatch.setattr(counter, "inc", lambda value: counted.append(value))
    made.sample(num_timesteps=12)
    made.sample(num_timesteps=0)  # Ray's counter refuses 0
    assert counted == [12]


def test_wants_component_follows_both_lists():
    made = runner()
    assert ray_internals.wants_component(made, "games", None, None)
    assert not ray_internals.wants_component(made, "games", None, ["games"])
    assert ray_internals.wants_component(made, "games", ["games"], None)
    assert not ray_internals.wants_component(made, "games", ["rl_module"], None)


def test_rllib_does_not_offer_its_old_stack(caplog):
    config = QMIXConfig().environment("matrix/two_step")
    for hushed in (True, False):
        reset_log_once("QMIX_on_new_api_stack")
        if hushed:
            ray_internals.no_word_on_the_api_stack(config)
        # Other tests leave RLlib's loggers quiet.
        with caplog.at_level("WARNING", logger="ray"), caplog.at_level("WARNING", logger="ray.rllib"):
            AlgorithmConfig.validate(config.copy())
        assert ("API stack" in caplog.text) is not hushed


def test_rllib_does_not_warn_of_its_own_module_config(caplog):
    reset_log_once("RLModule(config=[RLModuleConfig object])")
    ray_internals.no_word_on_module_configs()
    with caplog.at_level("WARNING", logger="ray"), caplog.at_level("WARNING", logger="ray.rllib"):
        config = QMIXConfig().environment("matrix/two_step")
        spaces = {"default_policy": team_spaces(config.team_spec)}
        config.get_multi_rl_module_spec(spaces=spaces).build()
    assert "RLModuleConfig" not in caplog.text


def test_an_algorithm_makes_no_folder_at_home_nor_for_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr(trainable, "DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    config = QMIXConfig().environment("matrix/two_step").debugging(log_level="ERROR")
    algo = config.build_algo()
    try:
        algo.train()
        assert not (tmp_path / "ray_results").exists()
        assert list(temporary.glob("QMIX_*")) == []
        assert Path(algo.logdir).is_dir()
        assert algo.logdir == algo.logdir
    finally:
        algo.stop()
        Path(algo.logdir).rmdir()


def test_an_algorithm_is_found_by_its_name_where_tune_has_forgotten_it():
    mine = type(QMIXConfig().algo_class)("Mine", (QMIXConfig().algo_class,), {})
    try:
        ray_internals.register_algorithm("Mine of a test", mine)
        assert get_trainable_cls("Mine of a test").__name__ == "Mine"
        assert ALGORITHMS["Mine of a test"]()[0] is mine
    finally:
        ALGORITHMS.pop("Mine of a test", None)


def test_settings_are_what_was_given_and_not_what_rllib_makes_of_it():
    config = QMIXConfig()
    assert ray_internals.settings(config)["train_batch_size_per_learner"] is None
    assert config.train_batch_size_per_learner is not None  # RLlib's property makes a value up
    config.training(train_batch_size_per_learner=7)
    assert ray_internals.settings(config)["train_batch_size_per_learner"] == 7
    assert ray_internals.settings(config)["num_epochs"] == config.num_epochs


def test_what_ray_has_given_up_is_known_by_its_value():
    assert ray_internals.is_deprecated_setting("timesteps_per_iteration")
    assert ray_internals.is_deprecated_setting("enable_rl_module_api")
    assert not ray_internals.is_deprecated_setting("num_epochs")
    assert not ray_internals.is_deprecated_setting("not_there")


def test_runners_get_the_config_and_no_reference_to_it(monkeypatch):
    config, given = QMIXConfig().environment("matrix/two_step"), {}
    monkeypatch.setattr(EnvRunnerGroup, "_make_worker", lambda group, **kwargs: given.update(kwargs))
    group = object.__new__(ray_internals._ConfigByValue)
    group._remote_config = config
    group._make_worker(config="a reference", worker_index=2)
    assert given == {"config": config, "worker_index": 2}
    assert len(pickle.dumps(config)) < 50_000  # what has 100,000 bytes goes through the object store after all
    made = []
    monkeypatch.setattr(algorithm.Algorithm, "setup", lambda algo, config: made.append(algorithm.EnvRunnerGroup))
    algo = object.__new__(QMIXConfig().algo_class)
    algo._logdir = None
    ray_internals.ConfigByValueAlgorithm.setup(algo, config)
    assert (made, algorithm.EnvRunnerGroup) == ([ray_internals._ConfigByValue], EnvRunnerGroup)


@pytest.mark.long
def test_runners_hold_nothing_that_the_object_store_could_lose():
    """Ray prints a warning for each group of runners that does; it knows no other way to silence it."""
    assert "object store and max_restarts" not in printed_with_a_runner("")
    rllibs_own = """
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from rllib_reborn.runtime import ray_internals
ray_internals._ConfigByValue = EnvRunnerGroup"""
    assert "object store and max_restarts" in printed_with_a_runner(rllibs_own)


def printed_with_a_runner(first: str) -> str:
    program = f"""
{first}
from rllib_reborn import QMIXConfig
config = QMIXConfig().environment("matrix/two_step").env_runners(num_env_runners=1, num_envs_per_env_runner=4)
config.training(batch_episodes=4, learning_starts_episodes=4)
algo = config.build_algo()
algo.train()
print("trained")
algo.stop()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150)
    assert "trained" in done.stdout, done.stderr
    return done.stdout + done.stderr


def test_nodes_on_localhost_changes_the_address_that_a_new_ray_takes(monkeypatch):
    # A Ray that runs already keeps its own; nodes_on_localhost is for one that starts.
    monkeypatch.setattr("ray._private.worker._global_node", None)
    before = get_node_ip_address()
    with ray_internals.nodes_on_localhost():
        assert get_node_ip_address() == "127.0.0.1"
    assert get_node_ip_address() == before


class Watcher:
    """Notes what it is notified of."""

    limit_s = 7.0

    def __init__(self):
        self.heard = []

    def late(self, workers, waited_s):
        self.heard.append(("late", list(workers), waited_s))

    def lost(self, worker, error):
        self.heard.append(("lost", worker, ray_internals.reason_of(error)))


@pytest.fixture
def watched(monkeypatch):
    """A manager of three actors: the first answers, the second is dead, the third hangs. And the limits Ray was given."""
    limits = []

    def wait(calls, *, timeout, **kwargs):
        limits.append(timeout)
        return [call for call in calls if call != "call 3"], []

    def get(call):
        if call == "call 2":
            raise RayActorError(error_msg="gone")
        return "answer"

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    manager = FaultTolerantActorManager([f"actor {number}" for number in (1, 2, 3)], init_id=1)
    monkeypatch.setattr(
        manager, "_call_actors", lambda *, remote_actor_ids, **kwargs: [f"call {number}" for number in remote_actor_ids]
    )
    watcher = Watcher()
    ray_internals.watch_calls(manager, watcher)
    return manager, watcher, limits


def test_a_call_without_a_limit_has_one_and_who_does_not_answer_is_named(watched):
    manager, watcher, limits = watched
    assert [answer.get() for answer in manager.foreach_actor("ask") if answer.ok] == ["answer"]
    assert limits == [7.0]
    assert watcher.heard == [("lost", 2, "gone"), ("late", [3], 7.0)]
    watcher.heard.clear()
    manager.foreach_actor("ask", timeout_seconds=2.0)
    assert watcher.heard == [("late", [3], 2.0)], "the second one is known to be dead"
    watcher.heard.clear()
    manager.foreach_actor("ask", timeout_seconds=0.0)
    assert watcher.heard == [], "nobody waits"
    manager.probe_unhealthy_actors(timeout_seconds=3.0)
    assert watcher.heard == [], "who is being started again is not late"


def test_an_actor_is_ended_and_is_waited_for_no_longer(watched, monkeypatch):
    manager, watcher, _ = watched
    ended = []
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: ended.append((actor, no_restart)))
    ray_internals.end_actor(manager, 3)
    assert ended == [("actor 3", False)]
    assert manager.healthy_actor_ids() == [1, 2]
    manager.foreach_actor("ask", remote_actor_ids=[1, 3])
    assert watcher.heard == []


def test_the_manager_of_a_group_and_its_watcher_are_found(watched):
    manager, watcher, _ = watched
    group = SimpleNamespace(_worker_manager=manager)
    assert ray_internals.actor_manager(group) is manager
    assert ray_internals.watcher_of(group) is watcher
    assert ray_internals.watcher_of(SimpleNamespace()) is None


def test_death_is_told_from_what_was_raised():
    raised = RayTaskError("f", "Traceback ...", ValueError("no"))
    assert ray_internals.is_death(RayActorError(error_msg="gone"))
    assert not ray_internals.is_death(raised)
    assert not ray_internals.is_death(ValueError("no"))
    assert ray_internals.reason_of(raised) == "no"
    dead = "The actor died.\n\tclass_name: A\nThe actor died because its process was killed by SIGKILL.\n"
    assert (
        ray_internals.reason_of(RayActorError(error_msg=dead))
        == "The actor died because its process was killed by SIGKILL"
    )


@pytest.mark.slow
def test_the_dashboard_that_rays_page_shows():
    """The page shows these two panels one by one, and the whole dashboard by its uid."""
    dashboard = ray_internals.default_dashboard()
    ids = [panel["id"] for row in dashboard["panels"] for panel in (row, *row.get("panels", ()))]
    assert dashboard["uid"] == "rayDefaultDashboard"
    assert {24, 41} <= set(ids)
    assert all({"id", "gridPos"} <= set(panel) for panel in dashboard["panels"])
    assert {"datasource", "SessionName", "Cluster"} <= {one["name"] for one in dashboard["templating"]["list"]}
