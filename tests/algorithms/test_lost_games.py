"""Running games that a checkpoint holds and no runner goes on with are counted, and said once."""

from types import SimpleNamespace

import pytest

from rllib_reborn.algorithms.value_factorization.checkpoint_components import RemoteGamesComponent
from tests.runtime.test_env_runner import runner


class Runners:
    """An RLlib group of env runners in this process; ``members[0]`` is the local one."""

    def __init__(self, members):
        self.members = members
        self.local_env_runner = members[0]

    def num_remote_env_runners(self):
        return len(self.members) - 1

    num_healthy_remote_env_runners = num_remote_env_runners

    def foreach_env_runner(self, func, local_env_runner):
        assert not local_env_runner
        return [func(member) for member in self.members[1:]]


def runners_component(count, num_envs):
    members = [runner(num_envs=num_envs, worker_index=index) for index in range(count + 1)]
    if count:
        members[0].env, members[0].holds_games = None, False  # with remote runners the local one plays nothing
    config = SimpleNamespace(num_envs_per_env_runner=num_envs)
    return RemoteGamesComponent(Runners(members), config), members


@pytest.mark.parametrize(
    ("count", "num_envs", "lost"),
    [(2, 4, []), (3, 4, []), (1, 4, [2]), (2, 5, [1, 2]), (0, 4, [1, 2])],
    ids=["as before", "more runners", "fewer runners", "more games", "none but the local one"],
)
def test_lost_games_of_remote_runners_are_counted_and_said(count, num_envs, lost, caplog):
    saved, before = runners_component(2, 4)
    for member in before[1:]:
        member.sample(num_timesteps=12, explore=False)
    state = saved.get_state()
    running = sum(int((state["games"][index]["time"] > 0).sum()) for index in lost)
    component, _ = runners_component(count, num_envs)
    component.set_state(state)
    assert component.take_lost_episodes() == running
    assert (running > 0) == bool(lost)
    assert bool(lost) == (
        f"num_env_runners=2 and num_envs_per_env_runner=4, and there are {count} and {num_envs} now: {running}"
        in caplog.text
    )


def test_local_games_are_lost_to_remote_runners(caplog):
    alone = runner()
    alone.sample(num_timesteps=12, explore=False)
    games = alone.games_state()
    component, members = runners_component(1, 4)
    members[0].set_games_state(games)
    component.set_state({"games": {}})
    assert component.take_lost_episodes() == int((games["time"] > 0).sum()) > 0
    assert "num_env_runners=0 and num_envs_per_env_runner=4, and there are 1 and 4 now" in caplog.text


def test_games_of_a_runner_that_is_lost_while_it_is_saved_are_counted_by_who_goes_on():
    """The counters have been saved a moment before."""
    saved, before = runners_component(2, 4)
    saved._group.members = before[:2]  # the second remote one does not answer
    saved._group.num_remote_env_runners = saved._group.num_healthy_remote_env_runners = lambda: 2
    state = saved.get_state()
    assert saved.take_lost_episodes() == 0
    component, _ = runners_component(2, 4)
    component.set_state(state)
    assert component.take_lost_episodes() == 4
