"""How long does one learner update take, beside the PyMARL-style way and beside the bare maths?

Each row times, in turn in one process with one thread:

- ours: ``Learner.update`` on a replay sample, everything included (tensor conversion, RLlib's bookkeeping);
- ``reference``: :mod:`benchmarks.pymarl_style`, what PyMARL-like programs do, on its own ready-made batch;
- ``limit``: the same maths as ours without RLlib: forward, backward, clipping, optimizer.

``peak_mb`` is the resident memory that two updates in a fresh process take at most, beyond what is there before them.

Where there is a GPU, each row has one ``.../gpu`` beside it: the same works with the networks there, in milliseconds of wall
time until the GPU has done everything, with moving the batch from the host's memory; ``peak_mb`` is of the GPU's memory.

The row ``.../two_learners`` compares updates per second of wall time of two learner processes with one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.common import interleaved, main, peak_mb

import torch  # isort: skip  (after the thread settings of benchmarks.common)

from benchmarks.pymarl_style import PyMARLStyleLearner
from benchmarks.pymarl_style_dmix import PyMARLStyleDMIX
from benchmarks.pymarl_style_iql import PyMARLStyleIQL
from benchmarks.pymarl_style_qplex import PyMARLStyleQPLEX
from benchmarks.pymarl_style_resq import PyMARLStyleResQ
from benchmarks.pymarl_style_rmix import PyMARLStyleRMIX
from benchmarks.pymarl_style_vdn import PyMARLStyleVDN
from benchmarks.pymarl_style_wqmix import PyMARLStyleWQMIX
from benchmarks.synthetic import packed, synthetic_batch
from rllib_reborn import DMIXConfig, IQLConfig, QMIXConfig, QPLEXConfig, ResQConfig, RMIXConfig, VDNConfig, WQMIXConfig
from rllib_reborn.algorithms import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.captured_updates import WARM_UPS
from rllib_reborn.algorithms.value_factorization.learner import flushed_denormals, global_norm, guarded_step
from rllib_reborn.algorithms.value_factorization.learner_updates import Update, learner_batches, run_updates
from rllib_reborn.replay import ReplaySample
from rllib_reborn.runtime.spaces import team_spaces

#: name -> episodes, horizon, agents, actions, obs, state: classic stag hunt 10x10 8v8, and MPE simple_spread.
SHAPES = {"32x200x8": (32, 200, 8, 6, 75, 300), "32x25x3": (32, 25, 3, 5, 18, 54)}
#: Updates between two looks at the clock where processes take turns: a learner that slept has to wake up first, and in
#: training it does not sleep.
UPDATES_IN_A_ROW = 10
#: Algorithm -> its config, and what PyMARL-like programs do for the same update: called with the sizes n, A, d, s; None: not
#: written yet.
ALGORITHMS: dict[str, tuple[type[ValueFactorizationConfig], Callable[..., Any] | None]] = {
    "dmix": (DMIXConfig, PyMARLStyleDMIX),
    "iql": (IQLConfig, PyMARLStyleIQL),
    "qmix": (QMIXConfig, PyMARLStyleLearner),
    "qplex": (QPLEXConfig, PyMARLStyleQPLEX),
    "rmix": (RMIXConfig, PyMARLStyleRMIX),
    "resq": (ResQConfig, PyMARLStyleResQ),
    "vdn": (VDNConfig, PyMARLStyleVDN),
    "wqmix": (WQMIXConfig, PyMARLStyleWQMIX),
}
CLOCK = {"num_env_steps_sampled_lifetime": 0, "num_episodes_lifetime": 0}


def config_of(config_class: type[ValueFactorizationConfig], shape: str) -> ValueFactorizationConfig:
    episodes, horizon, n_agents, n_actions, obs_dim, state_dim = SHAPES[shape]
    sizes = {"n_agents": n_agents, "n_actions": n_actions, "obs_dim": obs_dim, "state_dim": state_dim}
    return (
        config_class()
        .environment("benchmarks.shapes:Shape", env_config={**sizes, "episode_limit": horizon})
        .training(batch_episodes=episodes)
        .debugging(seed=0)
    )


def padded_of(shape: str, lengths: Any) -> dict[str, Any]:
    episodes, horizon, n_agents, n_actions, obs_dim, state_dim = SHAPES[shape]
    dtype: Any = "uint8" if shape == "32x200x8" else "float32"
    return synthetic_batch(
        episodes, horizon, n_agents, n_actions, obs_dim, state_dim, lengths=lengths, obs_dtype=dtype, state_dtype=dtype
    )


def sample_of(shape: str, lengths: Any) -> ReplaySample:
    block = packed(padded_of(shape, lengths))
    return ReplaySample(block, indices=block.lengths.astype("int64"))


class OneProcess:
    """One row's works, ready to be timed: ``ours``, ``limit``, and ``reference`` where there is one."""

    def __init__(self, algorithm: str, shape: str, lengths: str, device: str = "cpu") -> None:
        torch.set_num_threads(1)
        config_class, make_reference = ALGORITHMS[algorithm]
        self.device = torch.device(device)
        self.config = config_of(config_class, shape).learners(num_gpus_per_learner=int(self.device.type == "cuda"))
        self.sample = sample_of(shape, lengths)
        spec = self.config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(self.config.team_spec)})
        learner_class = self.config.get_default_learner_class()
        self.learner = learner_class(config=self.config, module_spec=spec)
        self.learner.build()
        self.module = self.learner.module["default_policy"]
        self.optimizer = self.learner.get_optimizer("default_policy")
        (batch,) = learner_batches(self.sample, 1)
        self.host_tensors = {name: torch.from_numpy(array) for name, array in batch["default_policy"].items()}
        self.works: dict[str, Callable[[], object]] = {"ours": self.ours, "limit": self.limit}
        if make_reference is not None:
            reference = make_reference(*SHAPES[shape][2:])
            reference.to(self.device)
            batch = reference.prepare(padded_of(shape, lengths))
            self.works["reference"] = lambda: reference.update(batch.to(self.device))

    def ours(self) -> None:
        (batch,) = learner_batches(self.sample, 1)
        self.learner.update(batch=batch, timesteps=CLOCK, scalars_only=True)

    @flushed_denormals()
    def limit(self) -> None:
        tensors = {name: tensor.to(self.device) for name, tensor in self.host_tensors.items()}
        out = self.module._forward_train(tensors)
        loss = self.learner.compute_loss_for_module(
            module_id="default_policy", config=self.config, batch=tensors, fwd_out=out
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        guarded_step(self.optimizer, global_norm(gradients), self.config.grad_clip)


def _peak_of(algorithm: str, shape: str, lengths: str, work: str) -> float:
    """Peak memory of one work's first two updates, in MB; to be called in a fresh process."""
    update = OneProcess(algorithm, shape, lengths).works[work]
    return peak_mb(lambda: (update(), update()))


def _times(seconds: dict[str, float], unit: str) -> dict[str, float]:
    """A row's milliseconds, ours under the name ``unit``, and ratios."""
    times = {unit: 1e3 * seconds["ours"]}
    for other in ("limit", "reference"):
        if other in seconds:
            times |= {other: 1e3 * seconds[other], f"ratio_to_{other}": seconds["ours"] / seconds[other]}
    return times


def one_process(algorithm: str, shape: str, lengths: str, repeats: int) -> dict[str, Any]:
    works = OneProcess(algorithm, shape, lengths).works
    seconds = interleaved(repeats, clock=time.process_time, **works)
    row: dict[str, Any] = {
        "shape": shape,
        **_times(seconds, "cpu_ms"),
        "threads": 1,
        "repeats": repeats,
    }
    # Forked one by one from a process that has imported everything and computed nothing.
    with multiprocessing.get_context("forkserver").Pool(1, maxtasksperchild=1) as fresh:
        row["peak_mb"] = fresh.apply(_peak_of, (algorithm, shape, lengths, "ours"))
        if "reference" in works:
            row["reference_peak_mb"] = fresh.apply(_peak_of, (algorithm, shape, lengths, "reference"))
    return row


def on_gpu(algorithm: str, shape: str, lengths: str, repeats: int) -> dict[str, Any]:
    """As :func:`one_process`, on a GPU and by its clock."""
    works = OneProcess(algorithm, shape, lengths, "cuda").works

    def finished(work: Callable[[], object]) -> None:
        work()
        torch.cuda.synchronize()

    row: dict[str, Any] = {"shape": shape, "device": torch.cuda.get_device_name(), "threads": 1, "repeats": repeats}
    for name, work in works.items():
        for _ in range(WARM_UPS + 2):  # what is made once, the graph of an update too, and the libraries' own memory
            finished(work)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        finished(work)
        row[{"ours": "peak_mb"}.get(name, f"{name}_peak_mb")] = (torch.cuda.max_memory_allocated() - before) / 2**20
    timed = {name: partial(finished, work) for name, work in works.items()}
    seconds = interleaved(repeats, clock=time.perf_counter, **timed)
    return row | _times(seconds, "wall_ms")


def _in_a_row(group: Any, update: Update) -> None:
    for _ in run_updates(group, (update for _ in range(UPDATES_IN_A_ROW))):
        pass


def two_learners(shape: str, repeats: int) -> dict[str, Any]:
    """Updates per second of wall time: one learner in this process, one in a process of its own, and two."""
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        works = {}
        groups = []
        for count in (0, 1, 2):
            config = config_of(QMIXConfig, shape).learners(num_learners=count)
            group = config.build_learner_group(spaces={"default_policy": team_spaces(config.team_spec)})
            groups.append(group)
            update = Update(learner_batches(sample_of(shape, "full"), max(1, count)), CLOCK, 0)
            works[str(count)] = partial(_in_a_row, group, update)
        # In turn and by the median, as every other row: what else the machine does meets all three alike.
        seconds = interleaved(repeats, clock=time.perf_counter, **works)
        rates = {count: UPDATES_IN_A_ROW / seconds[str(count)] for count in (0, 1, 2)}
        for group in groups:
            group.shutdown()
    finally:
        ray.shutdown()
    return {
        "shape": shape,
        "updates_per_s": rates[2],
        "one_learner_updates_per_s": rates[0],
        "one_remote_learner_updates_per_s": rates[1],
        "ratio_to_one_learner": rates[2] / rates[0],
        "threads": 1,
        "repeats": repeats,
    }


ROWS = {
    f"{name}/{shape}/{lengths}": partial(one_process, name, shape, lengths)
    for name in ALGORITHMS
    for shape in SHAPES
    for lengths in (("full", "variable") if shape == "32x200x8" else ("full",))
}
if torch.cuda.is_available():
    ROWS |= {
        f"{name}/{shape}/{lengths}/gpu": partial(on_gpu, name, shape, lengths)
        for name, shape, lengths in (row.split("/") for row in list(ROWS))
    }
ROWS["qmix/32x200x8/two_learners"] = partial(two_learners, "32x200x8")

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["benchmarks.learner"])
    main(__doc__ or "", ROWS, repeats=9)
