"""Builds the image of docker/Dockerfile and uses it, without a container engine: ``python -m tests.docker.build_image``.

buildah reads the Dockerfile and runs every step in a fresh root, as ``docker build`` does. What is in place of
``python:3.11-slim-bookworm``, which comes from a registry of images, is a Debian 12 from Debian's packages with Debian's own
Python 3.11. Stages that need no network are built in a network namespace without any. The finished root is then entered as
``docker run`` would: with processes, network, /dev/shm and user id of its own, and with the command, environment, working
directory and health check that the image names.

It needs root, some 15 GB below ``--work``, four minutes of an idle machine and
``apt-get install --no-install-recommends buildah mmdebstrap``.
Not shown by it: BuildKit, the registry's base image, GPUs, the target gpu, and the game itself (the target starcraft is
built with a made-up installation).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
#: A user id that no file of the image knows, in group 0, as OpenShift runs images.
UNKNOWN_USER = "54321:0"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NO_NETWORK = ("unshare", "--net")
NEW_NAMESPACES = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork")


class ImageTestError(Exception):
    """Something that a user of the image would meet is broken."""


def main() -> int:
    """Build and use; 0: all of it works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("/var/tmp/rllib-reborn-image"), help="folder for all that is made"
    )
    args = parser.parse_args()
    missing = [name for name in ("buildah", "mmdebstrap", "unshare", "unzip") if shutil.which(name) is None]
    if os.geteuid() or missing:
        print(f"image-test: needs root and {', '.join(missing) or 'nothing else'}; see --help", file=sys.stderr)
        return 2
    try:
        builder = Builder(args.work.resolve())
        build(builder)
        use(builder)
        use_starcraft(builder)
    except ImageTestError as error:
        print(f"image-test: {error}", file=sys.stderr)
        return 1
    print("image-test: ok")
    return 0


class Builder:
    """buildah with a storage of its own below ``work``."""

    def __init__(self, work: Path) -> None:
        self.work = work
        for name in ("storage", "run", "tmp"):
            (work / name).mkdir(parents=True, exist_ok=True)
        storage = f'[storage]\ndriver="overlay"\ngraphroot="{work}/storage"\nrunroot="{work}/run"\n'
        self._write("storage.conf", storage)
        self._write("registries.conf", 'unqualified-search-registries = ["docker.io"]\n')
        self._write("policy.json", json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self._environment = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(work / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(work / "registries.conf"),
            "TMPDIR": str(work / "tmp"),
        }

    def _write(self, name: str, text: str) -> Path:
        path = self.work / name
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(self, *arguments: str, before: Sequence[str] = ()) -> str:
        """What ``buildah ARGUMENTS`` prints; ``before`` is put in front of it.

        Raises:
            ImageTestError: It failed.
        """
        return output([*before, "buildah", *arguments], env=self._environment)

    def policy(self) -> tuple[str, str]:
        return ("--signature-policy", str(self.work / "policy.json"))

    def build(self, target: str, *options: str, before: Sequence[str] = ()) -> str:
        """Build a target or stage; layers of earlier builds are used again. Returns buildah's output."""
        with timed(f"build {target}{' without a network' if before else ''}"):
            return self(
                *("build", "--pull=never", "--layers", "--format", "docker", *self.policy(), *local_package_folders()),
                *(
                    "--target",
                    target,
                    "--tag",
                    target,
                    "--file",
                    str(CLONE / "docker" / "Dockerfile"),
                    *options,
                    str(CLONE),
                ),
                before=before,
            )

    def make_base(self) -> None:
        """The image in the place of the Dockerfile's base, once for a ``work``."""
        if BASE in self("images", "--format", "{{.Name}}:{{.Tag}}"):
            return
        archive = self.work / "base.tar"
        packages = "ca-certificates,python3,python3-venv,python3-pip,python-is-python3"
        with timed("base from Debian's packages"):
            output(["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(archive)])
        container = self("from", "scratch").strip()
        self("add", container, str(archive))
        archive.unlink()
        # This machine's way to the package registries.
        self("copy", container, str(CERTIFICATES), str(CERTIFICATES))
        self("copy", container, str(self._write("pip.conf", pip_settings())), "/etc/pip.conf")
        self("config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
        self("commit", *self.policy(), "--rm", container, BASE)

    def image(self, name: str) -> dict[str, Any]:
        """How the image is configured: ``Env``, ``User``, ``Entrypoint``, ``Cmd``, ``Healthcheck``, ``WorkingDir``, ..."""
        config: dict[str, Any] = json.loads(self("inspect", "--type", "image", name))["Docker"]["config"]
        return config

    @contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """A fresh writable root of an image."""
        container = self("from", "--pull=never", *self.policy(), name).strip()
        try:
            yield Path(self("mount", container).strip())
        finally:
            self("umount", container)
            self("rm", container)


def pip_settings() -> str:
    """This machine's way to packages, as a configuration file of pip."""
    listed = output([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    # Those from the environment come first and count.
    values = {
        key.rpartition(".")[2]: value.strip("'") for key, value in (line.split("=", 1) for line in reversed(listed))
    }
    kept = ("cert", "find-links", "index-url", "timeout")
    return "\n".join(["[global]", *(f"{key} = {values[key]}" for key in kept if key in values)]) + "\n"


def local_package_folders() -> list[str]:
    """Folders of this machine that its pip looks into, for buildah's ``--volume``."""
    folders = sorted(word for word in pip_settings().split() if word.startswith("/") and Path(word).is_dir())
    return [option for folder in folders for option in ("--volume", f"{folder}:{folder}:ro")]


def build(builder: Builder) -> None:
    """What needs the network first, the image ``cpu`` then without any."""
    builder.make_base()
    for stage in ("torch-cpu", "downloads"):
        builder.build(stage)
    builder.build("package", before=NO_NETWORK)
    # Debian 12's buildah does not find files of stages that it takes from its cache; as images it does.
    stages = (f"{stage}=container-image://localhost/{stage}" for stage in ("torch-cpu", "downloads", "package"))
    builder.build("cpu", *(option for stage in stages for option in ("--build-context", stage)), before=NO_NETWORK)
    printed = builder("images", "--format", "{{.Name}}: {{.Size}}")
    print("\n".join(line for line in printed.splitlines() if line.startswith("localhost/cpu:")))


class Container:
    """An image's root that is entered as ``docker run --network none`` does."""

    def __init__(self, root: Path, image: dict[str, Any]) -> None:
        self.root, self.image = root, image

    def start(
        self, *command: str, user: str | None = None, environment: Sequence[str] = (), entrypoint: bool = True
    ) -> subprocess.Popen[str]:
        """Start the image's entrypoint with a command (its own by default); process 1 of its own processes."""
        script = (
            'set -e; root=$1; user=$2; folder=$3; shift 3; mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; '
            'mount -t tmpfs -o size=2g,mode=1777 shm "$root/dev/shm"; ip link set lo up; '
            'exec chroot --userspec="$user" --groups="${user#*:}" "$root" env -i --chdir="$folder" "$@"'
        )
        words = [*(self.image["Entrypoint"] if entrypoint else ()), *(command or self.image["Cmd"])]
        return subprocess.Popen(
            [
                *NEW_NAMESPACES,
                *("sh", "-c", script, "sh"),
                *(str(self.root), user or self.image["User"], self.image["WorkingDir"]),
                *(*self.image["Env"], *environment, *words),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, timeout_s: float = 1800, **options: Any) -> str:
        """What a command prints that ends.

        Raises:
            ImageTestError: Its status is not 0, or it did not end.
        """
        process = self.start(*command, **options)
        try:
            printed, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill(process)
            raise ImageTestError(f"{' '.join(command)} did not end in {timeout_s:g} s") from error
        if process.returncode:
            raise ImageTestError(f"{' '.join(command) or 'the command'} ended with {process.returncode}:\n{printed}")
        return printed

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL to process 1 in there, with which all others end."""
        subprocess.run(["pkill", "-KILL", "--parent", str(process.pid)])
        process.wait()

    def enter(self, process: subprocess.Popen[str], *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside what runs, as ``docker exec`` does."""
        first = first_child(process)
        return subprocess.run(
            [
                *("nsenter", "--target", first, "--mount", "--net", "--uts", "--ipc", "--pid", "--root", "--wd"),
                *("--setuid", "1000", "--setgid", "0", "env", "-i", *self.image["Env"], *command),
            ],
            capture_output=True,
            text=True,
        )


def use(builder: Builder) -> None:
    """What the README shows, as the image's user and as one whom it does not know."""
    image = builder.image("cpu")
    expect("1000:0", str(image["User"]))
    with builder.mounted("cpu") as root:
        container = Container(root, image)
        with timed("doctor"):
            show(container.run())
        train = ("rllib-reborn", "train", "matrix/two_step/qmix", "stop.env_steps=400", "--out")
        with timed("training as the image's user"):
            show(container.run(*train, "/runs/own"))
        with timed("training as an unknown user"):
            show(container.run(*train, "/runs/unknown", user=UNKNOWN_USER))
        for name, user in (("own", 1000), ("unknown", 54321)):
            written = root / "runs" / name / "metrics.jsonl"
            if not written.is_file() or written.stat().st_uid != user:
                raise ImageTestError(f"{written} is not there, or does not belong to {user}.")
        with timed("evaluation and report"):
            show(container.run("rllib-reborn", "evaluate", "/runs/own", "--episodes", "4"))
            container.run("rllib-reborn", "report", "/runs/own")
        expect("Usage", container.run("ray", "kuberay-autoscaler", "--help"))
        with timed("a head with a token, and its health check"):
            use_head(container)


def use_head(container: Container) -> None:
    """Start compose.yaml's head; its health check says so when it is up, and when its raylet has gone."""
    token = container.root / "runs" / "token"
    token.write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    os.chown(token, 1000, 0)
    command = ("ray", "start", "--head", "--block", "--port=6379", "--disable-usage-stats", "--num-cpus=1")
    head = container.start(
        *command,
        environment=("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=/runs/token", "RAY_raylet_start_wait_time_s=600"),
    )
    check = (
        "env",
        "RAY_AUTH_MODE=token",
        "RAY_AUTH_TOKEN_PATH=/runs/token",
        *container.image["Healthcheck"]["Test"][1:],
    )
    try:
        deadline = time.monotonic() + 900
        while (done := container.enter(head, *check)).returncode:
            if time.monotonic() > deadline or head.poll() is not None:
                raise ImageTestError(f"the head is not healthy: {done.stdout}{done.stderr}")
            time.sleep(1)
        without = container.enter(head, *container.image["Healthcheck"]["Test"][1:])
        print(f"  healthy; without the token the check ends with {without.returncode}")
        processes = container.enter(head, "ps", "-e", "-o", "pid,user,comm").stdout
        show(processes)
        container.enter(head, "pkill", "-x", "raylet")
        gone = container.enter(head, *check)
        print(f"  raylet ended: {gone.returncode}, {gone.stdout.strip()}")
        if not gone.returncode:
            raise ImageTestError("the health check does not see that the raylet is gone.")
    finally:
        container.kill(head)


def use_starcraft(builder: Builder) -> None:
    """The target ``starcraft`` from a made-up installation: the mock server's, as 'sc2-mock-server --install' makes it."""
    archives = builder.work / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir()
    with builder.mounted("cpu") as root:
        container = Container(root, builder.image("cpu"))
        show(container.run("rllib-reborn", "sc2-mock-server", "--install", "/runs/StarCraftII"))
        shutil.copytree(root / "runs" / "StarCraftII", archives / "StarCraftII")
    builder.build("game", "--build-context", f"archives={archives}")
    builder.build("starcraft", "--build-context", f"archives={archives}", before=NO_NETWORK)
    with builder.mounted("starcraft") as root:
        container = Container(root, builder.image("starcraft"))
        printed = container.run(user=UNKNOWN_USER)
        show("\n".join(line for line in printed.splitlines() if "sc2" in line))
        with timed("three episodes of smac/3m on the mock server"):
            show(container.run("rllib-reborn", "envs", "smac/3m", user=UNKNOWN_USER))


def expect(words: str, text: str) -> None:
    """Raise unless ``words`` are in ``text``."""
    if words not in text:
        raise ImageTestError(f"{words!r} is not in:\n{text}")


def show(text: str) -> None:
    """Print what a command printed, indented."""
    print("\n".join(f"  {line}" for line in text.strip().splitlines()), flush=True)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Prints how long a block took, in seconds."""
    start = time.monotonic()
    yield
    print(f"image-test: {name} {time.monotonic() - start:.0f} s", flush=True)


def first_child(process: subprocess.Popen[str], timeout_s: float = 60.0) -> str:
    """The process id of the first process that one started; on a busy machine it takes a while until it has.

    Raises:
        ImageTestError: It ended, or started none in that time.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := subprocess.run(["pgrep", "--parent", str(process.pid)], capture_output=True, text=True).stdout):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ImageTestError(f"process {process.pid} has started no other one; its status is {process.poll()}.")
        time.sleep(0.1)
    return found.split()[0]


def output(command: Sequence[str], env: dict[str, str] | None = None) -> str:
    """What a command prints.

    Raises:
        ImageTestError: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise ImageTestError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
