"""Dashboards as Grafana's JSON (schema version 39), and the YAML by which Grafana finds them when it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from rllib_reborn.monitoring.expressions import selected
from rllib_reborn.monitoring.panels import DashboardPanel, PanelRow, rows_in_ray, run_rows, sweep_rows

_SCHEMA_VERSION = 39
_WIDTH, _HEIGHT = 24, 8
#: Of every panel; the variable lets people choose another Prometheus.
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Dashboard = dict[str, Any]


def run_dashboard() -> Dashboard:
    """Runs, side by side: every metric."""
    variables = [
        _variable("run", "Run", f"label_values({selected('seconds_since_row')}, run)", several=True),
    ]
    return _dashboard("rllib-reborn-runs", "rllib_reborn: runs", variables, panels_of(run_rows(), columns=3))


def sweep_dashboard() -> Dashboard:
    """One sweep: its runs together, and its points."""
    variables = [
        _variable(
            "sweep",
            "Sweep",
            f"label_values({selected('seconds_since_row')}, run)",
            # The folder of a sweep is that of its points, which are those of its seeds.
            regex=r"/^(.*)\/[^\/]+\/s[0-9]+$/",
        ),
    ]
    return _dashboard("rllib-reborn-sweeps", "rllib_reborn: sweeps", variables, panels_of(sweep_rows(), columns=3))


def with_our_rows(rays: Mapping[str, Any]) -> Dashboard:
    """Ray's own dashboard with our rows below: Ray's page shows the dashboard of this ``uid``, and no other.

    Args:
        rays: See :func:`rllib_reborn.runtime.ray_internals.default_dashboard`.
    """
    panels = list(rays["panels"])
    below = max((panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels), default=0)
    first_id = 1 + max(_ids(panels), default=0)
    return {**rays, "panels": [*panels, *panels_of(rows_in_ray(), columns=2, y=below, first_id=first_id)]}


def panels_of(rows: Sequence[PanelRow], *, columns: int, y: int = 0, first_id: int = 1) -> list[dict[str, Any]]:
    """Rows and panels as Grafana lays them out, with ids from ``first_id`` on, from line ``y`` downwards.

    Args:
        rows: Each with a whole number of lines of panels.
        columns: Panels in a line.
    """
    width, found, number = _WIDTH // columns, [], first_id
    for row in rows:
        head = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        found.append(head)
        number, y = number + 1, y + 1
        for at, panel in enumerate(row.panels):
            line, column = divmod(at, columns)
            place = {"h": _HEIGHT, "w": width, "x": column * width, "y": y + line * _HEIGHT}
            found.append(_panel(panel, number, place))
            number += 1
        y += -(-len(row.panels) // columns) * _HEIGHT
    return found


def data_source_yaml(prometheus_url: str) -> str:
    """``provisioning/datasources/...``: the Prometheus that everything is read from, by the name that Ray uses too."""
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": prometheus_url, "isDefault": True}
    return yaml.safe_dump({"apiVersion": 1, "datasources": [source]}, sort_keys=False)


def provider_yaml(folders: Mapping[str, str]) -> str:
    """``provisioning/dashboards/...``: folders of JSON files that Grafana reads, by the name under which it shows them."""
    providers = [
        {"name": name, "folder": name, "type": "file", "options": {"path": path}} for name, path in folders.items()
    ]
    return yaml.safe_dump({"apiVersion": 1, "providers": providers}, sort_keys=False)


def _panel(panel: DashboardPanel, number: int, place: dict[str, int]) -> dict[str, Any]:
    limits = {"min": 0, "max": 1} if panel.unit == "percentunit" else {}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATA_SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _DATA_SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
                "instant": False,
            }
            for at, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                **limits,
                "custom": {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": 0,
                    "showPoints": "auto",
                    "spanNulls": False,
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _variable(name: str, label: str, query: str, *, several: bool = False, regex: str = "") -> dict[str, Any]:
    """A choice among what Prometheus has. ``several``: more than one at a time, all at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "regex": regex,
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "hide": 0,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}} if several else {}),
    }


def _dashboard(uid: str, title: str, variables: list[dict[str, Any]], panels: list[dict[str, Any]]) -> Dashboard:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    return {
        "uid": uid,
        "title": title,
        "tags": ["rllib_reborn"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _ids(panels: Sequence[Mapping[str, Any]]) -> list[int]:
    """Ids of panels, those in collapsed rows included."""
    return [found for panel in panels for found in (int(panel["id"]), *_ids(panel.get("panels", ())))]
