"""The manifests of docker/kuberay: no misspelt key, room for what they start, and read by Ray's own autoscaler as meant."""

from __future__ import annotations

import copy
import json
import os
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rllib_reborn.experiments.cluster_room import processes_of, shortage
from rllib_reborn.experiments.load import load
from rllib_reborn.tuning.find import sweep_path
from rllib_reborn.tuning.points import SweepRun, experiment_of, known_points
from rllib_reborn.tuning.sweep import read_sweep
from rllib_reborn.tuning.trainable import resources_of
from tests.docker.strict_schemas import cut, pod_specs, schema_of

KUBERAY = Path(__file__).parents[2] / "docker" / "kuberay"
FILES = sorted(KUBERAY.glob("*.yaml"))
RAY_JOBS = sorted(KUBERAY.glob("rayjob-*.yaml"))
CUSTOM = ("RayJob", "PodMonitor")
#: Kubernetes whose core kinds are checked: the newest that the validator knows.
KUBERNETES = "1.37"
#: A folder with KubeRay's definitions, for the tests that the committed extract is what it says.
DEFINITIONS = os.environ.get("RLLIB_REBORN_KUBERAY_CRDS")


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((KUBERAY / name).read_text(encoding="utf-8"))


def pods_of(job: dict[str, Any]) -> dict[str, Any]:
    return pod_specs(schema_of("RayJob"), job)


def group(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    return only


def check_core(manifest: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_manifest_has_only_keys_that_its_kind_knows(path: Path) -> None:
    content = manifest(path.name)
    if content["kind"] in CUSTOM:
        jsonschema.validate(content, schema_of(content["kind"]))
    else:
        check_core(content)


@pytest.mark.parametrize("path", RAY_JOBS, ids=lambda path: path.name)
def test_each_pod_of_a_job_has_only_keys_that_pods_know(path: Path) -> None:
    pods = pods_of(manifest(path.name))
    assert list(pods) == [
        "spec.rayClusterSpec.headGroupSpec.template.spec",
        "spec.rayClusterSpec.workerGroupSpecs[0].template.spec",
    ]
    for spec in pods.values():
        check_core(pod(spec))


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("spec",), "entrypointNumCPUs"),
        (("spec",), "backOffLimit"),
        (("spec", "rayClusterSpec"), "authOption"),
        (("spec", "rayClusterSpec", "autoscalerOptions"), "idleTimeoutSecond"),
        (("spec", "rayClusterSpec", "headGroupSpec"), "rayStartParam"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "minReplica"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template"), "specs"),
    ],
)
def test_a_misspelt_key_of_a_job_is_caught(place: tuple[Any, ...], key: str) -> None:
    job = manifest("rayjob-train.yaml")
    at = job
    for step in place:
        at = at[step]
    at[key] = "1"
    with pytest.raises(jsonschema.ValidationError, match=f"'{key}' was unexpected"):
        jsonschema.validate(job, schema_of("RayJob"))


def test_a_misspelt_key_of_a_pod_is_caught() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    spec = copy.deepcopy(next(iter(pods_of(manifest("rayjob-train.yaml")).values())))
    spec["terminationGracePeriodSecond"] = 180
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriodSecond"):
        check_core(pod(spec))


@pytest.mark.parametrize("path", RAY_JOBS, ids=lambda path: path.name)
def test_a_retry_finds_the_run_and_a_stopped_one_has_time_to_save(path: Path) -> None:
    job = manifest(path.name)["spec"]
    assert job["backoffLimit"] > 0
    assert job["entrypointNumCpus"] == 1
    assert job["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")  # no enumeration in the definition
    wait_s = int(yaml.safe_load(job["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])
    out = Path(option(job["entrypoint"], "--out"))
    claims = set()
    for spec in pods_of(manifest(path.name)).values():
        assert spec["terminationGracePeriodSeconds"] > wait_s
        (container,) = spec["containers"]
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert out.is_relative_to("/runs")
        claims.add(volumes[mounted["/runs"]]["persistentVolumeClaim"]["claimName"])
        assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    claim = manifest("runs.yaml")
    assert claims == {claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("path", RAY_JOBS, ids=lambda path: path.name)
def test_the_cluster_asks_for_a_token_and_scales_with_version_2(path: Path) -> None:
    cluster = manifest(path.name)["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["rayVersion"] == "2.60.0"  # KubeRay refuses a token without it
    assert (cluster["enableInTreeAutoscaling"], cluster["autoscalerOptions"]["version"]) == (True, "v2")
    for spec in pods_of(manifest(path.name)).values():
        assert "restartPolicy" not in spec  # KubeRay refuses others than Never with version 2


def option(command: str, name: str) -> str:
    words = shlex.split(command)
    return words[words.index(name) + 1]


def first_nodes(job: dict[str, Any]) -> list[dict[str, float]]:
    """What the nodes have that are there from the start; the driver's share is taken off the head's."""
    cluster, workers = job["spec"]["rayClusterSpec"], group(job)
    (container,) = workers["template"]["spec"]["containers"]
    limits, params = container["resources"]["limits"], workers["rayStartParams"]
    custom = json.loads(json.loads(params["resources"])) if "resources" in params else {}
    gibibytes = float(limits["memory"].removesuffix("Gi"))
    worker = {"CPU": float(limits["cpu"]), "memory": gibibytes * 2**30, **custom}
    head = {"CPU": float(cluster["headGroupSpec"]["rayStartParams"]["num-cpus"]) - job["spec"]["entrypointNumCpus"]}
    return [head, *[worker] * workers["minReplicas"]]


def overrides(job: dict[str, Any]) -> list[str]:
    return [word for word in shlex.split(job["spec"]["entrypoint"])[3:] if "=" in word]


def test_the_first_nodes_have_room_for_every_process_of_the_training() -> None:
    """So that it begins at once: none of its processes is started before there is room for all."""
    job = manifest("rayjob-train.yaml")
    entrypoint = job["spec"]["entrypoint"]
    name, resources = shlex.split(entrypoint)[2], option(entrypoint, "--resources")
    experiment = load(name, overrides(job), resources=resources).experiment
    assert sum(one.get("sc2", 0) for kind in processes_of(experiment).values() for one in kind) == 24
    assert shortage(experiment, first_nodes(job)) is None
    group(job)["minReplicas"] = 0
    assert "sc2 each, the cluster has" in str(shortage(experiment, first_nodes(job)))


def test_the_first_nodes_have_room_for_one_run_of_the_sweep() -> None:
    """Likewise: a sweep begins where there is room for one run."""
    job = manifest("rayjob-tune.yaml")
    sweep = read_sweep(sweep_path(shlex.split(job["spec"]["entrypoint"])[2]), overrides(job))
    run = SweepRun(known_points(sweep)[0], sweep.seeds[0])
    own = resources_of(experiment_of(sweep, run)).bundles[0]
    assert shortage(experiment_of(sweep, run), first_nodes(job), own) is None
    group(job)["minReplicas"] = 0
    assert "training processes" in str(shortage(experiment_of(sweep, run), first_nodes(job), own))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rayjob-train.yaml", {"games": (1, 2, {"CPU": 16, "sc2": 24})}),
        ("rayjob-tune.yaml", {"trials": (1, 16, {"CPU": 8})}),
    ],
)
def test_rays_own_autoscaler_reads_the_groups(name: str, expected: dict[str, Any]) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {
        "metadata": {"name": "one", "namespace": "default"},
        "spec": manifest(name)["spec"]["rayClusterSpec"],
    }
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    found = {
        key: (
            value["min_workers"],
            value["max_workers"],
            {what: amount for what, amount in value["resources"].items() if what != "memory"},
        )
        for key, value in types.items()
        if key != "headgroup"
    }
    assert found == expected


def test_the_monitor_names_ports_that_the_pods_have_and_drops_buckets() -> None:
    endpoints = manifest("podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert [endpoint["port"] for endpoint in endpoints] == ["metrics", "as-metrics", "dash-metrics"]
    for endpoint in endpoints:
        (rule,) = endpoint["metricRelabelings"]
        assert (rule["regex"], rule["action"]) == ("ray_rllib_.*_bucket", "drop")
    for path in RAY_JOBS:
        head, worker = (
            {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
            for spec in pods_of(manifest(path.name)).values()
        )
        assert {endpoint["port"] for endpoint in endpoints} <= head.keys()
        assert worker == {"metrics": head["metrics"]}


def test_metrics_ports_are_open_to_prometheus_alone() -> None:
    (head, *_) = pods_of(manifest("rayjob-train.yaml")).values()
    metrics = {port["containerPort"] for port in head["containers"][0]["ports"] if "metrics" in port["name"]}
    *others, last = manifest("network-policy.yaml")["spec"]["ingress"]
    assert {port["port"] for port in last["ports"]} == metrics
    for rule in others[1:]:
        assert not metrics & {port["port"] for port in rule["ports"]}


@pytest.mark.skipif(DEFINITIONS is None, reason="RLLIB_REBORN_KUBERAY_CRDS names no folder with KubeRay's definitions")
def test_the_extract_is_what_kuberay_defines() -> None:
    definition = yaml.safe_load((Path(str(DEFINITIONS)) / "rayjobs_170.yaml").read_text(encoding="utf-8"))
    assert cut(definition, "v1") == schema_of("RayJob")
