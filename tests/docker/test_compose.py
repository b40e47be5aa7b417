"""docker/compose.yaml: accepted by the Compose Specification's schema, closed to other machines, with a token everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.docker.strict_schemas import SCHEMAS

DOCKER = Path(__file__).parents[2] / "docker"
SCHEMA = jsonschema.Draft7Validator(json.loads((SCHEMAS / "compose-spec.json").read_text(encoding="utf-8")))
NODES = ("head", "worker")


def compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def test_the_file_is_a_compose_file() -> None:
    SCHEMA.validate(compose())
    assert set(compose()["services"]) == {"head", "worker", "prometheus", "grafana"}


@pytest.mark.parametrize(("service", "key"), [("head", "shm-size"), ("worker", "depend_on"), ("grafana", "volume")])
def test_a_misspelt_key_is_caught(service: str, key: str) -> None:
    content = compose()
    content["services"][service][key] = "1"
    (error,) = SCHEMA.iter_errors(content)
    assert error.message.startswith(f"'{key}' does not match any of the regexes")
    assert list(error.path) == ["services", service]


def test_ports_are_published_on_this_machine_alone_and_none_of_metrics() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert published == ["127.0.0.1:8265:8265", "127.0.0.1:9090:9090", "127.0.0.1:3000:3000"]
    for service in compose()["services"].values():
        assert "network_mode" not in service  # the host's network would open every port


@pytest.mark.parametrize("name", NODES)
def test_nodes_ask_for_the_token_that_is_a_secret(name: str) -> None:
    node = compose()["services"][name]
    assert node["environment"]["RAY_AUTH_MODE"] == "token"
    assert node["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert node["secrets"] == ["ray_token"]
    assert re.fullmatch(r"\$\{\w+:-\dgb\}", node["shm_size"])
    assert node["healthcheck"]["test"] == ["CMD", "healthcheck.sh"]


def test_secrets_are_files_that_git_and_builds_leave_out() -> None:
    content = compose()
    files = {name: secret["file"] for name, secret in content["secrets"].items()}
    assert files == {"ray_token": "./secrets/ray_token", "grafana_password": "./secrets/grafana_password"}
    used = {name for service in content["services"].values() for name in service.get("secrets", ())}
    assert used == files.keys()
    ignored = (DOCKER / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", "data/", "monitoring/", "secrets/"} <= set(ignored)


def test_what_waits_for_whom() -> None:
    waits = {name: set(service.get("depends_on", ())) for name, service in compose()["services"].items()}
    assert waits == {"head": set(), "worker": {"head"}, "prometheus": {"head"}, "grafana": {"prometheus"}}
    for service in compose()["services"].values():
        for other in service.get("depends_on", {}):
            assert service["depends_on"][other]["condition"] == "service_healthy"
            assert "healthcheck" in compose()["services"][other]


def test_every_service_runs_as_the_user_without_privileges() -> None:
    for service in compose()["services"].values():
        assert re.fullmatch(r"\$\{RLLIB_REBORN_UID:\?[^}]+\}:0", service["user"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_the_readme_makes_what_is_mounted() -> None:
    """Docker makes a folder that is missing itself, as root, and the container cannot write to it."""
    text = (DOCKER / "README.md").read_text(encoding="utf-8")
    for service in compose()["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0].removeprefix("./")
            assert source.split("/")[0] in ("data", "monitoring")
            if source.startswith("data"):
                assert source in text


def test_prometheus_and_grafana_find_what_the_dashboard_command_writes() -> None:
    """``--at`` is where the folder is in the containers, and ``--prometheus-url`` names a service."""
    (line,) = re.findall(r"^rllib-reborn dashboard (.*)$", (DOCKER / "README.md").read_text(encoding="utf-8"), re.M)
    options = dict(zip(line.split()[::2], line.split()[1::2], strict=True))
    assert options == {
        "--out": "monitoring",
        "--at": "/monitoring",
        "--prometheus-url": "http://prometheus:9090",
    }
    services = compose()["services"]
    for name in ("prometheus", "grafana"):
        assert {"./monitoring:/monitoring:ro", "./data/ray:/tmp/ray:ro"} <= set(services[name]["volumes"])
    assert "./data/ray:/tmp/ray" in services["head"]["volumes"]
    assert "--config.file=/monitoring/prometheus.yml" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == "/monitoring/grafana/provisioning"
    assert services["head"]["environment"]["RAY_PROMETHEUS_HOST"] == options["--prometheus-url"]
