"""Every table and figure of docs/results/evidence.md, out of what is packed in this folder.

python docs/results/evidence/draw.py [--pictures DIR]    (the figures go beside the archives unless DIR is given)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import probes  # of this folder, which Python looks into first
import states

from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.evaluation.statistics import mean_interval

HERE = Path(__file__).parent


def print_quick_seeds() -> None:
    """The new default on seeds 10 to 14: final greedy return by seed."""
    with opened(HERE / "quick_seeds.tar.xz") as folder:
        finals = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("final_evaluation.json")}
    means = {name: float(np.mean(final["policy"]["returns"])) for name, final in sorted(finals.items())}
    found = mean_interval(np.array(list(means.values())))
    print("\nquick_seeds: " + ", ".join(f"{name} {mean:.1f}" for name, mean in means.items()))
    print(f"mean {found.estimate:.1f} [{found.low:.1f}, {found.high:.1f}]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=HERE, metavar="DIR", help="where the figures go")
    pictures = parser.parse_args().pictures
    pictures.mkdir(parents=True, exist_ok=True)
    states.main([], pictures)
    print_quick_seeds()
    probes.main([])


if __name__ == "__main__":
    main()
