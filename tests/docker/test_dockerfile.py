"""docker/Dockerfile: what it copies reaches the build, what it downloads is what setup.cfg requires, and no stage but those
that say so uses the network. ``python -m tests.docker.build_image`` builds it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
NETWORK = re.compile(r"apt-get (update|install)|pip download")


def load_requirements():
    spec = importlib.util.spec_from_file_location("docker_requirements", DOCKER / "requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.requirements


def instructions() -> list[str]:
    """Instructions of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return [one.strip() for one in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if one.strip()]


def stages() -> dict[str, list[str]]:
    """Instructions of each stage by its name."""
    found: dict[str, list[str]] = {}
    for instruction in instructions():
        if instruction.startswith("FROM "):
            found[instruction.split(" AS ")[1]] = []
        if found:
            list(found.values())[-1].append(instruction)
    return found


def test_the_targets_are_there_and_end_as_a_user_that_is_not_root() -> None:
    for target in ("cpu", "gpu", "starcraft"):
        users = [one for one in stages()[target] if one.startswith("USER ")]
        assert users[-1:] == ["USER 1000:0"], target
        assert stages()[target][-1] == users[-1]


def test_stages_that_use_the_network_are_those_that_the_head_of_the_file_names() -> None:
    using = {name for name, stage in stages().items() if any(NETWORK.search(one) for one in stage)}
    assert using == {"base", "downloads", "torch-cpu", "torch-gpu", "game"}
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    named = re.search(r"# Only (.*?) use the network", text)
    assert named is not None
    assert set(re.findall(r'"([\w-]+)"', named[1])) == using
    for name, stage in stages().items():
        for one in stage:
            if re.search(r"pip (install|wheel)", one):
                assert "--no-index" in one, name


def test_cpu_and_gpu_differ_in_their_torch_and_the_driver_alone() -> None:
    cpu, gpu = ("\n".join(stages()[name]) for name in ("cpu", "gpu"))
    driver = "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility\n"
    assert driver in gpu
    assert gpu.replace(driver, "") == cpu.replace("torch-cpu", "torch-gpu").replace("AS cpu", "AS gpu")


def test_what_is_copied_is_sent_to_the_build_and_nothing_else_is() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and line[0] not in "#!"] == ["*", "**/__pycache__", "**/*.pyc"]
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for one in instructions():
        if one.startswith("COPY ") and "--from" not in one:
            copied |= {word for word in one.split()[1:-1] if not word.startswith("--")}
    assert sent == copied
    for name in copied:
        assert (ROOT / name).exists(), name


def test_the_extras_of_the_image_are_extras_of_the_package() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    extras = re.search(r'ARG EXTRAS="([\w,-]+)"', text)
    assert extras is not None
    found = load_requirements()((ROOT / "setup.cfg").read_text(encoding="utf-8"), extras[1].split(","))
    assert {"ray[rllib,tune,default]>=2.58.1,<2.61", "numba", "optuna", "websocket-client"} <= set(found)
    assert not [line for line in found if line.startswith("torch")]


SETUP = """
[options]
install_requires =
    torch>=2.6
    torchvision  # is no torch
    numpy
[options.extras_require]
one =
    numpy
    scipy
two =
"""


def test_requirements_are_those_of_the_package_and_its_extras_once_without_torch() -> None:
    requirements = load_requirements()
    assert requirements(SETUP, []) == ["torchvision", "numpy"]
    assert requirements(SETUP, ["one", "two"]) == ["torchvision", "numpy", "scipy"]
    with pytest.raises(SystemExit, match=r"EXTRAS has 'three'; setup\.cfg has one, two"):
        requirements(SETUP, ["three"])


def test_neither_password_nor_token_is_written_into_a_layer() -> None:
    for one in instructions():
        assert not re.match(r"(ARG|ENV|COPY|ADD)\b.*(password|token|secret)", one, re.IGNORECASE), one
    secrets = [one for one in instructions() if "/run/secrets/" in one]
    assert len(secrets) == 1
    assert "--mount=type=secret" in secrets[0]
