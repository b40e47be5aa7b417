"""Training processes, and SIGKILLs to parts of them at random moments."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

REPOSITORY = Path(__file__).parents[2]
#: A run that has lost a part must go on or end within this time, a busy machine included.
LIMIT_S = 240.0
#: Ray's own agents look for their raylet for a minute before they end.
LEFT_BEHIND_S = 120.0
_MARK = "RLLIB_REBORN_KILLS"
_TITLES = {
    "runner": "ray::TeamEnvRunner",
    "evaluation runner": "ray::TeamEnvRunner",
    "learner": "ray::_WrappedExecutable",
}
#: A checkpoint with all its state every 200 env steps; batches of 4 episodes.
SETTINGS = (
    "resources.num_envs_per_env_runner=4",
    "training.learning_starts_episodes=4",
    "training.batch_episodes=4",
    "training.buffer_episodes=200",
    "training.updates_per_episode=0.25",
    "evaluation.interval_env_steps=400",
    "evaluation.episodes=8",
    "evaluation.final_episodes=400",
    "checkpoint.interval_env_steps=200",
    "checkpoint.keep=2",
    "checkpoint.replay=full",
    "logging.report_interval_env_steps=100",
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of runs to kill.

    Attributes:
        settings: Beside :data:`SETTINGS`.
        victims: What is killed: ``driver``, ``runner``, ``evaluation runner``, ``learner``, ``game``, ``raylet``; the driver
            inside a ``save`` or the ``final evaluation``.
        env: The environment.
        is_exact: Whether what is killed costs nothing but time: the run is equal to an uninterrupted one to the bit.
    """

    settings: tuple[str, ...]
    victims: tuple[str, ...]
    env: str = "matrix/two_step"
    is_exact: bool = False


class Run:
    """One run folder, and the process that trains in it, started again and again.

    Args:
        kind: Which run.
        folder: For the run, Ray's files and temporary ones.
        env_steps: Where it ends.
    """

    def __init__(self, kind: Kind, folder: Path, env_steps: int) -> None:
        self.out = folder / "run"
        self.env_steps = env_steps
        self._temporary = folder / "tmp"
        self._temporary.mkdir(parents=True)
        self._log = folder / "log.txt"
        # Ray's sockets need a short path.
        self._ray_folder = Path(f"/tmp/rk{uuid.uuid4().hex[:8]}")
        self._ray_folder.mkdir(mode=0o700)
        self._mark = uuid.uuid4().hex
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_A")} | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self._ray_folder),
            "RAY_memory_monitor_refresh_ms": "0",
            "TMPDIR": str(self._temporary),
            "OMP_NUM_THREADS": "1",
            _MARK: self._mark,
        }
        self._command = [
            *(sys.executable, "-m", "rllib_reborn", "train", f"{kind.env}/qmix", *SETTINGS, *kind.settings),
            *(f"stop.env_steps={env_steps}", "--out", str(self.out), "--resume", "auto", "--quiet"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it unless it runs."""
        if self.is_running:
            return
        self.starts += 1
        with self._log.open("ab") as file:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, env=self._env, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        return (self.out / "final_evaluation.json").exists() and not self.is_running

    def wait(self) -> int:
        """The exit status, once the process has ended."""
        assert self._process is not None
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {LIMIT_S:g} s:\n{self.printed()[-3000:]}") from None

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def lines(self) -> int:
        """Whole rows."""
        path = self.out / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]

    def until(self, found: Callable[[], object]) -> bool:
        """Look until ``found()``; False where the process has ended before."""
        end = time.monotonic() + LIMIT_S
        while not found():
            if not self.is_running:
                return False
            assert time.monotonic() < end, f"nothing new for {LIMIT_S:g} s:\n{self.printed()[-3000:]}"
            time.sleep(0.003)
        return True

    def kill(self, victim: str) -> bool:
        """SIGKILL; whether there was something to be killed."""
        assert self._process is not None
        if victim in ("driver", "save", "final evaluation"):
            self._process.kill()
            self._process.wait()
            return True
        found = self._processes(victim)
        if not found:
            return False
        os.kill(random.Random(self.starts).choice(found).pid, signal.SIGKILL)
        return True

    def _processes(self, victim: str) -> list[psutil.Process]:
        assert self._process is not None
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                line = " ".join(process.cmdline())
                is_one = {"raylet": process.name() == "raylet", "game": "multiprocessing" in line and "spawn" in line}
                if is_one.get(victim, line.startswith(_TITLES.get(victim, "\0"))):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def listening_on(self) -> set[str]:
        """Addresses on which any of its processes listens."""
        assert self._process is not None
        driver = psutil.Process(self._process.pid)
        return {
            connection.laddr.ip.removeprefix("::ffff:")
            for process in [driver, *driver.children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

    @property
    def is_saving(self) -> bool:
        """Whether a checkpoint is being written."""
        folder = self.out / "checkpoints"
        return folder.exists() and any(path.name.startswith(".unfinished") for path in folder.iterdir())

    @property
    def is_evaluating_at_the_end(self) -> bool:
        path = self.out / "metrics.jsonl"
        if not path.exists() or (self.out / "final_evaluation.json").exists():
            return False
        lines = path.read_text().split("\n")[:-1]
        return bool(lines) and json.loads(lines[-1])["env_steps"] >= self.env_steps

    def left_behind(self) -> list[str]:
        """Processes, and files in temporary folders, once Ray's own have had the time to end."""
        end = time.monotonic() + LEFT_BEHIND_S
        while time.monotonic() < end and self._marked():
            time.sleep(0.5)
        # PyTorch keeps an empty folder for what it compiles.
        names = [path.name for path in self._temporary.iterdir() if not path.name.startswith("torchinductor")]
        return [*self._marked(), *names]

    def _marked(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        """Kill what is left, and delete Ray's folder."""
        for line in self._marked():
            try:
                os.kill(int(line.split()[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._process is not None:
            self._process.wait(30)
        shutil.rmtree(self._ray_folder, ignore_errors=True)

    def weights(self) -> dict[str, Any]:
        """Of the newest checkpoint."""
        newest = sorted((self.out / "checkpoints").iterdir())[-1]
        state = newest / "learner_group" / "learner" / "rl_module" / "default_policy" / "module_state.pkl"
        found: dict[str, Any] = pickle.loads(state.read_bytes())
        return found


def train_to_the_end(run: Run) -> None:
    """Without a kill."""
    run.start()
    assert run.wait() == 0, run.printed()[-3000:]
    assert run.has_ended


def kill_again_and_again(run: Run, kind: Kind, kills: int, rng: random.Random) -> Counter[str]:
    """``kills`` SIGKILLs at random moments, each followed by the same command where the process has ended of it; then to the
    end. Returns how many of each victim."""
    done: Counter[str] = Counter()
    order = [kind.victims[at % len(kind.victims)] for at in range(kills)]
    rng.shuffle(order)
    order.sort(key=lambda victim: victim == "final evaluation")  # there is nothing to train after it
    for victim in order:
        run.start()
        if not _wait_for_the_moment(run, victim, rng):
            continue  # it ended, by what was killed before or by itself
        if run.kill(victim):
            done[victim] += 1
            print(f"{sum(done.values())}: {victim} after {run.lines()} rows", flush=True)
            _wait_until_it_goes_on_or_ends(run)
    for _ in range(3):
        run.start()
        run.wait()
        if run.has_ended:
            break
    assert run.has_ended, run.printed()[-3000:]
    return done


def _wait_for_the_moment(run: Run, victim: str, rng: random.Random) -> bool:
    if victim == "final evaluation":
        found = run.until(lambda: run.is_evaluating_at_the_end)
        time.sleep(0.2 * rng.random())
        return found and run.is_running
    least = run.lines() + rng.randint(1, 3)
    if not run.until(lambda: run.lines() >= least):
        return False
    if victim == "save":
        return run.until(lambda: run.is_saving)
    time.sleep(0.3 * rng.random())
    return run.is_running


def _wait_until_it_goes_on_or_ends(run: Run) -> None:
    least = run.lines() + 1
    run.until(lambda: run.lines() >= least)


def check_rows(run: Run, episode_steps: int | None) -> None:
    """Each iteration in one row; counters only rise, and fit each other.

    Args:
        run: One at its end.
        episode_steps: Env steps of each episode, where they are equally long.
    """
    rows = run.rows()
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    for name in ("env_steps", "episodes", "updates", "faults/episodes_dropped", "faults/runner_restarts"):
        values = [row[name] for row in rows]
        assert values == sorted(values), (name, values)
    last = rows[-1]
    assert last["env_steps"] >= run.env_steps
    final = json.loads((run.out / "final_evaluation.json").read_text())
    assert final["env_steps"] == last["env_steps"]
    assert not (run.out / "error.txt").exists(), (run.out / "error.txt").read_text()
    if episode_steps is not None:
        unfinished = last["env_steps"] - episode_steps * last["episodes"]
        running = 4 * 3
        assert 0 <= unfinished <= episode_steps * (running + last["faults/episodes_dropped"]), last
    # A quarter of an update an episode from the first on.
    assert abs(last["updates"] - 0.25 * last["episodes"]) <= 0.25 * 64 + 1, last


def check_folder(run: Run) -> None:
    """Nothing half written, and no more checkpoints than are kept."""
    names = [path.name for path in run.out.rglob("*")]
    assert not [name for name in names if "tmp" in name or name.startswith((".unfinished", ".discarded"))], names
    assert len(list((run.out / "checkpoints").iterdir())) == 2


def check_equal(run: Run, reference: Run) -> None:
    """Rows (times and sizes of processes aside), weights and the final evaluation are the same."""

    def shown(one: Run) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))} for row in one.rows()
        ]

    assert shown(run) == shown(reference)
    mine, other = run.weights(), reference.weights()
    assert mine.keys() == other.keys()
    assert all(np.array_equal(np.asarray(mine[name]), np.asarray(other[name])) for name in mine)
    name = "final_evaluation.json"
    assert (run.out / name).read_text() == (reference.out / name).read_text()
