"""Prints one line for each environment of a suite, or of all."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from typing import Any

import benchmarks.array_envs
from benchmarks.array_envs import measure

_OTHERS = ("__main__", "measure")


def suites() -> list[str]:
    """Names of the suites: the modules of this package that are not its machinery."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.array_envs.__path__))
    return [name for name in found if name not in _OTHERS]


def main() -> None:
    parser = argparse.ArgumentParser(description=benchmarks.array_envs.__doc__)
    parser.add_argument("suite", choices=[*suites(), "all"])
    parser.add_argument("--only", default="", metavar="NAME", help="measure only names that contain NAME")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds of one measurement; default 1")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of measurements; default 5")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    arguments = parser.parse_args()
    if arguments.seconds <= 0 or arguments.repeats < 1:
        parser.error("--seconds must be above 0, and --repeats at least 1.")
    for suite in suites() if arguments.suite == "all" else [arguments.suite]:
        module = importlib.import_module(f"benchmarks.array_envs.{suite}")
        for name in module.NAMES:
            if arguments.only in name:
                _print(measure.row(name, module.original, arguments.seconds, arguments.repeats), arguments.json)


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    mine = f"{row['name']:<32} {row['cpu_us']:8.2f} us per env step ({row['shape']})"
    if row["original_cpu_us"] is None:
        print(f"{mine}; the package cannot be played here", flush=True)
    else:
        print(f"{mine}; the package {row['original_cpu_us']:.1f} us; ratio {row['ratio']:.1f}", flush=True)


if __name__ == "__main__":
    main()
