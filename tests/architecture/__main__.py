"""Every guard on a checkout; status 1 if one finds anything.

``python -m tests.architecture [PROJECT]``; this checkout by default.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.architecture.banned_words import WORDS
from tests.architecture.import_graph import import_graph
from tests.architecture.private_names import foreign_private_names
from tests.architecture.shared_names import shared_class_names
from tests.architecture.sizes import oversized
from tests.architecture.source_files import PROJECT
from tests.architecture.words import banned_in_project


def main(arguments: list[str]) -> int:
    project = Path(arguments[0]) if arguments else PROJECT
    package = project / "rllib_reborn"
    words = banned_in_project(project, WORDS)
    counts = Counter(found.word.instead for found in words)
    sections = {
        "import circles": import_graph(package).report(),
        "foreign private names": "\n".join(map(str, foreign_private_names(package))),
        "over a limit": "\n".join(oversized(package)),
        "classes of one name": "\n".join(
            f"{name}: {', '.join(at)}" for name, at in shared_class_names(package).items()
        ),
        "banned words": "\n".join([*map(str, words), *(f"{count:5d}  write {what}" for what, count in counts.items())]),
    }
    for title, text in sections.items():
        print(f"== {title}\n{text or 'none'}\n")
    return 1 if any(sections.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
