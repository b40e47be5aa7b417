"""The Ray that test modules hand on to each other is whole, or a new one."""

from __future__ import annotations

import pytest

from tests import shared_ray

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def test_an_actor_that_was_left_behind_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Left:
        def ready(self) -> bool:
            return True

    left = ray.remote(num_cpus=1)(Left).remote()
    assert ray.get(left.ready.remote())
    monkeypatch.setattr(shared_ray, "PATIENCE_S", 0.5)
    assert not shared_ray.is_idle()
    monkeypatch.undo()
    del left
    assert shared_ray.is_idle()


@pytest.mark.long
def test_a_ray_of_another_size_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    before = ray.get_runtime_context().get_node_id()
    shared_ray.start()
    assert ray.get_runtime_context().get_node_id() == before
    monkeypatch.setattr(shared_ray, "CPUS", shared_ray.CPUS + 1)
    shared_ray.start()
    assert ray.get_runtime_context().get_node_id() != before
    assert ray.cluster_resources()["CPU"] == shared_ray.CPUS
