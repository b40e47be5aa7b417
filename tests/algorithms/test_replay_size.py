"""How large the replay can grow is said before it is made, wherever the run was started from."""

import pytest

from rllib_reborn.algorithms.qmix import QMIX
from rllib_reborn.algorithms.value_factorization import setup
from rllib_reborn.replay import EpisodeReplay, ReplayMemoryError, episode_replay, format_bytes
from tests.algorithms.helpers import WALK, quick

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("log_level", ["WARN", "ERROR"])
def test_the_size_is_printed_before_the_replay_is_made(log_level, capsys, monkeypatch):
    printed = []

    class Recorded(EpisodeReplay):
        def __init__(self, *args, **kwargs):
            printed.append(capsys.readouterr().err)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(setup, "EpisodeReplay", Recorded)
    config = quick(env=WALK) if log_level == "WARN" else quick(env=WALK).debugging(log_level=log_level)
    algorithm = config.build_algo()
    line = f"Replay: 64 episodes of up to 6 steps, at most {format_bytes(algorithm.replay.largest_nbytes)}.\n"
    assert len(printed) == 1
    assert printed[0].count(line) == (log_level == "WARN")
    assert "Replay:" not in capsys.readouterr().err
    algorithm.stop()


def test_a_replay_that_does_not_fit_is_refused_with_advice_and_leaves_nothing_behind(monkeypatch):
    stopped = []
    cleanup = QMIX.cleanup
    monkeypatch.setattr(QMIX, "cleanup", lambda algorithm: (stopped.append(algorithm), cleanup(algorithm)))
    monkeypatch.setattr(episode_replay, "available_memory", lambda: 1000)
    with pytest.raises(ReplayMemoryError, match="buffer_episodes to at most"):
        quick(env=WALK).build_algo()
    assert len(stopped) == 1
