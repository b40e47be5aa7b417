"""``dashboard``: files for Prometheus and Grafana, and the commands that start them."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from rllib_reborn.cli.command import EXIT_OK, Command, CommandFailed, UsageError, mistakes, user_path

DEFAULT_FOLDER = Path("dashboard")
_GRAFANA = "http://127.0.0.1:3000"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=user_path,
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help=f"where to write; default: {DEFAULT_FOLDER}. Files of an earlier time are written anew",
    )
    parser.add_argument(
        "--at", metavar="PATH", help="DIR as Grafana sees it, where that is another path (a container's); default: DIR"
    )
    parser.add_argument(
        "--ray-folder",
        default="/tmp/ray",
        metavar="PATH",
        help="Ray's --temp-dir on the head node's machine, as Prometheus and Grafana see it; default: /tmp/ray",
    )
    parser.add_argument(
        "--prometheus-url",
        default="http://127.0.0.1:9090",
        metavar="URL",
        help="Prometheus as Grafana reaches it; default: http://127.0.0.1:9090",
    )
    parser.add_argument(
        "--in-ray-page",
        action="store_true",
        help="also Ray's own dashboard with our rows below: the one that Ray's page 'Metrics' shows",
    )
    parser.add_argument(
        "--interval", type=float, default=10.0, metavar="SECONDS", help="between two scrapes; default: 10"
    )
    parser.add_argument(
        "--no-row-minutes",
        type=float,
        default=30.0,
        metavar="MINUTES",
        help="alert after so long without a row; default: 30",
    )
    parser.add_argument(
        "--dormant",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="alert above this share of dormant neurons; default: 0.5",
    )


def _run(args: argparse.Namespace) -> int:
    from rllib_reborn.monitoring.alert_rules import Thresholds
    from rllib_reborn.monitoring.dashboard_files import Places, dashboard_files, write_dashboard_files

    if not 1 <= args.interval <= 60:
        raise UsageError(f"--interval is {args.interval:g}; expected 1 to 60 seconds: Ray's own are 10.")
    url = args.prometheus_url
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--prometheus-url is {url!r}; expected http://HOST:PORT.")
    for option, path in (("--at", args.at), ("--ray-folder", args.ray_folder)):
        if path is not None and not path.startswith("/"):
            raise UsageError(f"{option} is {path!r}; expected an absolute path.")
    with mistakes(ValueError):
        thresholds = Thresholds(no_row_minutes=args.no_row_minutes, dormant_fraction=args.dormant)
    folder = args.out.absolute()
    rays = None
    if args.in_ray_page:
        from rllib_reborn.runtime.ray_internals import default_dashboard

        rays = default_dashboard()
    places = Places(args.at or str(folder), args.ray_folder, url)
    try:
        written = write_dashboard_files(folder, dashboard_files(places, thresholds, args.interval, rays))
    except OSError as error:
        raise CommandFailed(f"{folder} cannot be written: {error}") from error
    for path in written:
        print(f"wrote {path}")
    print("\n" + commands(folder, args.ray_folder, url))
    return EXIT_OK


def commands(folder: Path, ray_folder: str, prometheus_url: str) -> str:
    """What is typed next, on the machine of Ray's head node; all three listen on 127.0.0.1."""
    port = urlsplit(prometheus_url).port or 9090
    temp_dir = "" if ray_folder == "/tmp/ray" else f" --temp-dir={shlex.quote(ray_folder)}"
    config, data = shlex.quote(str(folder / "prometheus.yml")), shlex.quote(str(folder / "data"))
    provisioning = shlex.quote(str(folder / "grafana/provisioning"))
    return f"""\
Start them on the machine of Ray's head node, each in a terminal of its own:

1. RAY_PROMETHEUS_HOST={prometheus_url} RAY_GRAFANA_HOST={_GRAFANA} \\
   ray start --head --block --dashboard-host=127.0.0.1{temp_dir}
2. prometheus --config.file={config} --storage.tsdb.path={data} --web.listen-address=127.0.0.1:{port}
3. GF_PATHS_PROVISIONING={provisioning} GF_SERVER_HTTP_ADDR=127.0.0.1 \\
   GF_SECURITY_ALLOW_EMBEDDING=true GF_AUTH_ANONYMOUS_ENABLED=true \\
   grafana server --homepath=/usr/share/grafana

Then train with '--address auto', and open {_GRAFANA}/d/rllib-reborn-runs (Ray's page: http://127.0.0.1:8265)."""


COMMAND = Command(
    "dashboard", "Write what Prometheus and Grafana need to show runs, with alerts.", _add_arguments, _run
)
