"""SIGKILL to any process of a run, at any time: the same command goes on, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reliability.kills import (
    Kind,
    Run,
    check_equal,
    check_folder,
    check_rows,
    kill_again_and_again,
    train_to_the_end,
)

SEED = 20
DRIVER = ("driver", "save", "driver", "raylet", "final evaluation")
GAME = "tests.fakes.scripted_games:CountingGame"
KINDS = {
    "in the driver": Kind((), DRIVER, is_exact=True),
    "two runners, driver killed": Kind(("resources.num_env_runners=2",), DRIVER, is_exact=True),
    "two runners": Kind(("resources.num_env_runners=2",), ("runner", "driver", "runner", "raylet")),
    "evaluation runner": Kind(
        ("evaluation.num_env_runners=1", "evaluation.parallel_to_training=true"),
        ("evaluation runner", "driver", "evaluation runner", "final evaluation"),
    ),
    "async": Kind(
        ("resources.num_env_runners=2", "training.sampling=async"),
        ("runner", "driver", "save", "raylet", "final evaluation"),
    ),
    "two learners": Kind(
        ("resources.num_env_runners=1", "resources.num_learners=2"), ("learner", "driver", "runner", "learner", "save")
    ),
    "games in processes": Kind(
        ("env_config.team.workers=processes", "env_config.team.num_workers=2"), ("game", "driver", "game"), env=GAME
    ),
}
#: Of a hundred.
SHARES = {
    "in the driver": 20,
    "two runners, driver killed": 15,
    "two runners": 20,
    "evaluation runner": 12,
    "async": 13,
    "two learners": 10,
    "games in processes": 10,
}
ENV_STEPS_PER_KILL = 600

MakeRun = Callable[[Kind, str, int], Run]


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    runs: list[Run] = []

    def make(kind: Kind, name: str, env_steps: int) -> Run:
        runs.append(Run(kind, tmp_path / name, env_steps))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_random_kills(make_run: MakeRun, name: str, pytestconfig: pytest.Config) -> None:
    kind, kills = KINDS[name], round(pytestconfig.getoption("--kills") * SHARES[name] / 100)
    env_steps = kills * ENV_STEPS_PER_KILL
    run = make_run(kind, "killed", env_steps)
    check_kills(run, kind, kills, name, random.Random(f"{SEED} {name}"))
    if kind.is_exact:
        reference = make_run(kind, "reference", env_steps)
        train_to_the_end(reference)
        check_equal(run, reference)


@pytest.mark.slow
def test_a_killed_runner_costs_its_games_and_nothing_else(make_run: MakeRun) -> None:
    """The sample of the series; also where its processes listen, which no other machine reaches."""
    kind = Kind(("resources.num_env_runners=1",), ("runner",))
    run = make_run(kind, "killed", 600)
    run.start()
    assert run.until(lambda: run.lines() > 0), run.printed()
    assert run.listening_on() == {"127.0.0.1"}
    check_kills(run, kind, 1, "sample", random.Random(SEED))
    assert run.starts == 1
    assert run.rows()[-1]["faults/runner_restarts"] == 1


def check_kills(run: Run, kind: Kind, kills: int, name: str, rng: random.Random) -> None:
    """Kill, go on, and look at what came of it."""
    done = kill_again_and_again(run, kind, kills, rng)
    print(f"{name}: {sum(done.values())} kills ({dict(done)}), {run.starts} starts, {run.lines()} rows")
    assert sum(done.values()) > 0
    check_rows(run, 2 if kind.env == "matrix/two_step" else None)
    check_folder(run)
    assert run.left_behind() == []
