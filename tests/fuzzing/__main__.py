"""``python -m tests.fuzzing NAME COUNT [FIRST]``: read so many inputs, and say what they cost."""

from __future__ import annotations

import sys

from tests.fuzzing.running import assert_harmless, feed, limit_memory
from tests.fuzzing.targets import target

if __name__ == "__main__":
    name, count, *first = sys.argv[1:]
    begin = int(first[0]) if first else 0
    chosen = target(name)
    limit_memory(8)
    outcome = feed(chosen, range(begin, begin + int(count)))
    print("\n".join(outcome.undeclared[:20]))
    print(f"{name}: {outcome}", flush=True)
    assert_harmless(outcome)
