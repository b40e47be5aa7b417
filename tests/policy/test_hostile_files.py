"""Policies that others wrote: loaded, or refused by one PolicyError before anything of their size is made."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.policy import Policy, PolicyError, PolicySpec, files
from rllib_reborn.policy.weights_file import WeightsError, arrays_of
from tests.policy.teams import exported

pytestmark = pytest.mark.timeout(60)


def small(**changed: Any) -> Policy:
    """A policy of two agents, made without an algorithm."""
    spec = PolicySpec(
        **(
            {
                "n_agents": 2,
                "n_actions": 3,
                "obs_dim": 4,
                "hidden_dim": 5,
                "fc_layers": 1,
                "recurrent": True,
                "last_action": True,
                "agent_id": True,
                "net_of_agent": (0, 0),
                "agent_ids": ("a", "b"),
                "agent_groups": ("g", "g"),
            }
            | changed
        )
    )
    team = AgentTeam(
        spec.net_of_agent,
        spec.inputs.width,
        spec.n_actions,
        hidden_dim=spec.hidden_dim,
        fc_layers=spec.fc_layers,
        recurrent=spec.recurrent,
        make_net=spec.make_net,
    )
    return Policy(spec, {name: value.numpy() for name, value in team.state_dict().items()})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small().save(tmp_path / "policy")
    return tmp_path / "policy"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change ``policy.json``; its digest is right."""
    path = folder / files.SETTINGS_NAME
    content = json.loads(path.read_text())
    content.pop("digest")
    change(content)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(content | {"digest": hashlib.sha256(canonical.encode()).hexdigest()}))


def with_weights(folder: Path, data: bytes) -> None:
    (folder / files.WEIGHTS_NAME).write_bytes(data)
    rewrite(folder, lambda content: content.update(weights_sha256=hashlib.sha256(data).hexdigest()))


def refused(folder: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        Policy.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 1_500
    return message


@pytest.mark.parametrize("agent", ["value", "quantile", "risk"])
@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("nets", [(0, 0), (0, 1)])
def test_what_is_computed_from_the_settings_is_what_the_networks_have(
    agent: str, recurrent: bool, nets: tuple[int, int]
) -> None:
    settings: dict[str, Any] = {"risk": {"risk": "dynamic" if recurrent else 0.5, "atoms": 7, "levels": 3}}.get(
        agent, {}
    )
    policy = small(
        agent=agent, agent_settings=settings, recurrent=recurrent, net_of_agent=nets, fc_layers=3, hidden_dim=6
    )
    weights = policy.weights()
    assert policy.spec.least_numbers == (sum(array.size for array in weights.values()), len(weights))


HUGE = 10**12
SETTINGS: dict[str, dict[str, Any]] = {
    "many layers": {"fc_layers": 100_000},
    "as many layers as may be": {"fc_layers": 1_000},
    "wide": {"hidden_dim": HUGE},
    "rather wide": {"hidden_dim": 99_999},
    "many actions": {"n_actions": HUGE},
    "rather many actions": {"n_actions": 999_999},
    "long observations": {"obs_dim": HUGE},
    "many agents": {"n_agents": HUGE},
    "a number beyond words": {"n_actions": 10**400},
    "many atoms": {"agent": "risk", "agent_settings": {"atoms": 10**9}},
    "many levels": {"agent": "risk", "agent_settings": {"levels": 10**9}},
    "atoms times levels": {"agent": "risk", "agent_settings": {"levels": 1_000, "atoms": 10_000}},
    "many cosines": {"agent": "quantile", "agent_settings": {"cosines": 10**9}},
    "many fractions": {"agent": "quantile", "agent_settings": {"acting_quantiles": 10**9}},
    "no kind": {"agent": "none"},
    "a wrong level": {"agent": "risk", "agent_settings": {"risk": [1]}},
    "a scale beyond float32": {"obs_scale": 10**300},
    "a list of no agents": {"agent_ids": [["a"] * 9] * 2},
    "other numbers of networks": {"net_of_agent": [0, 10**9]},
    "texts for networks": {"net_of_agent": ["0", "0"]},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_the_weights_do_not_bear_out(saved: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a network was built")

    if name != "a wrong level":  # which the network itself refuses
        monkeypatch.setattr(torch.nn.GRU, "__init__", never)
    rewrite(saved, lambda content: content["policy"].update(SETTINGS[name]))
    refused(saved)


def test_many_agents_with_a_small_network(tmp_path: Path) -> None:
    # The weights fit; what acting allocates, agents times agents, does not.
    n = 9_999
    with pytest.raises(PolicyError, match="numbers; expected at most"):
        PolicySpec(
            n_agents=n,
            n_actions=2,
            obs_dim=10_000,
            hidden_dim=1,
            fc_layers=1,
            recurrent=False,
            last_action=False,
            agent_id=True,
            net_of_agent=(0,) * n,
            agent_ids=("a",) * n,
            agent_groups=("g",) * n,
        )


def npy(shape: str = "(1,)", data: bytes = b"\0" * 4, descr: str = "'<f4'", order: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = data.rindex(signature) + offset
    return data[:at] + value + data[at + len(value) :]


CENTRAL = b"PK\x01\x02"
WEIGHTS: dict[str, tuple[bytes, str]] = {
    "a header of 1e10 numbers": (zipped({"a.npy": npy("(10000000000,)")}), "says that it has shape"),
    "a product that overflows": (zipped({"a.npy": npy(f"({2**32}, {2**32})")}), "says that it has shape"),
    "a shape with a sign": (zipped({"a.npy": npy("(-1,)")}), "no array of little-endian"),
    "a shape that is computed": (zipped({"a.npy": npy("(9**9**9,)")}), "no array of little-endian"),
    "brackets": (zipped({"a.npy": npy("(" * 3_000)}), "no array of little-endian"),
    "a header without end": (zipped({"a.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"}), "no array of little-endian"),
    "objects": (zipped({"a.npy": npy(descr="'|O'")}), "no array of little-endian"),
    "doubles": (zipped({"a.npy": npy(descr="'<f8'", data=b"\0" * 8)}), "no array of little-endian"),
    "other order": (zipped({"a.npy": npy(order="True")}), "no array of little-endian"),
    "text": (zipped({"a.npy": b"text"}), "no array of numpy"),
    "nothing": (zipped({"a.npy": b""}), "no array of numpy"),
    "deflated zeros": (zipped({"a.npy": npy("(9999999,)", b"\0" * 4 * 9_999_999)}, zipfile.ZIP_DEFLATED), "compressed"),
    "bzip2": (zipped({"a.npy": npy()}, zipfile.ZIP_BZIP2), "compressed"),
    "lzma": (zipped({"a.npy": npy()}, zipfile.ZIP_LZMA), "compressed"),
    "compression 99": (patched(zipped({"a.npy": npy()}), CENTRAL, 10, b"\x63\x00"), "compressed"),
    "encrypted": (patched(zipped({"a.npy": npy()}), CENTRAL, 8, b"\x01\x00"), "encrypted"),
    "a version to come": (patched(zipped({"a.npy": npy()}), CENTRAL, 6, b"\xff\xff"), "no zip file"),
    "a size beyond the file": (
        patched(zipped({"a.npy": npy()}), CENTRAL, 20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"),
        "not where the zip's list says",
    ),
    "a place beyond the file": (patched(zipped({"a.npy": npy()}), CENTRAL, 42, b"\xff\xff\xff\x7f"), "file's end"),
    "a wrong checksum": (patched(zipped({"a.npy": npy()}), CENTRAL, 16, b"\0\0\0\0"), "wrong checksum"),
    "an entry in another": (
        patched(zipped({"a.npy": npy(), "b.npy": npy()}), CENTRAL, 42, b"\0\0\0\0"),
        "lies inside another entry",
    ),
    "a name with a path": (zipped({"../a.npy": npy()}), "the name"),
    "no array's name": (zipped({"readme.txt": npy()}), "the name"),
    "no entry": (zipped({}), "is missing"),
    "an empty array": (zipped({"a.npy": npy(f"(0, {10**11})", b"")}), "empty"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_files(saved: Path, name: str) -> None:
    data, words = WEIGHTS[name]
    with_weights(saved, data)
    assert words in refused(saved)


def test_a_name_twice() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy())
    with pytest.raises(WeightsError, match="twice"):
        arrays_of(buffer.getvalue())


def test_arrays_are_as_numpy_reads_them() -> None:
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {f"a{n}.b": rng.standard_normal((3,) * n).astype(np.float32) for n in range(4)}
    buffer = io.BytesIO()
    np.savez(buffer, **given)
    read = arrays_of(buffer.getvalue())
    assert list(read) == list(given)
    for name, array in given.items():
        np.testing.assert_array_equal(read[name], array)


def test_files_as_large_as_a_disk_and_what_is_no_file(saved: Path) -> None:
    for name in (files.SETTINGS_NAME, files.WEIGHTS_NAME):
        path = saved / name
        kept = path.read_bytes()
        with path.open("wb") as file:
            file.truncate(3_000_000_000)
        assert "larger than" in refused(saved)
        path.unlink()
        os.mkfifo(path)
        assert "no regular file" in refused(saved)
        path.unlink()
        path.write_bytes(kept)
    Policy.load(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "format": 1}', "9" * 5_000, "\ufeff{}", "nul"])
def test_settings_that_are_no_json(saved: Path, text: str) -> None:
    (saved / files.SETTINGS_NAME).write_text(text)
    assert "is no JSON" in refused(saved)


def test_a_scale_of_more_than_64_bits_is_a_number_like_others(saved: Path) -> None:
    rewrite(saved, lambda content: content["policy"].update(obs_scale=10**30))
    policy = Policy.load(saved)
    policy.act(np.zeros((2, 4), np.float32), np.ones((2, 3), bool))


def test_a_policy_of_an_algorithm_still_loads(tmp_path: Path) -> None:
    policy = exported()
    policy.save(tmp_path / "policy")
    assert Policy.load(tmp_path / "policy").weights().keys() == policy.weights().keys()
