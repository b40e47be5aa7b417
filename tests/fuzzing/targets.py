"""The readers that are fed, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib

from tests.fuzzing.running import Target

#: Name to module, and how many inputs the short sample has.
NAMES = {"yaml": "yaml_texts", "manifest": "manifests", "policy": "policies", "metrics": "runs", "frames": "frames"}


def target(name: str) -> Target:
    """The reader of that name, with its inputs."""
    found: Target = importlib.import_module(f"tests.fuzzing.{NAMES[name]}").TARGET
    return found
