"""How large the replay can grow is said before it is made, wherever the run was started from."""

import pytest

from rllib_reborn.algorithms.value_factorization import value_factorization
from rllib_reborn.replay import EpisodeReplay, format_bytes
from tests.algorithms.helpers import WALK, quick

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("log_level", ["WARN", "ERROR"])
def test_the_size_is_printed_before_the_replay_is_made(log_level, capsys, monkeypatch):
    said = []

    class Recorded(EpisodeReplay):
        def __init__(self, *args, **kwargs):
            said.append(capsys.readouterr().err)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(value_factorization, "EpisodeReplay", Recorded)
    config = quick(env=WALK) if log_level == "WARN" else quick(env=WALK).debugging(log_level=log_level)
    algorithm = config.build_algo()
    line = f"Replay: 64 episodes of up to 6 steps, at most {format_bytes(algorithm.replay.largest_nbytes)}.\n"
    assert len(said) == 1
    assert said[0].count(line) == (log_level == "WARN")
    assert "Replay:" not in capsys.readouterr().err
    algorithm.stop()
