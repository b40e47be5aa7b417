"""What ``doctor`` has found."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: True: fine. False: something will not work. None: optional and not there, or not applicable.
        sentence: What was found.
        remedy: What to do; empty where there is nothing to do.
    """

    name: str
    ok: bool | None
    sentence: str
    remedy: str = ""
