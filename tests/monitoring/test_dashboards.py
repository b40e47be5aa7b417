"""The dashboards' JSON, and that each of their expressions is PromQL about metrics that are there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from rllib_reborn.monitoring.alert_rules import Thresholds, alerts, recordings, rules_yaml
from rllib_reborn.monitoring.dashboard_files import DASHBOARDS, PROVIDERS, Places, dashboard_files
from rllib_reborn.monitoring.expressions import by_run, with_point
from rllib_reborn.monitoring.grafana import panels_of, run_dashboard, sweep_dashboard, with_our_rows
from rllib_reborn.monitoring.metrics_table import METRICS
from rllib_reborn.monitoring.panels import DashboardPanel, PanelRow, Query, rows_in_ray, run_rows, sweep_rows

#: A dashboard of Ray's, as far as it matters.
RAYS: dict[str, Any] = {
    "uid": "rayDefaultDashboard",
    "templating": {"list": [{"name": "SessionName"}]},
    "panels": [
        {"id": 1001, "type": "row", "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0}, "panels": []},
        {"id": 24, "gridPos": {"h": 8, "w": 12, "x": 0, "y": 1}},
        {
            "id": 1006,
            "type": "row",
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": 9},
            "panels": [{"id": 2000, "gridPos": {"h": 8, "w": 12, "x": 0, "y": 10}}],
        },
    ],
}


def series_of(expression: str) -> set[str]:
    """Names of the series in an expression.

    Raises:
        ValueError: It is not PromQL.
    """
    found: set[str] = set()

    def note(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(expression), pre_visit=note)
    return found


def queries(rows: tuple[PanelRow, ...]) -> list[Query]:
    return [query for row in rows for panel in row.panels for query in panel.queries]


def test_expressions() -> None:
    assert by_run("env_steps", 'run="x"') == 'max by (run, algorithm, env) (ray_rllib_reborn_env_steps{run="x"})'
    assert by_run("dead_fraction") == "max by (run, algorithm, env, net) (ray_rllib_reborn_dead_fraction)"
    assert with_point("x") == 'label_replace(x, "point", "$1", "run", ".*/([^/]+)/s[0-9]+")'


@pytest.mark.parametrize("rows", [run_rows(), sweep_rows(), rows_in_ray()])
def test_each_expression_is_about_metrics_that_are_exported(rows: tuple[PanelRow, ...]) -> None:
    ours = {one.series for one in METRICS}
    for query in queries(rows):
        assert series_of(query.expression) <= ours
        assert series_of(query.expression)


def test_what_is_not_promql_is_found() -> None:
    with pytest.raises(ValueError, match="invalid promql"):
        series_of("max by run (x)")


def test_the_dashboard_of_runs_shows_every_metric() -> None:
    shown = set().union(*(series_of(query.expression) for query in queries(run_rows())))
    assert shown == {one.series for one in METRICS}


def test_alerts_and_recordings_are_promql_about_what_is_there() -> None:
    known = {one.series for one in METRICS} | set(recordings()) | {"ray_node_disk_usage", "ray_node_disk_free"}
    for expression in [*recordings().values(), *(alert.expression for alert in alerts(Thresholds()))]:
        assert series_of(expression) <= known


def test_thresholds_are_in_the_expressions() -> None:
    rules = yaml.safe_load(rules_yaml(Thresholds(no_row_minutes=2.5, dormant_fraction=0.25)))
    found = {rule["alert"]: rule["expr"] for rule in rules["groups"][1]["rules"]}
    assert found["RllibRebornNoRow"] == "run:rllib_reborn_seconds_since_row:max > 150"
    assert found["RllibRebornDormant"] == "run:rllib_reborn_dormant_fraction:max > 0.25"


@pytest.mark.parametrize("values", [{"no_row_minutes": 0}, {"dormant_fraction": 0}, {"dormant_fraction": 50}])
def test_thresholds_without_effect_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Thresholds(**values)


@pytest.mark.parametrize("rows", [run_rows(), sweep_rows()])
def test_no_panel_stands_alone_in_a_line(rows: tuple[PanelRow, ...]) -> None:
    assert all(len(row.panels) % 3 == 0 for row in rows)
    assert all(len(row.panels) % 2 == 0 for row in rows_in_ray())


def test_layout() -> None:
    panel = DashboardPanel("a", "b", "percentunit", (Query("x", "{{run}}"), Query("y", "z")))
    found = panels_of([PanelRow("first", (panel,) * 3), PanelRow("second", (panel,) * 2)], columns=2, y=5, first_id=7)
    assert [(one["id"], one["gridPos"]["x"], one["gridPos"]["y"], one["gridPos"]["w"]) for one in found] == [
        *((7, 0, 5, 24), (8, 0, 6, 12), (9, 12, 6, 12), (10, 0, 14, 12)),
        *((11, 0, 22, 24), (12, 0, 23, 12), (13, 12, 23, 12)),
    ]
    curves = found[1]
    assert [(target["refId"], target["expr"]) for target in curves["targets"]] == [("A", "x"), ("B", "y")]
    assert (curves["fieldConfig"]["defaults"]["min"], curves["fieldConfig"]["defaults"]["max"]) == (0, 1)


@pytest.mark.parametrize("dashboard", [run_dashboard(), sweep_dashboard(), with_our_rows(RAYS)])
def test_a_dashboard_is_whole(dashboard: dict[str, Any]) -> None:
    ids = Counter(panel["id"] for panel in dashboard["panels"])
    assert set(ids.values()) == {1}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            used = {name for name in ("run", "sweep", "SessionName") if f"${name}" in target["expr"]}
            assert used <= variables
            assert len(used) == 1


def test_rays_dashboard_keeps_its_panels_and_its_uid() -> None:
    dashboard = with_our_rows(RAYS)
    assert dashboard["uid"] == "rayDefaultDashboard"
    assert dashboard["panels"][:3] == RAYS["panels"]
    assert dashboard["panels"][3]["title"] == "rllib_reborn: runs"
    assert dashboard["panels"][3]["gridPos"]["y"] == 10
    assert dashboard["panels"][3]["id"] == 2001


def test_files_name_what_the_programs_find() -> None:
    places = Places("/etc/dashboard", ray_folder="/shared/ray/", prometheus_url="http://prometheus:9090")
    files = dashboard_files(places, Thresholds(), interval_s=5)
    config = yaml.safe_load(files[Path("prometheus.yml")])
    assert config["global"]["scrape_interval"] == "5s"
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == ["/shared/ray/prom_metrics_service_discovery.json"]
    assert job["metric_relabel_configs"] == [
        {"source_labels": ["__name__"], "regex": "ray_rllib_.*_bucket", "action": "drop"}
    ]
    providers = {one["name"]: one["options"]["path"] for one in yaml.safe_load(files[PROVIDERS])["providers"]}
    assert providers == {
        "rllib_reborn": "/etc/dashboard/grafana/dashboards",
        "Ray": "/shared/ray/session_latest/metrics/grafana/dashboards",
    }
    sources = yaml.safe_load(files[Path("grafana/provisioning/datasources/prometheus.yml")])
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert {path.name for path in files if path.parent == DASHBOARDS} == {"runs.json", "sweeps.json"}


def test_with_our_rows_in_rays_dashboard_no_uid_is_there_twice() -> None:
    files = dashboard_files(Places("/etc/dashboard"), Thresholds(), rays_dashboard=RAYS)
    assert [one["name"] for one in yaml.safe_load(files[PROVIDERS])["providers"]] == ["rllib_reborn"]
    uids = [json.loads(text)["uid"] for path, text in files.items() if path.parent == DASHBOARDS]
    assert sorted(uids) == ["rayDefaultDashboard", "rllib-reborn-runs", "rllib-reborn-sweeps"]
