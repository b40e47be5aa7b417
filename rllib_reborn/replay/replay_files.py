"""A replay's state as raw ``.npy`` files, through any file system: nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from rllib_reborn.replay.fields import FIELDS, OBSERVATION_FIELDS, Episode


def save_replay(state: Mapping[str, Any], open_file: Callable[[str], BinaryIO]) -> None:
    """Write a state of :meth:`get_state`: raw ``.npy`` arrays, one per field, episodes end to end, oldest first; the
    rest as ``replay.json``. Nothing is pickled and no array is built in memory.

    Args:
        state: From :meth:`get_state`.
        open_file: Opens a file of that name for binary writing.
    """
    episodes: list[Episode] = state["episodes"]
    lengths = np.array([len(episode["reward"]) for episode in episodes], np.int32)
    facts = {name: value for name, value in state.items() if name != "episodes"} | {"lengths": lengths.tolist()}
    with open_file("replay.json") as file:
        file.write(json.dumps(facts).encode())
    for name in FIELDS if episodes else ():
        first = episodes[0][name]
        rows = int(lengths.sum()) + (len(episodes) if name in OBSERVATION_FIELDS else 0)
        header = {"descr": first.dtype.str, "fortran_order": False, "shape": (rows, *first.shape[1:])}
        with open_file(f"{name}.npy") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for episode in episodes:
                file.write(np.ascontiguousarray(episode[name]).tobytes())


def load_replay(open_file: Callable[[str], BinaryIO]) -> dict[str, Any]:
    """Read what :func:`save_replay` wrote, one episode at a time: a state for :meth:`EpisodeReplay.set_state`.

    Args:
        open_file: Opens a file of that name for binary reading.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is cut short.
    """
    with open_file("replay.json") as file:
        facts = json.loads(file.read())
    episodes: list[Episode] = [{} for _ in facts["lengths"]]
    for name in FIELDS if episodes else ():
        with open_file(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"{name}.npy has format version {version}; expected (1, 0).")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            for episode, length in zip(episodes, facts["lengths"]):
                rows = length + (name in OBSERVATION_FIELDS)
                wanted = rows * int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
                data = file.read(wanted)
                if len(data) != wanted:
                    raise ValueError(f"{name}.npy is cut short; restore an older checkpoint.")
                episode[name] = np.frombuffer(data, dtype).reshape(rows, *shape[1:])
    del facts["lengths"]
    return facts | {"episodes": episodes}
