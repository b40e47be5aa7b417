"""JSON schemas that refuse unknown keys, cut from Kubernetes' custom resource definitions.

``kubectl apply`` drops keys that a definition does not have and says nothing, so a misspelt key has no effect. The
definitions themselves are large (KubeRay's RayJob: 1.4 MB, most of it Kubernetes' own pod specification four times), so
``schemas/`` has what is left without texts and without pods, whose specifications ``kubernetes-validate --strict`` checks.
To make it anew:

    python -m tests.docker.strict_schemas DEFINITION.yaml VERSION >tests/docker/schemas/KIND.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).parent / "schemas"
#: Stands in a schema where a pod's specification stands in a manifest.
POD_SPEC = {"type": "object", "title": "PodSpec"}


def cut(definition: dict[str, Any], version: str) -> dict[str, Any]:
    """Schema of one version of a custom resource, strict, without descriptions, ``status`` and specifications of pods.

    Raises:
        KeyError: The definition has no such version.
    """
    versions = {found["name"]: found for found in definition["spec"]["versions"]}
    schema = _strict(versions[version]["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    kind, group = definition["spec"]["names"]["kind"], definition["spec"]["group"]
    schema["properties"]["kind"] = {"const": kind}
    schema["properties"]["apiVersion"] = {"const": f"{group}/{version}"}
    schema["required"] = sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata", "spec"})
    return schema


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    properties = node.get("properties")
    if isinstance(properties, dict):
        if {"containers", "initContainers", "nodeSelector"} <= properties.keys():
            return dict(POD_SPEC)
        kept = {key: _strict(value) for key, value in node.items() if key != "properties" and _checks(key)}
        kept["properties"] = {name: _strict(value) for name, value in properties.items()}
        kept.setdefault("additionalProperties", False)
        return kept
    return {key: _strict(value) for key, value in node.items() if _checks(key)}


def _checks(key: str) -> bool:
    """Whether a key of a schema is one that jsonschema looks at."""
    return key not in ("description", "format", "default") and not key.startswith("x-kubernetes-")


def pod_specs(schema: dict[str, Any], manifest: Any, place: str = "") -> dict[str, Any]:
    """Specifications of pods in a manifest by their place, e.g. ``spec.rayClusterSpec.headGroupSpec.template.spec``."""
    if schema == POD_SPEC:
        return {place: manifest}
    found = {}
    if isinstance(manifest, dict):
        for key, value in manifest.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(inner, dict):
                found.update(pod_specs(inner, value, f"{place}.{key}".lstrip(".")))
    if isinstance(manifest, list) and "items" in schema:
        for index, value in enumerate(manifest):
            found.update(pod_specs(schema["items"], value, f"{place}[{index}]"))
    return found


def schema_of(kind: str) -> dict[str, Any]:
    """A schema of ``schemas/``."""
    return json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    definition = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(cut(definition, sys.argv[2]), sort_keys=True, separators=(",", ":")))
