"""One damaged run never stops the report of the others: it is named with the reason, or what is damaged is left out."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.dormancy_events import read_events
from rllib_reborn.evaluation.dormancy_figures import event_figures
from rllib_reborn.evaluation.groups import group_runs
from rllib_reborn.evaluation.report import write_report
from rllib_reborn.evaluation.runs import RunError, read_run

from .synthetic import DORMANCY, REBORN, check, config, final, rows, write_run

pytestmark = pytest.mark.timeout(120)
HUGE = "9" * 30


def damaged_row(**changed: Any) -> str:
    """One row as text, at the end of the others."""
    return json.dumps(rows(iterations=25)[-1] | changed) + "\n"


#: Lines that are added to ``metrics.jsonl``.
LINES = {
    "steps of 30 digits": damaged_row().replace('"env_steps": ', f'"env_steps": {HUGE}'),
    "steps of 5,000 digits": '{"env_steps": ' + "9" * 5_000 + "}\n",
    "negative steps": damaged_row(env_steps=-1),
    "steps as a list": damaged_row(env_steps=[1]),
    "infinite steps": '{"env_steps": 1e999}\n',
    "updates as text": damaged_row(updates="x"),
    "updates as a list": damaged_row(updates=[1]),
    "an iteration as text": damaged_row(iteration="one"),
    "a loss of 400 digits": damaged_row(**{"train/loss": 10**400}),
    "a loss beyond squares": damaged_row(**{"train/loss": 1e308}),
    "a loss as text": damaged_row(**{"train/loss": "x"}),
    "a loss as a list": damaged_row(**{"train/loss": [1]}),
    "time as text": damaged_row(**{"time/total_s": "long"}),
    "a win rate of a million": damaged_row(**{"eval/win_rate": 1e6, "eval/return_mean": 3.0}),
    "returns as text": damaged_row(**{"eval/returns": "many", "eval/return_mean": 3.0}),
    "returns in lists": damaged_row(**{"eval/returns": [[1], [2, 3]], "eval/return_mean": 3.0}),
    "returns of 400 digits": damaged_row(**{"eval/returns": [10**400], "eval/return_mean": 3.0}),
    "no returns": damaged_row(**{"eval/returns": [], "eval/return_mean": 3.0}),
    "episodes without number": damaged_row(**{"eval/episodes": -5, "eval/return_mean": 3.0}),
    "no episode": damaged_row(**{"eval/episodes": 5e-324, "eval/win_rate": 0.5, "eval/return_mean": 3.0}),
    "half a character": damaged_row(**{"half\ud800": 1}),
    "1e18 interventions": damaged_row(**{"intervention/count": 1e18}),
    "depth": "[" * 100_000 + "\n",
    "a deep row": '{"env_steps": ' + '{"a": ' * 900 + "1" + "}" * 900 + "}\n",
    "a key twice": '{"env_steps": 1, "env_steps": 99999}\n',
    "binary": "\x00\x01\udcff\n",
    "no end": '{"env_steps": 99999, "' + "x" * 5_000_000,
    "a version that is a list": damaged_row(**{"env/game_version": [1]}),
    "10,000 names": json.dumps({"env_steps": 99_999, **{f"n{n}": n for n in range(10_000)}}) + "\n",
}


def report_with(tmp_path: Path, bad: Path) -> str:
    """The report of a good run and ``bad``."""
    write_run(tmp_path / "good", end=final())
    report = write_report([tmp_path / "good", bad], tmp_path / "report", reps=5)
    assert [run.name for task in report.tasks for group in task.groups for run in group.runs].count("good") == 1
    return report.markdown.read_text()


@pytest.mark.parametrize("name", LINES)
def test_a_damaged_line_is_left_out_and_said(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "bad", settings=config(seed=2), end=final(seed=2))
    with (folder / "metrics.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(LINES[name])
    run = read_run(folder)
    assert run.env_steps < 2**53
    loss = run.series("train/loss")[1]
    assert loss.size >= 19  # what the sound rows say is not lost with the other
    assert math.isfinite(loss.sum())
    assert run.metrics.columns.str.len().max() < 300  # names that a table can hold
    assert name in ("no returns", "a version that is a list") or any("metrics.jsonl" in note for note in run.notes)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(list(LINES)[::4], marks=pytest.mark.slow, id="some"),
        pytest.param(list(LINES), marks=pytest.mark.long, id="all"),
    ],
)
def test_a_report_of_damaged_lines(tmp_path: Path, names: list[str]) -> None:
    for seed, name in enumerate(names, 2):
        folder = write_run(tmp_path / "bad" / f"s{seed}", settings=config(seed=seed), end=None)
        with (folder / "metrics.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(LINES[name])
    assert "good" in report_with(tmp_path, tmp_path / "bad")


CONFIGS = {
    "a merge bomb": "a0: &a0 {k: v}\n" + "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 25)),
    "no number": "algorithm: qmix\nenv: x\nseed: !!int ''\n",
    "a long name": f"algorithm: qmix\nenv: {'x' * 5_000}\n",
    "a name that is a list": "algorithm: qmix\nenv: [x]\n",
    "binary": "\x00",
    "text": "just text",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "bad")
    (folder / "config.yaml").write_text(CONFIGS[name])
    with pytest.raises(RunError, match=r"config\.yaml"):
        read_run(folder)


@pytest.mark.parametrize("file", ["config.yaml", "metrics.jsonl"])
def test_files_as_large_as_a_disk_and_pipes_are_not_read(tmp_path: Path, file: str) -> None:
    folder = write_run(tmp_path / "bad")
    with (folder / file).open("wb") as there:
        there.truncate(3_000_000_000)
    with pytest.raises(RunError, match="larger than"):
        read_run(folder)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(RunError):
        read_run(folder)


@pytest.mark.parametrize(
    "note",
    ["[", "[]", "{}", '{"source": 1}', '{"source": "a", "source_env_steps": 1e999}', "[" * 100_000,
     f'{{"source": "a", "source_env_steps": {HUGE}}}', '{"source": "a\\u0000b", "source_env_steps": 1}',
     json.dumps({"source": "x" * 100_000, "source_env_steps": 1}), '{"source": "a", "source_env_steps": 1, "fresh": 5}'],
)  # fmt: skip
def test_a_damaged_note_of_a_fork(tmp_path: Path, note: str) -> None:
    folder = write_run(tmp_path / "bad")
    (folder / "fork.json").write_text(note)
    with pytest.raises(RunError, match=r"fork\.json"):
        read_run(folder)


@pytest.mark.parametrize(
    "end",
    ["[" * 100_000, '{"policy": {"returns": [' + HUGE * 14 + "]}}", '{"policy": {"returns": [1e308, 1e308]}}',
     '{"policy": {"returns": [1]}, "env_steps": 1e999}', '{"policy": {"returns": [1]}, "env_steps": ' + HUGE + "}",
     '{"policy": {"returns": [[1], [2, 3]]}}', '{"policy": {"returns": "12"}}', '{"policy": {"returns": [1], "won": "x"}}'],
)  # fmt: skip
def test_a_damaged_final_evaluation_is_left_out(tmp_path: Path, end: str) -> None:
    folder = write_run(tmp_path / "bad")
    (folder / "final_evaluation.json").write_text(end)
    run = read_run(folder)
    assert run.final is None
    assert any("damaged" in note for note in run.notes)


def event(**changed: Any) -> str:
    return json.dumps(check(1_000, {"mixer/a": [0.0, 2.0]}) | changed) + "\n"


@pytest.mark.parametrize(
    "line",
    [
        event(iteration=10**30),
        event(iteration=-1),
        event(clock={"env_steps": "x", "updates": 1}),
        event(event=["dormancy"]),
        event(layers={"mixer/a": {"scores": [10**400], "dormant": [], "overactive": []}}),
        event(layers={"mixer/a": {"scores": [1e308], "dormant": [], "overactive": []}}),
        event(layers={"mixer/a": {"scores": [1], "dormant": [10**30], "overactive": []}}),
        event(layers=[1]),
        event(event="intervention", changes=[{"layer": 3}]),
        event(event="intervention", changes=[], kind={"a": 1}, dry_run=False, neurons=1),
        event(event="intervention", changes=[], kind="redo", dry_run=False, neurons=1, function_drift=10**400),
        "[" * 100_000 + "\n",
    ],
)
def test_a_damaged_event_is_left_out_and_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / "dormancy").mkdir()
    (tmp_path / "dormancy" / "events.jsonl").write_text(event() + line)
    found = read_events(tmp_path)
    assert (len(found.checks), found.unreadable) == (1, 1)


@pytest.mark.parametrize(("steps", "left"), [((5, 9, 7, 8), (5, 7, 8)), ((5, 9, 10, 1), (5, 9, 10)), ((9, 5), (9,))])
def test_an_event_whose_steps_contradict_the_others(
    tmp_path: Path, steps: tuple[int, ...], left: tuple[int, ...]
) -> None:
    events = [check(at, {"mixer/a": [0.0, 2.0]}, iteration=n + 1, updates=n) for n, at in enumerate(steps)]
    run = read_run(write_run(tmp_path / "bad", events=events))
    assert tuple(one.env_steps for one in run.events.checks) == left
    assert run.events.unreadable == len(steps) - len(left)
    groups, _ = group_runs([run])
    event_figures(groups, level=0.95, reps=3)


def test_events_that_go_back_and_forth_take_no_quadratic_time(tmp_path: Path) -> None:
    (tmp_path / "dormancy").mkdir()
    line = '{{"event": "dormancy", "iteration": {}, "clock": {{"env_steps": 1, "updates": 1}}, "layers": {{}}}}\n'
    rising = "".join(line.format(n) for n in range(20_000))
    (tmp_path / "dormancy" / "events.jsonl").write_text(
        rising + line.format(20_001) + (line.format(20_000) + line.format(20_001)) * 5_000
    )
    assert len(read_events(tmp_path).checks) == 20_002


def test_a_threshold_that_is_a_list(tmp_path: Path) -> None:
    settings = config(training={"lr": 1e-3, "dormancy": DORMANCY | {"beta": [3.0]}})
    events = [check(500, {"mixer/a": [0.0, 4.0]}), check(900, {"mixer/a": [0.0, 4.0]}, iteration=2)]
    folder = write_run(tmp_path / "bad", settings=settings, events=events)
    groups, _ = group_runs([read_run(folder)])
    assert event_figures(groups, level=0.95, reps=3)


@pytest.mark.long
def test_names_that_are_drawn_and_written_are_only_text(tmp_path: Path) -> None:
    for number, env in enumerate(("a$b$\\frac{", "../../x", "x" * 300, "\n|`<b>", "\U0001f600", ".")):
        settings = config(
            env=env, interventions=[REBORN | {"rule": "$\\x{"}], training={"lr": 1e-3, "dormancy": DORMANCY}
        )
        write_run(tmp_path / "bad" / str(number), settings=settings, end=final())
    assert "good" in report_with(tmp_path, tmp_path / "bad")
