"""Prints what the package and its extras require, one a line, without torch: ``requirements.py SETUP_CFG EXTRA,EXTRA``.

The Dockerfile downloads these before it copies any code, so that a changed line of code downloads nothing again. torch is
downloaded in a stage of its own, from another index for the CPU than for the GPU.
"""

from __future__ import annotations

import configparser
import re
import sys

TORCH = re.compile(r"torch\b(?![-\w])")


def requirements(setup_cfg: str, extras: list[str]) -> list[str]:
    """Requirements in the order of the file.

    Args:
        setup_cfg: Text of ``setup.cfg``.
        extras: Names of ``[options.extras_require]``.

    Raises:
        SystemExit: An extra is not in the file.
    """
    parser = configparser.ConfigParser()
    parser.read_string(setup_cfg)
    known = parser["options.extras_require"]
    unknown = [extra for extra in extras if extra not in known]
    if unknown:
        raise SystemExit(f"EXTRAS has {unknown[0]!r}; setup.cfg has {', '.join(known)}.")
    blocks = [parser["options"]["install_requires"], *(known[extra] for extra in extras)]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not TORCH.match(line)))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n".join(requirements(file.read(), [extra for extra in sys.argv[2].split(",") if extra])))
