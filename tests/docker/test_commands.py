"""Every command in the manifests, compose.yaml, ray_up.yaml and slurm_tune.sh is one that its program accepts."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from ray.scripts.scripts import cli as ray_command

from rllib_reborn.cli.main import main

DOCKER = Path(__file__).parents[2] / "docker"
SLURM = DOCKER / "slurm_tune.sh"


def compose_commands() -> Iterator[list[str]]:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name in ("head", "worker"):
        yield services[name]["command"]


def ray_up_commands() -> Iterator[list[str]]:
    content = yaml.safe_load((DOCKER / "ray_up.yaml").read_text(encoding="utf-8"))
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for line in content[key]:
            words = shlex.split(line.split(";")[-1])
            yield words[next(index for index, word in enumerate(words) if "=" not in word) :]


def accepted_by_ray(words: list[str]) -> None:
    """Parsed by Ray's own command line; nothing is started.

    Raises:
        click.UsageError: Ray does not know the command or an option.
    """
    program, name, *arguments = words
    assert program == "ray"
    ray_command.commands[name].make_context(name, list(arguments))


@pytest.fixture(autouse=True)
def no_cluster_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--address`` sets it, for all that this process does."""
    monkeypatch.setenv("RAY_ADDRESS", "")


def dry_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    program, *arguments = words
    assert program == "rllib-reborn"
    status = main([*arguments, "--dry-run"])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    return printed.out


@pytest.mark.parametrize("words", [*compose_commands(), *ray_up_commands()], ids=" ".join)
def test_ray_accepts_the_commands_that_start_nodes(words: list[str]) -> None:
    accepted_by_ray(words)


def test_an_option_that_ray_does_not_have_is_caught() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        accepted_by_ray(["ray", "start", "--metric-export-port=8080"])


@pytest.mark.parametrize("path", sorted((DOCKER / "kuberay").glob("rayjob-*.yaml")), ids=lambda path: path.name)
def test_our_command_line_accepts_the_entrypoints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["entrypoint"])
    printed = dry_run(words, capsys)
    assert {"train": "interval_s: 600", "tune": "alpha=0.025,beta=2,every=10000/s0"}[words[1]] in printed
    resume = words.index("--resume")
    assert words[resume:] == (["--resume", "auto"] if words[1] == "train" else ["--resume"])
    assert Path(words[words.index("--out") + 1]).is_absolute()


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder of programs in the place of Slurm's: srun prints what it would run."""
    programs = {
        "srun": '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n',
        "scontrol": '#!/bin/sh\n[ "$*" = "show hostnames node[1-4]" ] && printf "node%s\\n" 1 2 3 4\n',
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def submitted(slurm: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the batch script does on the first of four nodes."""
    settings = {
        "PATH": f"{slurm}:{os.environ['PATH']}",
        "HOME": str(slurm.parent),
        "SLURM_JOB_NODELIST": "node[1-4]",
        "SLURM_NNODES": "4",
        "SLURM_CPUS_ON_NODE": "16",
        **environment,
    }
    return subprocess.run(["bash", SLURM, *arguments], env=settings, capture_output=True, text=True)


def token(slurm: Path) -> str:
    path = slurm.parent / "token"
    path.write_text("0123")
    return str(path)


def test_slurm_starts_ray_on_all_nodes_and_the_sweep_on_the_first(
    slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(slurm.parent / "sweep")
    done = submitted(slurm, "quick", "concurrency=2", OUT=out, RAY_AUTH_TOKEN_PATH=token(slurm))
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.splitlines()
    before, command = words[: words.index("--")], words[words.index("--") + 1 :]
    assert before == ["ray", "symmetric-run", "--address", "node1:6379", "--min-nodes", "4", "--num-cpus", "16"]
    accepted_by_ray(words)
    assert command[2:4] == ["quick", "set.checkpoint.interval_s=600"]
    assert command[-5:] == ["--out", out, "--resume", "--address", "auto"]
    assert "beta=2/s0" in dry_run(command, capsys)


@pytest.mark.parametrize(
    ("environment", "status", "message"),
    [({}, 1, "OUT: is the folder of the sweep"), ({"OUT": "/shared/sweep"}, 2, "holds no token; make one")],
)
def test_slurm_says_what_is_missing(slurm: Path, environment: dict[str, str], status: int, message: str) -> None:
    done = submitted(slurm, **environment)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stdout == ""


def test_ray_itself_accepts_the_file_of_ray_up() -> None:
    """By the schema in Ray's wheel, which has additionalProperties: false at its top."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    content = yaml.safe_load((DOCKER / "ray_up.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(dict(content)))
    with pytest.raises(Exception, match="min_worker_"):
        validate_config({**prepare_config(dict(content)), "min_worker_": 1})
