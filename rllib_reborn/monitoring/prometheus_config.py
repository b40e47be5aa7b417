"""``prometheus.yml``: where Prometheus finds the nodes of a Ray cluster, and what it leaves out."""

from __future__ import annotations

#: Ray keeps it up to date with the nodes of its newest session on the machine of the head node.
DISCOVERY_FILE = "prom_metrics_service_discovery.json"

_CONFIG = """\
# Written by 'rllib-reborn dashboard'. Relative paths are relative to this file.
global:
  scrape_interval: {interval_s:g}s
  evaluation_interval: {interval_s:g}s

rule_files:
  - rules/*.yml

scrape_configs:
  - job_name: ray
    # The nodes of the cluster, by the file that its head node keeps up to date. Ray's metrics ports ask for no token, also
    # in a cluster that does: close them in the network.
    file_sd_configs:
      - files: ['{discovery}']
        refresh_interval: {interval_s:g}s
    # From another machine than the head node's: in place of file_sd_configs. This port does ask for the token.
    # http_sd_configs:
    #   - url: http://HEAD:8265/api/prometheus/sd
    #     authorization: {{type: Bearer, credentials_file: /path/to/the/token}}
    metric_relabel_configs:
      # 300 and more series of each process that has trained stay until its node's agent ends; these are nine in ten of them.
      - source_labels: [__name__]
        regex: ray_rllib_.*_bucket
        action: drop
"""


def prometheus_yaml(ray_folder: str, interval_s: float = 10.0) -> str:
    """The config file.

    Args:
        ray_folder: Ray's ``--temp-dir``, as Prometheus sees it.
        interval_s: Seconds between two scrapes.
    """
    discovery = f"{ray_folder.rstrip('/')}/{DISCOVERY_FILE}".replace("'", "''")
    return _CONFIG.format(discovery=discovery, interval_s=interval_s)
