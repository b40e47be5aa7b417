"""Hostile policies: their settings with a right digest, their weights with a right checksum."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.policy import Policy, PolicyError, PolicySpec
from rllib_reborn.policy.files import SETTINGS_NAME, WEIGHTS_NAME
from tests.fuzzing.changes import as_json, changed_bytes, changed_tree
from tests.fuzzing.running import Target

_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz_policies_")
FOLDER = Path(_FOLDER.name)
#: What stands in for a size.
_SIZES = (0, 1, 2, 3, 7, 64, 99, 999, 1_000, 9_999, 99_999, 10**6, 10**9, 10**12, 2**63, 10**30, -1)
_HEADERS = (b"(10000000000,)", b"(4294967296, 4294967296)", b"(-1,)", b"(0, 99999999999)", b"(1,)", b"()", b"(9**9,)")
#: What stands in for a byte of the zip's list; some are longer.
_FIELDS = (b"\0", b"\xff", b"\x63", b"\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0")


def _sound(agent: str, settings: dict[str, Any], **more: Any) -> tuple[dict[str, Any], bytes]:
    """The settings and the weights' file of a small team."""
    spec = PolicySpec(
        n_agents=2,
        n_actions=3,
        obs_dim=4,
        hidden_dim=5,
        fc_layers=2,
        last_action=True,
        agent_id=True,
        agent_ids=("a", "b"),
        agent_groups=("g", "h"),
        agent=agent,
        agent_settings=settings,
        **({"recurrent": True, "net_of_agent": (0, 0)} | more),
    )
    sizes: dict[str, Any] = {"hidden_dim": 5, "fc_layers": 2, "recurrent": spec.recurrent, "make_net": spec.make_net}
    torch.manual_seed(0)
    team = AgentTeam(spec.net_of_agent, spec.inputs.width, 3, **sizes)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: value.numpy() for name, value in team.state_dict().items()}
    np.savez(buffer, **arrays)
    return spec.to_dict(), buffer.getvalue()


SOUND = (
    _sound("value", {}),
    _sound("value", {}, recurrent=False, net_of_agent=(0, 1)),
    _sound("quantile", {"cosines": 6, "acting_quantiles": 4}),
    _sound("risk", {"atoms": 6, "levels": 4, "embedding_dim": 3, "risk": "dynamic", "compat": None}),
)


def make(rng: random.Random) -> tuple[bytes, bytes]:
    """``policy.json`` and ``weights.npz``."""
    settings, weights = rng.choice(SOUND)
    kind = rng.random()
    if kind < 0.3:
        settings = changed_tree(settings, rng)
    elif kind < 0.6:
        settings = json.loads(json.dumps(settings))
        own = settings["agent_settings"]
        for _ in range(rng.randint(1, 2)):
            holder, name = rng.choice(
                [(settings, name) for name in ("n_agents", "n_actions", "obs_dim", "hidden_dim", "fc_layers")]
                + [(own, name) for name in own]
            )
            holder[name] = rng.choice(_SIZES)
    if 0.5 < kind < 0.95:
        weights = _changed_weights(weights, rng)
    content: Any = {
        "format": 1,
        "rllib_reborn": "0.1.0",
        "policy": settings,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if rng.random() < 0.1:
        content = changed_tree(content, rng)
    if isinstance(content, dict):
        try:
            canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        except (RecursionError, ValueError):
            canonical = ""
        content = content | {"digest": hashlib.sha256(canonical.encode()).hexdigest()}
    data = as_json(content)
    return (changed_bytes(data, rng) if rng.random() < 0.05 else data), weights


def _changed_weights(data: bytes, rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.3:
        return changed_bytes(data, rng)
    if kind < 0.6:  # an entry of the zip's list
        at = data.index(b"PK\x01\x02", rng.randrange(data.index(b"PK\x01\x02") + 1)) + rng.randrange(46)
        return (
            data[:at]
            + rng.choice((b"\0", b"\xff", b"\x63", b"\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
            + data[at + 1 :]
        )
    if kind < 0.9:  # a header, in place or longer than before
        at = data.index(b"'shape': ", rng.randrange(len(data) // 2)) + 9
        end = data.index(b")", at) + 1
        header = rng.choice(_HEADERS)
        padded = header.ljust(end - at) if rng.random() < 0.7 else header
        return data[:at] + padded + data[at + len(padded) :]
    numbers = rng.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f"))
    at = 200 + rng.randrange(100)
    return data[:at] + numbers + data[at + 4 :]


def read(given: tuple[bytes, bytes]) -> None:
    """As a robot reads it, and acts once."""
    (FOLDER / SETTINGS_NAME).write_bytes(given[0])
    (FOLDER / WEIGHTS_NAME).write_bytes(given[1])
    policy = Policy.load(FOLDER)
    n, actions = policy.spec.n_agents, policy.spec.n_actions
    policy.act(np.zeros((n, policy.spec.obs_dim), np.float32), np.ones((n, actions), bool))


TARGET = Target(make, read, (PolicyError,))
