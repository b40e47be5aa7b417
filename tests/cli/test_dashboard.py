"""``dashboard`` writes its files and prints what starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_reborn.cli.main import main


def test_files_and_the_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my dashboard"
    arguments = ["--ray-folder", "/data/ray", "--prometheus-url", "http://10.0.0.1:9191"]
    for _ in range(2):  # once more over the files that are there
        assert main(["dashboard", "--out", str(out), *arguments]) == 0
    printed = capsys.readouterr().out
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == [
        "grafana/dashboards/runs.json",
        "grafana/dashboards/sweeps.json",
        "grafana/provisioning/dashboards/rllib_reborn.yml",
        "grafana/provisioning/datasources/prometheus.yml",
        "prometheus.yml",
        "rules/rllib_reborn.yml",
    ]
    assert all(f"wrote {out / file}" in printed for file in files)
    assert "\n1. RAY_PROMETHEUS_HOST=http://10.0.0.1:9191 " in printed
    assert "--temp-dir=/data/ray" in printed
    assert f"\n2. prometheus --config.file='{out}/prometheus.yml' --storage.tsdb.path='{out}/data' " in printed
    assert "--web.listen-address=127.0.0.1:9191" in printed
    assert f"\n3. GF_PATHS_PROVISIONING='{out}/grafana/provisioning' " in printed


@pytest.mark.slow
def test_in_rays_own_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--out", str(tmp_path), "--in-ray-page"]) == 0
    dashboard = json.loads((tmp_path / "grafana/dashboards/ray.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert dashboard["uid"] == "rayDefaultDashboard"
    assert {24, 41} <= {*ids, *(one["id"] for panel in dashboard["panels"] for one in panel.get("panels", ()))}
    assert [panel["title"] for panel in dashboard["panels"] if "rllib_reborn" in panel["title"]] == [
        "rllib_reborn: runs"
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--interval", "0"], "--interval is 0; expected 1 to 60 seconds"),
        (["--prometheus-url", "10.0.0.1:9090"], "--prometheus-url is '10.0.0.1:9090'; expected http://HOST:PORT"),
        (["--ray-folder", "ray"], "--ray-folder is 'ray'; expected an absolute path"),
        (["--at", "grafana"], "--at is 'grafana'; expected an absolute path"),
        (["--dormant", "40"], "dormant_fraction is 40.0; expected a share between 0 and 1"),
        (["--no-row-minutes", "-1"], "no_row_minutes is -1.0; expected more than 0"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(["dashboard", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["dashboard", "--out", str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
