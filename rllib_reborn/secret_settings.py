"""What in an environment's settings is nobody's business: it is handed to the environment, and shown nowhere."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Shown in place of a secret.
HIDDEN = "***"
_WORDS = frozenset(
    (
        *("token", "tokens", "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets"),
        *("credential", "credentials", "key", "keys", "apikey", "auth"),
    )
)
#: Shorter values would be found in half of all words.
_SHORTEST = 4
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)(?=@)")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: Secrets of the environments that this process has built or checked, the longest first.
_known: list[str] = []


def is_secret(key: str) -> bool:
    """Whether a setting of this name holds a secret: one of its words is ``token``, ``password``, ``key``, ...

    >>> is_secret("env_config.api_key"), is_secret("dbPassword"), is_secret("monkeys")
    (True, True, False)
    """
    return any(part.lower() in _WORDS for part in _PARTS.findall(key))


def without_secrets(value: Any, key: str = "") -> Any:
    """A copy of plain data in which secrets are ``***``: texts below a key that :func:`is_secret`, and passwords in URLs.
    Numbers are none: ``max_tokens`` is a setting like any other."""
    if isinstance(value, Mapping):
        return {name: without_secrets(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, key) for item in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if is_secret(key) else _URL_PASSWORD.sub(rf"\1:{HIDDEN}", value)


def keep_from_others(folder: Path, settings: Any) -> None:
    """Let nobody but its owner into a folder whose files will hold ``settings``, where these have secrets.

    Raises:
        OSError: The folder is another user's.
    """
    if without_secrets(settings) != settings:
        folder.chmod(0o700)


def remember_secrets(settings: Mapping[str, Any]) -> None:
    """Make :func:`hidden` know the secrets of an environment's settings, for as long as this process lives, and hide them in
    all that is logged, tracebacks included."""
    new = {found for found in _texts(settings, "") if len(found) >= _SHORTEST} - set(_known)
    if new and not _known:
        _hide_in_logs()
    _known[:] = sorted([*_known, *new], key=len, reverse=True)


def hidden(text: str) -> str:
    """``text`` with ``***`` in place of every secret that :func:`remember_secrets` has met, and of passwords in URLs: for
    messages, of which foreign code has written a part."""
    for secret in _known:
        text = text.replace(secret, HIDDEN)
    return _URL_PASSWORD.sub(rf"\1:{HIDDEN}", text)


def _texts(value: Any, key: str) -> list[str]:
    if isinstance(value, Mapping):
        return [text for name, item in value.items() for text in _texts(item, f"{key}.{name}")]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item, key)]
    if not isinstance(value, str):
        return []
    return [value] if is_secret(key) else [found[2] for found in _URL_PASSWORD.finditer(value)]


def _hide_in_logs() -> None:
    before = logging.getLogRecordFactory()

    def record_without_secrets(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        try:
            shown = hidden(record.getMessage())
        except (TypeError, ValueError):  # a wrong format, which the handler reports
            return record
        record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[0] is not None:
            # A formatter takes this text in place of its own.
            record.exc_text = hidden("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record

    logging.setLogRecordFactory(record_without_secrets)
