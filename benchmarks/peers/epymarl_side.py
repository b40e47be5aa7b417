"""EPyMARL's side: a program that EPyMARL's own Python runs, alone; it needs nothing of this project.

``python epymarl_side.py SRC REQUEST``: SRC is the ``src`` folder of EPyMARL, REQUEST a JSON object:

- ``key``, ``time_limit``: EPyMARL's ``env_args``;
- ``settings``: further settings of EPyMARL, e.g. ``{"use_rnn": true}``;
- ``first``, ``last``: env steps between which the CPU clock is read, each at the first end of an episode behind it;
- ``packages``: modules that the game needs.

EPyMARL's ``main.py`` runs unchanged, by its own command line. Its runner, replay and learner are subclassed on the way in,
to count updates and env steps, and to have them when training has ended. One JSON object a line goes to standard output:
``{"missing": [...]}`` and an end with status 3, or ``{"versions": {...}}``, then what training took,

``{"cpu_s": 12.3, "env_steps": 7500, "episodes": 150, "updates": 150}``,

then one answer of that form to each line of standard input: ``update N`` (so many updates, each with drawing its batch) or
``sampling N`` (at least so many env steps, in whole episodes, of which nothing is learnt). The end of the input ends it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import runpy
import sys
import time
import types
from typing import Any

#: Modules that EPyMARL imports whatever it runs. smaclite is one too, but here an empty module does, since it is not played.
ALWAYS = ("numpy", "torch", "yaml", "gymnasium", "sacred")
_FAILED = 3


class Counts:
    """CPU seconds of this process, and what was done by then."""

    def __init__(self) -> None:
        self.runner: Any = None
        self.learner: Any = None
        self.replay: Any = None
        self.episodes = 0
        self.updates = 0

    def now(self) -> dict[str, float]:
        return {
            "cpu_s": time.process_time(),
            "env_steps": self.runner.t_env,
            "episodes": self.episodes,
            "updates": self.updates,
        }

    def since(self, start: dict[str, float]) -> dict[str, float]:
        now = self.now()
        return {name: now[name] - start[name] for name in now}


def missing(names: list[str]) -> list[str]:
    """Those of the modules that cannot be found here."""

    def there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ImportError:  # a package above it is missing
            return False

    return [name for name in names if not there(name)]


def update(counts: Counts, number: int) -> None:
    """What EPyMARL does between two episodes, ``number`` times."""
    for _ in range(number):
        batch = counts.replay.sample(counts.learner.args.batch_size)
        batch = batch[:, : batch.max_t_filled()]
        counts.learner.train(batch, counts.runner.t_env, counts.episodes)


def sampling(counts: Counts, number: int) -> None:
    goal = counts.runner.t_env + number
    while counts.runner.t_env < goal:
        counts.runner.run(test_mode=False)


WORKS = {"update": update, "sampling": sampling}


def watch(counts: Counts, first: int, answer: Any) -> None:
    """Put subclasses in the places of EPyMARL's runner, replay and learner; ``answer`` is called with each reply."""
    runners, learners, loop = (importlib.import_module(name) for name in ("runners", "learners", "run"))
    start: list[dict[str, float] | None] = [None]

    class WatchedRunner(runners.REGISTRY["episode"]):  # type: ignore[misc, name-defined]
        def run(self, test_mode: bool = False) -> Any:
            counts.runner = self
            if start[0] is None and self.t_env >= first:
                start[0] = counts.now()
            episode = super().run(test_mode=test_mode)
            counts.episodes += not test_mode
            return episode

        def close_env(self) -> None:  # EPyMARL's last call, behind the last update
            assert start[0] is not None, "training ended before `first`"
            answer(counts.since(start[0]))
            for line in sys.stdin:
                name, number = line.split()
                before = counts.now()
                WORKS[name](counts, int(number))
                answer(counts.since(before))
            super().close_env()

    class WatchedLearner(learners.REGISTRY["q_learner"]):  # type: ignore[misc, name-defined]
        def train(self, *args: Any, **kwargs: Any) -> None:
            counts.learner = self
            super().train(*args, **kwargs)
            counts.updates += 1

    class WatchedReplay(loop.ReplayBuffer):  # type: ignore[misc, name-defined]
        def can_sample(self, batch_size: int) -> bool:
            counts.replay = self
            return bool(super().can_sample(batch_size))

    runners.REGISTRY["episode"] = WatchedRunner
    learners.REGISTRY["q_learner"] = WatchedLearner
    loop.ReplayBuffer = WatchedReplay  # type: ignore[attr-defined]


def main() -> None:
    source, request = sys.argv[1], json.loads(sys.argv[2])
    # Sacred takes standard output for itself, and EPyMARL prints: answers go where it was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(reply: dict[str, Any]) -> None:
        print(json.dumps(reply), file=answers, flush=True)

    absent = missing([*ALWAYS, *request["packages"]])
    if absent:
        answer({"missing": absent})
        sys.exit(_FAILED)
    if missing(["smaclite"]):
        sys.modules["smaclite"] = types.ModuleType("smaclite")
    sys.path.insert(0, source)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    answer({"versions": {"python": platform.python_version(), **versions}})
    watch(Counts(), request["first"], answer)
    settings = {
        "env_args.key": request["key"],
        "env_args.time_limit": request["time_limit"],
        "t_max": request["last"] - 1,  # it goes on while env steps <= t_max
        **request["settings"],
    }
    program = os.path.join(source, "main.py")
    sys.argv = [
        program,
        "--config=qmix",
        "--env-config=gymma",
        "with",
        *(f"{key}={value}" for key, value in settings.items()),
    ]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
