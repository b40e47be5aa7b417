"""Packed sweeps, and parts of a sweep put together: on folders that no training has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.evaluation import RunError
from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.archive import pack
from rllib_reborn.tuning.merge import merge
from rllib_reborn.tuning.points import known_points, runs_of
from rllib_reborn.tuning.sweep import dump_sweep, parse_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder


def made(root: Path, steps: dict[str, int], **data: Any) -> SweepFolder:
    """A sweep whose runs have come so far (name to env steps; 0: nothing; 100: the end)."""
    base = {"base": "matrix/two_step/qmix", "space": {"training.lr": {"grid": [1e-3, 2e-3]}}, "seeds": [0, 1]}
    folder = SweepFolder(root)
    root.mkdir(parents=True)
    folder.sweep_file.write_text(dump_sweep(parse_sweep(base | {"budget": {"env_steps": 100}} | data, "a")))
    for name, env_steps in steps.items():
        run = root / name
        (run / "checkpoints" / "checkpoint_000001").mkdir(parents=True)
        (run / "checkpoints" / "checkpoint_000001" / "weights").write_bytes(b"w" * 10_000)
        seed = int(name.rpartition("s")[2])
        (run / "config.yaml").write_text(f"algorithm: QMIX\nenv: matrix/two_step\nseed: {seed}\n")
        rows = [
            {"iteration": i + 1, "env_steps": 10 * (i + 1), "eval/return_mean": float(i)}
            for i in range(env_steps // 10)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if env_steps >= 100:
            (run / "final_evaluation.json").write_text("{}")
    return folder


def test_a_pack_holds_everything_but_weights_and_opens_to_the_same_states(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", {"lr=0.001/s0": 100, "lr=0.002/s0": 50})
    assert pack(folder, tmp_path / "a.tar.xz") == 2
    assert (tmp_path / "a.tar.xz").stat().st_size < 5_000
    with opened(tmp_path / "a.tar.xz") as root:
        there = SweepFolder(root)
        sweep = there.read()
        assert sweep == folder.read()
        states = {run.name: there.state(run) for run in there.runs(sweep)}
        assert states == {run.name: folder.state(run) for run in folder.runs(sweep)}
        assert not list(root.rglob("weights"))
    assert not root.exists()


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", {"lr=0.001/s0": 100})
    for name in ("1.tar.xz", "2.tar.xz"):
        pack(folder, tmp_path / name)
    assert (tmp_path / "1.tar.xz").read_bytes() == (tmp_path / "2.tar.xz").read_bytes()


def test_what_is_there_is_not_overwritten_and_what_is_damaged_is_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", {"lr=0.001/s0": 100})
    pack(folder, tmp_path / "a.tar.xz")
    with pytest.raises(ExperimentError, match="exists; give another name"):
        pack(folder, tmp_path / "a.tar.xz")
    with pytest.raises(ExperimentError, match=r"does not end in \.tar\.xz"):
        pack(folder, tmp_path / "a.zip")
    (tmp_path / "b.tar.xz").write_bytes((tmp_path / "a.tar.xz").read_bytes()[:200])
    with pytest.raises((RunError, ExperimentError), match="cannot be unpacked"), opened(tmp_path / "b.tar.xz"):
        pass
    with pytest.raises(ExperimentError, match="holds no sweep"):
        pack(SweepFolder(tmp_path), tmp_path / "c.tar.xz")


def test_of_two_parts_the_further_run_is_taken_and_seeds_are_joined(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "a", {"lr=0.001/s0": 100, "lr=0.002/s0": 20})
    second = made(tmp_path / "b", {"lr=0.001/s0": 50, "lr=0.002/s0": 60, "lr=0.001/s7": 30}, seeds=[0, 7])
    pack(second, tmp_path / "b.tar.xz")
    out = tmp_path / "c"
    assert main(["tune", "merge", str(tmp_path / "a"), str(tmp_path / "b.tar.xz"), "--out", str(out)]) == 0
    assert "6 runs: 3 waiting, 2 begun, 1 done" in capsys.readouterr().out
    merged = SweepFolder(out)
    sweep = merged.read()
    assert sweep.seeds == [0, 1, 7]
    assert len(runs_of(sweep, known_points(sweep))) == 6
    assert merged.state_of("lr=0.001/s0") is RunState.DONE
    assert len(merged.rows_of("lr=0.002/s0")) == 6
    assert len(merged.rows_of("lr=0.001/s7")) == 3


def test_parts_of_different_sweeps_are_not_put_together(tmp_path: Path) -> None:
    made(tmp_path / "a", {})
    made(tmp_path / "b", {}, budget={"env_steps": 200})
    with pytest.raises(ExperimentError, match="another budget"):
        merge([tmp_path / "a", tmp_path / "b"], SweepFolder(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_status_says_what_is_left(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "a", {"lr=0.001/s0": 100, "lr=0.002/s0": 20})
    assert main(["tune", "status", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    assert "4 runs: 2 waiting, 1 begun, 1 done" in printed
    assert main(["tune", "status", str(tmp_path)]) == 2
    assert "holds no sweep" in capsys.readouterr().err
