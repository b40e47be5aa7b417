"""The text of a manifest as its fields, each of the type that it must have. A right digest says that the text is as it was
written, and nothing of who wrote it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from rllib_reborn.parsing import ParseError, parse_json, read_file
from rllib_reborn.short_repr import short_repr

#: Some 100 bytes a file.
MAX_BYTES = 4_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: More bytes than a file can have.
_MOST = 2**63
_LARGEST = sys.float_info.max


def read_content(path: Path) -> dict[str, Any]:
    """What a manifest says, its digest compared and taken off.

    Raises:
        FileNotFoundError: There is none.
        ParseError: It cannot be read, is no JSON object, or has another digest than its content.
    """
    content = parse_json(read_file(path, MAX_BYTES), most_bytes=MAX_BYTES)
    if not isinstance(content, dict) or content.pop("digest", None) != digest(content):
        raise ParseError("was changed after it was written")
    return content


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of the content as hexadecimal text."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_fields(content: dict[str, Any], types: dict[str, str], optional: frozenset[str]) -> None:
    """Raise unless ``content`` has the fields of a manifest.

    Args:
        content: What :func:`read_content` gave, its format taken off.
        types: Field to its type as the class writes it: ``int`` (a count, >= 0), ``str``, ``dict[str, str]``,
            ``dict[str, FileRecord]``, ``LogRecord``, ``float`` (finite), or one of these with ``| None``.
        optional: Fields that may be missing.

    Raises:
        ParseError: A field is missing, unknown or of another type, or a file's name leads out of its checkpoint.
    """
    for name in sorted(types.keys() - content.keys() - optional):
        raise ParseError(f"has no {name!r}")
    for name in sorted(content.keys() - types.keys()):
        raise ParseError(f"has the unknown key {short_repr(name)}")
    for name, value in content.items():
        kind = types[name].removesuffix(" | None")
        if not (_IS_OF[kind](value) or (value is None and kind != types[name])):
            raise ParseError(f"has {name} {short_repr(value)}; expected {_WANTED[kind]}")
    for name in content.get("files", ()):
        _check_name(name)


def _check_name(name: str) -> None:
    """A name stays below the folder that it is looked up in."""
    path = PurePosixPath(name)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or path.as_posix() != name
        or any(mark in name for mark in "\\\0\n")
    ):
        raise ParseError(f"names the file {short_repr(name)}; expected a path below the checkpoint")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_record(value: Any, count: str) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {count, "sha256"}
        and _is_count(value[count])
        and isinstance(value["sha256"], str)
        and _SHA256.fullmatch(value["sha256"]) is not None
    )


def _is_log(value: Any) -> bool:
    return _is_record(value, "rows")


def _are_files(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_record(one, "size") for one in value.values())


_IS_OF = {
    "int": _is_count,
    "str": _is_text,
    "float": _is_number,
    "LogRecord": _is_log,
    "dict[str, str]": _is_texts,
    "dict[str, FileRecord]": _are_files,
}
_WANTED = {
    "int": "a whole number >= 0",
    "str": "a text",
    "float": "a number",
    "LogRecord": "a count of rows and their SHA-256",
    "dict[str, str]": "an object of texts",
    "dict[str, FileRecord]": "for each file its size and SHA-256",
}
