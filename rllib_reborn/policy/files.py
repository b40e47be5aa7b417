"""A policy's folder: ``policy.json`` and ``weights.npz``, written as a whole or not at all, checked before it is used."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn._version import __version__
from rllib_reborn.durability import flush_to_disk
from rllib_reborn.parsing import ParseError, parse_json, read_file
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.spec import PolicySpec
from rllib_reborn.policy.weights_file import WeightsError, arrays_of
from rllib_reborn.short_repr import short_repr

FORMAT = 1
SETTINGS_NAME = "policy.json"
WEIGHTS_NAME = "weights.npz"
#: A name and a number for each agent, and what the environment was made with.
MAX_SETTINGS_BYTES = 4_000_000
MAX_WEIGHTS_BYTES = 2_000_000_000

Weights = dict[str, npt.NDArray[np.float32]]


def check_free(folder: Path) -> None:
    """Raise PolicyError unless a policy can be saved as ``folder``: it is not there, or an empty folder."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise PolicyError(f"{folder} exists and is not empty; give a new folder, or remove it first.")
    elif folder.exists() or folder.is_symlink():
        raise PolicyError(f"{folder} exists and is no folder; give a new folder.")


def weights_sha256(weights: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """SHA-256 of the ``weights.npz`` that :func:`write` writes of them, as hexadecimal text."""
    return hashlib.sha256(_packed(weights)).hexdigest()


def write(
    folder: Path,
    spec: PolicySpec,
    weights: Mapping[str, npt.NDArray[np.float32]],
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Save a policy; ``folder`` appears with all files, or stays as it was.

    Args:
        folder: New, or an empty one.
        spec, weights: The policy.
        beside: Further files by name.

    Raises:
        PolicyError: ``folder`` holds something already, or a name of ``beside`` is none that a file here can have.
        OSError: The disk refuses.
    """
    check_free(folder)
    for name in beside:
        if name in ("", ".", "..", SETTINGS_NAME, WEIGHTS_NAME) or Path(name).name != name:
            raise PolicyError(
                f"a file beside the policy has the name {name!r}; expected a plain name, neither {SETTINGS_NAME} nor "
                f"{WEIGHTS_NAME}."
            )
    packed = _packed(weights)
    content = {
        "format": FORMAT,
        "rllib_reborn": __version__,
        "policy": spec.to_dict(),
        "weights_sha256": hashlib.sha256(packed).hexdigest(),
    }
    text = json.dumps({**content, "digest": _digest(content)}, indent=1, allow_nan=False)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".unfinished_{folder.name}_", dir=folder.parent))
    try:
        unfinished.chmod(0o755)  # mkdtemp's are for the owner only, and this one is made to be shipped
        for name, data in {**beside, WEIGHTS_NAME: packed, SETTINGS_NAME: text.encode()}.items():
            (unfinished / name).write_bytes(data)
            flush_to_disk(unfinished / name)
        flush_to_disk(unfinished)
        if folder.is_dir():
            folder.rmdir()  # empty, see above; systems differ on whether a rename replaces it
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    flush_to_disk(folder.parent)


def read(folder: Path) -> tuple[PolicySpec, Weights]:
    """Settings and weights of a saved policy.

    Raises:
        PolicyError: A file is missing, damaged, of another format or no policy's; the message names it.
    """
    path = folder / SETTINGS_NAME
    data = _bytes_of(path, MAX_SETTINGS_BYTES)
    try:
        content = parse_json(data, most_bytes=MAX_SETTINGS_BYTES)
    except ParseError as error:
        raise PolicyError(f"{path} is no JSON (it {error}); the policy is damaged, export it again.") from None
    if not isinstance(content, dict) or "format" not in content:
        raise PolicyError(f"{path} is not that of a policy of rllib_reborn: it names no format.")
    if content["format"] != FORMAT:
        raise PolicyError(
            f"{path} has format {short_repr(content['format'])}, and rllib_reborn {__version__} knows {FORMAT}; use the "
            f"version that wrote it ({str(content.get('rllib_reborn', 'not named'))[:50]}), or export it again."
        )
    if content.pop("digest", None) != _digest(content):
        raise PolicyError(f"{path} was changed after it was written; the policy is damaged, export it again.")
    try:
        spec = PolicySpec.from_dict(content.get("policy"))
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None
    return spec, _read_weights(folder / WEIGHTS_NAME, content.get("weights_sha256"))


def _read_weights(path: Path, sha256: Any) -> Weights:
    data = _bytes_of(path, MAX_WEIGHTS_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PolicyError(
            f"{path} has SHA-256 {found[:12]}..., and {SETTINGS_NAME} names {short_repr(sha256)[:13]}...; the file is "
            "damaged or another policy's, export it again."
        )
    try:
        return arrays_of(data)
    except WeightsError as error:
        raise PolicyError(f"{path} is no file of numpy arrays ({error}); export the policy again.") from None


def _bytes_of(path: Path, most_bytes: int) -> bytes:
    try:
        return read_file(path, most_bytes)
    except FileNotFoundError:
        raise PolicyError(
            f"{path} is missing; expected a folder that 'rllib-reborn export' or Policy.save wrote."
        ) from None
    except ParseError as error:
        raise PolicyError(
            f"{path} {error}; expected a folder that 'rllib-reborn export' or Policy.save wrote."
        ) from None


def _packed(weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """The bytes of ``weights.npz``, the same ones for the same weights: numpy dates its entries 1980."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(weights)
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
