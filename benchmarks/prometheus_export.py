"""What does the export to Prometheus cost? CPU seconds of the process that trains (user and system).

- ``iteration``: QMIX on ``predator_prey/small`` with ReBorn, dormancy and drift, learning and sampling in one process on a
  Ray of its own. CPU in which gauges are set (by the export's thread, and where a row comes on the thread that trains) over
  that of the whole process, all threads, while it trains; what one round of all gauges takes, and how many series.
- ``idle_process``: the process does nothing else: its CPU in a second with every gauge that there is, and without any, Ray's
  own threads that send gauges to the node's agent included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import cpu_seconds, main

import ray  # isort: skip  (after the thread settings of benchmarks.common)

from rllib_reborn.experiments import listeners, run
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.experiments.own_ray import listening_on_localhost, own_ray_options
from rllib_reborn.monitoring import RunFacts
from rllib_reborn.monitoring.metrics_table import METRICS, samples
from rllib_reborn.monitoring.prometheus import PrometheusExport, RunTags

OVERRIDES = (
    "logging.prometheus=true",
    "logging.report_interval_env_steps=2400",
    "evaluation.final_episodes=1",
    "interventions=[{kind: reborn, every: 2400, alpha: 0.1, beta: 3.0, scope: mixer, drift_updates: [1, 10]}]",
    "stop.time_s=null",
)
IDLE_S = 15.0


class MeasuredExport(PrometheusExport):
    """The export, which counts its own CPU seconds and rounds."""

    cpu_s = 0.0
    rounds = 0
    series = 0

    def refresh(self) -> int:
        start = time.thread_time()
        MeasuredExport.series = super().refresh()
        MeasuredExport.cpu_s += time.thread_time() - start
        MeasuredExport.rounds += 1
        return MeasuredExport.series

    def on_iteration(self, row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        start = time.thread_time()
        super().on_iteration(row, events)
        MeasuredExport.cpu_s += time.thread_time() - start


class _Silent:
    """An observer that shows nothing."""

    def on_row(self, row: dict[str, Any]) -> None: ...

    def on_checkpoint(self, path: Path) -> None: ...

    def on_wait(self, reason: str) -> None: ...


def iteration(repeats: int) -> dict[str, Any]:
    listeners.PrometheusExport = MeasuredExport  # type: ignore[misc]
    experiment = load_experiment("predator_prey/small/qmix_quick", [*OVERRIDES, f"stop.env_steps={2400 * repeats}"])
    with tempfile.TemporaryDirectory() as folder:
        prepared = run.prepare_run(experiment, out=Path(folder) / "run")
        with run.open_run(prepared, _Silent()) as opened, Interruption() as interruption:
            begin = time.perf_counter()
            seconds = cpu_seconds(lambda: opened.loop.run(interruption))
            wall = time.perf_counter() - begin
            rows = opened.loop.position.iteration
            export_s, rounds = MeasuredExport.cpu_s, MeasuredExport.rounds
    return {
        "share_of_cpu": export_s / seconds,
        "export_cpu_s": export_s,
        "cpu_s": seconds,
        "wall_s": wall,
        "iterations": rows,
        "us_a_round": 1e6 * export_s / rounds,
        "rounds": rounds,
        "series": MeasuredExport.series,
    }


def idle_process(repeats: int) -> dict[str, Any]:
    with listening_on_localhost():
        ray.init(**own_ray_options(1, {}, dashboard=False), logging_level="ERROR", log_to_driver=False)
    numbers = {one.source.replace("*", tag): 1.0 for one in METRICS for tag in ("1", "2")}
    export = PrometheusExport(RunTags("/runs/x", "QMIX", "predator_prey/small"), 1)
    try:
        without = cpu_seconds(lambda: time.sleep(IDLE_S))
        export.on_start(RunFacts(Path("/runs/x"), {}, "QMIX", "predator_prey/small", 0))
        export.on_iteration(numbers, [])
        with_all = cpu_seconds(lambda: time.sleep(IDLE_S))
    finally:
        export.close()
        ray.shutdown()
    return {
        "ms_a_second": 1e3 * with_all / IDLE_S,
        "ms_a_second_without": 1e3 * without / IDLE_S,
        "series": len(samples(numbers)),
    }


ROWS = {"iteration": iteration, "idle_process": idle_process}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=10)
