"""Waiting for remote runners of which none is alive."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rllib_reborn.runtime.remote_sampling import RemoteSampling, WaitGivenUpError


class DeadRunners:
    """What RLlib's group answers where all runners are being restarted."""

    def foreach_env_runner(self, *args: Any, **kwargs: Any) -> list[Any]:
        return []

    foreach_env_runner_async_fetch_ready = foreach_env_runner

    def num_healthy_remote_env_runners(self) -> int:
        return 0

    def num_remote_env_runners(self) -> int:
        return 2


@pytest.mark.parametrize("sampling", ["sync", "async"])
def test_it_is_given_up_where_nobody_wants_to_wait(sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_reborn.runtime.remote_sampling._IDLE_WAIT_S", 0.0)
    remote = RemoteSampling(SimpleNamespace(sampling=sampling, sample_timeout_s=1.0), DeadRunners())  # type: ignore[arg-type]
    wanted = [True]
    assert remote.collect({}) == []
    remote.wait_only_while(lambda: wanted[0])
    assert remote.collect({}) == []
    wanted[0] = False
    with pytest.raises(WaitGivenUpError):
        remote.collect({})
