"""Everything that only a GPU can show, in one run of at most 8 minutes: ``python -m benchmarks.gpu_job --out FOLDER``.

Each part runs in a process of its own with a time limit, so that one that fails or hangs costs the others nothing. FOLDER
gets ``results.jsonl``, a line for each row as soon as it is measured and one for each part at its end (``status``: done,
failed, out of time), and ``log.txt``, what the parts printed. Milliseconds are of wall time, until the GPU has done it all.

- ``facts``: versions, the GPU, its driver, cores;
- ``updates``: for each algorithm and shape an update as a CUDA graph (``graph_ms``; ``replay_ms`` of it the graph itself,
  ``load_ms`` padding and copying the batch), padded and packed without one, and the PyMARL-style reference in the same run;
  and from drawing a batch to the end of its update, with ``training.replay_device`` off (``from_host_ms``) and auto
  (``from_mirror_ms``; ``mirror_ms`` is what it costs that to take in a block of as many episodes as a batch has);
- ``tests``: ``pytest -m cuda``;
- ``run``: ``train predator_prey/small/qmix`` with ``configs/resources/gpu.yaml``, for as long as there is time; what
  1,000,000 env steps take is extrapolated from the second half, and says so;
- ``equality``: how far 8 updates on the GPU end from those on the CPU, as a share of the way that weights have gone;
- ``trials``: updates per second of one process, and of four that share the GPU.

``--device cpu --small`` does a little of everything on the CPU, without graphs: to try the script, its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

#: Env steps of the run that is timed.
RUN_STEPS = 1_000_000
TRIALS = 4


class Part(NamedTuple):
    """What is measured: gives rows, is called with the command line; and the seconds it may take at most."""

    rows: Callable[[argparse.Namespace], Iterator[Row]]
    seconds: float


def facts(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    row: Row = {"python": sys.version.split()[0], "torch": torch.__version__, "cores": os.cpu_count()}
    if torch.cuda.is_available():
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        row |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "driver": driver}
        row["cudnn"] = torch.backends.cudnn.version()
    yield row


# ---------------------------------------------------------------------- updates


def _modes(works: Any) -> dict[str, Any]:
    """What a learner's ``captured`` is in each mode."""
    from rllib_reborn.algorithms.value_factorization.captured_updates import CapturedUpdates, cuda_graph, uncaptured

    found: dict[str, Any] = {"packed": None, "padded": CapturedUpdates(works.learner, uncaptured)}
    return {"graph": CapturedUpdates(works.learner, cuda_graph), **found} if works.device.type == "cuda" else found


def _finished(device: str, work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes until the device has done it."""
    import torch

    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _median_ms(device: str, repeats: int, work: Callable[[], object]) -> float:
    return 1e3 * statistics.median(_finished(device, work) for _ in range(repeats))


def updates(arguments: argparse.Namespace) -> Iterator[Row]:
    from benchmarks.learner import ALGORITHMS, SHAPES

    names = ["qmix", *(name for name in ALGORITHMS if name != "qmix")]
    qmix: dict[str, float] = {}
    for name in names[:1] if arguments.small else names:
        for shape in ["32x25x3"] if arguments.small else SHAPES:
            row = _update_row(name, shape, arguments)
            best: float = row["graph_ms" if "graph_ms" in row else "packed_ms"]
            qmix.setdefault(shape, best)
            yield row | {"ratio_to_reference": best / row["reference_ms"], "ratio_to_qmix": best / qmix[shape]}


def _update_row(name: str, shape: str, arguments: argparse.Namespace) -> Row:
    from benchmarks.learner import OneProcess, learner_batches
    from rllib_reborn.algorithms.value_factorization.captured_updates import WARM_UPS, uncaptured

    device, repeats = arguments.device, 2 if arguments.small else 15
    works = OneProcess(name, shape, "full", device)
    row: Row = {"algorithm": name, "shape": shape, "repeats": repeats}
    for mode, captured in _modes(works).items():
        works.learner.captured = captured
        for _ in range(1 if mode == "packed" or arguments.small else WARM_UPS + 2):
            works.ours()
        row[f"{mode}_ms"] = _median_ms(device, repeats, works.ours)
        if captured is not None:
            (batch,) = learner_batches(works.sample, 1)
            row["load_ms"] = _median_ms(device, repeats, partial(captured.load, batch))
        if mode == "graph":
            row["captured"] = captured.capture is not uncaptured
            row["replay_ms"] = _median_ms(device, repeats, next(iter(captured.replays.values())))
    row |= _by_replay_device(works, repeats)
    reference = works.works["reference"]
    reference()
    row["reference_ms"] = _median_ms(device, 1 if arguments.small else 3, reference)
    return row


def _by_replay_device(works: Any, repeats: int) -> Row:
    from benchmarks.learner import CLOCK, learner_batches
    from rllib_reborn.algorithms.value_factorization.captured_updates import WARM_UPS
    from rllib_reborn.algorithms.value_factorization.replay_mirror import ReplayMirror
    from rllib_reborn.replay import EpisodeReplay

    block, learner, device = works.sample.block, works.learner, works.device.type
    layout = {name: (array.shape[1:], array.dtype) for name, array in block.fields.items()}
    replay = EpisodeReplay(8 * len(block), layout, int(block.lengths.max()), seed=0)
    for _ in range(8):
        replay.add(block)
    mirror = learner.replay_mirror = ReplayMirror(replay, learner.device)
    learner.captured = next(iter(_modes(works).values()))

    def update(source: Any) -> None:
        (batch,) = learner_batches(source.sample(len(block)), 1)
        learner.update(batch=batch, timesteps=CLOCK, scalars_only=True)

    row: Row = {}
    for name, source in (("from_host_ms", replay), ("from_mirror_ms", mirror)):
        for _ in range(WARM_UPS + 2):
            update(source)
        row[name] = _median_ms(device, repeats, partial(update, source))
    taken = []
    for _ in range(repeats):
        replay.add(block)
        taken.append(_finished(device, mirror.catch_up))
    return row | {"mirror_ms": 1e3 * statistics.median(taken)}


def equality(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    from benchmarks.learner import ALGORITHMS, OneProcess

    def weights(works: Any) -> torch.Tensor:
        return torch.cat([p.detach().double().flatten().cpu() for p in works.module.parameters()])

    for name in ["qmix"] if arguments.small else ALGORITHMS:
        ends, began = [], None
        for device in ("cpu", arguments.device):
            torch.manual_seed(0)
            works = OneProcess(name, "32x25x3", "full", device)
            before = weights(works)
            began = before if began is None else began
            if device != "cpu":
                works.learner.captured = _modes(works)["graph"]
            for _ in range(2 if arguments.small else 8):
                works.ours()
            ends.append(weights(works))
        assert began is not None
        way = float((ends[0] - began).norm())
        row = {"algorithm": name, "same_start": bool(torch.equal(began, before))}
        yield row | {"apart": float((ends[1] - ends[0]).norm()) / way}


# ---------------------------------------------------------------------- other processes


def tests(arguments: argparse.Namespace) -> Iterator[Row]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-m",
        "cuda",
        "tests/algorithms",
        "tests/nets",
    ]
    if arguments.small:
        command.append("--collect-only")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := re.match(r"(\S+::\S+)\s+(PASSED|FAILED|ERROR|SKIPPED)", line):
                yield {"test": found[1], "outcome": found[2].lower()}
            elif " passed" in line or " failed" in line or " skipped" in line or " collected" in line:
                yield {"summary": line.strip(" =\n")}


def trial(arguments: argparse.Namespace) -> Iterator[Row]:
    """One of several processes that share the GPU; begins at a second that all know."""
    from benchmarks.learner import OneProcess

    works = OneProcess("qmix", "32x25x3", "full", arguments.device)
    if arguments.device == "cuda":
        works.learner.captured = _modes(works)["graph"]
    for _ in range(1 if arguments.small else 10):
        works.ours()
    time.sleep(max(0.0, arguments.begin - time.time()))
    late, count, start = time.time() - arguments.begin, 0, time.perf_counter()
    while time.perf_counter() - start < arguments.lasts:
        works.ours()
        count += 1
    yield {"updates_per_s": count / (time.perf_counter() - start), "late_s": late}


def trials(arguments: argparse.Namespace) -> Iterator[Row]:
    lasts, lead = (0.2, 0.0) if arguments.small else (8.0, 18.0)
    for count in (1,) if arguments.small else (1, TRIALS):
        own = ["--begin", str(time.time() + lead), "--lasts", str(lasts)]
        running = [
            subprocess.Popen([*_command(arguments, "trial"), *own], stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        answers = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
        rates = [answer["updates_per_s"] for answer in answers]
        yield {
            "processes": count,
            "updates_per_s": sum(rates),
            "each": rates,
            "late_s": max(a["late_s"] for a in answers),
        }


def run(arguments: argparse.Namespace) -> Iterator[Row]:
    name = "predator_prey/small/qmix_quick" if arguments.small else "predator_prey/small/qmix"
    seconds = 3.0 if arguments.small else max(20.0, arguments.left - 35.0)
    with tempfile.TemporaryDirectory() as folder:
        train = [
            "train",
            name,
            "--out",
            f"{folder}/run",
            f"stop.time_s={seconds}",
            f"stop.env_steps={RUN_STEPS}",
            "seed=0",
        ]
        if arguments.device == "cuda":
            train += ["--resources", "gpu"]
        main_of_package = "from rllib_reborn.cli.main import main; raise SystemExit(main())"
        code = subprocess.run([sys.executable, "-c", main_of_package, *train], check=False).returncode
        found = sorted(Path(folder).rglob("metrics.jsonl"))
        if not found:
            raise RuntimeError(f"train ended with {code} and wrote no metrics; see log.txt.")
        yield {"exit_code": code, **timed_run([json.loads(line) for line in found[0].read_text().splitlines()])}


def timed_run(rows: list[Row]) -> Row:
    """How long ``RUN_STEPS`` env steps take, from rows of ``metrics.jsonl``: as measured where a run has made them, else
    extrapolated from the second half of its rows."""
    last, middle = rows[-1], rows[len(rows) // 2]
    found = {name: last[name] for name in ("env_steps", "updates", "time/total_s")}
    if last["env_steps"] >= RUN_STEPS:
        return found | {"extrapolated": False, "seconds_of_1m": last["time/total_s"]}
    steps, seconds = last["env_steps"] - middle["env_steps"], last["time/total_s"] - middle["time/total_s"]
    if steps <= 0 or seconds <= 0:
        return found | {"extrapolated": True, "seconds_of_1m": None}
    rate = steps / seconds
    left = (RUN_STEPS - last["env_steps"]) / rate
    return found | {"extrapolated": True, "env_steps_per_s": rate, "seconds_of_1m": last["time/total_s"] + left}


PARTS = {
    "facts": Part(facts, 40),
    "updates": Part(updates, 140),
    "tests": Part(tests, 140),
    "run": Part(run, 100),
    "equality": Part(equality, 50),
    "trials": Part(trials, 70),
}


# ---------------------------------------------------------------------- all of it


def _command(arguments: argparse.Namespace, part: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_job", "--out", str(arguments.out), "--device", arguments.device]
    return [*command, *(["--small"] if arguments.small else []), "--part", part]


def run_part(command: list[str], log: Path, seconds: float) -> str:
    """What became of a part that may take ``seconds``; it and all that it started has ended."""
    with log.open("a") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return "done" if process.wait(seconds) == 0 else "failed"
        except subprocess.TimeoutExpired:
            return "out of time"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _write(out: Path, row: Row) -> None:
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results.jsonl and log.txt")
    parser.add_argument("--seconds", type=float, default=470.0, help="for all parts together, default 470")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="little of everything, to try the script")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="these parts alone")
    for name in ("--part", "--begin", "--lasts", "--left"):  # between its own processes
        parser.add_argument(name, type=str if name == "--part" else float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "trial":
        print(json.dumps(next(trial(arguments))), flush=True)
        return 0
    if arguments.part is not None:
        for row in PARTS[arguments.part].rows(arguments):
            _write(arguments.out, {"part": arguments.part, **row})
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    end, statuses = time.monotonic() + arguments.seconds, []
    for name in arguments.only:
        left = end - time.monotonic()
        limit = left if arguments.small else min(PARTS[name].seconds, left)
        start = time.monotonic()
        command = [*_command(arguments, name), "--left", f"{limit}"]
        statuses.append(run_part(command, arguments.out / "log.txt", limit) if limit > 5 else "out of time")
        row = {"part": name, "status": statuses[-1], "seconds": round(time.monotonic() - start, 1)}
        _write(arguments.out, row)
        print(json.dumps(row), flush=True)
    return 0 if set(statuses) == {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
