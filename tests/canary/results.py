"""What came of the subset: counts by group, read from pytest's JUnit file, as JSON and as a row of a table."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from xml.etree import ElementTree

from tests.canary.subset import SUBSET, group_of

NAMED = 3


@dataclasses.dataclass
class Group:
    """Tests of one group: how many passed and were skipped, and the names of those that failed."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        ran = self.passed + len(self.failed)
        return f"{self.passed} of {ran}" if ran else "not run"


def read_results(path: Path) -> dict[str, Group]:
    """Groups in the order of :data:`SUBSET`; one of which nothing was run is there and empty.

    Args:
        path: JUnit file of pytest (``--junitxml``, with ``junit_family=xunit1``, whose entries have a file).
    """
    groups = {name: Group() for name in SUBSET}
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.get("file")
        if file is None:  # a file that could not be imported
            file, test = f"{(case.get('name') or '').replace('.', '/')}.py", ""
        else:
            module = file.removesuffix(".py").replace("/", ".")
            inside = (case.get("classname") or "").removeprefix(module).strip(".")
            test = "::".join(filter(None, ["", *inside.split("."), case.get("name") or ""]))
            test = f"::{test.lstrip(':')}"
        name = f"{file}{test}"
        found = [group for group, names in SUBSET.items() if any(one.startswith(file) for one in names)]
        for group in [group_of(name)] if test else found:
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                groups[group].failed.append(name)
            elif "skipped" in kinds:
                groups[group].skipped += 1
            else:
                groups[group].passed += 1
    return groups


def works(groups: dict[str, Group]) -> bool:
    """Whether something passed in every group and nothing failed."""
    return all(group.passed and not group.failed for group in groups.values())


def as_data(ray: str, groups: dict[str, Group], unmet: list[str]) -> dict[str, object]:
    """One JSON object."""
    return {
        "ray": ray,
        "python": platform.python_version(),
        "works": works(groups),
        "unmet_requirements": unmet,
        "groups": {name: dataclasses.asdict(group) for name, group in groups.items()},
    }


def as_row(ray: str, groups: dict[str, Group]) -> str:
    """Ray, Python, passed, failed, the first names that failed, as a row of a Markdown table."""
    passed = sum(group.passed for group in groups.values())
    failed = [name for group in groups.values() for name in group.failed]
    empty = [name for name, group in groups.items() if not group.passed and not group.failed]
    wrong = [*(name.rsplit("/", 1)[-1] for name in failed[:NAMED]), *(f"{name}: not run" for name in empty)]
    more = f", {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"| {ray} | {python} | {passed} | {len(failed)} | {', '.join(f'`{one}`' for one in wrong)}{more} |"
