"""Saved and loaded: to the bit, as a whole or not at all, without Ray, and damage is found."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.policy import Policy, PolicyError, PolicySpec, files
from tests.policy.teams import build, exported, played_alike

MODELS: list[dict[str, Any]] = [{}, {"recurrent": False, "parameter_sharing": "none"}]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    exported().save(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_round_trip_to_the_bit(model: dict[str, Any], tmp_path: Path) -> None:
    policy = exported(**model)
    policy.save(tmp_path / "deep" / "down" / "policy")
    again = Policy.load(str(tmp_path / "deep" / "down" / "policy"))
    assert again.spec == policy.spec
    assert again.weights().keys() == policy.weights().keys()
    for name, array in policy.weights().items():
        assert array.tobytes() == again.weights()[name].tobytes()
    assert played_alike(build(**model), again) > 10


def test_wider_layers_survive(tmp_path: Path) -> None:
    module = build(recurrent=False, interventions=[{"kind": "knife", "scope": "agent", "layers": "editable"}])
    from rllib_reborn.studies.portable import policy_from_module

    policy_from_module(module).save(tmp_path / "policy")
    assert played_alike(module, Policy.load(tmp_path / "policy")) > 10


def test_equal_policies_are_equal_files(saved: Path, tmp_path: Path) -> None:
    exported().save(tmp_path / "other")
    for name in (files.SETTINGS_NAME, files.WEIGHTS_NAME):
        assert (saved / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert sorted(path.name for path in saved.iterdir()) == [files.SETTINGS_NAME, files.WEIGHTS_NAME]


def test_the_settings_are_plain_json(saved: Path) -> None:
    content = json.loads((saved / files.SETTINGS_NAME).read_text())
    assert content["format"] == 1
    assert content["weights_sha256"] == hashlib.sha256((saved / files.WEIGHTS_NAME).read_bytes()).hexdigest()
    assert content["policy"]["env"] == "predator_prey/small"
    assert content["policy"]["algorithm"] == "QMIX"


def test_an_env_config_that_json_cannot_hold_is_kept_as_text() -> None:
    policy = exported()
    config = {"a": (1, np.int64(2)), "b": {3: len}, "c": float("inf"), "d": None, "e": 1.5}
    values = {name: getattr(policy.spec, name) for name in policy.spec.to_dict()}
    plain = PolicySpec(**(values | {"env_config": config})).to_dict()["env_config"]
    assert plain == {"a": [1, repr(np.int64(2))], "b": {"3": repr(len)}, "c": "inf", "d": None, "e": 1.5}
    json.dumps(plain, allow_nan=False)


FRESH = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "pydantic", "gymnasium", "pandas"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, NoRay())
import pickle
def never(*args, **kwargs): raise AssertionError("pickle was used")
pickle.load = pickle.loads = pickle.Unpickler = never
import numpy as np
from rllib_reborn import Policy
try:
    import ray
except ImportError:
    pass
else:
    raise AssertionError("ray was there")
given = np.load(sys.argv[2])
policy = Policy.load(sys.argv[1])
state = None
for obs, mask, expected in zip(given["obs"], given["mask"], given["actions"]):
    actions, state = policy.act(obs, mask, state)
    assert (actions == expected).all(), (actions, expected)
print("same", len(given["obs"]))
"""


def test_in_a_fresh_process_that_has_no_ray(saved: Path, tmp_path: Path) -> None:
    policy = exported()
    rng = np.random.default_rng(0)
    spec = policy.spec
    obs = rng.standard_normal((9, 3, spec.n_agents, spec.obs_dim)).astype(np.float32)
    mask = rng.random((9, 3, spec.n_agents, spec.n_actions)) < 0.5
    mask[..., 0] = True
    state, actions = None, []
    for now, allowed in zip(obs, mask):
        chosen, state = policy.act(now, allowed, state)
        actions.append(chosen)
    np.savez(tmp_path / "given.npz", obs=obs, mask=mask, actions=np.array(actions))
    out = subprocess.run(
        [sys.executable, "-c", FRESH, str(saved), str(tmp_path / "given.npz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "same 9"


class TestSaving:
    def test_nothing_is_overwritten(self, saved: Path, tmp_path: Path) -> None:
        before = {path: path.read_bytes() for path in saved.iterdir()}
        with pytest.raises(PolicyError, match="exists and is not empty; give a new folder"):
            exported(seed=5).save(saved)
        assert before == {path: path.read_bytes() for path in saved.iterdir()}
        (tmp_path / "file").touch()
        with pytest.raises(PolicyError, match="exists and is no folder"):
            exported().save(tmp_path / "file")
        (tmp_path / "empty").mkdir()
        exported().save(tmp_path / "empty")
        Policy.load(tmp_path / "empty")

    def test_a_save_that_fails_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        policy, flush = exported(), os.fsync
        calls = []

        def full(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) == 2:
                raise OSError("no space left on device")
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            policy.save(tmp_path / "policy")
        assert list(tmp_path.iterdir()) == []


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], *, digest: bool = True) -> None:
    path = folder / files.SETTINGS_NAME
    content = json.loads(path.read_text())
    content.pop("digest")
    change(content)
    path.write_text(json.dumps(content | ({"digest": files._digest(content)} if digest else {})))


def with_weights(folder: Path, data: bytes) -> None:
    (folder / files.WEIGHTS_NAME).write_bytes(data)
    rewrite(folder, lambda content: content.update(weights_sha256=hashlib.sha256(data).hexdigest()))


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no settings": (lambda f: (f / "policy.json").unlink(), r"policy\.json is missing; expected a folder that"),
    "no weights": (lambda f: (f / "weights.npz").unlink(), r"weights\.npz is missing"),
    "bad JSON": (lambda f: (f / "policy.json").write_text("{'format': 1}"), r"policy\.json is no JSON"),
    "cut JSON": (
        lambda f: (f / "policy.json").write_bytes((f / "policy.json").read_bytes()[:90]),
        r"policy\.json is no JSON",
    ),
    "binary JSON": (lambda f: (f / "policy.json").write_bytes(b"\xff\xfe\x00\x81"), r"policy\.json is no JSON"),
    "other JSON": (lambda f: (f / "policy.json").write_text("[1]"), "is not that of a policy of rllib_reborn"),
    "newer": (
        lambda f: rewrite(f, lambda c: c.update(format=2, rllib_reborn="9.0")),
        "has format 2.*that wrote it .9.0.",
    ),
    "edited": (
        lambda f: (f / "policy.json").write_text(
            (f / "policy.json").read_text().replace('"last_action": true', '"last_action": false')
        ),
        "was changed after it was written",
    ),
    "no digest": (lambda f: rewrite(f, lambda c: None, digest=False), "was changed after it was written"),
    "a flipped bit": (lambda f: flip(f / "weights.npz"), r"weights\.npz has SHA-256"),
    "unknown key": (lambda f: rewrite(f, lambda c: c["policy"].update(more=1)), "key 'more' is unknown"),
    "missing key": (lambda f: rewrite(f, lambda c: c["policy"].pop("agent_id")), "key 'agent_id' is missing"),
    "no policy": (lambda f: rewrite(f, lambda c: c.pop("policy")), "settings are None; expected an object"),
    "other sizes": (lambda f: rewrite(f, lambda c: c["policy"].update(n_actions=17)), "holds no usable policy: weight"),
    "other depth": (lambda f: rewrite(f, lambda c: c["policy"].update(fc_layers=2)), "holds no usable policy: weight"),
    "other kind": (
        lambda f: rewrite(f, lambda c: c["policy"].update(recurrent=False)),
        "holds no usable policy: weight",
    ),
    "no zip": (lambda f: with_weights(f, b"PK not a zip at all"), r"weights\.npz is no file of numpy arrays"),
    "empty": (lambda f: with_weights(f, b""), r"weights\.npz is no file of numpy arrays"),
    "one array": (lambda f: with_weights(f, _npy()), r"weights\.npz is no file of numpy arrays"),
    "pickled": (lambda f: with_weights(f, npz(a=np.array([{}]))), r"weights\.npz is no file of numpy arrays"),
    "others' weights": (lambda f: with_weights(f, npz(a=np.zeros(3, np.float32))), "holds no usable policy: weight"),
}


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3, np.float32))
    return buffer.getvalue()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_and_foreign_files_are_named(saved: Path, damage: str) -> None:
    Policy.load(saved)
    break_it, words = DAMAGE[damage]
    break_it(saved)
    with pytest.raises(PolicyError, match=words) as caught:
        Policy.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="is missing; expected a folder"):
        Policy.load(tmp_path / "nowhere")
