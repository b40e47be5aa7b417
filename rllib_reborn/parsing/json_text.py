"""JSON within limits."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np

from rllib_reborn.parsing.errors import ParseError

#: Levels of lists and objects in each other. Python's own parser calls itself for each.
MAX_DEPTH = 50

# The possessive forms never go back, and the end of the text ends a string too: linear in the text, whatever it is.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
#: How JSON writes a character in two halves.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_CHANGE = np.zeros(256, dtype=np.int8)
_CHANGE[list(b"[{")] = 1
_CHANGE[list(b"]}")] = -1


def parse_json(data: bytes | str, *, most_bytes: int) -> Any:
    """The plain data in ``data``.

    Args:
        data: UTF-8.
        most_bytes: Bytes that it may have.

    Raises:
        ParseError: Too long, nested deeper than :data:`MAX_DEPTH`, an object that has a key twice, half a character that
            nothing can write again, or not JSON.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if len(data) > most_bytes:
        raise ParseError(f"is larger than {most_bytes:,} bytes")
    # Few brackets cannot be deep, and counting them is quick.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise ParseError(f"is nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
        if _HALF.search(data):  # two halves that belong together have become one character
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except ParseError:
        raise
    except UnicodeEncodeError:
        raise ParseError("has half a character (a surrogate)") from None
    except UnicodeDecodeError as error:
        raise ParseError(f"cannot be read: it is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise ParseError(f"is not JSON: {error}") from None


def _depth(data: bytes) -> int:
    """The deepest level of brackets outside strings."""
    changes = _CHANGE[np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)]
    return int(np.cumsum(changes, dtype=np.int32).max(initial=0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = sorted(key for key, _ in pairs)
        twice = next(key for key, following in itertools.pairwise(keys) if key == following)
        raise ParseError(f"has the key {twice[:100]!r} twice in one object")
    return found
