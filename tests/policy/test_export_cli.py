"""``rllib-reborn export`` on a real, tiny checkpoint."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rllib_reborn.algorithms.value_factorization.saved_team import TEAM_MODULE
from rllib_reborn.cli.main import main
from rllib_reborn.policy import Policy, PolicyError
from rllib_reborn.policy.to_onnx import model
from rllib_reborn.studies.export import export_policy
from rllib_reborn.studies.trained_policy import load_team
from tests.algorithms.helpers import WALK, quick
from tests.policy.onnx_team import ByModule, ByOnnx, episodes_of
from tests.policy.teams import build, played_alike


@pytest.fixture(scope="module")
def checkpoint(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    algorithm = quick(
        env=WALK, interventions=[{"kind": "injection", "scope": "agent", "every": 5, "unit": "updates"}]
    ).build_algo()
    algorithm.train()
    algorithm.train()
    algorithm.save_to_path(folder)
    algorithm.stop()
    return folder


@pytest.mark.slow
class TestExport:
    def test_the_printed_lines_work(self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "made" / "policy"
        capsys.readouterr()
        assert main(["export", str(checkpoint), "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("QMIX on tests.fakes.envs:MaskedWalk: 2 agents, 4 actions, 3 numbers each\n")
        for name in ("policy.json", "weights.npz"):
            assert f"wrote {out / name} ({(out / name).stat().st_size:,} bytes)" in printed
        lines = re.findall(r"^    (.*)$", printed, flags=re.M)
        assert len(lines) == 3
        scope = {"obs": np.zeros((2, 3), np.float32), "action_mask": np.ones((2, 4), bool)}
        exec("\n".join(lines), scope)
        assert scope["actions"].shape == (2,)

    def test_it_acts_as_the_saved_team(self, checkpoint: Path, tmp_path: Path) -> None:
        module = load_team(checkpoint).module
        assert bool(module.agents.nets[0].head.injected)
        assert not torch.equal(*module.agents.nets[0].head.effective()[:1], module.agents.nets[0].head.weight)
        export_policy(checkpoint, tmp_path / "policy")
        assert played_alike(module, Policy.load(tmp_path / "policy"), episodes=40) > 3

    def test_mistakes_end_in_a_sentence(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def mistake(*argv: str) -> str:
            capsys.readouterr()
            assert main(["export", *argv]) == 2
            printed = capsys.readouterr()
            assert printed.out == ""
            assert printed.err.count("\n") == 1
            return printed.err

        full = tmp_path / "full"
        full.mkdir()
        (full / "precious").touch()
        assert "exists and is not empty" in mistake(str(checkpoint), "--out", str(full))
        assert [path.name for path in full.iterdir()] == ["precious"]
        assert "exists and is no folder" in mistake(str(checkpoint), "--out", str(full / "precious"))
        assert "does not exist" in mistake(str(tmp_path / "nowhere"), "--out", str(tmp_path / "new"))
        assert "holds no checkpoint" in mistake(str(full), "--out", str(tmp_path / "new"))
        assert "--out" in mistake(str(checkpoint))
        assert not (tmp_path / "new").exists()
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "rllib_checkpoint.json").touch()
        assert "is no checkpoint of an algorithm" in mistake(str(broken), "--out", str(tmp_path / "new"))
        assert "exists and is not empty" in mistake(str(broken), "--out", str(full))  # told before anything is loaded
        with pytest.raises(PolicyError, match="not empty"):
            export_policy(checkpoint, full)


class TestWithOnnx:
    """Networks that were saved without an algorithm: no Ray is started."""

    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        folder = tmp_path / "saved"
        build().save_to_path(folder / TEAM_MODULE)
        (folder / "rllib_checkpoint.json").touch()
        return folder

    def test_the_file_acts_as_the_saved_team(
        self, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "policy"
        assert main(["export", str(saved), "--out", str(out), "--onnx"]) == 0
        printed = capsys.readouterr().out
        assert "policy.onnx was compared with the policy by onnxruntime: equal to 1e-5" in printed
        names = {"README.md", "policy.json", "policy.onnx", "weights.npz"}
        assert {path.name for path in out.iterdir()} == names
        assert all(f"wrote {out / name} (" in printed for name in names)
        module = load_team(saved).module
        data = (out / "policy.onnx").read_bytes()
        assert episodes_of(ByOnnx(data), module, games=4) == episodes_of(ByModule(module), module, games=4)
        card = (out / "README.md").read_text()
        assert hashlib.sha256(data).hexdigest() in card
        assert hashlib.sha256((out / "weights.npz").read_bytes()).hexdigest() in card
        assert "the checkpoint has no manifest" in card

    def test_what_cannot_be_written_leaves_nothing(
        self, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model, "_MOST_BYTES", 10)
        assert main(["export", str(saved), "--out", str(tmp_path / "new"), "--onnx"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert "export without --onnx" in printed.err
        assert [path.name for path in tmp_path.iterdir()] == ["saved"]

    def test_a_missing_package_ends_before_anything_is_loaded(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        (tmp_path / "broken").mkdir()
        assert main(["export", str(tmp_path / "broken"), "--out", str(tmp_path / "new"), "--onnx"]) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert 'pip install "rllib-reborn[onnx]"' in printed
        assert not (tmp_path / "new").exists()
        with pytest.raises(PolicyError, match="onnxruntime, which is not installed"):
            export_policy(tmp_path / "broken", tmp_path / "new", onnx=True)
