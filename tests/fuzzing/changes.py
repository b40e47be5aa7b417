"""Hostile inputs from sound ones: values, trees, texts and bytes, changed at random; the same for the same seed."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

#: What stands in for a value.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**53 + 1,
    2**63,
    10**30,
    -(10**30),
    10**400,
    0.5,
    1e18,
    1e308,
    -1e308,
    5e-324,
    math.inf,
    -math.inf,
    math.nan,
    "",
    "x",
    "1",
    "nan",
    "\0",
    "\n",
    "../../etc/passwd",
    "/etc/passwd",
    "\ud800",
    "\U0001f600",
    "$\\frac{",
    "x" * 5_000,
    [],
    {},
    [[]],
    [None],
    [1, "x", None],
    {"a": {"b": []}},
    {"": 0},
    [10**400],
    [1e308] * 3,
    list(range(200)),
)
TEXTS = (
    b"[",
    b"{",
    b"]",
    b"}",
    b'"',
    b"\\",
    b":",
    b",",
    b"\n",
    b"\0",
    b"\xff",
    b"9" * 400,
    b"1e999",
    b"NaN",
    b"-",
    b"\\ud800",
    b" ",
)


def a_value(rng: random.Random) -> Any:
    """A value of any kind."""
    if rng.random() < 0.1:
        return _deep(rng, rng.choice((3, 30, 300)))
    return copy.deepcopy(rng.choice(VALUES))


def _deep(rng: random.Random, levels: int) -> Any:
    value: Any = 1
    as_list = rng.random() < 0.5
    for _ in range(levels):
        value = [value] if as_list else {"a": value}
    return value


def changed_tree(tree: Any, rng: random.Random, changes: int | None = None) -> Any:
    """A copy of a tree of plain data with one to three values replaced, removed, added, doubled or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3) if changes is None else changes):
        places = list(_places(tree))
        if not places:
            return a_value(rng)
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind <= 2:
            holder[key] = a_value(rng)
        elif kind == 3:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(("", "x", "self", "format", "a" * 300, "\n", *map(str, holder)))] = a_value(rng)
        else:
            holder.insert(rng.randint(0, len(holder)), copy.deepcopy(rng.choice([*holder, a_value(rng)])))
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            for key, value in list(holder.items()) if isinstance(holder, dict) else enumerate(holder):
                found.append((holder, key))
                waiting.append(value)
    return found


def changed_bytes(data: bytes, rng: random.Random, tokens: tuple[bytes, ...] = TEXTS) -> bytes:
    """A copy with one to four pieces flipped, cut out, doubled, moved or put in."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(made))
        end = min(len(made), at + rng.choice((1, 1, 2, 8, 64, 512)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at:end]
        elif kind == 2:
            made[at:at] = made[at:end] * rng.choice((1, 2, 50))
        elif kind == 3:
            made[at:end] = rng.randbytes(end - at)
        elif kind == 4:
            del made[at:]
        elif kind == 5:
            made[at:at] = rng.choice(tokens) * rng.choice((1, 1, 3, 2_000))
        else:
            other = rng.randint(0, len(made))
            made[at:end] = made[other : other + end - at]
    return bytes(made)


def as_json(tree: Any) -> bytes:
    """JSON of whatever a changed tree holds; what Python's writer refuses is written as it can be."""
    try:
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):  # levels, or digits
        return _written(tree).encode("utf-8", "surrogatepass")


def _written(value: Any) -> str:
    # Deep trees are chains of one kind, see above; sys.getrecursionlimit() is far above 300 levels of this.
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value)
