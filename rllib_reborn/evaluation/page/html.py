"""From the page's data to one file: no reference to anything outside, and nothing of the data is ever read as HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from rllib_reborn.evaluation.exports import plain

#: Characters that could end or begin something where JSON stands in HTML.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def render_page(data: Mapping[str, Any], *, live: bool = False) -> str:
    """The whole file.

    Args:
        data: Of :func:`~rllib_reborn.evaluation.page.data.page_data`.
        live: Whether the page asks the server that it came from for newer data.
    """
    style, script = asset("page.css"), _script()
    filled = {
        "policy": content_policy(style, script, live=live),
        "title": html.escape(_title(data)),
        "style": style,
        "data": json_for_html(data),
        "live": "live" if live else "file",
        "script": script,
    }
    page = asset("page.html")
    parts = page.split("@@")
    # Each odd part is the name of what stands there: one pass, so that nothing is filled into what was filled in.
    return "".join(filled[part] if at % 2 else part for at, part in enumerate(parts))


def _script() -> str:
    """The parts of the script in one function, so that they see each other and the page nothing of them."""
    parts = "\n".join(asset(name) for name in ("draw.js", "charts.js", "page.js"))
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def asset(name: str) -> str:
    """A part of the page, as it is installed beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def json_for_html(data: Any) -> str:
    """JSON that may stand in a ``<script>``: no tag can end it, whatever names it holds."""
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def content_policy(style: str, script: str, *, live: bool) -> str:
    """What the browser lets the page do: run this script, use this style, show pictures that it holds; and, where it is
    live, ask its server. All else is refused by the browser itself."""
    own = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", style), ("script", script))
    }
    connect, pictures = ("connect-src 'self'; ", "'self' data:") if live else ("", "data:")
    return (
        f"default-src 'none'; {connect}img-src {pictures}; style-src 'sha256-{own['style']}'; "
        f"script-src 'sha256-{own['script']}'; base-uri 'none'; form-action 'none'"
    )


def _title(data: Mapping[str, Any]) -> str:
    names = [task["task"] for task in data["tasks"]]
    return (
        f"{data['title']}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else str(data["title"])
    )
