"""Version, changelog and golden files belong together; RELEASING.md says how a release is made."""

from __future__ import annotations

import re

from rllib_reborn._version import __version__
from tests.docs_code import REPOSITORY

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
RELEASING = (REPOSITORY / "RELEASING.md").read_text()
#: From this version on a run and a policy of each are kept.
FIRST_GOLDEN = (0, 2, 0)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def sections() -> list[str]:
    return re.findall(r"^## (.+)$", CHANGELOG, re.M)


def releases() -> list[str]:
    """Versions with a section, in the order of the file."""
    return [found[1] for one in sections() if (found := re.match(r"\[(\d+\.\d+\.\d+)\]", one))]


def golden() -> list[str]:
    return sorted(
        (path.name for path in (REPOSITORY / "tests" / "golden").iterdir() if path.name[:1].isdigit()), key=numbers
    )


def test_the_changelog_begins_with_what_comes_next_and_every_release_has_a_date() -> None:
    first, *others = sections()
    assert first == "[Unreleased]"
    assert [one for one in others if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one)] == []
    assert releases() == sorted(releases(), key=numbers, reverse=True)


def test_the_version_is_the_last_release_or_none_was_made() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    if releases():
        assert releases()[0] == __version__


def test_every_release_has_its_golden_files_and_at_most_one_waits_for_its_release() -> None:
    wanted = sorted((one for one in releases() if numbers(one) >= FIRST_GOLDEN), key=numbers)
    assert golden()[: len(wanted)] == wanted
    waiting = golden()[len(wanted) :]
    assert len(waiting) <= 1
    assert all(numbers(one) > numbers(__version__) for one in waiting)


def test_the_steps_name_what_there_is() -> None:
    for path in re.findall(r"`([\w./-]+\.(?:py|md|txt|cfg))`", RELEASING):
        assert path.startswith("build/") or (REPOSITORY / path).exists(), path
