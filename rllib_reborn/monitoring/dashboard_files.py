"""All files that Prometheus and Grafana need, by their place in one folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from rllib_reborn.monitoring.alert_rules import Thresholds, rules_yaml
from rllib_reborn.monitoring.grafana import (
    data_source_yaml,
    provider_yaml,
    run_dashboard,
    sweep_dashboard,
    with_our_rows,
)
from rllib_reborn.monitoring.prometheus_config import prometheus_yaml

PROMETHEUS_CONFIG = Path("prometheus.yml")
RULES = Path("rules/rllib_reborn.yml")
PROVISIONING = Path("grafana/provisioning")
DATA_SOURCES = PROVISIONING / "datasources/prometheus.yml"
PROVIDERS = PROVISIONING / "dashboards/rllib_reborn.yml"
DASHBOARDS = Path("grafana/dashboards")
#: Below Ray's own folder, where a head node writes Ray's dashboards for Grafana.
_RAYS_DASHBOARDS = "session_latest/metrics/grafana/dashboards"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the programs find things.

    Attributes:
        folder: The folder of these files, as Grafana sees it: an absolute path.
        ray_folder: Ray's ``--temp-dir``, as Prometheus and Grafana see it.
        prometheus_url: Of Prometheus, as Grafana sees it.
    """

    folder: str
    ray_folder: str = "/tmp/ray"
    prometheus_url: str = "http://127.0.0.1:9090"


def dashboard_files(
    places: Places, thresholds: Thresholds, interval_s: float = 10.0, rays_dashboard: dict[str, Any] | None = None
) -> dict[Path, str]:
    """Texts of all files, by their place in the folder.

    Args:
        places: Where the programs find things.
        thresholds: Of the alerts.
        interval_s: Seconds between two scrapes.
        rays_dashboard: The dashboard that Ray's own page shows, into which our rows are put; None: Ray's are left as they
            are, and Grafana reads them where Ray writes them.
    """
    ours = f"{places.folder.rstrip('/')}/{DASHBOARDS}"
    dashboards = {"runs": run_dashboard(), "sweeps": sweep_dashboard()}
    folders = {"rllib_reborn": ours}
    if rays_dashboard is None:
        folders["Ray"] = f"{places.ray_folder.rstrip('/')}/{_RAYS_DASHBOARDS}"
    else:  # Grafana takes no two dashboards of one uid, so that Ray's folder is not read
        dashboards["ray"] = with_our_rows(rays_dashboard)
    return {
        PROMETHEUS_CONFIG: prometheus_yaml(places.ray_folder, interval_s),
        RULES: rules_yaml(thresholds),
        DATA_SOURCES: data_source_yaml(places.prometheus_url),
        PROVIDERS: provider_yaml(folders),
        **{DASHBOARDS / f"{name}.json": json.dumps(one, indent=2) + "\n" for name, one in dashboards.items()},
    }


def write_dashboard_files(folder: Path, files: dict[Path, str]) -> list[Path]:
    """Write them below ``folder``, over those of an earlier time, and return their paths.

    Raises:
        OSError: They cannot be written.
    """
    written = []
    for place, text in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
